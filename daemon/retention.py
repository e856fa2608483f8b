"""What is long over is forgotten, rarely and a little at a time: nothing else ends the growth of these tables.

Failovers and their journals stay: they prove what was done, and what it cost.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.ports import Clock

log = structlog.get_logger(__name__)

EVERY_S = 6 * 3600
_BATCH = 500
_MOST_BATCHES = 200
"""In one run of one table; the next run goes on."""

_Forget = Callable[[Tx, datetime, int], int]
_KEPT: dict[str, tuple[timedelta, _Forget]] = {
    "audit": (timedelta(days=400), lambda tx, before, most: tx.forget_audit(before, most)),
    # Under its id, a command has its answer for so long; one that comes later is a new one.
    "commands": (timedelta(days=30), lambda tx, before, most: tx.forget_commands(before, most)),
    "alerts": (timedelta(days=90), lambda tx, before, most: tx.forget_alerts(before, most)),
    "debts": (timedelta(days=90), lambda tx, before, most: tx.forget_debts(before, most)),
    "tokens": (timedelta(days=400), lambda tx, before, most: tx.forget_tokens(before, most)),
}


class Retention:
    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock

    async def clean(self) -> None:
        """Raise StoreUnavailable."""
        for name, (kept, forget) in _KEPT.items():
            gone = await self._forget(self._clock.now() - kept, forget)
            if gone:
                log.info("old_rows_forgotten", table=name, count=gone, older_than_days=kept.days)

    async def _forget(self, before: datetime, forget: _Forget) -> int:
        gone = 0
        for _ in range(_MOST_BATCHES):
            found = await self._store.transact(lambda tx: forget(tx, before, _BATCH))
            gone += found
            if found < _BATCH:
                break
            await self._clock.breathe()
        return gone
