"""What is owed and what is over where an operator changed a machine, by whichever door."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from adapters.sql.tx import Tx
from daemon.pool_wishes import follow_wish
from daemon.prepared_pools import destroy_debt
from daemon.rearm import needs_standby, rearm_debt
from daemon.snapshot_grants import resolve_alerts_of_others
from machines.model import Machine


def follow_change(tx: Tx, machine: Machine, before: Machine | None, now: datetime) -> None:
    """In the transaction that saves the machine. Raise Problem where its work would come to lie beside what is being rented."""
    resolve_alerts_of_others(tx, machine.id, machine, now)
    left = before.standby if before is not None and machine.standby is None else None
    if left is not None and left.instance != machine.primary:
        tx.add_debts((destroy_debt(machine, left, "its machine lies elsewhere now", now),))
    if needs_standby(machine) and (before is None or not needs_standby(before)):
        tx.add_debts((replace(rearm_debt(machine, "it has a volume and no standby"), due_at=now),))
    follow_wish(tx, machine, before, now)
