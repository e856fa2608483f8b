"""The money of what is rented ahead: reserved in its debt before the create, and given back where nothing is rented for it.

An open debt's reservation counts beside those of running failovers, under the admission's lock, so that no two spend the
same money.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.budget import Reservation, over_budget
from machines.errors import NotYet
from machines.model import Debt, Machine, Offer
from machines.policy import Policies
from machines.pool import OVER_BUDGET
from machines.ports import Clock

_NO_MONEY = timedelta(seconds=120)


class MoneyAhead:
    """Without a budget nothing is written."""

    def __init__(self, store: Store, policies: Policies, clock: Clock) -> None:
        self._store = store
        self._policies = policies
        self._clock = clock

    async def reserve(self, machine: Machine, debt: Debt, offer: Offer) -> None:
        """Before the first create, and beside what failovers have reserved. Raise NotYet, whose reason begins with `OVER_BUDGET`."""
        if not self._has_budget:
            return
        policy = self._policies.of(machine)
        boot = offer.price_per_hour * policy.boot_timeout_s / 3600
        wanted = Reservation(boot, offer.price_per_hour)
        beside = replace(machine, price_per_hour=None)  # It goes on beside what the machine costs now.
        since = self._clock.now() - timedelta(seconds=policy.spend_window_s)

        def work(tx: Tx) -> str | None:
            tx.lock_admission()
            tx.reserve_for_debt(debt.id, None)  # Its former one is no part of what others spend.
            why = over_budget(wanted, beside, tx.fleet_spending(since), policy)
            if why is None:
                tx.reserve_for_debt(debt.id, wanted)
            return why

        why = await self._store.transact(work)
        if why is not None:
            raise NotYet(f"{OVER_BUDGET}: {why}", _NO_MONEY)

    async def release(self, debt: Debt) -> None:
        """Nothing is rented for the debt now."""
        if self._has_budget:
            await self._store.transact(lambda tx: tx.reserve_for_debt(debt.id, None))

    async def release_unbound(self, debt: Debt) -> None:
        """Where it waits and nothing is being rented under a label of it: money that is only held would keep a failover waiting."""
        if self._has_budget:
            await self._store.transact(lambda tx: tx.release_unbound(debt.id))

    @property
    def _has_budget(self) -> bool:
        fleet = self._policies.fleet
        return fleet.max_fleet_price > 0 or fleet.max_spend > 0
