"""Turns in a transaction: whose call of one of the provider's routes is next, among all replicas on one key."""

from __future__ import annotations

from sqlalchemy import Double, bindparam, insert, literal_column, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import TURNS

_c = TURNS.c
_CLOCKS = {
    "postgresql": literal_column("extract(epoch from clock_timestamp())", Double),
    "sqlite": literal_column("(julianday('now') - 2440587.5) * 86400.0", Double),
}
"""The database's own: replicas' times of day may differ."""
_ONE = select(_c.free_at).where(_c.route == bindparam("wanted")).with_for_update()
_NEW = insert(TURNS)
_SET = update(TURNS).where(_c.route == bindparam("wanted"))


class TurnStatements(Statements):
    def book_turn(self, route: str, spacing_s: float) -> float:
        """Take the route's next turn; in how many (real) seconds it comes. A free one is at once."""
        free_at = self._connection.execute(_ONE, {"wanted": route}).scalar_one_or_none()
        if free_at is None:
            self._insert_new(_NEW, {"route": route, "free_at": 0.0})
            free_at = self._connection.execute(_ONE, {"wanted": route}).scalar_one()
        now = self._connection.execute(select(_CLOCKS[self._connection.dialect.name])).scalar_one()
        turn = max(float(free_at), float(now))
        self._connection.execute(_SET, {"wanted": route, "free_at": turn + spacing_s})
        return turn - float(now)
