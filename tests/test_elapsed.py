"""Durations under a time of day that is stepped, by processes that begin anew and by replicas that disagree."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from machines.elapsed import Elapsed

NOON = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Clocks:
    """One process's two clocks."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.now = NOON
        self.elapsed = Elapsed()
        self.elapsed.note(self.now, self.monotonic)

    def passes(self, seconds: float) -> None:
        self.monotonic += seconds
        self.now += timedelta(seconds=seconds)
        self.elapsed.note(self.now, self.monotonic)

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> float:
        return self.elapsed.since(at, self.now, self.monotonic, unseen_at_most).total_seconds()


def test_a_step_of_an_hour_makes_nothing_older_or_younger() -> None:
    for step in (HOUR, -HOUR, timedelta(minutes=3), timedelta(minutes=-3)):
        clocks = Clocks()
        clocks.passes(30)
        at = clocks.now
        clocks.passes(60)
        clocks.now += step
        assert clocks.since(at) == 60
        clocks.passes(60)
        assert clocks.since(at) == 120


def test_a_clock_that_jumps_to_and_fro_is_followed() -> None:
    clocks, moments = Clocks(), []
    for step in (HOUR, -2 * HOUR, HOUR, 5 * HOUR):
        moments.append(clocks.now)
        clocks.passes(10)
        clocks.now += step
        clocks.passes(10)
    assert [clocks.since(at) for at in moments] == [80, 60, 40, 20]


def test_a_clock_that_is_slewed_is_believed() -> None:
    clocks = Clocks()
    at = clocks.now
    for _ in range(100):
        clocks.passes(10)
        clocks.now += timedelta(milliseconds=5)
    assert abs(clocks.since(at) - 1000) <= 1.0


def test_of_the_time_before_the_process_began_no_more_counts_than_is_allowed() -> None:
    clocks = Clocks()
    before = NOON - timedelta(minutes=61)
    assert clocks.since(before) == 61 * 60
    assert clocks.since(before, timedelta(minutes=2)) == 120
    clocks.passes(60)
    assert clocks.since(before, timedelta(minutes=2)) == 180
    assert clocks.since(NOON - timedelta(seconds=30), timedelta(minutes=2)) == 90


def test_what_another_clock_wrote_into_our_future_is_counted_from_when_it_was_first_asked_for() -> None:
    clocks = Clocks()
    at = clocks.now + HOUR
    assert clocks.since(at) == 0
    clocks.passes(400)
    assert clocks.since(at) == 400
    clocks.passes(200)
    assert clocks.since(NOON + timedelta(minutes=50)) == 0


def test_another_clock_that_is_a_little_ahead_is_no_stranger() -> None:
    clocks = Clocks()
    at = clocks.now + timedelta(seconds=3)
    assert clocks.since(at) == 0
    clocks.passes(10)
    assert clocks.since(at) == 7


def test_where_two_moments_are_one_time_of_day_the_later_counts() -> None:
    """Patience is shown twice, and never too little."""
    clocks = Clocks()
    clocks.passes(3600)
    clocks.now -= HOUR
    clocks.passes(1800)
    assert clocks.since(NOON + timedelta(minutes=29)) == 60


def test_nothing_is_ever_remembered_without_bound() -> None:
    clocks = Clocks()
    for number in range(3000):
        clocks.now += timedelta(seconds=5 if number % 2 else -5)
        clocks.passes(1)
        clocks.since(clocks.now + timedelta(hours=1, seconds=number * 10))
    assert len(clocks.elapsed._spans) <= 32
    assert len(clocks.elapsed._strangers) <= 1024
