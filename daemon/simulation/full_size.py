"""Four situations at their full size (facts of the safety reference, S1, S2, S11, S12): written by hand, once each.

A seed's small fleet meets any weather; a big one meets what only a big one can: everyone silent at once, and more deaths
than places.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from daemon.simulation.scenarios import BESIDE, SCENARIOS, Scenario
from daemon.simulation.theatre import INTERVAL_S, Plan
from daemon.simulation.weather import Event
from machines.policy import Policy

if TYPE_CHECKING:
    from daemon.simulation.books import FailoverRow
    from daemon.simulation.diary import Diary

Check = Callable[["Diary"], Iterator[str]]
USUAL = Policy()


@dataclass(frozen=True, slots=True)
class FullSize(Scenario):
    """A fleet and a story that follow from no seed."""

    machines: int = 0
    count: int = 1
    """Replicas."""
    interval_s: float = INTERVAL_S
    partitions: int = 3
    policy: Mapping[str, float] = field(default_factory=dict)
    with_standby: frozenset[int] = frozenset()
    """Machines on volumes, each with a standby beside it."""
    check: Check = lambda diary: iter(())
    """What must hold beside the invariants; each text that comes is a violation."""
    table: Check | None = None
    """What it came to, line by line."""

    def plan(self, seed: int, strategy: str) -> Plan:
        numbers = range(1, self.machines + 1)
        return Plan(
            seed,
            self.machines,
            self.count,
            tuple("both" if number in self.with_standby else "cpu_standby" for number in numbers),
            "allowed",
            self.interval_s,
            self.partitions,
            max(16, 2 * self.machines),
            self.policy,
        )


def _automatic(diary: Diary, machine: int | None = None) -> list[FailoverRow]:
    return [row for row in diary.failovers if row.reason == "heartbeat_lost" and machine in (None, row.machine)]


# -- S1

_OUTAGE_AT_S, _OUTAGE_S, _TRICKLE_S = 120.0, 600.0, 180.0
_DEAD_OF_S1 = 17


def _s1_events() -> tuple[Event, ...]:
    """Of 200 agents 80 come back only within three minutes after the broker."""
    back_at_s = _OUTAGE_AT_S + _OUTAGE_S
    return (
        Event(_OUTAGE_AT_S, "broker_is_down", 0, _OUTAGE_S),
        *(
            Event(back_at_s - 1.0, "beats_are_cut", 119 + place, 1.0 + _TRICKLE_S * place / 80)
            for place in range(1, 81)
        ),
        Event(_OUTAGE_AT_S + 300.0, "host_dies", _DEAD_OF_S1 - 1),
    )


def _s1_check(diary: Diary) -> Iterator[str]:
    others = [row.id for row in _automatic(diary) if row.machine != _DEAD_OF_S1]
    if others:
        yield f"the outage made failovers of living machines: {others}"
    if len(_automatic(diary, _DEAD_OF_S1)) != 1:
        yield f"machine {_DEAD_OF_S1} died and had {len(_automatic(diary, _DEAD_OF_S1))} failovers"
    went_at, back_at = diary.times("broker_is_down 0")[0], diary.times("over: broker_is_down 0")[0]
    told = [at for at in diary.alerts.get("observer-blind", ()) if went_at <= at < back_at]
    if len(told) != 1 or told[0] - went_at > 15.0:
        yield f"the outage was told at {[round(at - went_at, 1) for at in told]} s, not once within 15 s"
    limit = back_at + USUAL.grace_floor_s + USUAL.confirm_after_s + 30.0
    for row in _automatic(diary, _DEAD_OF_S1):
        if not back_at <= diary.began[row.id] <= limit:
            yield f"machine {_DEAD_OF_S1} was failed over {diary.began[row.id] - back_at:.0f} s after the broker's return"


# -- S2

_PAUSED = 24


def _s2_events() -> tuple[Event, ...]:
    """A machine dies every 40 s, and the replicas are paused in turn, for less than a lease, for longer, and both."""
    deaths = [
        Event(60.0 + 40.0 * place, "container_crashes" if place % 2 else "host_dies", place) for place in range(_PAUSED)
    ]
    lengths = (60.0, 6.0, 60.0, 20.0)
    pauses = [
        Event(65.0 + 7.0 + 53.0 * turn, "replica_is_frozen", turn % 2, lengths[turn % len(lengths)])
        for turn in range(18)
    ]
    both = [Event(1080.0, "replica_is_frozen", replica, 120.0) for replica in (0, 1)]
    hours = [Event(1400.0, "replica_is_frozen", 0, 7200.0)]
    return tuple(sorted((*deaths, *pauses, *both, *hours), key=lambda event: event.at_s))


def _s2_check(diary: Diary) -> Iterator[str]:
    lost = [number for number in range(1, _PAUSED + 1) if not any(row.success for row in _automatic(diary, number))]
    if lost:
        yield f"machines {lost} died and were not recovered"
    twice = [number for number in range(1, _PAUSED + 1) if len(_automatic(diary, number)) > 1]
    if twice:
        yield f"machines {twice} were failed over more than once"


# -- S11

_ZONE, _SPARES, _QUOTA = 40, 5, 8
_ZONE_BACK_S = 720.0
_STORM_AT_S = 60.0


def _s11_events() -> tuple[Event, ...]:
    """Where a machine has a standby its container ends, everywhere else its host; the hosts return after 12 minutes."""
    spared = range(_ZONE - _SPARES, _ZONE)
    return (
        Event(_STORM_AT_S - 1.0, "provider_fails", 0, 600.0, "status create_instance 503", 0.1),
        *(
            Event(
                _STORM_AT_S,
                "container_crashes" if place in spared else "host_dies",
                place,
                0.0 if place in spared else _ZONE_BACK_S,
            )
            for place in range(_ZONE)
        ),
        Event(_STORM_AT_S + 240.0, "replica_is_killed", 0, 5.0),
    )


def _s11_check(diary: Diary) -> Iterator[str]:
    spared = set(range(_ZONE - _SPARES + 1, _ZONE + 1))
    by_standby = {row.machine for row in diary.failovers if row.success and row.strategy == "warm_pool"}
    if by_standby != spared:
        yield f"the standbys served {sorted(by_standby)}, not the most important {sorted(spared)}"
    elsewhere = sorted({row.machine for row in _automatic(diary)} - set(range(1, _ZONE + 1)))
    if elsewhere:
        yield f"machines outside the zone were failed over: {elsewhere}"
    if len(diary.alerts.get("storm", ())) != 1:
        yield f"the storm was told {len(diary.alerts.get('storm', ()))} times, not once"
    renting = [row for row in _automatic(diary) if row.machine not in spared]
    if not any(diary.waited(row.machine) > 60.0 for row in renting):
        yield "nobody had to wait, so there was no queue"


def _s11_table(diary: Diary) -> Iterator[str]:
    """By priority: what became of each machine of the zone."""
    yield f"{'machine':>7} {'priority':>8} {'place':>5} {'waited':>8} {'began':>8} {'ended':>8}  how"
    for number in range(_ZONE, 0, -1):
        rows = _automatic(diary, number)
        place = diary.place(number)
        head = f"{number:>7} {number:>8} {place if place is not None else '-':>5} {diary.waited(number):>6.0f} s"
        if not rows:
            yield f"{head} {'-':>8} {'-':>8}  its host came back while it waited"
        for row in rows:
            began, ended = diary.began[row.id] - diary.began_at, diary.ended.get(row.id)
            end = f"{ended - diary.began_at:.0f} s" if ended is not None else "-"
            yield f"{head} {began:>6.0f} s {end:>8}  {row.strategy if row.success else row.code}"


# -- S12

_FLAPS = 90


def _s12_events() -> tuple[Event, ...]:
    """1 is up and down for two hours; of 2 the first candidates die; the replacement of 3 dies before it has a standby."""
    flapping = [Event(60.0 + 80.0 * turn, "container_freezes", 0, 40.0) for turn in range(_FLAPS)]
    failing = [Event(600.0, "host_dies", 1)]
    failing += [Event(640.0 + 45.0 * turn, "newest_rental_dies") for turn in range(4)]
    again = [Event(2400.0, "container_crashes", 2), Event(2700.0, "host_dies", 2)]
    return tuple(sorted((*flapping, *failing, *again), key=lambda event: event.at_s))


def _s12_check(diary: Diary) -> Iterator[str]:
    if len(_automatic(diary, 1)) > 1:
        yield f"the flapping machine had {len(_automatic(diary, 1))} failovers"
    if "machine-1-flapping" not in diary.alerts:
        yield "nobody was told that machine 1 flaps"
    for number in (2, 3):
        if not any(row.success for row in _automatic(diary, number)):
            yield f"machine {number} was not recovered"
    if len([row for row in _automatic(diary, 3) if row.success]) != 2:
        yield "machine 3 died twice and was not recovered twice"


FULL_SIZE = {
    one.name: one
    for one in (
        FullSize(
            "S1-full",
            "200 machines, the broker away for ten minutes, one death meanwhile",
            {},
            minutes=20,
            fixed=_s1_events(),
            machines=200,
            interval_s=2.0,
            partitions=12,
            policy={"max_concurrent": 10},
            check=_s1_check,
        ),
        FullSize(
            "S2-full",
            "24 deaths under two replicas that are paused again and again",
            {},
            minutes=150,
            fixed=_s2_events(),
            machines=_PAUSED,
            count=2,
            with_standby=frozenset(range(2, _PAUSED + 1, 2)),
            policy={"max_concurrent": 10},
            check=_s2_check,
        ),
        FullSize(
            "S11-full",
            "40 of 100 machines die, with 5 standbys and room for 8 rentals",
            {},
            minutes=40,
            fixed=_s11_events(),
            machines=100,
            with_standby=frozenset(range(_ZONE - _SPARES + 1, _ZONE + 1)),
            policy={"max_concurrent": _SPARES + _QUOTA, "max_per_provider": _QUOTA},
            check=_s11_check,
            table=_s11_table,
        ),
        FullSize(
            "S12-full",
            "a machine that flaps for two hours, candidates that die, a second failure",
            {},
            minutes=125,
            fixed=_s12_events(),
            machines=6,
            with_standby=frozenset({3}),
            policy={"max_concurrent": 10},
            check=_s12_check,
        ),
    )
}

EVERYTHING: Mapping[str, Scenario] = {**SCENARIOS, **BESIDE, **FULL_SIZE}
"""By the name that the command line takes."""
