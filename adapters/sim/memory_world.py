"""One world with its API and control plane, in memory and on whatever clock it is given: for simulations."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httpx
import msgspec
from starlette.applications import Starlette
from starlette.routing import compile_path
from starlette.types import ASGIApp

from adapters.sim.compute_api import ComputeApi, SimCompute
from adapters.sim.control import Control
from adapters.sim.form import Form
from adapters.sim.instances import Instance
from adapters.sim.loader import load
from adapters.sim.memory_bodies import MemoryBodies, MemoryStarter
from adapters.sim.operations import OPERATIONS, Operation
from adapters.sim.settings import WorldSettings
from adapters.sim.vast_api import Asked, BothSlashForms, VastApi, one_slash_form, unknown_path, wrong_method
from adapters.sim.vm_bodies import VmBodies
from adapters.sim.webhooks import Letter
from adapters.sim.world import World
from machines.ports import Clock

_LONGEST_NAP_S = 30.0


_PATHS = [(operation, compile_path(operation.path)[0]) for operation in OPERATIONS]


class InMemory(httpx.AsyncBaseTransport):
    """A client's way to the world. The provider's operations are answered without HTTP's machinery, which would cost a
    simulation half its time; everything else goes through the app."""

    def __init__(self, api: VastApi, app: ASGIApp) -> None:
        self._api = api
        self._app = httpx.ASGITransport(app=app)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        path = one_slash_form(request.url.path)
        found = _operation(request.method, path)
        if found is None:
            return await self._app.handle_async_request(request)
        operation, params = found
        token = request.headers.get("authorization", "").removeprefix("Bearer").strip()
        query = dict(request.url.params)
        origin = f"{request.url.scheme}://{request.url.netloc.decode()}"
        answer = await self._api.answer(operation, Asked(path, token, params, query, await request.aread(), origin))
        headers = dict(answer.headers)
        if isinstance(answer.body, str):
            return httpx.Response(answer.status, headers=headers, text=answer.body)
        body = msgspec.json.encode(answer.body)
        return httpx.Response(answer.status, headers={"content-type": "application/json", **headers}, content=body)


def _operation(method: str, path: str) -> tuple[Operation, dict[str, str]] | None:
    """What the request asks for, and what stands in its path's places."""
    for operation, pattern in _PATHS:
        if operation.method == method and (match := pattern.match(path)) is not None:
            return operation, match.groupdict()
    return None


class MemoryWorld:
    """The twin of SimServer: the same world and the same routes, and bodies that are neither files nor processes."""

    def __init__(self, seed: int, settings: WorldSettings, clock: Clock, starter: MemoryStarter) -> None:
        self._clock = clock
        self._nap: asyncio.Future[None] | None = None
        self.on_change: Callable[[], None] = lambda: None
        """Told of each change of a body."""
        self.on_letter: Callable[[Letter], None] = lambda letter: None
        """Carries a webhook's letter; without anybody to do so it is lost."""
        self.world = World(seed, settings, clock.now(), has_body=True)
        self.bodies = MemoryBodies(self.world, starter)
        self.vm_bodies = VmBodies()
        self.world.snapshots.speaks = lambda instance_id: instance_id in self.bodies.count_agents()
        api = VastApi(self.world, clock, self.settle, None)
        control = Control(self.world, clock, self.settle, self.bodies.count_agents)
        handlers = {404: unknown_path, 405: wrong_method}
        app: ASGIApp = BothSlashForms(Starlette(routes=[*api.routes(), *control.routes()], exception_handlers=handlers))
        self.transport = InMemory(api, app)
        self.compute = SimCompute(ComputeApi(self.world, clock, self.settle), clock)
        """The way to the CPU VMs."""

    def load(self, body: dict[str, object]) -> list[Instance]:
        """Instances that run at once; `body` as POST /sim/instances takes it."""
        found = load(self.world, Form(body), self._clock.now())
        self.carry_out()
        return found

    def carry_out(self) -> None:
        """Do what the world wants done to its bodies, and look at the agenda anew."""
        self._wake()
        self._do_effects()

    def _do_effects(self) -> None:
        effects = self.world.drain()
        for effect in effects:
            self.bodies.apply(effect)
        for letter in self.world.webhooks.take_letters():
            self.on_letter(letter)
        if effects:
            self.on_change()

    async def settle(self) -> None:
        self.carry_out()

    async def run(self) -> None:
        """Until cancelled: do what is due, then sleep until the next thing is, or until somebody changes the agenda."""
        loop = asyncio.get_running_loop()
        while True:
            self.world.advance(self._clock.now())
            self._do_effects()
            due = self.world.next_due()
            wait = _LONGEST_NAP_S if due is None else (due - self._clock.now()).total_seconds()
            self._nap = loop.create_future()
            timer = loop.call_later(max(0.001, min(wait, _LONGEST_NAP_S)), self._wake)
            await self._nap
            timer.cancel()

    def _wake(self) -> None:
        if self._nap is not None and not self._nap.done():
            self._nap.set_result(None)
