"""The crash matrix: `python -m tests.crash.matrix` kills at every boundary of every strategy and prints what became of it.

The boundaries are those that an uncrashed run passes, as the tripwire names them; nobody keeps a list by hand. After each
crash a new daemon starts on the same store beside the same world, and the end must be the same: one serving instance with
the machine's work, the same strategy, nothing rented that nothing claims, no debt.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import structlog

from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings
from adapters.system_clock import SystemClock
from daemon.compose import Daemon, compose
from daemon.demo_agents import InProcessStarter
from daemon.demo_checks import check_all, is_over
from daemon.demo_stage import Cast, Stage
from daemon.demo_watch import look
from daemon.settings import Http, Settings, Vast
from events import topics
from machines.states import State
from tests.crash.tripwire import Tripwire

SPEED = 60.0
NOT_REACHED = "not reached"
TRIES = 3
"""What runs side by side does not always pass the same boundaries: a look may come a moment sooner or later."""
RUN_REAL_S = 60.0
STORIES = {
    "warm_pool": ("crash", "allowed"),
    "warm_pool_alone": ("crash", "refused"),
    "cpu_standby": ("kill", "allowed"),
}
"""How the machine dies, and whether the provider lets instances share a volume."""


@dataclass(frozen=True, slots=True)
class Ending:
    """What is compared. `faults` must be empty, whatever crashed."""

    strategy: str | None
    state: str
    fence: int
    faults: tuple[str, ...]


class Theatre:
    """One world that outlives its daemons."""

    def __init__(self, folder: Path, sharing: str, database: str | None) -> None:
        self.clock = SystemClock(SPEED)
        self.starter = InProcessStarter(self.clock)
        self.shares = sharing == "allowed"
        sim = SimSettings(
            seed=1, weather="calm", volume_sharing=sharing, folder=folder / "world", world=WorldSettings(hosts=40)
        )
        self.world = SimServer(sim, self.clock, self.starter)
        self.folder = folder
        self.settings = Settings(
            state_dir=folder / "daemon",
            http=Http(port=0),
            vast=Vast(url="http://world"),
            speed=SPEED,
            **({"database": database} if database else {}),
        )

    @asynccontextmanager
    async def daemon(self, wire: Tripwire) -> AsyncIterator[tuple[Daemon, asyncio.Task[None]]]:
        transport = wire.transport(httpx.ASGITransport(app=self.world.app))
        client = httpx.AsyncClient(transport=transport, base_url="http://world")
        daemon = await compose(self.settings, self.clock, client)
        wire.guard_store(daemon.store)
        wire.guard_shell(daemon.runner.outside.shell)
        self.starter.connect(daemon.event_log, topics.HEARTBEATS)
        ready = asyncio.Event()
        task = asyncio.create_task(daemon.run(ready.set))
        try:
            await ready.wait()
            yield daemon, task
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def play(story: str, wire: Tripwire, database: str | None = None) -> Ending:
    """One machine dies; where the wire trips, the daemon dies too and another one takes over."""
    how, sharing = STORIES[story]
    with tempfile.TemporaryDirectory(prefix="failoverd-crash-") as name:
        theatre = Theatre(Path(name), sharing, database)
        await theatre.world.start()
        try:
            transport = httpx.ASGITransport(app=theatre.world.app)
            async with httpx.AsyncClient(transport=transport, base_url="http://world") as control:
                return await _play(theatre, control, how, wire)
        finally:
            await theatre.world.stop()


async def _play(theatre: Theatre, control: httpx.AsyncClient, how: str, wire: Tripwire) -> Ending:
    async with asyncio.timeout(RUN_REAL_S):
        async with theatre.daemon(wire) as (daemon, task):
            stage = _stage(theatre, daemon, control, task)
            cast = await stage.load(1)
            await stage.register(cast[0])
            await _until_well(stage, cast[0])
            wire.is_armed = True
            await (stage.crash(cast[0].instance) if how == "crash" else stage.kill_host(cast[0].host))
            crashed = asyncio.create_task(wire.tripped.wait())
            ended = asyncio.create_task(_until_over(stage, cast))
            await asyncio.wait({crashed, ended}, return_when=asyncio.FIRST_COMPLETED)
            for one in (crashed, ended):
                one.cancel()
            await asyncio.gather(crashed, ended, return_exceptions=True)
            if not wire.is_dead:
                return await _ending(stage, cast)
        async with theatre.daemon(Tripwire()) as (daemon, task):
            stage = _stage(theatre, daemon, control, task)
            await _until_over(stage, cast)
            return await _ending(stage, cast)


def _stage(theatre: Theatre, daemon: Daemon, control: httpx.AsyncClient, task: asyncio.Task[None]) -> Stage:
    return Stage(theatre.clock, theatre.world, daemon, control, theatre.starter, theatre.folder, task, theatre.shares)


async def _until_well(stage: Stage, one: Cast) -> None:
    ingest = stage.daemon.ingest
    while True:
        now = await look(stage.daemon.store, stage.clock)
        machine = now.machines.get(one.id)
        heard = ingest.heard(one.instance) is not None
        snapshots = [row for row in (await stage.truth())["snapshots"] if row["verified"]]
        is_settled = not now.debts and snapshots and heard
        if is_settled and machine and machine.state is State.HEALTHY and ingest.is_blind(machine) is None:
            return
        await asyncio.sleep(0.05)


async def _until_over(stage: Stage, cast: tuple[Cast, ...]) -> None:
    while True:
        now = await look(stage.daemon.store, stage.clock)
        if is_over(cast, now):
            return
        await asyncio.sleep(0.05)


async def _ending(stage: Stage, cast: tuple[Cast, ...]) -> Ending:
    truth, seen = await stage.truth(), await look(stage.daemon.store, stage.clock)
    machine = seen.machines[cast[0].id]
    lost = [] if machine.primary and stage.work_of(machine.primary) == stage.expected_work(cast[0]) else ["its work"]
    checks = check_all(cast, cast, truth, seen, {}, lost)
    shown = seen.failovers_of(cast[0].id)[-1]
    state = "serving" if machine.state in (State.HEALTHY, State.RECOVERED) else machine.state.value
    faults = tuple(f"{check.name}: {check.detail}" for check in checks if not check.ok)
    return Ending(shown["strategy_succeeded"], state, machine.fence, faults)


async def enumerate_points(story: str, database: str | None = None) -> tuple[Ending, list[str]]:
    """The uncrashed run: how it ends, and every boundary that it passed, in order."""
    wire = Tripwire()
    ending = await play(story, wire, database)
    return ending, list(wire.points)


async def crash_at(story: str, point: str, wanted: Ending, database: str | None = None) -> str:
    """ "same", or what was different."""
    wire = Tripwire(point)
    try:
        found = await play(story, wire, database)
    except TimeoutError:
        return "it did not come to its end"
    if not wire.is_dead:
        return NOT_REACHED
    return "same" if found == wanted else f"{found} instead of {wanted}"


async def run_story(story: str, every: int, at_once: int, database: str | None = None) -> dict[str, str]:
    """Every n-th boundary of one story with what became of the crash there, printed as it is known."""
    wanted, points = await enumerate_points(story, database)
    print(f"{story}: {len(points)} boundaries, uncrashed: {wanted}", flush=True)
    slots, found = asyncio.Semaphore(at_once), {}

    async def one(number: int, point: str) -> None:
        async with slots:
            for _ in range(TRIES):
                found[point] = await crash_at(story, point, wanted, database)
                if found[point] != NOT_REACHED:
                    break
            print(f"  {number:3d}  {point:<70} {found[point]}", flush=True)

    chosen = list(enumerate(points, 1))[::every]
    await asyncio.gather(*(one(number, point) for number, point in chosen))
    return found


async def run_matrix(stories: list[str], every: int, at_once: int, database: str | None) -> int:
    """How many crashes did not come to the same end."""
    found = [result for story in stories for result in (await run_story(story, every, at_once, database)).values()]
    different = sum(result not in ("same", NOT_REACHED) for result in found)
    same = found.count("same")
    print(f"{len(found)} crashes: {same} the same end, {different} another, {found.count(NOT_REACHED)} not reached")
    return different


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--story", choices=[*STORIES, "all"], default="all")
    parser.add_argument("--every", type=int, default=1, help="only every n-th boundary")
    parser.add_argument("--at-once", type=int, default=4, help="crashes that are played side by side")
    parser.add_argument("--database", help="a URL; SQLite in a temporary folder where none is given")
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    stories = list(STORIES) if options.story == "all" else [options.story]
    sys.exit(1 if asyncio.run(run_matrix(stories, options.every, options.at_once, options.database)) else 0)


if __name__ == "__main__":
    main()
