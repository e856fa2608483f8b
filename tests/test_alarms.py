"""An alarm comes after the time that it had still to wait when it was seen, whatever the time of day does meanwhile."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from daemon.alarms import Alarms
from machines.model import Machine, MachineId

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


def looking_at(time: datetime | None) -> Machine:
    return Machine(MachineId(1), "alpha", look_at=time)


def test_an_alarm_set_under_a_clock_that_was_an_hour_ahead_comes_in_its_ten_seconds():
    hands = Hands()
    alarms = Alarms(hands)  # type: ignore[arg-type]
    hands.time += timedelta(hours=1)
    machine = looking_at(hands.time + timedelta(seconds=10))
    assert alarms.overdue([machine]) == []
    hands.time -= timedelta(hours=1)
    hands.passes(9)
    assert alarms.overdue([machine]) == []
    hands.passes(1)
    assert alarms.overdue([machine]) == [1]


def test_an_alarm_that_is_due_by_the_time_of_day_is_the_stores_to_find():
    hands = Hands()
    alarms = Alarms(hands)  # type: ignore[arg-type]
    machine = looking_at(T0 + timedelta(seconds=10))
    assert alarms.overdue([machine, looking_at(None)]) == []
    hands.passes(11)
    assert alarms.overdue([machine]) == []
