"""Copies of workspaces in a transaction: what each CPU VM is known to have."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import WORKSPACE_COPIES
from machines.cpu_vm import VmId, WorkspaceCopy
from machines.model import MachineId

_c = WORKSPACE_COPIES.c
_ONE = select(WORKSPACE_COPIES).where(_c.machine_id == bindparam("wanted"))
_NEW = insert(WORKSPACE_COPIES)
_CHANGE = update(WORKSPACE_COPIES).where(_c.machine_id == bindparam("wanted"))
_FORGET = delete(WORKSPACE_COPIES).where(_c.machine_id == bindparam("wanted"))


class CopyStatements(Statements):
    def workspace_copy(self, machine: MachineId) -> WorkspaceCopy | None:
        row = self._connection.execute(_ONE, {"wanted": machine}).one_or_none()
        if row is None:
            return None
        return WorkspaceCopy(
            row.copy_id, VmId(int(row.vm_id)), row.instance_id, row.taken_at, row.files, row.size_bytes, row.host_key
        )

    def save_copy(self, machine: MachineId, copy: WorkspaceCopy) -> None:
        """In the place of the machine's former one."""
        values = {
            "copy_id": copy.id,
            "vm_id": str(copy.vm),
            "instance_id": copy.instance,
            "taken_at": copy.taken_at,
            "files": copy.files,
            "size_bytes": copy.size_bytes,
            "host_key": copy.host_key,
        }
        if self._connection.execute(_CHANGE, {**values, "wanted": machine}).rowcount == 0:
            self._insert_new(_NEW, {**values, "machine_id": machine})

    def forget_copy(self, machine: MachineId) -> None:
        self._connection.execute(_FORGET, {"wanted": machine})
