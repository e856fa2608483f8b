"""A market in which 58 % of the boots are dead and 60 % of the offers are gone when they are asked for: do all failovers end in
a machine that serves, and what does each phase take?

`python -m tests.hard_market --machines 50 --at-once 10` plays it on the virtual clock, by the provider's real timings and
limits, and prints median and p95 of each phase, with the waits for the provider's rate limits apart. With `--rounds 4 --deaths
random` each machine dies four times, by its host, by a crash, or by a higher bid. It exits with 1 where a failover ended without
a machine that serves or cost more than its budget, where something is rented that no machine claims, or where the daemon's books
differ from the provider's bill by a cent, or do not say for which machine something was.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, MutableMapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Literal

import structlog

from adapters.sim.bills import Ledger
from adapters.sim.charges import MOST
from adapters.sim.settings import HARD
from adapters.virtual_clock import SeededRandom
from daemon.simulate import be_quiet
from daemon.simulation.theatre import Plan
from tests.frozen.play import still_open
from tests.virtual_fleet import Fleet, play

PHASES = ("detection", "reboot in vain", "fence", "rent and check", "restore", "verify", "agent and hand-over", "whole")
_STEPS = {
    "note_boot": "reboot in vain",
    "reboot": "reboot in vain",
    "choose_snapshot": "fence",
    "fence_primary": "fence",
    "rent_candidate": "rent and check",
    "restore": "restore",
    "verify": "verify",
    "start_agent": "agent and hand-over",
    "await_heartbeat": "agent and hand-over",
    "hand_over": "agent and hand-over",
}
FEWEST_HOSTS = 96
"""A market that a few dead boots do not empty."""
_LONGEST_S = 4 * 3600.0
_BACK_AFTER_S = 600.0
_MOST_DEATHS = 5


@dataclass(frozen=True, slots=True)
class Recovery:
    """One machine's death and what came of it."""

    machine: int
    seconds: dict[str, float]
    """By phase."""
    limits_s: float
    """Of these, spent waiting for a turn at the provider."""
    spent: float
    """$ by our records, until the hand-over."""
    claims: int
    rentals: int


@dataclass(slots=True)
class Played:
    recoveries: list[Recovery] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    billed: float = 0.0
    """$ that the provider's books say for everything that was ever rented."""
    recorded: float = 0.0
    """$ that the daemon's books say."""


@dataclass(frozen=True, slots=True)
class Story:
    """What happens to the fleet."""

    machines: int
    at_once: int
    rounds: int = 1
    seed: int = 1
    budget: float = 10.0
    deaths: tuple[str, ...] = ("host",)


@dataclass(slots=True)
class _Death:
    at: float
    limits_s: float = 0.0


def run(story: Story) -> Played:
    """Machines die one after the other, so that so many are always being recovered."""
    plan = Plan(
        story.seed,
        story.machines,
        1,
        ("cpu_standby",) * story.machines,
        "allowed",
        hosts=max(FEWEST_HOSTS, 8 * story.machines),
        policy={
            "max_concurrent": story.at_once + 2,
            "max_per_provider": story.at_once + 2,
            "max_failover_cost": story.budget,
            "machine_cooldown_s": 60,
            "flap_count": 1000,
        },
    )
    with _waits() as waits:
        return play(lambda fleet: _told(fleet, story, waits), plan)


async def _told(fleet: Fleet, story: Story, waits: Counter[int]) -> Played:
    core, deaths = fleet.world.core, defaultdict[int, list[_Death]](list)
    random, calm = SeededRandom(f"{story.seed}/deaths"), core.settings
    for _ in range(story.rounds):
        core.settings = replace(calm, weather=HARD)
        turns = asyncio.Semaphore(story.at_once)

        async def one(machine: int, turns: asyncio.Semaphore = turns) -> None:
            async with turns:
                before = len(deaths[machine])
                for _ in range(_MOST_DEATHS):
                    waits[machine] = 0
                    deaths[machine][before:] = [_Death(fleet.theatre.clock.now().timestamp())]
                    _kill(fleet, machine, story.deaths[int(random.jitter() * len(story.deaths))])
                    if await _ended(fleet, machine, before + 1):
                        break
                deaths[machine][-1].limits_s = waits[machine]

        await asyncio.gather(*(one(machine) for machine in range(1, story.machines + 1)))
        core.settings = calm
        await _settled(fleet)
        await fleet.sleep(300.0)  # Each new machine has a snapshot of its own by then.
    return await _looked_at(fleet, deaths, story)


