"""The crash matrix on the virtual clock: under weather, with journals that the previous version wrote, and with a store that
loses its ground instead of a daemon that loses its life.

Everything follows from a seed, so the boundaries of the uncrashed run are those of every run up to its crash. A play takes
half a second; the oracle of the simulation watches each one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Any
from unittest.mock import patch

import httpx

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.settings import VolumeSharing
from adapters.sim.settings import Weather as Market
from adapters.sql.errors import StoreUnavailable
from adapters.virtual_clock import VirtualLoop, run_virtually, spawn
from daemon.simulation.oracle import Oracle
from daemon.simulation.replica import Replica
from daemon.simulation.run import WARM_UP_S
from daemon.simulation.store import SimStore
from daemon.simulation.theatre import Plan, Theatre
from daemon.simulation.weather import Event, Weather
from daemon.simulation.wires import ProviderWire, ShellWire
from daemon.sweep import Sweep
from machines.pool import Wanted
from tests.crash.tripwire import DOING, LOOK, Tripwire, call_named, commit_named, follow
from tests.frozen.play import FOLDER, cases_of, finish, still_open

RESTART_S = 2.0
WEATHER_S = 20 * 60.0
OUTAGE_S = 60.0
READY_S = 900.0
ENDS_S, QUIET_S = 3 * 3600.0, 120.0
HOSTS = 40
MARKET = Market(dead_boot_rate=0.3, offer_gone_rate=0.3)
FAULTS = (
    Fault(FaultKind.TIMEOUT_AFTER, "create_instance", seconds=20.0, probability=0.15),
    Fault(FaultKind.TIMEOUT_BEFORE, "create_instance", seconds=20.0, probability=0.1),
    Fault(FaultKind.STATUS_AFTER, "create_instance", status=502, probability=0.1),
    Fault(FaultKind.TIMEOUT_AFTER, "change_instance", seconds=20.0, probability=0.15),
    Fault(FaultKind.STATUS_AFTER, "change_instance", status=500, probability=0.1),
    Fault(FaultKind.TIMEOUT_AFTER, "destroy_instance", seconds=20.0, probability=0.2),
    Fault(FaultKind.STATUS, "destroy_instance", status=429, probability=0.15),
    Fault(FaultKind.EMPTY_LIST, "list_instances", probability=0.08),
    Fault(FaultKind.PARTIAL_LIST, "list_instances", probability=0.08),
    Fault(FaultKind.STATUS, "list_instances", status=503, probability=0.1),
    Fault(FaultKind.STATUS, "search_offers", status=429, probability=0.1),
    Fault(FaultKind.TIMEOUT_AFTER, "clone_volume", seconds=20.0, probability=0.3),
    Fault(FaultKind.TIMEOUT_BEFORE, "clone_volume", seconds=20.0, probability=0.2),
)
LOST_REPLIES, BROKEN_SHELLS = 0.04, 0.05


class Harm(Enum):
    """What happens at a boundary."""

    CRASH = "crash"
    AWAY = "away"
    READ_ONLY = "read-only"
    FULL = "full"
    LOST_REPLY = "lost reply"
    """The commit has happened, and whoever waits for it hears that the store is unavailable."""


@dataclass(frozen=True, slots=True)
class Death:
    """How a machine dies, and what stands ready for it."""

    name: str
    strategy: str
    begins: Event
    sharing: VolumeSharing = "allowed"
    has_vm: bool = False
    """A CPU VM serves meanwhile."""
    is_prepared: bool = False
    """A warm pool stands ready on another host."""

    def plan(self, seed: int, machines: int, hosts: int) -> Plan:
        pools = (Wanted.ELSEWHERE,) * machines if self.is_prepared else ()
        strategies = (self.strategy,) * machines
        return Plan(seed, machines, 1, strategies, self.sharing, hosts=hosts, cpu_vms=self.has_vm, pools=pools)


@dataclass(frozen=True, slots=True)
class Story:
    """A death in a weather of its own."""

    death: Death
    seed: int
    is_hard: bool

    @property
    def name(self) -> str:
        return f"{self.death.name}/{self.seed}"


@dataclass(frozen=True, slots=True)
class Provision:
    """One machine whose warm pool is rented, in a weather of its own."""

    name: str
    wanted: Wanted
    sharing: VolumeSharing
    seed: int
    is_hard: bool


@dataclass(frozen=True, slots=True)
class End:
    """By the provider's truth; `left` must be empty, whatever was killed, in any weather."""

    outcome: str
    failovers: int
    serving: int
    left: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Piece:
    """What is played to its end, and crashed at each of its boundaries."""

    name: str
    play: Callable[[], End]
    must_be_equal: bool
    """In weather a crash shifts the luck of everything behind it: there the invariants alone are compared."""
    of: str = ""
    """What the names of its boundaries contain. Those of a debt that does one thing again and again are numbered."""


