"""One alert while any replica is blind, however many are: it is over when the last of them sees again.

A blind replica holds a lease of its own name, which is renewed with its others and runs out with its life; so the one that
sees knows whether anybody else is still blind.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.leases import Leases
from machines.lease import BLIND
from machines.ports import Clock

log = structlog.get_logger(__name__)

ALERT = "observer-blind"
_LOOK_AGAIN_S = 5.0


class Blindness:
    """What this replica tells of its own."""

    def __init__(self, store: Store, clock: Clock, leases: Leases) -> None:
        self._store = store
        self._clock = clock
        self._leases = leases
        self._lease = BLIND + leases.replica
        self._is_blind = False
        self._waiting: asyncio.Task[None] | None = None

    async def tell(self, partitions: Sequence[int], because: str | None) -> None:
        """None: it sees again. Raise StoreUnavailable."""
        self._is_blind = because is not None
        if because is not None:
            await self._went_blind(partitions, because)
            return
        log.warning("observer_sees_again")
        if not await self._resolve() and (self._waiting is None or self._waiting.done()):
            self._waiting = asyncio.create_task(self._wait_for_the_others(), name="the others' blindness")

    async def _went_blind(self, partitions: Sequence[int], because: str) -> None:
        now = self._clock.now()
        text = f"the observer is blind, no silence is trusted: {because}"
        log.warning("observer_blind", because=because, partitions=list(partitions))
        if self._store.is_shared:
            await self._leases.acquire(self._lease, lambda tx, _: _raise(tx, text, now))
        else:
            await self._store.transact(lambda tx: _raise(tx, text, now))

    async def _resolve(self) -> bool:
        """False where another replica is blind."""
        now = self._clock.now()

        def work(tx: Tx) -> bool:
            tx.drop_lease(self._lease)
            others = self._leases.of_others(tx, BLIND)
            if not others:
                tx.resolve_alert(ALERT, now)
            return not others

        self._leases.forget(self._lease)
        return await self._store.transact(work)

    async def _wait_for_the_others(self) -> None:
        while not self._is_blind:
            await self._clock.sleep(_LOOK_AGAIN_S)
            try:
                if self._is_blind or await self._resolve():
                    return
            except StoreUnavailable as error:
                log.debug("blindness_not_looked_at", because=str(error))


def _raise(tx: Tx, text: str, now: datetime) -> None:
    tx.raise_alert(ALERT, text, now)