def _kill(fleet: Fleet, machine: int, how: str) -> None:
    now, old, lifecycle = fleet.theatre.clock.now(), fleet.primary(machine), fleet.world.rentals.lifecycle
    others = [row.primary for row in fleet.theatre.books.machines() if row.id != machine]
    if how == "host" and any(one.host is old.host for number, one in fleet.world.instances.items() if number in others):
        how = "crash"  # One death at a time: another machine has come to stand there.
    if how == "host":
        fleet.world.kill_host(old.host, now)
    elif how == "crash":
        lifecycle.crash(old, now, reboot_helps=False)
    else:
        old.bid = old.gpu_cost
        lifecycle.preempt(old, now, None)
    fleet.carry_out()


async def _ended(fleet: Fleet, machine: int, count: int) -> bool:
    """False where nothing had to be replaced: an outbid one that got a GPU of its host back spoke again in time. What is
    missing at the deadline is a fault."""
    clock = fleet.theatre.clock
    began = clock.monotonic()
    while clock.monotonic() < began + _LONGEST_S and not fleet.violations:
        rows = [row for row in fleet.theatre.books.failovers() if row.machine == machine]
        if len(rows) >= count and all(row.ended_at is not None for row in rows):
            return True
        if len(rows) < count and clock.monotonic() > began + _BACK_AFTER_S and fleet.primary(machine).serves:
            return False
        await fleet.sleep(1.0)
    return True


async def _settled(fleet: Fleet) -> None:
    deadline = fleet.theatre.clock.monotonic() + _LONGEST_S
    while still_open(fleet.theatre) and fleet.theatre.clock.monotonic() < deadline and not fleet.violations:
        await fleet.sleep(5.0)


async def _looked_at(fleet: Fleet, deaths: dict[int, list[_Death]], story: Story) -> Played:
    played = Played(faults=[*fleet.violations, *still_open(fleet.theatre)])
    bodies = fleet.theatre.world.bodies.of
    for machine in fleet.theatre.books.machines():
        if machine.primary is None or machine.primary not in bodies or not bodies[machine.primary].serves:
            played.faults.append(f"machine {machine.id} does not serve")
    driver, budget = fleet.theatre.books._driver, story.budget
    for number, machine, success, spent in driver.execute(
        "SELECT id, machine_id, success, spent FROM failovers ORDER BY started_at, id"
    ).fetchall():
        death = deaths[machine].pop(0) if deaths[machine] else None
        if not success or death is None:
            played.faults.append(
                f"failover {number} of machine {machine} replaced nothing, or nobody knows why it began"
            )
            continue
        if spent > budget:
            played.faults.append(f"failover {number} came to {spent:.2f} $, its budget is {budget:.2f} $")
        played.recoveries.append(_recovery(fleet, number, machine, death.at, spent, death.limits_s))
    for dead, left in deaths.items():
        played.faults += [f"machine {dead} died at {one.at:.0f}, and nothing replaced it" for one in left]
    await _compare_books(fleet, played)
    return played


async def _compare_books(fleet: Fleet, played: Played) -> None:
    """The daemon reads the provider's bill, and has it then to the cent: each thing on it, and for which machine it was."""
    replica, ledger = fleet.theatre.replicas[0], fleet.world.ledger
    assert replica.daemon is not None
    shown = _Shown(ledger)
    fleet.world.ledger = shown
    await replica.daemon.bills.read()
    fleet.world.ledger = ledger
    rows = fleet.theatre.books._driver.execute(
        "SELECT what, id, sum(amount), max(machine_id) FROM charges GROUP BY what, id"
    ).fetchall()
    ours = {(what, int(number)): (float(amount), machine) for what, number, amount, machine in rows}
    billed = shown.bill()
    played.billed = sum(billed.values())
    played.recorded = sum(amount for amount, _ in ours.values())
    for place in billed.keys() ^ ours.keys():
        played.faults.append(f"{place} is on one of the two bills only")
    for place, (amount, machine) in ours.items():
        if machine is None:
            played.faults.append(f"{place} is on the bill, and no record of ours says for which machine it was")
        if abs(billed.get(place, amount) - amount) >= 0.0005:
            played.faults.append(f"{place}: the provider's books say {billed[place]:.4f} $, ours {amount:.4f} $")
    if abs(played.billed - played.recorded) >= 0.005:
        played.faults.append(f"the provider's books say {played.billed:.4f} $, ours {played.recorded:.4f} $")