@dataclass(frozen=True, slots=True)
class Crash:
    piece: str
    point: str
    fault: str | None
    """None where it came to the end that it must come to."""


CRASHES, CRASHES_FOR_GOOD, DIES = (
    Event(0, "container_crashes", 0, 0, "reboot helps"),
    Event(0, "container_crashes"),
    Event(0, "host_dies"),
)
DEATHS = (
    Death("repair_primary", "warm_pool", CRASHES),
    Death("warm_pool", "warm_pool", CRASHES_FOR_GOOD),
    Death("warm_pool_alone", "warm_pool", CRASHES_FOR_GOOD, "refused"),
    Death("cpu_standby", "cpu_standby", DIES),
    Death("cpu_vm_standby", "cpu_standby", DIES, has_vm=True),
    Death("prepared_pool", "both", DIES, is_prepared=True),
    Death("prepared_pool_with_vm", "both", DIES, has_vm=True, is_prepared=True),
    Death("both", "both", DIES),
    Death("regional_volume", "regional_volume", CRASHES_FOR_GOOD, "refused"),
    Death("regional_replica", "regional_volume", DIES),
)


POOLS: tuple[tuple[Wanted, VolumeSharing], ...] = (
    (Wanted.FIRST, "allowed"),
    (Wanted.ELSEWHERE, "allowed"),
    (Wanted.ELSEWHERE, "refused"),
)


def stories(is_hard: bool, seeds: Sequence[int]) -> Iterator[Piece]:
    for death in DEATHS:
        for seed in seeds:
            story = Story(death, seed, is_hard)
            yield Piece(story.name, lambda story=story: play(story), not is_hard)  # type: ignore[misc]


def pools(is_hard: bool, seeds: Sequence[int]) -> Iterator[Piece]:
    """A warm pool that is rented from nothing, of each form."""
    for wanted, sharing in POOLS:
        for seed in seeds:
            one = Provision(f"pool_{wanted.value}_{sharing}/{seed}", wanted, sharing, seed, is_hard)
            yield Piece(one.name, lambda one=one: provision(one), not is_hard, "debt provision_pool")  # type: ignore[misc]


def frozen() -> Iterator[Piece]:
    """Every failover that an older version left half-done, of every set."""
    for folder in sorted(one for one in FOLDER.iterdir() if one.is_dir()):
        for sql in cases_of(folder):
            yield Piece(f"{folder.name}/{sql.stem}", lambda sql=sql: _finish(sql), True)  # type: ignore[misc]


def _finish(sql: Path) -> End:
    end = finish(sql)
    return End(end.outcome, end.failovers, len(end.serving), end.left)


def run(
    pieces: Iterable[Piece], every: int = 1, first: int = 0, *, harm: Harm = Harm.CRASH, tells: bool = True
) -> list[Crash]:
    """Harm each piece at every n-th of its boundaries from `first` on; each piece goes on counting where the one before
    it ended, so that a sample takes other boundaries of each. What is different is told."""
    found: list[Crash] = []
    place = -first
    for piece in pieces:
        wanted, points = boundaries(piece)
        if harm is Harm.LOST_REPLY:
            points = [point for point in points if point.startswith("after commit: ")]
        crashes = []
        for point in points:
            if place % every == 0:
                crashes.append(crash_at(piece, point, wanted, harm))
            place += 1
        found += crashes
        if tells:
            bad = [crash for crash in crashes if crash.fault is not None]
            told = f"{len(points):4d} boundaries, {len(crashes):4d} crashes, {len(bad):3d} different; uncrashed: {wanted.outcome}"
            print(f"{piece.name:<46} {told}", flush=True)
            for crash in bad:
                print(f"    {crash.point}: {crash.fault}", flush=True)
    return found


# -- crashing


def boundaries(piece: Piece) -> tuple[End, list[str]]:
    """How it ends uncrashed, and what it passes. Raise ValueError where even that ends badly."""
    wire = _Wire(of=piece.of)
    with _wired(wire):
        end = piece.play()
    if end.left:
        raise ValueError(f"{piece.name} uncrashed: {end}")
    return end, list(wire.points)


