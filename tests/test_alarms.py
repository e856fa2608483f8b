"""An alarm comes after the time that it had still to wait when it was seen, whatever the time of day does meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daemon.alarms import Alarms

T0 = datetime(2026, 11, 27, tzinfo=UTC)


class Hands:
    """A clock whose hands are moved by the test."""

    def __init__(self) -> None:
        self.time, self.seconds = T0, 0.0

    def now(self) -> datetime:
        return self.time

    def monotonic(self) -> float:
        return self.seconds

    def passes(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)
        self.seconds += seconds


def looking_at(time: datetime | None, number: int = 1) -> tuple[int, datetime | None]:
    return number, time


def test_an_alarm_set_under_a_clock_that_was_an_hour_ahead_comes_in_its_ten_seconds():
    hands = Hands()
    alarms = Alarms(hands)  # type: ignore[arg-type]
    hands.time += timedelta(hours=1)
    machine = looking_at(hands.time + timedelta(seconds=10))
    assert alarms.ring([machine]) == []
    hands.time -= timedelta(hours=1)
    hands.passes(9)
    assert alarms.ring([machine]) == []
    hands.passes(1)
    assert alarms.ring([machine]) == [1]


def test_a_clock_that_is_stepped_forward_rings_nothing_early():
    hands = Hands()
    alarms = Alarms(hands)  # type: ignore[arg-type]
    machine = looking_at(T0 + timedelta(seconds=10))
    assert alarms.ring([machine, looking_at(None)]) == []
    hands.time += timedelta(hours=1)
    hands.passes(9)
    assert alarms.ring([machine]) == []
    hands.passes(1)
    assert alarms.ring([machine]) == [1]


def test_what_was_due_before_it_was_first_seen_rings_at_once_and_the_longest_overdue_first():
    hands = Hands()
    late, later = looking_at(T0 - timedelta(seconds=1), 1), looking_at(T0 - timedelta(seconds=9), 2)
    assert Alarms(hands).ring([late, later]) == [2, 1]  # type: ignore[arg-type]


def test_an_alarm_that_nobody_could_act_on_rings_again_but_not_every_second():
    hands = Hands()
    alarms = Alarms(hands)  # type: ignore[arg-type]
    machine, rang = looking_at(T0), []
    for second in range(11):
        if alarms.ring([machine]):
            rang.append(second)
        hands.passes(1)
    assert rang == [0, 5, 10]
    assert alarms.ring([looking_at(T0 + timedelta(seconds=11))]) == [1], "a new alarm of the same machine"


def test_what_was_set_under_a_clock_that_was_an_hour_ahead_before_we_began_waits_no_longer_than_anything_may():
    hands = Hands()
    alarms = Alarms(hands, longest_s=600.0)  # type: ignore[arg-type]
    owed = looking_at(T0 + timedelta(hours=1))
    assert alarms.ring([owed]) == []
    hands.passes(599)
    assert alarms.ring([owed]) == []
    hands.passes(1)
    assert alarms.ring([owed]) == [1]


def test_whoever_has_waited_longest_stays_the_first():
    hands = Hands()
    alarms = Alarms(hands)  # type: ignore[arg-type]
    assert alarms.ring([looking_at(T0, 1), looking_at(T0, 2)]) == [1, 2]
    hands.passes(6)
    put_off = hands.time - timedelta(seconds=1)
    assert alarms.ring([looking_at(put_off, 1), looking_at(T0, 2)]) == [2, 1], "2 was left out"
