"""Drives the world with a clock and serves it: over ASGI in process, or over HTTP on loopback."""

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.sim.agents import AgentStarter, ProcessStarter
from adapters.sim.compute_api import ComputeApi
from adapters.sim.control import Control
from adapters.sim.embodiment import Embodiment
from adapters.sim.postman import Postman
from adapters.sim.settings import WEATHERS, VolumeSharing, WeatherName, WorldSettings
from adapters.sim.sockets import LOOPBACK, LoopbackPorts
from adapters.sim.vast_api import ON_WIRE, BothSlashForms, VastApi, unknown_path, wrong_method
from adapters.sim.world import World
from machines.ports import Clock

LONGEST_NAP = 3600.0
IDLE_SECONDS = 75
"""A connection that is quiet for so long is closed, as the front doors of large providers do it."""


@dataclass(frozen=True, slots=True)
class SimSettings:
    """How to make and serve one world."""

    seed: int = 1
    weather: WeatherName | None = None
    volume_sharing: VolumeSharing | None = None
    """What stands here goes before the world's own settings."""
    api_key: str | None = None
    """Where it is set, every other key is refused; else every key is the account's."""
    folder: Path | None = None
    """Where bodies live; a temporary folder, removed at the end, where none is given."""
    has_bodies: bool = True
    """False: no SSH, no files, no processes. Ports are only numbers."""
    world: WorldSettings = field(default_factory=WorldSettings)


class SimServer:
    """One world with its API and control plane. Nothing listens and nothing moves before `start`."""

    def __init__(self, settings: SimSettings, clock: Clock, starter: AgentStarter | None = None) -> None:
        self._settings, self._clock = settings, clock
        self._starter: AgentStarter = starter or ProcessStarter()
        self._ports = LoopbackPorts()
        self.world = World(
            settings.seed,
            _world_settings(settings),
            clock.now(),
            ports=self._ports if settings.has_bodies else None,
            has_body=settings.has_bodies,
        )
        api = VastApi(self.world, clock, self.settle, settings.api_key)
        control = Control(self.world, clock, self.settle, self._count_agents)
        routes = [*api.routes(), *ComputeApi(self.world, clock, self.settle).routes(), *control.routes()]
        handlers = {404: unknown_path, 405: wrong_method}
        self.app: ASGIApp = BothSlashForms(Starlette(routes=routes, exception_handlers=handlers))
        self._embodiment: Embodiment | None = None
        self._temporary: Path | None = None
        self._pump: asyncio.Task[None] | None = None
        self._nap: asyncio.Task[None] | None = None
        self._settling = asyncio.Lock()
        self._postman = Postman(lambda letter, status: self.world.webhooks.came_back(letter, status, clock.now()))
        self._http: uvicorn.Server | None = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Give the world its folder and bodies, and let its time run.

        A world without bodies needs no pump: every request first does what is due by then.
        """
        if self._settings.has_bodies:
            folder = self._settings.folder
            if folder is None:
                folder = self._temporary = Path(tempfile.mkdtemp(prefix="failoverd-sim-"))
            self._embodiment = Embodiment(self.world, self._ports, folder.resolve(), self._clock, self._starter)
            self._world_has_agents()
            self._pump = asyncio.create_task(self._run())

    def _world_has_agents(self) -> None:
        """Snapshots are taken where an agent runs: an instance that is still being restored has none yet."""
        self.world.snapshots.speaks = lambda instance_id: instance_id in self._count_agents()

    async def listen(self, port: int = 0) -> int:
        """Serve HTTP on loopback and return the port; 0 lets the system choose."""
        config = uvicorn.Config(
            _OnWire(self.app),
            LOOPBACK,
            port,
            log_config=None,
            lifespan="off",
            access_log=False,
            timeout_keep_alive=IDLE_SECONDS,
        )
        listening = config.bind_socket()
        self._http = _Quiet(config)
        self._serving = asyncio.create_task(self._http.serve([listening]))
        while not self._http.started and not self._serving.done():
            await self._clock.sleep(self._clock.real(0.005))
        bound: int = listening.getsockname()[1]
        return bound

    async def stop(self) -> None:
        """End every agent, process, port and listener, and remove the temporary folder. Safe to call twice."""
        if self._http is not None and self._serving is not None:
            self._http.should_exit = self._http.force_exit = True
            await asyncio.gather(self._serving, return_exceptions=True)
            self._http = self._serving = None
        pump, nap, self._pump, self._nap = self._pump, self._nap, None, None
        for task in (pump, nap):
            if task is not None:
                task.cancel()
                await asyncio.wait([task])
        await self._postman.close()
        if self._embodiment is not None:
            await self._embodiment.close()
            self._embodiment = None
        if self._temporary is not None:
            shutil.rmtree(self._temporary, ignore_errors=True)
            self._temporary = None
        if pump is not None and not pump.cancelled():
            pump.result()  # An effect failed: the world stood still from then on, and somebody must hear of it.

    def place(self, instance_id: int, path: str) -> Path:
        """Where a path of the instance lies on this machine. Raise KeyError where it has no body."""
        if self._embodiment is None:
            raise KeyError(instance_id)
        return self._embodiment.place(instance_id, path)

    async def settle(self) -> None:
        """Carry out what the world wants done, and let the pump look at the agenda anew."""
        async with self._settling:
            for effect in self.world.drain():
                if self._embodiment is not None:
                    await self._embodiment.apply(effect)
        self._postman.carry(self.world.webhooks.take_letters())
        if self._nap is not None:
            self._nap.cancel()

    def _count_agents(self) -> dict[int, int]:
        return {} if self._embodiment is None else self._embodiment.count_agents()

    async def _run(self) -> None:
        """Do what is due, then sleep until the next thing is, or until an operation changes the agenda."""
        while True:
            self.world.advance(self._clock.now())
            async with self._settling:
                for effect in self.world.drain():
                    if self._embodiment is not None:
                        await self._embodiment.apply(effect)
            self._postman.carry(self.world.webhooks.take_letters())
            due = self.world.next_due()
            wait = LONGEST_NAP if due is None else (due - self._clock.now()) / timedelta(seconds=1)
            self._nap = asyncio.create_task(self._clock.sleep(max(0.0, min(wait, LONGEST_NAP))))
            await asyncio.wait([self._nap])


def _world_settings(settings: SimSettings) -> WorldSettings:
    world = settings.world
    if settings.weather is not None:
        world = replace(world, weather=WEATHERS[settings.weather])
    if settings.volume_sharing is not None:
        world = replace(world, volume_sharing=settings.volume_sharing)
    return world


class _Quiet(uvicorn.Server):
    """A server that leaves the signals to the process that embeds it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class _OnWire:
    """Marks requests that came over a socket."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope, ON_WIRE: True}, receive, send)


async def serve(settings: SimSettings, clock: Clock, port: int, stopping: asyncio.Event) -> None:
    """Serve one world on loopback until somebody says stop."""
    server = SimServer(settings, clock)
    await server.start()
    try:
        await server.listen(port)
        await stopping.wait()
    finally:
        await server.stop()
