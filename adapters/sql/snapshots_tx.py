"""Grants in a transaction: which instance may take a machine's snapshots."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Row, bindparam, delete, insert, select, update

from adapters.sql.records import SnapshotGrant
from adapters.sql.statements import Statements
from adapters.sql.tables import SNAPSHOT_GRANTS
from machines.model import InstanceId, MachineId

_c = SNAPSHOT_GRANTS.c
_ONE = select(SNAPSHOT_GRANTS).where(_c.machine_id == bindparam("wanted"))
_ALL = select(SNAPSHOT_GRANTS).order_by(_c.machine_id)
_NEW = insert(SNAPSHOT_GRANTS)
_CHANGE = update(SNAPSHOT_GRANTS).where(_c.machine_id == bindparam("wanted"))
_FORGET = delete(SNAPSHOT_GRANTS).where(_c.machine_id == bindparam("wanted"))


class SnapshotStatements(Statements):
    def snapshot_grant(self, machine: MachineId) -> SnapshotGrant | None:
        row = self._connection.execute(_ONE, {"wanted": machine}).one_or_none()
        return None if row is None else _grant(row)

    def snapshot_grants(self) -> list[SnapshotGrant]:
        """Of all machines, those that were removed among them."""
        return [_grant(row) for row in self._connection.execute(_ALL)]

    def save_snapshot_grant(self, grant: SnapshotGrant) -> None:
        """In the place of the machine's former one."""
        values = {
            "instance_id": grant.instance,
            "fence": grant.fence,
            "digest": grant.digest,
            "granted_at": grant.granted_at,
            "key_id": grant.key,
            "removed_at": grant.removed_at,
        }
        if self._connection.execute(_CHANGE, {**values, "wanted": grant.machine}).rowcount == 0:
            self._insert_new(_NEW, {**values, "machine_id": grant.machine})

    def note_removed(self, machine: MachineId, at: datetime | None) -> None:
        """When the machine was seen to be no more; None where it is there again."""
        self._connection.execute(_CHANGE, {"wanted": machine, "removed_at": at})

    def forget_snapshot_grant(self, machine: MachineId) -> None:
        """Nothing of the machine lies in the store any more."""
        self._connection.execute(_FORGET, {"wanted": machine})


def _grant(row: Row[tuple[object, ...]]) -> SnapshotGrant:
    return SnapshotGrant(
        MachineId(row.machine_id),
        InstanceId(row.instance_id),
        row.fence,
        row.digest,
        row.granted_at,
        row.key_id,
        row.removed_at,
    )
