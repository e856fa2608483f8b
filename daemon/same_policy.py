"""Do all replicas go by the same `policy` of the configuration? One alert stands while two that live do not.

A replica holds a lease that bears its policy's digest, which is renewed with its others and runs out with its life.
"""

from __future__ import annotations

import hashlib
import json

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.leases import Leases
from daemon.policy_book import PolicyBook
from machines.lease import FLEET, POLICY
from machines.policy import Policy, plain
from machines.ports import Clock

ALERT = "replicas-differ"


class SamePolicy:
    """A periodic job of every replica on a shared store."""

    def __init__(self, store: Store, leases: Leases, book: PolicyBook, clock: Clock) -> None:
        self._store = store
        self._leases = leases
        self._book = book
        self._clock = clock
        self._held: str | None = None

    async def look(self) -> None:
        """Raise StoreUnavailable."""
        wanted = f"{POLICY}{digest(self._book.configured)}:{self._leases.replica}"
        if self._held is not None and self._held != wanted:
            former, self._held = self._held, None
            self._leases.forget(former)
            await self._store.transact(lambda tx: tx.drop_lease(former))
        if await self._leases.acquire(wanted):
            self._held = wanted
        if self._leases.holds(FLEET):
            await self._store.transact(lambda tx: self._compare(tx, wanted))

    def _compare(self, tx: Tx, own: str) -> None:
        ours, now = _digest_of(own), self._clock.now()
        living = self._leases.of_others(tx, POLICY)
        different = sorted({one.holder for one in living if _digest_of(one.name) != ours})
        if not different:
            tx.resolve_alert(ALERT, now)
            return
        text = (
            f"replicas {', '.join(different)} go by another `policy` in their configuration than replica {self._leases.replica}, "
            "by which machines inherit now; remedy: give all replicas the same file, and reload or restart them"
        )
        tx.raise_alert(ALERT, text, now)


def digest(policy: Policy) -> str:
    return hashlib.sha256(json.dumps(plain(policy), sort_keys=True).encode()).hexdigest()[:16]


def _digest_of(lease: str) -> str:
    return lease.removeprefix(POLICY).partition(":")[0]
