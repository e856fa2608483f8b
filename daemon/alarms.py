"""Durable alarms are times of day; how long one has still to wait is counted by the monotonic clock.

A clock that is stepped after an alarm was set would keep it waiting for as long, or ring it early (facts/scenarios.md, S9:
durations by the monotonic clock). So each process remembers how far away every alarm was when it first saw it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, TypeVar

from machines.ports import Clock

K = TypeVar("K", bound=int)

_RING_AGAIN_S = 5.0
"""An alarm that stays after it rang is rung again, and no sooner: a store that is away must not fill a queue."""


@dataclass(slots=True)
class _Alarm:
    at: datetime
    comes_at: float
    """Monotonic seconds of this process."""
    rings_at: float
    """The same, or later where it has rung already."""


class Alarms(Generic[K]):
    """The alarms that this process has seen."""

    def __init__(self, clock: Clock, longest_s: float = float("inf")) -> None:
        """`longest_s`: none is set for longer, so what is further away was set under another time of day."""
        self._clock = clock
        self._longest_s = longest_s
        self._seen: dict[K, _Alarm] = {}

    def ring(self, alarms: Iterable[tuple[K, datetime | None]]) -> list[K]:
        """Whose alarm has come, the longest overdue first. None is no alarm."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        before, self._seen = self._seen, {}
        due: list[tuple[float, K]] = []
        for key, at in alarms:
            if at is None:
                continue
            alarm = before.get(key)
            if alarm is None or alarm.at != at:
                comes_at = monotonic + min((at - now).total_seconds(), self._longest_s)
                alarm = _Alarm(at, comes_at, comes_at)
            self._seen[key] = alarm
            if alarm.rings_at <= monotonic:
                due.append((alarm.comes_at, key))
                alarm.rings_at = monotonic + _RING_AGAIN_S
        return [key for _, key in sorted(due)]
