"""Durable alarms are times of day; how long one has still to wait is counted by the monotonic clock.

A clock that is stepped back after an alarm was set would keep it waiting for as long (facts/scenarios.md, S9: durations by
the monotonic clock). So each process remembers how far away every alarm was when it first saw it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from machines.model import Machine, MachineId
from machines.ports import Clock


class Alarms:
    """The alarms that this process has seen, each with the monotonic time at which it comes."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[MachineId, tuple[datetime, float]] = {}

    def overdue(self, machines: Iterable[Machine]) -> list[MachineId]:
        """Whose alarm should have come by the monotonic clock, though the time of day does not say so."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        before, self._seen = self._seen, {}
        found = []
        for machine in machines:
            if machine.look_at is None:
                continue
            known = before.get(machine.id)
            if known is None or known[0] != machine.look_at:
                known = (machine.look_at, monotonic + (machine.look_at - now).total_seconds())
            self._seen[machine.id] = known
            if known[1] <= monotonic and machine.look_at > now:
                found.append(machine.id)
        return found
