"""Durable alarms are times of day; how long one has still to wait is counted by the monotonic clock.

A clock that is stepped after an alarm was set would keep it waiting for as long, or ring it early (facts/scenarios.md, S9:
durations by the monotonic clock). So each process remembers how far away every alarm was when it first saw it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from machines.model import Machine, MachineId
from machines.ports import Clock

_RING_AGAIN_S = 5.0
"""An alarm that stays after it rang is rung again, and no sooner: a store that is away must not fill a queue."""


@dataclass(slots=True)
class _Alarm:
    look_at: datetime
    comes_at: float
    """Monotonic seconds of this process."""


class Alarms:
    """The alarms that this process has seen."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[MachineId, _Alarm] = {}

    def ring(self, machines: Iterable[Machine]) -> list[MachineId]:
        """Whose alarm has come, the longest overdue first."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        before, self._seen = self._seen, {}
        due: list[tuple[float, MachineId]] = []
        for machine in machines:
            if machine.look_at is None:
                continue
            alarm = before.get(machine.id)
            if alarm is None or alarm.look_at != machine.look_at:
                alarm = _Alarm(machine.look_at, monotonic + (machine.look_at - now).total_seconds())
            self._seen[machine.id] = alarm
            if alarm.comes_at <= monotonic:
                due.append((alarm.comes_at, machine.id))
                alarm.comes_at = monotonic + _RING_AGAIN_S
        return [machine for _, machine in sorted(due)]
