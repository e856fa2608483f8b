"""The one place that reads clocks, sleeps and makes random ids."""

from __future__ import annotations

import asyncio
import random
import secrets
import time
from collections.abc import Awaitable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from machines.elapsed import Elapsed

T = TypeVar("T")


_FIXED_POINT = datetime(2026, 1, 1, tzinfo=UTC)
"""Where scaled and real time of day agree: the same for every process, and after every restart."""


class SystemClock:
    """The machine's clocks, run `speed` times faster.

    Every duration that goes in or comes out is in scaled seconds; socket time-outs are given in real seconds
    through `real`, because no network becomes faster.
    """

    def __init__(self, speed: float = 1.0) -> None:
        self.speed = speed
        self._origin_wall = self.from_wall(datetime.now(UTC))
        self._origin = time.monotonic()
        self._elapsed = Elapsed()
        self.now()

    def now(self) -> datetime:
        """The time of day, aware, in UTC; at a speed other than 1 it runs ahead of the real one."""
        now = self._time_of_day()
        self._elapsed.note(now, self.monotonic())
        return now

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self._elapsed.since(at, self._time_of_day(), self.monotonic(), unseen_at_most)

    def _time_of_day(self) -> datetime:
        if self.speed == 1.0:
            return datetime.now(UTC)
        return self._origin_wall + timedelta(seconds=(time.monotonic() - self._origin) * self.speed)

    def monotonic(self) -> float:
        """Scaled seconds from an arbitrary origin; never steps. Where the system tells it, the time in which the whole
        machine was suspended counts: a lease runs on meanwhile."""
        return _since_boot() * self.speed

    def real(self, seconds: float) -> float:
        """How many scaled seconds pass in so many real seconds: for limits that must not shrink with the speed."""
        return seconds * self.speed

    def from_wall(self, time: datetime) -> datetime:
        """A time of day that somebody else stamped (a broker, a client), as this clock would have shown it."""
        return time if self.speed == 1.0 else _FIXED_POINT + (time - _FIXED_POINT) * self.speed

    def to_wall(self, time: datetime) -> datetime:
        """The inverse of `from_wall`: what to ask somebody else for."""
        return time if self.speed == 1.0 else _FIXED_POINT + (time - _FIXED_POINT) / self.speed

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(max(0.0, seconds) / self.speed)

    async def breathe(self) -> None:
        """Let the loop's other tasks run."""
        await asyncio.sleep(0)

    async def wait_for(self, awaitable: Awaitable[T], seconds: float) -> T:
        """Raise TimeoutError after so many scaled seconds.

        Not `asyncio.wait_for`: before Python 3.12 it loses a cancellation that meets the awaitable's end, and a loop
        around it then never stops.
        """
        async with asyncio.timeout(seconds / self.speed):
            return await awaitable


def time_of_day_ahead_s() -> float:
    """How far the real time of day is ahead of the monotonic clock: changes by what the time of day is stepped by."""
    return time.time() - _since_boot()


def monotonic_usec() -> int:
    """CLOCK_MONOTONIC in microseconds, never scaled: what systemd compares a reload's beginning with."""
    return time.monotonic_ns() // 1000


def cpu_seconds() -> float:
    """What this process has used of a core so far."""
    return time.process_time()


def _since_boot() -> float:
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


class SystemRandom:
    """Ids that nobody can guess, and jitter."""

    def token(self, length: int = 12) -> str:
        """A random lower-case base-32 text."""
        return "".join(secrets.choice("abcdefghijkmnpqrstuvwxyz23456789") for _ in range(length))

    def jitter(self) -> float:
        """Uniform in 0..1."""
        return random.random()
