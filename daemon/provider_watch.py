"""Does the provider answer, and does it take our key? One alert of the fleet, which is over with the next good listing.

A refused key freezes every decision (facts/vast-api.md, 1.3), and a provider that is away does no less: no death is proved and
nothing can be rented, so nothing is protected. A person must hear of that who does not look at /readyz.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from adapters.vast import KeyDead
from machines.errors import StepError
from machines.ports import Clock, GpuCloud, Purse

log = structlog.get_logger(__name__)

KEY_ALERT, AWAY_ALERT = "provider-key", "provider-away"
_LEAST_REFUSALS, _REFUSED_FOR_S = 2, 10.0
"""One refusal may be the provider's own trouble; questions of one moment share one."""
_LEAST_FAILURES, _AWAY_FOR_S = 3, 300.0
"""By the clock, and by several looks: in a large account a single listing takes minutes."""
_EFFECT = "until then no death is proved and nothing can be rented, so no machine is protected"


class ProviderWatch:
    """Every replica hears its own listings; the one that does the fleet's jobs tells."""

    def __init__(
        self, store: Store, clock: Clock, cloud: GpuCloud, purse: Purse, is_awaited: Callable[[], bool]
    ) -> None:
        """`is_awaited`: does somebody wait for its answers?"""
        self._store = store
        self._clock = clock
        self._cloud = cloud
        self._purse = purse
        self._is_awaited = is_awaited
        self._problem: str | None = None
        self._answered_at = clock.monotonic()
        self._was_heard = False
        self._failures = 0
        self._refusals = 0
        """Without a good listing between them."""
        self._refused_at = 0.0

    def heard(self, error: StepError | None) -> None:
        """`error` of a listing that failed; None of a good one."""
        self._was_heard = True
        if error is None:
            self._problem, self._answered_at = None, self._clock.monotonic()
            self._failures = self._refusals = 0
            return
        self._problem = str(error)
        self._failures += 1
        if isinstance(error, KeyDead):
            self._refused_at = self._refused_at if self._refusals else self._clock.monotonic()
            self._refusals += 1

    async def probe(self) -> None:
        """In an outage everybody waits, so somebody must ask whether it is over; and in two ways, for it may be an outage of
        one alone."""
        for ask in (self._cloud.list, self._purse.credit):
            if self._is_awaited():
                with contextlib.suppress(StepError):
                    await ask()

    async def look(self) -> None:
        """Raise StoreUnavailable. Before the first listing nothing is known, so nothing changes."""
        if not self._was_heard:
            return
        if self._problem is None:
            await self._store.transact(lambda tx: self._resolve(tx, KEY_ALERT, AWAY_ALERT))
        elif self._is_key_refused():
            await self._store.transact(lambda tx: self._raise(tx, KEY_ALERT, _refused(self._problem), AWAY_ALERT))
        elif self._is_away():
            await self._store.transact(lambda tx: self._raise(tx, AWAY_ALERT, _away(self._problem), KEY_ALERT))

    def _is_key_refused(self) -> bool:
        is_old = self._clock.monotonic() - self._refused_at >= _REFUSED_FOR_S
        return self._refusals >= _LEAST_REFUSALS and is_old

    def _is_away(self) -> bool:
        is_old = self._clock.monotonic() - self._answered_at >= _AWAY_FOR_S
        return self._failures >= _LEAST_FAILURES and is_old

    def _raise(self, tx: Tx, key: str, text: str, other: str) -> None:
        self._resolve(tx, other)
        if tx.raise_alert(key, text, self._clock.now()):
            log.error("provider_told", alert=key, because=self._problem)

    def _resolve(self, tx: Tx, *keys: str) -> None:
        """Most looks find none that stands, and write nothing."""
        standing = {alert.key for alert in tx.open_alerts()}
        for key in keys:
            if key in standing:
                tx.resolve_alert(key, self._clock.now())


def _refused(problem: str | None) -> str:
    remedy = "set vast.api_key to a key that it accepts (`failoverd doctor` tries it), then reload or restart failoverd"
    return f"the provider refuses our key: {problem}; {_EFFECT}; {remedy}"


def _away(problem: str | None) -> str:
    minutes = f"{_AWAY_FOR_S / 60:.0f} minutes"
    remedy = "look at the provider's status page and at the way to vast.url; it goes on by itself"
    return f"the provider has given no good answer for {minutes} or longer: {problem}; {_EFFECT}; {remedy}"
