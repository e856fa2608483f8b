"""A machine moved on: along one edge of the state table, or into the state of a rung of its failover."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from machines.model import Machine, Running
from machines.states import Trigger, edge
from machines.strategies.ladder import STARTED_BY


def follow(machine: Machine, trigger: Trigger, now: datetime, because: str | None = None) -> Machine:
    """The machine after the one edge for this trigger. Raise IllegalTransition."""
    row = edge(machine.state, trigger)
    return replace(machine, state=row.target, because=because or row.because, since=now)


def enter(machine: Machine, running: Running, now: datetime) -> Machine:
    """The machine in the state of the failover's present rung."""
    trigger = STARTED_BY.get(running.rung)
    if trigger is None:
        return replace(machine, because=f"{machine.because}; the primary is rebooted once first")
    why = f"{edge(machine.state, trigger).because} ({running.reason.value}: {machine.because})"
    return follow(machine, trigger, now, why if running.position == 0 else None)
