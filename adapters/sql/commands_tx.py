"""Commands in a transaction: one row a command id, whichever door it came through, and its answer."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, insert, select, update

from adapters.sql.audit_tx import NEW_AUDIT, audit_of
from adapters.sql.records import CommandRow, CommandStatus
from adapters.sql.rows import audit_values, command_from, command_values, plain
from adapters.sql.statements import Statements
from adapters.sql.tables import COMMANDS
from machines.model import FailoverId

_c = COMMANDS.c
_INSERT = insert(COMMANDS)
_ONE = select(COMMANDS).where(_c.command_id == bindparam("wanted"))
_OPEN_OF = (
    select(COMMANDS)
    .where(_c.answered_at.is_(None), _c.failover_id == bindparam("wanted"))
    .order_by(_c.received_at, _c.command_id)
)
_CHANGE = update(COMMANDS).where(_c.command_id == bindparam("wanted"), _c.answered_at.is_(None))


class CommandStatements(Statements):
    def insert_command(self, command: CommandRow) -> tuple[CommandRow, bool]:
        """The row that stands for this command id, and whether this call wrote it; what it changes is audited here."""
        if self._insert_new(_INSERT, command_values(command)):
            if command.status != "refused":  # Nothing was changed then.
                self._connection.execute(NEW_AUDIT, audit_values(audit_of(command)))
            return command, True
        return command_from(self._connection.execute(_ONE, {"wanted": command.command_id}).one()), False

    def command(self, command_id: str) -> CommandRow | None:
        row = self._connection.execute(_ONE, {"wanted": command_id}).one_or_none()
        return None if row is None else command_from(row)

    def answer_command(
        self,
        command_id: str,
        status: CommandStatus,
        answer: Mapping[str, Any] | None,
        http_status: int | None,
        at: datetime,
    ) -> bool:
        """False where it is answered already: the first answer stands, and every repetition gets it."""
        values = {
            "wanted": command_id,
            "status": status,
            "answer": plain(answer),
            "http_status": http_status,
            "answered_at": at,
        }
        return self._connection.execute(_CHANGE, values).rowcount == 1

    def commands_of(self, failover: FailoverId) -> list[CommandRow]:
        """Those that wait for this failover's end."""
        return [command_from(row) for row in self._connection.execute(_OPEN_OF, {"wanted": failover})]
