"""A primary that our own failover may have stopped is started again; what each try means for the verdict on it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from machines.hold import RESTARTING, held_until
from machines.model import Hold, Machine
from machines.policy import Policy
from machines.signals import Decision, Notify, StartAsked, StartFailed
from machines.states import State


def on_start_asked(machine: Machine, signal: StartAsked, now: datetime, policy: Policy) -> Decision:
    """Saved before the call: a start whose answer is lost may have been accepted all the same."""
    if signal.instance != machine.primary or machine.failover is not None:
        return Decision(machine)
    hold = machine.hold
    if hold is None:
        if machine.state not in (State.DETECTING, State.FAILED):
            return Decision(machine)  # It speaks: there is nothing to wait for.
        hold = Hold(RESTARTING, now, machine.boot_id)
    asked = replace(hold, because=RESTARTING, asked_at=now)
    return Decision(watched(replace(machine, hold=asked), policy))


def on_start_failed(machine: Machine, signal: StartFailed, policy: Policy) -> Decision:
    """Nothing is coming up, so the time of a boot does not begin anew. That our stop cannot be undone is for a person
    to know: the stop is no fault that an automatic failover could be begun for."""
    if signal.instance != machine.primary or machine.failover is not None or machine.hold is None:
        return Decision(machine)
    held = watched(replace(machine, hold=replace(machine.hold, asked_at=None)), policy)
    if not signal.is_final:
        return Decision(held)
    because = f"primary_not_restartable: instance {signal.instance} cannot be started again: {signal.why}"
    text = f"{machine.name}: {because}; start it at the provider, or ask for a failover"
    return Decision(replace(held, because=because), (Notify(f"machine-{machine.id}", text),))


def watched(machine: Machine, policy: Policy) -> Machine:
    """The machine with its alarm at the end of the hold, and without any word from before."""
    if machine.state is not State.DETECTING:
        return machine
    return replace(machine, look_at=held_until(machine, policy), evidence=None)
