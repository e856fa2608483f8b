"""One world that outlives its daemons: a machine dies there, daemons are killed and follow one another, and the end is
looked at from both sides, the store's and the provider's."""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import VolumeSharing, WorldSettings
from adapters.sql.errors import StoreUnavailable
from adapters.system_clock import SystemClock
from daemon.compose import compose
from daemon.demo_agents import InProcessStarter
from daemon.demo_checks import check_all, is_over
from daemon.demo_stage import Cast, Stage
from daemon.demo_watch import Look, look
from daemon.settings import Http, Settings, Vast
from events import topics
from machines.lease import FLEET, is_work
from machines.states import State
from tests.crash.tripwire import Tripwire
from tests.servers import databases

HOSTS = 120
"""A market in which every attempt of a failover finds racers on hosts that none before it tried."""
SPEED = 60.0
PLAY_REAL_S = 240.0
"""A play takes six seconds; on two cores that ten others use, forty times as long."""
LOOK_EVERY_REAL_S = 0.05
BY_TIME = ("observer-blind",)
"""Alerts that a slow machine raises, whatever was killed."""


@dataclass(frozen=True, slots=True)
class Story:
    """How the machine dies, and whether the provider lets instances share a volume."""

    ending: str
    sharing: VolumeSharing


STORIES = {
    "warm_pool": Story("crash", "allowed"),
    "warm_pool_alone": Story("crash", "refused"),
    "cpu_standby": Story("kill", "allowed"),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """What is compared: the daemon's word, and the provider's truth. `faults` must be empty, whatever was killed."""

    strategy: str | None
    code: str | None
    state: str
    fence: int
    has_standby: bool
    has_volume: bool
    failovers: int
    instances: int
    volumes: int
    alerts: tuple[str, ...]
    leases: tuple[str, ...]
    faults: tuple[str, ...]


class StillDying(Exception):
    """Each of the daemons was killed, and the failover has not ended."""


class Theatre:
    """The world and the daemon's folder; `daemon` is one life of the daemon."""

    def __init__(self, folder: Path, sharing: VolumeSharing, database: str) -> None:
        self.clock = SystemClock(SPEED)
        self.starter = InProcessStarter(self.clock)
        self.shares = sharing == "allowed"
        sim = SimSettings(
            seed=1, weather="calm", volume_sharing=sharing, folder=folder / "world", world=WorldSettings(hosts=HOSTS)
        )
        self.world = SimServer(sim, self.clock, self.starter)
        self.folder = folder
        self.settings = Settings(
            state_dir=folder / "daemon",
            http=Http(port=0),
            vast=Vast(url="http://world"),
            speed=SPEED,
            database=database,
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[httpx.AsyncClient]:
        """The world lives; yields a client of its control plane."""
        await self.world.start()
        try:
            transport = httpx.ASGITransport(app=self.world.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://world") as control:
                yield control
        finally:
            await self.world.stop()

    @asynccontextmanager
    async def daemon(self, wire: Tripwire, control: httpx.AsyncClient) -> AsyncIterator[Stage]:
        client = httpx.AsyncClient(
            transport=wire.transport(httpx.ASGITransport(app=self.world.app)), base_url="http://world"
        )
        daemon = await compose(self.settings, self.clock, client)
        wire.guard(daemon)
        self.starter.connect(daemon.event_log, topics.HEARTBEATS)
        ready = asyncio.Event()
        task = asyncio.create_task(daemon.run(ready.set))
        try:
            await _first(wire, ready.wait(), task)
            yield Stage(self.clock, self.world, daemon, control, self.starter, self.folder, task, self.shares)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await wire.settle()


async def play(story: str, wires: Sequence[Tripwire], database: str, pause_s: float = 0.0) -> Ending:
    """One machine dies; where a wire trips, its daemon dies too and the next one takes over, after a pause. Raise
    StillDying where the last one was killed as well, and TimeoutError."""
    told = STORIES[story]
    with tempfile.TemporaryDirectory(prefix="failoverd-crash-") as name:
        theatre = Theatre(Path(name), told.sharing, database)
        async with theatre.open() as control, asyncio.timeout(PLAY_REAL_S):
            cast: tuple[Cast, ...] = ()
            for wire in wires:
                async with theatre.daemon(wire, control) as stage:
                    if not cast:
                        cast = await _one_machine(stage)
                        wire.is_armed = True
                        await _end(stage, cast[0], told.ending)
                    if (
                        await _outlives(stage, cast, wire)
                        and (ending := await _seen_out(stage, cast, wire)) is not None
                    ):
                        return ending
                await theatre.clock.sleep(pause_s)
    raise StillDying(f"{len(wires)} daemons were killed")


@asynccontextmanager
async def new_database(store: str, dsn: str | None) -> AsyncIterator[str]:
    """A new database's URL for each play. It is made in a thread: who stands still at this speed goes blind."""
    if store == "sqlite":
        with tempfile.TemporaryDirectory(prefix="failoverd-crash-db-") as name:
            yield databases.new_file(Path(name))
        return
    assert dsn is not None, "PostgreSQL needs its server"
    made = databases.on_server(dsn)
    url = await asyncio.to_thread(made.__enter__)
    try:
        yield url
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


async def _one_machine(stage: Stage) -> tuple[Cast, ...]:
    """It serves, is heard and judged, and has a snapshot of its work and whatever standby it can have."""
    cast = await stage.load(1)
    await stage.register(cast[0])
    ingest = stage.daemon.ingest
    while True:
        stage.check()
        now = await look(stage.daemon.store, stage.clock)
        machine = now.machines.get(cast[0].id)
        heard = ingest.heard(cast[0].instance) is not None
        is_settled = not now.debts and heard and await _is_kept(stage, cast[0])
        if is_settled and machine and machine.state is State.HEALTHY and ingest.is_blind(machine) is None:
            return cast
        await asyncio.sleep(LOOK_EVERY_REAL_S)


async def _is_kept(stage: Stage, one: Cast) -> bool:
    """Is all its work in the newest verified snapshot? One may have been taken while the work was being written, and a
    marker may lie beside it."""
    verified = [row for row in (await stage.truth())["snapshots"] if row["verified"]]
    if not verified:
        return False
    newest = max(verified, key=lambda row: str(row["taken_at"]))
    manifest = (await stage.http.get(f"/sim/snapshots/{newest['id']}/manifest")).raise_for_status().json()
    work = {name: hashlib.sha256(content).hexdigest() for name, content in stage.expected_work(one).items()}
    return work.items() <= manifest.items()


async def _end(stage: Stage, one: Cast, how: str) -> None:
    await (stage.crash(one.instance) if how == "crash" else stage.kill_host(one.host))


async def _outlives(stage: Stage, cast: tuple[Cast, ...], wire: Tripwire) -> bool:
    """Does this daemon see the failover's end?"""
    await _first(wire, _until_over(stage, cast))
    return not wire.is_dead


async def _first(wire: Tripwire, *waits: Awaitable[None]) -> None:
    """Until one of them has ended, whose error is raised, or the wire tripped. Tasks are left alone."""
    own = [asyncio.ensure_future(wait) for wait in (wire.tripped.wait(), *waits)]
    try:
        done, _ = await asyncio.wait(own, return_when=asyncio.FIRST_COMPLETED)
    finally:
        given_up = [one for one in own if one not in waits]
        for one in given_up:
            one.cancel()
        await asyncio.gather(*given_up, return_exceptions=True)
    for one in done if not wire.is_dead else ():
        one.result()


async def _until_over(stage: Stage, cast: tuple[Cast, ...]) -> None:
    while True:
        stage.check()
        if is_over(cast, await look(stage.daemon.store, stage.clock)):
            return
        await asyncio.sleep(LOOK_EVERY_REAL_S)


async def _seen_out(stage: Stage, cast: tuple[Cast, ...], wire: Tripwire) -> Ending | None:
    """None where the daemon is killed while its end is looked at: behind the last commit of all."""
    try:
        ending = await _ending(stage, cast)
    except StoreUnavailable:
        if wire.is_dead:
            return None
        raise
    return None if wire.is_dead else ending


async def _ending(stage: Stage, cast: tuple[Cast, ...]) -> Ending:
    truth, seen = await stage.truth(), await look(stage.daemon.store, stage.clock)
    leases = await stage.daemon.store.transact(lambda tx: tx.leases())
    machine = seen.machines[cast[0].id]
    shown = seen.failovers_of(cast[0].id)
    serves = machine.state in (State.HEALTHY, State.RECOVERED)
    return Ending(
        strategy=shown[-1]["strategy_succeeded"],
        code=shown[-1]["error"],
        state="serving" if serves else machine.state.value,
        fence=machine.fence,
        has_standby=machine.standby is not None,
        has_volume=machine.volume is not None,
        failovers=len(shown),
        instances=len(truth["instances"]),
        volumes=len(truth["volumes"]),
        alerts=tuple(sorted(key for key in seen.alerts if key not in BY_TIME)),
        leases=tuple(one.name for one in leases if is_work(one.name) and one.name != FLEET),
        faults=_faults(stage, cast, truth, seen),
    )


def _faults(stage: Stage, cast: tuple[Cast, ...], truth: Any, seen: Look) -> tuple[str, ...]:
    """Nothing may be left over, however it ended; where it serves, it must serve alone and with its work."""
    machine = seen.machines[cast[0].id]
    lost = [] if machine.primary and stage.work_of(machine.primary) == stage.expected_work(cast[0]) else ["its work"]
    checks = check_all(cast, cast, truth, seen, {}, lost)
    if machine.state is State.FAILED:
        checks = [check for check in checks if check.name in ("nothing_unclaimed", "no_false_failover")]
    return tuple(f"{check.name}: {check.detail}" for check in checks if not check.ok)
