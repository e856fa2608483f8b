"""Who may write a machine's snapshots, in a transaction: taken back when the fence rises, and asked for the lineage."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from adapters.sql.records import SnapshotGrant
from adapters.sql.tx import Tx
from machines.model import Debt, DebtKind, InstanceId, Machine, MachineId, Rung
from machines.snapshots import Lineage
from machines.strategies.ladder import ladder


def takes_snapshots(machine: Machine) -> bool:
    """Does its strategy need them? A person may fail over what does not by itself, and then needs them as much."""
    return machine.primary is not None and Rung.CPU_STANDBY in ladder(machine.setting)


def order_alert(machine: MachineId) -> str:
    """The key of the alert that stands while it cannot be told to take them."""
    return f"machine-{machine}-snapshots"


def late_alert(machine: MachineId) -> str:
    """The key of the alert that stands while none comes."""
    return f"machine-{machine}-snapshots-late"


def resolve_alerts_of_others(tx: Tx, number: MachineId, machine: Machine | None, now: datetime) -> None:
    """Of a machine that is no more, or takes no snapshots any more."""
    if machine is None or not takes_snapshots(machine):
        tx.resolve_alert(order_alert(number), now)
        tx.resolve_alert(late_alert(number), now)


def raise_alert_of(tx: Tx, number: MachineId, key: str, text: str, now: datetime) -> None:
    """Unless the machine was removed or changed while it was looked at."""
    machine = tx.machine(number)
    if machine is not None and takes_snapshots(machine):
        tx.raise_alert(key, text, now)


def note_higher_fence(tx: Tx, machine: Machine, fence: int, now: datetime) -> bool:
    """The store of snapshots knows a higher one than we: where the machine is registered anew, its fence begins above it.
    False where the machine has moved on meanwhile."""
    present = tx.machine(machine.id)
    if present is None or present.fence != machine.fence:
        return False
    former = tx.snapshot_grant(machine.id) or SnapshotGrant(machine.id, InstanceId(0), 0, "", now)
    tx.save_snapshot_grant(replace(former, fence=max(former.fence, fence), digest=""))
    return True


def revoke_debts(grant: SnapshotGrant | None) -> tuple[Debt, ...]:
    """What is owed where the grant ends."""
    if grant is None or grant.key is None:
        return ()
    because = f"instance {grant.instance} may no longer write the snapshots of machine {grant.machine}"
    return (Debt(DebtKind.REVOKE_KEY, grant.machine, None, None, None, None, because, key=grant.key),)


def take_back(tx: Tx, machine: MachineId) -> None:
    """The fence rose: whoever was granted the machine's snapshots is shut out."""
    grant = tx.snapshot_grant(machine)
    if grant is not None and grant.key is not None:
        tx.add_debts(revoke_debts(grant))
        tx.save_snapshot_grant(replace(grant, key=None))


def lineage_of(tx: Tx, number: MachineId) -> Lineage:
    """Which snapshots are the machine's: see machines/snapshots.py."""
    machine = tx.machine(number)
    if machine is None:
        return Lineage(None, None)
    return Lineage(machine.primary, _until(tx, machine), machine.fence, machine.registered)


def _until(tx: Tx, machine: Machine) -> datetime | None:
    """Up to when another instance's count, as far as anything is known of a hand-over."""
    if machine.primary is None:
        return None
    won = tx.last_won(machine.id)
    if won is not None and won.new is not None and won.new.instance == machine.primary:
        return won.started_at - timedelta(seconds=won.new.data_age_s or 0.0)
    grant = tx.snapshot_grant(machine.id)
    return grant.granted_at if grant is not None and grant.instance == machine.primary else None
