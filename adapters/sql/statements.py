"""What the groups of statements of a transaction share. A statement is built once; running it only binds values."""

from __future__ import annotations

from sqlalchemy import Connection, Insert
from sqlalchemy.exc import IntegrityError

from adapters.sql.rows import Values
from machines.model import FailoverId

AFTER_ALL = 2**63 - 1
"""A number that no row has: who names none reads from the newest on."""


class Statements:
    """One transaction on one connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._unbegun: set[FailoverId] = set()
        """Failovers that a saved machine names and that have no row yet."""

    def settle(self) -> None:
        """Called before the commit. Raise LookupError where a machine was saved in a failover that was never begun."""
        if self._unbegun:
            raise LookupError(f"saved with a failover that was not begun: {', '.join(sorted(self._unbegun))}")

    def _insert_new(self, statement: Insert, values: Values) -> bool:
        """False where a unique row stands there already; the savepoint keeps the transaction usable on PostgreSQL."""
        try:
            with self._connection.begin_nested():
                self._connection.execute(statement, values)
        except IntegrityError:
            return False
        return True