class _Shown:
    """The provider's books, which go on while their pages are read: what each page said when it was asked for."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._pages: list[dict[tuple[Literal["instance", "volume"], int], float]] = []

    def charges(self, start: datetime, end: datetime) -> dict[tuple[Literal["instance", "volume"], int], float]:
        found = self._ledger.charges(start, end)
        places = sorted(found)[MOST * len(self._pages) :][:MOST]
        self._pages.append({place: found[place] for place in places})
        return found

    def bill(self) -> dict[tuple[str, int], float]:
        return {(what, number): cost for page in self._pages for (what, number), cost in page.items()}


def _recovery(fleet: Fleet, failover: str, machine: int, died_at: float, spent: float, waited: float) -> Recovery:
    rows = fleet.theatre.books._driver.execute(
        "SELECT step, mark, strftime('%s', at) + strftime('%f', at) - strftime('%S', at) FROM journal"
        " WHERE failover_id = ? ORDER BY attempt, seq",
        (failover,),
    ).fetchall()
    seconds: defaultdict[str, float] = defaultdict(float)
    marks = Counter(mark for _, mark, _ in rows)
    before = died_at
    for step, _, at in rows:
        phase = _STEPS[step] if before is not died_at else "detection"
        seconds[phase] += max(0.0, float(at) - before)
        before = float(at)
    seconds["whole"] = before - died_at
    return Recovery(machine, dict(seconds), waited, spent, marks["claimed"], marks["rented"])


@contextmanager
def _waits() -> Iterator[Counter[int]]:
    """Seconds that calls on behalf of each machine waited for their turn at the provider."""
    waits: Counter[int] = Counter()

    def hear(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> Any:
        if event["event"] == "waited_for_the_provider" and "machine" in event:
            waits[int(event["machine"])] += event["seconds"]
        raise structlog.DropEvent

    structlog.configure([structlog.contextvars.merge_contextvars, hear], structlog.make_filtering_bound_logger(0))
    try:
        yield waits
    finally:
        structlog.reset_defaults()
        be_quiet()


def table(recoveries: Sequence[Recovery]) -> Iterator[str]:
    yield f"{'phase':<24}{'median':>10}{'p95':>10}  seconds of the provider's time"
    for phase in PHASES:
        yield _line(phase, [one.seconds.get(phase, 0.0) for one in recoveries])
    yield _line("of it, rate limits", [one.limits_s for one in recoveries])
    yield _line("whole without them", [one.seconds["whole"] - one.limits_s for one in recoveries])
    claims, rentals = sum(one.claims for one in recoveries), sum(one.rentals for one in recoveries)
    yield f"{claims} offers claimed, {rentals} of them rented, for {len(recoveries)} failovers"
    yield f"until the hand-over: {sum(one.spent for one in recoveries):.2f} $, the dearest {max(one.spent for one in recoveries):.2f} $"


def _line(name: str, values: Sequence[float]) -> str:
    p95 = statistics.quantiles(values, n=20, method="inclusive")[-1] if len(values) > 1 else values[0]
    return f"{name:<24}{statistics.median(values):>10.1f}{p95:>10.1f}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--machines", type=int, default=50)
    parser.add_argument("--at-once", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=1, help="how often each machine dies")
    parser.add_argument("--deaths", choices=["host", "random"], default="host")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--budget", type=float, default=10.0, help="$ for one failover")
    asked = parser.parse_args()
    be_quiet()
    kinds = ("host",) if asked.deaths == "host" else ("host", "crash", "bid")
    played = run(Story(asked.machines, asked.at_once, asked.rounds, asked.seed, asked.budget, kinds))
    for line in table(played.recoveries) if played.recoveries else ():
        print(line)
    print(f"the provider's bill: {played.billed:.4f} $; the daemon's books: {played.recorded:.4f} $")
    for fault in played.faults:
        print(f"FAULT: {fault}")
    return 1 if played.faults or len(played.recoveries) != asked.machines * asked.rounds else 0


if __name__ == "__main__":
    sys.exit(main())
