"""The audit in a transaction: every change with who made it, written together with the change itself."""

from __future__ import annotations

from sqlalchemy import bindparam, insert, select

from adapters.sql.records import AuditRecord, CommandRow
from adapters.sql.rows import audit_from, audit_values
from adapters.sql.statements import AFTER_ALL, Statements
from adapters.sql.tables import AUDIT
from machines.model import MachineId
from machines.problems import masked

_c = AUDIT.c
NEW_AUDIT = insert(AUDIT)
_PAGE = select(AUDIT).where(_c.number < bindparam("before")).order_by(_c.number.desc()).limit(bindparam("most"))
_PAGE_OF = _PAGE.where(_c.machine_id == bindparam("machine"))


class AuditStatements(Statements):
    def audit(self, record: AuditRecord) -> None:
        """Append it. Commands need no call: inserting their row audits them."""
        self._connection.execute(NEW_AUDIT, audit_values(record))

    def audited(self, machine: MachineId | None, before: int | None, limit: int) -> list[AuditRecord]:
        """The newest first, from before that number on; of one machine where it is named."""
        bounds = {"before": AFTER_ALL if before is None else before, "most": limit}
        rows = (
            self._connection.execute(_PAGE, bounds)
            if machine is None
            else self._connection.execute(_PAGE_OF, {**bounds, "machine": machine})
        )
        return [audit_from(row) for row in rows]


def audit_of(command: CommandRow) -> AuditRecord:
    """What the command changes, as it was asked for. Its arguments stay in its own row, which is forgotten earlier: what a
    setting or a machine was changed to stands here too."""
    reason = command.body.get("reason")
    values = masked(command.body.get("arguments") or {}) if command.command in _SAYING else {}
    return AuditRecord(
        command.received_at,
        command.asked_by or "",
        command.door,
        command.command,
        command.machine_id,
        command.failover_id,
        reason if isinstance(reason, str) else None,
        {"command_id": command.command_id, **({"values": values} if values else {})},
    )


_SAYING = ("set_policy", "register_machine")