def crash_at(piece: Piece, point: str, wanted: End, harm: Harm = Harm.CRASH) -> Crash:
    wire = _Wire(point, harm, piece.of)
    with _wired(wire):
        found = piece.play()
    if not wire.tripped.is_set():
        return Crash(piece.name, point, "not reached")
    is_well = found == wanted if piece.must_be_equal else not found.left
    return Crash(piece.name, point, None if is_well else f"{found} instead of {wanted}")


class _Wire(Tripwire):
    """Does its harm at the target, once: kills the replica, which starts again on the same store, or harms the store."""

    def __init__(self, target: str | None = None, harm: Harm = Harm.CRASH, of: str = "") -> None:
        super().__init__(target, is_armed=True)
        self.replica: Replica | None = None
        self._harm, self._of = harm, of
        self._times: Counter[str] = Counter()

    async def _pass(self, point: str) -> None:
        if self.tripped.is_set() or self._of not in point:
            return
        if self._of:
            self._times[point] += 1
            point = f"{point}, {self._times[point]}"
        self.points.setdefault(point)
        if point == self.target:
            assert self.replica is not None
            self.tripped.set()
            if self._harm is Harm.CRASH:
                self.replica.kill()
                spawn(None, self._again(self.replica), "the supervisor")
                await self._never.wait()
            elif self._harm is Harm.LOST_REPLY:
                raise StoreUnavailable("the commit's answer was lost")
            else:
                spawn(None, _outage(self.replica._theatre, self._harm), f"the store: {self._harm.value}")

    async def _again(self, replica: Replica) -> None:
        await replica.clock.sleep(RESTART_S)
        replica.start()


async def _outage(theatre: Theatre, harm: Harm) -> None:
    """SQLite's own errors, but for the database that is away."""
    begin, end = {
        Harm.READ_ONLY: ("PRAGMA query_only=ON", "PRAGMA query_only=OFF"),
        Harm.FULL: ("PRAGMA max_page_count=1", "PRAGMA max_page_count=1073741823"),
        Harm.AWAY: ("SELECT 1", "SELECT 1"),
    }[harm]
    driver = theatre.sql.driver()
    driver.execute(begin).fetchall()
    theatre.store_weather.is_down = harm is Harm.AWAY
    await theatre.clock.sleep(OUTAGE_S)
    driver.execute(end).fetchall()
    theatre.store_weather.is_down = False


@contextmanager
def _wired(wire: _Wire) -> Iterator[None]:
    """Every store, provider and shell of the simulation goes through the wire."""
    start, transact, pay = Replica.start, SimStore._transact, Sweep._pay
    call, run = ProviderWire.handle_async_request, ShellWire.run

    def starts(replica: Replica) -> None:
        wire.replica = replica
        start(replica)

    async def transacts(store: SimStore, work: Callable[[Any], Any]) -> Any:
        name = commit_named(work)
        plain: Callable[[], Awaitable[Any]] = lambda: transact(store, work)  # noqa: E731
        done = await (plain() if name is None else wire.around(f"commit: {name}", plain))
        if work.__qualname__.startswith(LOOK):
            follow(*done)
        return done

    async def calls(provider: ProviderWire, request: httpx.Request) -> httpx.Response:
        name = call_named(request)
        plain: Callable[[], Awaitable[httpx.Response]] = lambda: call(provider, request)  # noqa: E731
        return await (plain() if name is None else wire.around(name, plain))

    async def runs(shell: ShellWire, *arguments: Any, **named: Any) -> Any:
        return await wire.around(f"{DOING.get()}: ssh", lambda: run(shell, *arguments, **named))

    async def pays(sweep: Sweep, debt: Any) -> None:
        DOING.set(f"debt {debt.kind.value}")
        await pay(sweep, debt)

    with (
        patch.object(Replica, "start", starts),
        patch.object(SimStore, "_transact", transacts),
        patch.object(ProviderWire, "handle_async_request", calls),
        patch.object(ShellWire, "run", runs),
        patch.object(Sweep, "_pay", pays),
    ):
        yield


# -- playing


def play(story: Story) -> End:
    return run_virtually(lambda loop: _play(loop, story))


