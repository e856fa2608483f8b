"""The simulated Compute Engine and the ways to it: in process on virtual time, and the real client over HTTP."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from adapters.gce import ComputeWire, GceAccess, GceCloud, GceSettings, GoogleCompute
from adapters.sim.compute import Vm
from adapters.sim.compute_api import ComputeApi, SimCompute
from adapters.sim.faults import Fault, FaultKind
from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings
from adapters.sim.world import World
from adapters.system_clock import SystemClock
from machines.cpu_vm import VmClaim, VmPlace, Zone, request_id
from machines.errors import NotYet
from machines.ports import Clock
from tests.compute_document import Exchange, Recorder, violations
from tests.test_vast_provider import VirtualClock, VirtualLoop

T = TypeVar("T")
A, B, C = Zone("europe-west4-a"), Zone("europe-west4-b"), Zone("us-central1-a")
SETTINGS = GceSettings("proj-1", (A, B, C), ssh_key="ssh-ed25519 AAAA failoverd")
LABEL = "failoverd-deployment"


@dataclass(frozen=True)
class Place:
    """A world and a cloud that speaks with it."""

    world: World
    clock: Clock
    wire: ComputeWire
    cloud: GceCloud

    @property
    def truth(self) -> dict[str, Vm]:
        self.world.advance(self.clock.now())
        return {vm.name: vm for vm in self.world.compute.vms.values()}

    def break_it(self, kind: FaultKind, what: str, **more: Any) -> None:
        self.world.faults.order(Fault(kind, f"compute.{what}", **more), self.clock.now(), None)

    def another(self, **changed: Any) -> GceCloud:
        return GceCloud(self.wire, self.clock, replace(SETTINGS, **changed))

    async def sleep(self, seconds: float) -> None:
        await self.clock.sleep(seconds)

    async def made(self, name: str = "fo-x-m1-cpu-1-0", zone: Zone = A, **more: Any) -> VmPlace:
        return (await self.at_last(lambda: self.cloud.insert(claim(name, zone, **more)))).place

    async def at_last(self, call: Callable[[], Awaitable[T]], patience: int = 60) -> T:
        """As a debt does it: wait where it is not yet."""
        for _ in range(patience):
            try:
                return await call()
            except NotYet as wait:
                await self.clock.sleep(wait.delay.total_seconds())
        raise AssertionError("never")


def claim(name: str = "fo-x-m1-cpu-1-0", zone: Zone = A, labels: Mapping[str, str] | None = None) -> VmClaim:
    place = VmPlace(zone, name, None, request_id("insert", name))
    return VmClaim(place, labels if labels is not None else {LABEL: "fo-x", "failoverd-machine": "1"})


Story = Callable[[Place], Awaitable[None]]


def in_process(story: Story, **world: Any) -> None:
    """On virtual time, without HTTP."""

    async def play() -> None:
        clock = VirtualClock()
        made = World(7, WorldSettings(**world), clock.now())

        async def settle() -> None:
            made.drain()

        wire = SimCompute(ComputeApi(made, clock, settle), clock)
        await story(Place(made, clock, wire, GceCloud(wire, clock, SETTINGS)))

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(play())


SPEED = 40.0


@dataclass(frozen=True)
class Served:
    server: SimServer
    url: str
    clock: SystemClock
    exchanges: list[Exchange]
    """What went over the wire so far."""


@asynccontextmanager
async def served(**world: Any) -> AsyncIterator[Served]:
    """Every exchange is held against Google's description of its API at the end."""
    clock = SystemClock(SPEED)
    server = SimServer(SimSettings(seed=7, has_bodies=False, world=WorldSettings(**world)), clock)
    recorder = Recorder(server.app)
    server.app = recorder
    await server.start()
    try:
        yield Served(server, f"http://127.0.0.1:{await server.listen()}", clock, recorder.exchanges)
    finally:
        await server.stop()
    assert [fault for exchange in recorder.exchanges for fault in violations(exchange)] == []


def over_http(story: Story, **world: Any) -> None:
    """Google's client on a clock that runs faster: sockets and threads are real."""

    async def play() -> None:
        async with served(**world) as there:
            wire = GoogleCompute(GceAccess(endpoint=there.url), there.clock)
            try:
                settings = replace(SETTINGS, answer_within_s=2.0)
                cloud = GceCloud(wire, there.clock, settings)
                # The library is imported at the first question, which may take longer than any answer.
                await wire.ask("aggregatedList", {"project": SETTINGS.project}, {}, None, 60.0)
                await story(Place(there.server.world, there.clock, wire, cloud))
            finally:
                wire.close()
            assert there.exchanges

    asyncio.run(play())
