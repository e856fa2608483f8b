"""One replica of the daemon: composed on the simulation's parts, and killed, frozen and started again from outside."""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING

import httpx

from adapters.sim.sim_shell import SimShell
from adapters.sim.vm_shell import SimVmShell
from adapters.sql.errors import StoreUnavailable
from adapters.virtual_clock import Process, SeededRandom, VirtualClock, spawn
from daemon.api.services import Services
from daemon.compose import assemble
from daemon.lifecycle import Daemon
from daemon.simulation.broker import SimLog
from daemon.simulation.store import SimStore, StoreWeather
from daemon.simulation.timetable import VirtualTimetable
from daemon.simulation.wires import ComputeWire, ProviderWire, ShellWire
from daemon.surroundings import Surroundings
from machines.lease import LeaseTimes
from machines.model import MachineId

if TYPE_CHECKING:
    from daemon.simulation.theatre import Theatre

TOKEN = "fa_simulated"
SCAN_EVERY_S = 2.0
READINESS_EVERY_S = 60.0
PUBLISH_EVERY_S = 5.0
_RESTART_S = 2.0


class NoApi:
    """The HTTP API's place in a simulation: nothing listens; operators go through the command plane."""

    port = 0
    url = "http://nowhere"

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def started(self) -> None: ...


