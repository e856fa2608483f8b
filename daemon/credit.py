"""The account's credit: one alert for all of its rentals, and what a stopped one's testimony needs to know.

At zero credit the provider stops every rental at once and deletes them later (facts/vast-api.md, trap 5).
"""

from __future__ import annotations

import asyncio

import structlog

from adapters.sql.executor import Store
from machines.errors import StepError
from machines.policy import Policies
from machines.ports import Clock, Purse

log = structlog.get_logger(__name__)

ALERT = "account-credit"
_MAX_AGE_S = 10.0
"""Of an answer that many suspects share: they were all stopped at once."""


class CreditWatch:
    """Asks the account, and keeps its one alert."""

    def __init__(self, store: Store, purse: Purse, policies: Policies, clock: Clock) -> None:
        self._store = store
        self._purse = purse
        self._policies = policies
        self._clock = clock
        self._asking = asyncio.Lock()
        self._asked_at = float("-inf")
        self._credit: float | None = None

    @property
    def last_told(self) -> float | None:
        """$; as the account said it last, None where it never did."""
        return self._credit

    async def credit(self) -> float | None:
        """As the account said it a moment ago; an empty one is told at once. Raise StepError, StoreUnavailable."""
        async with self._asking:
            if self._clock.monotonic() - self._asked_at > _MAX_AGE_S:
                self._credit = await self._purse.credit()
                self._asked_at = self._clock.monotonic()
            if self._credit is not None and self._credit <= 0:
                await self._tell(self._credit, 0.0)
            return self._credit

    async def look(self) -> None:
        """Does the credit pay the present bill for as long as the policy wants? Without an answer nothing changes."""
        try:
            credit, rate = await self._purse.credit(), await self._purse.spend_rate()
            self._credit = credit
        except StepError as error:
            log.info("credit_not_known", because=str(error))
            return
        if credit is not None:
            await self._tell(credit, rate)

    async def _tell(self, credit: float, rate: float) -> None:
        text = _trouble(credit, rate, self._policies.fleet.credit_hours)
        now = self._clock.now()
        if text is not None:
            log.warning("credit_is_low", credit=round(credit, 2), spend_rate=round(rate, 2))
            await self._store.transact(lambda tx: tx.raise_alert(ALERT, text, now))
        else:
            await self._store.transact(lambda tx: tx.resolve_alert(ALERT, now))


def _trouble(credit: float, rate: float, hours: float) -> str | None:
    """What is wrong with the credit; None where it will do."""
    if credit <= 0:
        text = f"the account has no credit ({credit:.2f} $): the provider stops every rental, and deletes them later"
        return f"{text}; pay it in, then start what was stopped"
    if credit < rate * hours:
        left = f"{credit:.2f} $ pay the present bill of {rate:.2f} $/h for {credit / rate:.1f} hours"
        return f"{left}, the policy wants {hours:g}; pay in {rate * hours - credit:.2f} $ or more"
    return None
