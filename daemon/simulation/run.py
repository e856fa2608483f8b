"""One seed from its first beat to its last check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from adapters.virtual_clock import VirtualLoop, run_virtually, spawn
from daemon.simulation.diary import Diary
from daemon.simulation.ending import what_is_left
from daemon.simulation.full_size import FullSize
from daemon.simulation.oracle import Oracle, Violation
from daemon.simulation.scenarios import Scenario
from daemon.simulation.theatre import Plan, Theatre
from daemon.simulation.weather import Event, Weather

WARM_UP_S = 120.0
AT_LEAST_S = 30 * 60.0
CALM_S = 90 * 60.0
QUIET_S = 60.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one seed came to."""

    seed: int
    scenario: str
    plan: Plan
    events: tuple[Event, ...]
    violations: tuple[Violation, ...]
    digest: str
    count: int
    """Entries of the history."""
    simulated_s: float
    seen: Counter[str] = field(default_factory=Counter)
    story: tuple[str, ...] = ()
    table: tuple[str, ...] = ()
    """What a situation of full size came to, where it has a table."""


def simulate(seed: int, scenario: Scenario, strategy: str, kept: Sequence[int] | None = None) -> Outcome:
    """Play a seed. `kept` plays only these of its weather events, by their places."""
    plan, events = scenario.plan(seed, strategy), scenario.events(seed, strategy)
    chosen = tuple(events) if kept is None else tuple(events[place] for place in kept)
    return run_virtually(lambda loop: _play(loop, plan, scenario, chosen))


async def _play(loop: VirtualLoop, plan: Plan, scenario: Scenario, events: tuple[Event, ...]) -> Outcome:
    theatre = Theatre(plan, loop)
    oracle = Oracle(theatre)
    diary = Diary(theatre) if isinstance(scenario, FullSize) else None
    theatre.on_commit, theatre.on_call = oracle.on_commit, oracle.on_call
    theatre.on_answer, theatre.on_world = oracle.on_answer, oracle.on_world
    theatre.on_vm_call = oracle.on_vm_call
    weather = Weather(theatre, oracle.seen)
    theatre.begin()
    for replica in theatre.replicas:
        replica.start()
    await theatre.clock.sleep(5.0)
    await theatre.register()
    watching = spawn(None, _watch(theatre, oracle, diary), "the oracle")
    await _until(theatre, WARM_UP_S, oracle)
    began = theatre.clock.monotonic()
    if diary is not None:
        diary.began_at = began
    for event in events:
        await _until(theatre, began + event.at_s, oracle)
        if oracle.violations:
            break
        weather.begin(event)
    await _until(theatre, began + scenario.minutes * 60.0, oracle)
    weather.clear()
    await _calm_down(theatre, oracle)
    if not scenario.fixed:
        await _until(theatre, AT_LEAST_S, oracle)
    watching.cancel()
    table: tuple[str, ...] = ()
    if isinstance(scenario, FullSize) and diary is not None and not oracle.violations:
        now = theatre.clock.monotonic()
        oracle.violations.extend(Violation(now, scenario.name, text) for text in scenario.check(diary))
        table = tuple(scenario.table(diary)) if scenario.table is not None else ()
    return Outcome(
        plan.seed,
        scenario.name,
        plan,
        events,
        tuple(oracle.violations),
        theatre.history.digest,
        theatre.history.count,
        theatre.clock.monotonic(),
        oracle.seen,
        tuple(theatre.history.told),
        table,
    )


async def _watch(theatre: Theatre, oracle: Oracle, diary: Diary | None) -> None:
    """An oracle that cannot look is a violation like another: without its looks nothing would be proved."""
    while True:
        try:
            oracle.on_second()
        except Exception as bug:
            oracle.violations.append(Violation(theatre.clock.monotonic(), "crash", f"the oracle itself: {bug!r}"))
            raise
        if diary is not None:
            diary.look()
        await theatre.clock.sleep(1.0)


async def _until(theatre: Theatre, at_s: float, oracle: Oracle) -> None:
    """A violation ends the waiting: what comes after it proves nothing."""
    while not oracle.violations and (left := at_s - theatre.clock.monotonic()) > 0:
        await theatre.clock.sleep(min(left, 5.0))


async def _calm_down(theatre: Theatre, oracle: Oracle) -> None:
    """Until everything has come to its end and stays so for a minute; what is left after that is a violation."""
    deadline, quiet_since = theatre.clock.monotonic() + CALM_S, None
    left: list[tuple[str, str]] = []
    while not oracle.violations and theatre.clock.monotonic() < deadline:
        left = what_is_left(theatre)
        now = theatre.clock.monotonic()
        quiet_since = (now if quiet_since is None else quiet_since) if not left else None
        if quiet_since is not None and now - quiet_since >= QUIET_S:
            return
        await theatre.clock.sleep(5.0)
    if not oracle.violations:
        oracle.violations.extend(Violation(theatre.clock.monotonic(), name, text) for name, text in left)
