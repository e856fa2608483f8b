"""Keeps several daemons on one key of the provider together under its thresholds: they book their calls in the store.

Without that each keeps the thresholds by itself, two of three are refused, and of those some again and again.
"""

from __future__ import annotations

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from machines.ports import Clock


class SharedTurns:
    """The turns of all replicas, by the database's clock."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def book(self, route: str, spacing_s: float, most_s: float) -> float:
        """In how many scaled seconds the turn comes; 0 where the store is away, for the provider says no by itself."""
        second = self._clock.real(1.0)
        try:
            wait_s = await self._store.transact(lambda tx: tx.book_turn(route, spacing_s / second, most_s / second))
        except StoreUnavailable:
            return 0.0
        return wait_s * second

    async def hold(self, route: str, seconds: float) -> None:
        """Tell the other replicas; where the store is away, the provider tells them by itself."""
        second = self._clock.real(1.0)
        try:
            await self._store.transact(lambda tx: tx.hold_turn(route, seconds / second))
        except StoreUnavailable:
            return