async def _play(loop: VirtualLoop, story: Story) -> End:
    theatre = Theatre(story.death.plan(story.seed, 1, HOSTS), loop)
    oracle = Oracle(theatre)
    theatre.on_commit, theatre.on_call = oracle.on_commit, oracle.on_call
    theatre.on_answer, theatre.on_world = oracle.on_answer, oracle.on_world
    theatre.on_vm_call = oracle.on_vm_call
    theatre.begin()
    theatre.replicas[0].start()
    await theatre.clock.sleep(5.0)
    await theatre.register()
    await theatre.clock.sleep(WARM_UP_S)
    while (
        still_open(theatre) or (story.death.has_vm and not theatre.books.copies())
    ) and theatre.clock.monotonic() < READY_S:
        await theatre.clock.sleep(1.0)  # What is crashed before the death is made up for: a copy, a standby.
    weather = Weather(theatre, oracle.seen)
    if story.is_hard:
        _turn(theatre)
    weather.begin(story.death.begins)
    return await _until_done(theatre, oracle)


def _turn(theatre: Theatre) -> None:
    """For twenty minutes nearly everything may go wrong; then it is calm, so that everything can come to its end."""
    world, replica = theatre.world.world, theatre.replicas[0]
    core, calm = world.core, world.core.settings
    for fault in FAULTS:
        order = Fault(
            fault.kind, fault.endpoint, status=fault.status, seconds=fault.seconds, probability=fault.probability
        )
        world.faults.order(order, theatre.clock.now(), WEATHER_S)
    core.settings = replace(calm, weather=MARKET)
    theatre.store_weather.loses_replies = LOST_REPLIES
    replica.break_ssh(BROKEN_SHELLS)

    async def clear() -> None:
        await theatre.clock.sleep(WEATHER_S)
        core.settings = calm
        theatre.store_weather.loses_replies = 0.0
        replica.break_ssh(0.0)

    spawn(None, clear(), "the weather")


def provision(one: Provision) -> End:
    return run_virtually(lambda loop: _provision(loop, one))


async def _provision(loop: VirtualLoop, one: Provision) -> End:
    plan = Plan(one.seed, 1, 1, ("both",), one.sharing, hosts=HOSTS, pools=(one.wanted,))
    theatre = Theatre(plan, loop)
    oracle = Oracle(theatre)
    theatre.on_commit, theatre.on_call = oracle.on_commit, oracle.on_call
    theatre.on_answer, theatre.on_world = oracle.on_answer, oracle.on_world
    theatre.begin()
    theatre.replicas[0].start()
    await theatre.clock.sleep(5.0)
    await theatre.register()
    if one.is_hard:
        _turn(theatre)
    left = await _until_quiet(theatre, oracle)
    (machine,) = theatre.books.machines()
    world = theatre.world.world
    serving = sum(body.serves for body in theatre.world.bodies.of.values())
    beside = (machine.standby is not None) + len(machine.prepared)
    outcome = f"{len(world.instances)} instances, {beside} of them beside it, {len(world.volumes.volumes)} volumes"
    return End(outcome, len(theatre.books.failovers()), serving, (*(str(one) for one in oracle.violations), *left))


async def _until_quiet(theatre: Theatre, oracle: Oracle, least: float = 90.0) -> list[str]:
    """Until nothing is left and stays so for a while; what is left in the end."""
    deadline, quiet_since, left = theatre.clock.monotonic() + ENDS_S, 0.0, ["never looked at"]
    least += theatre.clock.monotonic()
    while theatre.clock.monotonic() < deadline and not oracle.violations:
        await theatre.clock.sleep(2.0)
        oracle.on_second()
        left = still_open(theatre)
        now = theatre.clock.monotonic()
        quiet_since = now if left else quiet_since
        if not left and now > least and now - quiet_since >= QUIET_S:
            break
    return left


async def _until_done(theatre: Theatre, oracle: Oracle) -> End:
    left = await _until_quiet(theatre, oracle)
    books = theatre.books
    rows, (machine,) = books.failovers(), books.machines()
    serving = sum(body.serves for body in theatre.world.bodies.of.values())
    wrongs = [str(one) for one in oracle.violations]
    if machine.state != "failed" and serving != 1:
        wrongs.append(f"{serving} instances serve")
    if not rows:
        wrongs.append("nothing was failed over")
    last = rows[-1] if rows else None
    outcome = (
        "no failover" if last is None else f"{last.strategy or last.code} ({'success' if last.success else 'failure'})"
    )
    return End(outcome, len(rows), serving, (*wrongs, *left))
