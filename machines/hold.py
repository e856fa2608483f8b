"""When nothing may be concluded from a primary's silence: it may be our own doing, and what the provider says of it too.

A failover that ends without a hand-over may have stopped its primary. Until that one was started again and had the
time to come up, "exited" and a closed port are the echo of our own stop and no death (architecture, section 4.6).
And a machine whose beat token was revoked is silent until its agent has the next one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from machines.elapsed import CLOCKS_DIFFER_S
from machines.model import Hold, Machine
from machines.policy import Policy
from machines.states import State

RESTARTING = "its primary is being started again"
CANCELLED = "an operator cancelled its failover"
REVOKED = "its beat token was revoked, and its agent may not have the next one yet"
_FOR_A_NEW_TOKEN = timedelta(minutes=30)
_STILL_UNDER_WAY = timedelta(seconds=30)
"""So long after a revocation a beat may be heard that was taken before it."""


def held_until(machine: Machine, policy: Policy) -> datetime | None:
    """Before this time no verdict on the machine is drawn; None where nothing holds it.

    It has one boot's time, from our last start that may have been accepted, else from the end of the failover;
    after a revocation its own end.
    """
    hold = machine.hold
    if hold is None:
        return None
    return hold.until or (hold.asked_at or hold.since) + timedelta(seconds=policy.boot_timeout_s)


def as_of_now(machine: Machine, now: datetime, since: Callable[[datetime], timedelta]) -> Machine:
    """The machine with its hold as old as it really is, where the time of day was stepped meanwhile: it holds no shorter and
    no longer by that. `since` tells how long ago a moment was (`Clock.since`)."""
    hold = machine.hold
    if hold is None:
        return machine
    began = hold.asked_at or hold.since
    step = now - since(began) - began
    if abs(step) <= timedelta(seconds=CLOCKS_DIFFER_S):
        return machine
    asked_at, until = (None if at is None else at + step for at in (hold.asked_at, hold.until))
    return replace(machine, hold=replace(hold, since=hold.since + step, asked_at=asked_at, until=until))


def is_held(machine: Machine, now: datetime, policy: Policy) -> bool:
    until = held_until(machine, policy)
    return until is not None and now < until


def without_token(machine: Machine, now: datetime) -> Machine:
    """The machine whose beat token is revoked now. One that was suspect before is judged on."""
    if machine.state not in (State.HEALTHY, State.RECOVERED):
        return machine
    return replace(machine, hold=Hold(REVOKED, now, machine.boot_id, until=now + _FOR_A_NEW_TOKEN))


def lacks_token(machine: Machine) -> bool:
    return machine.hold is not None and machine.hold.until is not None


def has_token(machine: Machine) -> Machine:
    """The machine once something else than its silence speaks of it, or its silence is not the revoked token's."""
    hold = machine.hold
    if hold is None or hold.until is None:
        return machine
    return replace(machine, hold=None if hold.because == REVOKED else replace(hold, until=None))


def has_spoken_since(machine: Machine, last_beat: datetime) -> bool:
    """Was it heard after the revocation? It has the next token then, or speaks another way."""
    hold = machine.hold
    return hold is not None and last_beat > hold.since + _STILL_UNDER_WAY
