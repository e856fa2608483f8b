"""When nothing may be concluded from a primary's silence: it may be our own doing, and what the provider says of it too.

A failover that ends without a hand-over may have stopped its primary. Until that one was started again and had the
time to come up, "exited" and a closed port are the echo of our own stop and no death (architecture, section 4.6).
"""

from __future__ import annotations

from datetime import datetime, timedelta

from machines.model import Machine
from machines.policy import Policy

RESTARTING = "its primary is being started again"
CANCELLED = "an operator cancelled its failover"


def held_until(machine: Machine, policy: Policy) -> datetime | None:
    """Before this time no verdict on the machine is drawn; None where nothing holds it.

    It has one boot's time, from our last start that may have been accepted, else from the end of the failover.
    """
    hold = machine.hold
    if hold is None:
        return None
    return (hold.asked_at or hold.since) + timedelta(seconds=policy.boot_timeout_s)


def is_held(machine: Machine, now: datetime, policy: Policy) -> bool:
    until = held_until(machine, policy)
    return until is not None and now < until
