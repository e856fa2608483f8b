"""Which failover a cancel means, and whether it can still unwind."""

from __future__ import annotations

from typing import Any

from adapters.sql.tx import Tx
from machines.errors import Fenced, Stale
from machines.model import FailoverId, Machine
from machines.problems import Problem
from machines.strategies.ladder import is_too_late


def to_be_cancelled(tx: Tx, machine: Machine, named: Any) -> FailoverId:
    """The machine's running failover, which can still unwind, and does not end before the commit. Raise Problem (409), and
    Stale where it moved on meanwhile."""
    running = machine.failover
    if running is None:
        raise Problem(
            409, "no_failover", f"no failover of machine {machine.id} is running", "there is nothing to cancel"
        )
    if named is not None and named != running.id:
        raise Problem(
            409,
            "no_failover",
            f"failover {named} of machine {machine.id} has ended; {running.id} is running now",
            f"cancel {running.id} by its own id, if that is what you mean",
        )
    try:
        tx.check_fence(machine.id, running.id, running.fence)
    except Fenced as error:
        raise Stale(str(error)) from error
    if is_too_late(machine, tx.timeline(running.id)):
        raise Problem(
            409,
            "too_late",
            f"failover {running.id} of machine {machine.id} is past its point of no return",
            f"wait for its end: GET /api/v1/failovers/{running.id}",
            {"failover_id": running.id},
        )
    return running.id
