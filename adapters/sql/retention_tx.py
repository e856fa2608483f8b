"""Rows that tell of what is long over, forgotten a few at a time."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ColumnElement, Table, and_, delete, func, or_, select

from adapters.sql.statements import Statements
from adapters.sql.tables import ALERTS, AUDIT, COMMANDS, DEBTS, TOKENS


class RetentionStatements(Statements):
    """Each forgets `most` rows at the most, and answers how many they were. What is open has no end, so it stays."""

    def forget_audit(self, before: datetime, most: int) -> int:
        return self._forget(AUDIT, "number", AUDIT.c.at < before, most)

    def forget_commands(self, answered_before: datetime, most: int) -> int:
        wanted = select(COMMANDS.c.command_id).where(COMMANDS.c.answered_at < answered_before).limit(most)
        return self._connection.execute(delete(COMMANDS).where(COMMANDS.c.command_id.in_(wanted))).rowcount

    def forget_alerts(self, resolved_before: datetime, most: int) -> int:
        return self._forget(ALERTS, "id", ALERTS.c.resolved_at < resolved_before, most)

    def forget_debts(self, closed_before: datetime, most: int) -> int:
        """Not those of volumes: their rows' numbers are never given twice, and the debts know the highest."""
        over = and_(DEBTS.c.closed_at < closed_before, DEBTS.c.volume_row.is_(None))
        return self._forget(DEBTS, "id", over, most)

    def forget_tokens(self, ended_before: datetime, most: int) -> int:
        ended = or_(TOKENS.c.revoked_at < ended_before, TOKENS.c.expires_at < ended_before)
        return self._forget(TOKENS, "number", ended, most)

    def _forget(self, table: Table, key: str, is_over: ColumnElement[bool], most: int) -> int:
        """The newest row always stays: SQLite would give its number again."""
        number = table.c[key]
        newest = select(func.max(number)).scalar_subquery()
        wanted = select(number).where(is_over, number < newest).limit(most)
        return self._connection.execute(delete(table).where(number.in_(wanted))).rowcount