class Replica:
    """Its weather outlives its process, as a cut cable outlives a restart."""

    def __init__(self, name: str, theatre: Theatre) -> None:
        self.name, self._theatre = name, theatre
        self.clock = VirtualClock(theatre.loop)
        self.store_weather = StoreWeather()
        self.process: Process | None = None
        self.daemon: Daemon | None = None
        self.crashes: list[str] = []
        """What nothing in a daemon may raise, in any of its lives: bugs."""
        self._log = SimLog(theatre.broker, self.clock)
        self._wire: ProviderWire | None = None
        self._shell: ShellWire | None = None
        self._vm_shell: ShellWire | None = None
        self._compute: ComputeWire | None = None
        self._timetable: VirtualTimetable | None = None
        self._lives = 0
        self._is_ready = False
        self._caught_up = -1
        self._cuts = {"broker": False, "provider": False, "ssh": False}

    @property
    def is_awake(self) -> bool:
        return self.process is not None and not self.process.is_frozen and self.daemon is not None

    @property
    def is_able(self) -> bool:
        """Could it do its work, as far as the world goes?"""
        weathers = (self.store_weather, self._theatre.store_weather)
        return self.is_awake and not self._cuts["provider"] and not any(one.is_down for one in weathers)

    @property
    def hears(self) -> bool:
        """Is its way to the heartbeats open?"""
        broker = self._theatre.broker
        return not (self._cuts["broker"] or broker.is_down or broker.is_mute)

    # -- its fate

    def start(self) -> None:
        """A new process on the same state directory: the same replica, with new random ids."""
        self._lives += 1
        self.clock.begin_anew()
        self.process = Process(self.name)
        task = spawn(self.process, self._run(), self.name)
        task.add_done_callback(self._ended)

    def kill(self) -> None:
        """At whatever turn it is; nothing of it is cleaned up."""
        if self.process is not None:
            self._theatre.loop.kill(self.process)
        self.process = self.daemon = None

    def freeze(self) -> None:
        if self.process is not None:
            self._theatre.loop.freeze(self.process)

    def thaw(self) -> None:
        if self.process is not None:
            self._theatre.loop.thaw(self.process)

    def cut(self, what: str, is_cut: bool) -> None:
        """`broker`, `provider` or `ssh`."""
        self._cuts[what] = is_cut
        self._log.is_cut = self._cuts["broker"]
        if self._wire is not None and self._shell is not None:
            self._wire.is_cut, self._shell.is_cut = self._cuts["provider"], self._cuts["ssh"]
        if self._vm_shell is not None:
            self._vm_shell.is_cut = self._cuts["ssh"]
        if self._compute is not None:
            self._compute.is_cut = self._cuts["provider"]

    def break_ssh(self, share: float) -> None:
        if self._shell is not None:
            self._shell.breaks = share
        if self._vm_shell is not None:
            self._vm_shell.breaks = share

    # -- its life

    async def register(self, machine: MachineId, body: dict[str, object]) -> None:
        assert self.daemon is not None
        await self.daemon.registry.put(machine, body, "the simulation")

    async def _run(self) -> None:
        self._is_ready = False
        self.daemon = await assemble(self._theatre.settings, self._surroundings())
        self.daemon.runner.on_crash = self.daemon.prober.on_crash = self._crashed
        await self.daemon.run(self._ready)

    def _ready(self) -> None:
        self._is_ready = True

    def _surroundings(self) -> Surroundings:
        theatre = self._theatre
        random = SeededRandom(f"{theatre.plan.seed}/{self.name}/{self._lives}")
        self._wire = ProviderWire(
            theatre.world.transport,
            self.clock,
            random,
            lambda request: theatre.on_call(self, request),
            lambda request, response: theatre.on_answer(self, request, response),
        )
        instances = SimShell(theatre.world.world, theatre.world.bodies, theatre.clock, theatre.public_key)
        self._shell = ShellWire(instances, self.clock, random)
        vms = SimVmShell(theatre.world.world, theatre.world.vm_bodies, instances, theatre.clock, theatre.public_key)
        self._vm_shell = ShellWire(vms, self.clock, random)
        self._compute = ComputeWire(
            theatre.world.compute,
            self.clock,
            random,
            lambda what, path, body: theatre.on_vm_call(self, what, path, body),
        )
        self._log = SimLog(theatre.broker, self.clock)
        self._timetable = VirtualTimetable(self.clock, self._has_work, self.crashes.append)
        self.cut("broker", self._cuts["broker"])
        client = httpx.AsyncClient(transport=self._wire, base_url="http://world", trust_env=False)
        store = SimStore(
            theatre.sql,
            self.clock,
            random,
            (self.store_weather, theatre.store_weather),
            theatre.plan.replicas > 1,
            lambda work: theatre.on_commit(self, work),
        )
        return Surroundings(
            clock=self.clock,
            random=random,
            replica=self.name,
            store=store,
            event_log=self._log,
            vast=client,
            keeper=client,
            shell=self._shell,
            compute=self._compute if theatre.plan.cpu_vms else None,
            vm_shell=self._vm_shell if theatre.plan.cpu_vms else None,
            token=TOKEN,
            timetable=self._timetable,
            api=_no_api,
            lease_times=LeaseTimes(renew_every_s=3.5),
            scan_every_s=SCAN_EVERY_S,
            readiness_every_s=READINESS_EVERY_S,
            publish_every_s=PUBLISH_EVERY_S,
        )

    def _has_work(self, job: str) -> bool:
        if job != "changes of other replicas":
            return self._theatre.books.has_work(job)
        newest, before = self._theatre.books.newest_message(), self._caught_up
        self._caught_up = newest
        return newest != before

    def _ended(self, task: asyncio.Task[None]) -> None:
        error = task.exception() if not task.cancelled() else None
        if error is None:
            return
        self.process = self.daemon = None
        if not self._is_ready and _is_outage(error):
            # Without its database a daemon does not start; whoever supervises it tries again.
            spawn(None, self._start_again(), f"the supervisor of {self.name}")
        else:
            self._crashed(task)

    def _crashed(self, task: asyncio.Task[None]) -> None:
        error = task.exception()
        assert error is not None
        self.crashes.append(f"{task.get_name()}: " + "".join(traceback.format_exception(error))[-1500:])

    async def _start_again(self) -> None:
        await self._theatre.clock.sleep(_RESTART_S)
        if self.process is None:
            self.start()


def _is_outage(error: BaseException) -> bool:
    """Nothing but the database's absence."""
    if isinstance(error, BaseExceptionGroup):
        return all(_is_outage(one) for one in error.exceptions)
    return isinstance(error, StoreUnavailable)


def _no_api(services: Services) -> NoApi:
    return NoApi()
