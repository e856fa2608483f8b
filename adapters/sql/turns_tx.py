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
_FURTHEST_S, _FURTHEST_TURNS = 60.0, 20
"""No queue of replicas is longer; whatever lies further ahead was written by another clock."""
_LONGEST_HOLD_S = 30.0
"""Leaves room for a queue behind it that is not taken for another clock's."""
_ONE = select(_c.free_at).where(_c.route == bindparam("wanted")).with_for_update()
_NEW = insert(TURNS)
_SET = update(TURNS).where(_c.route == bindparam("wanted"))


class TurnStatements(Statements):
    def book_turn(self, route: str, spacing_s: float, most_s: float = float("inf")) -> float:
        """Take the route's next turn; in how many (real) seconds it comes. A free one is at once; one that comes later
        than in `most_s` is told and not taken.

        The database's clock may have been set back, or the row come out of a backup: such a turn would not come for
        hours, so the route counts as free then.
        """
        free_at, now = self._locked(route)
        if not free_at - now <= max(_FURTHEST_S, _FURTHEST_TURNS * spacing_s):
            free_at = now
        turn = max(free_at, now)
        if turn - now <= most_s:
            self._connection.execute(_SET, {"wanted": route, "free_at": turn + spacing_s})
        return turn - now

    def hold_turn(self, route: str, seconds: float) -> None:
        """Nobody's next turn comes earlier than in so many (real) seconds, half a minute at most."""
        free_at, now = self._locked(route)
        until = now + min(seconds, _LONGEST_HOLD_S)
        if free_at < until:
            self._connection.execute(_SET, {"wanted": route, "free_at": until})

    def _locked(self, route: str) -> tuple[float, float]:
        """When the route is free, and the time, both by the database's clock; nobody else books meanwhile."""
        free_at = self._connection.execute(_ONE, {"wanted": route}).scalar_one_or_none()
        if free_at is None:
            self._insert_new(_NEW, {"route": route, "free_at": 0.0})
            free_at = self._connection.execute(_ONE, {"wanted": route}).scalar_one()
        now = self._connection.execute(select(_CLOCKS[self._connection.dialect.name])).scalar_one()
        return float(free_at), float(now)
