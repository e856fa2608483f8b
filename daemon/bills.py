"""Reads the provider's own bill: what each machine has really cost, with its candidates, its standbys and its volumes."""

from __future__ import annotations

import structlog

from adapters.sql.executor import Store
from machines.charges import month_before, month_of
from machines.errors import StepError
from machines.ports import Billing, Clock

log = structlog.get_logger(__name__)


class Bills:
    """One periodic job of the fleet: `read`."""

    def __init__(self, store: Store, billing: Billing, clock: Clock) -> None:
        self._store = store
        self._billing = billing
        self._clock = clock

    async def read(self) -> None:
        """This month, and the one before it as long as it was not read since it ended. An outage leaves what was known."""
        month = month_of(self._clock.now())
        last = await self._store.transact(lambda tx: tx.last_billed_month())
        for one in (month,) if last is None or last == month else (month_before(month), month):
            try:
                bill = await self._billing.bill(one)
            except StepError as error:
                log.info("bill_not_read", month=one, because=str(error))
                return
            at = self._clock.now()
            await self._store.transact(lambda tx, bill=bill, at=at: tx.note_bill(bill, at))  # type: ignore[misc]
