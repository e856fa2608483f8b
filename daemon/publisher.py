"""The outbox to the log, in order: written with the change, published after it, marked when the log has it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from events import topics
from machines.errors import LogUnavailable
from machines.ports import Clock, EventLog

log = structlog.get_logger(__name__)

_BATCH = 500
KEEP = timedelta(hours=1)
"""So long what was sent can still be asked for (GET /events)."""


class Publisher:
    """At least once: a crash between append and mark sends a record again, with the same ce_id."""

    def __init__(
        self,
        store: Store,
        event_log: EventLog,
        clock: Clock,
        is_ours: Callable[[], bool],
        look_every_s: float = 0.2,
        events_topic: str = topics.EVENTS,
    ) -> None:
        """`is_ours`: does this replica publish now? One does for the whole fleet."""
        self._store = store
        self._log = event_log
        self._clock = clock
        self._is_ours = is_ours
        self._look_every_s = look_every_s
        self._events_topic = events_topic
        self._is_down = False
        self.published: Counter[str] = Counter()
        """How many records went out, by topic."""
        self.problem: str | None = None
        """Why nothing can be published now."""
        self._down_at = 0.0

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                sent = await self.publish()
            except StoreUnavailable as error:
                log.debug("publication_postponed", because=str(error))
                sent = 0
            except LogUnavailable as error:
                self._tell(True, str(error))
                sent = 0
            if sent == 0:
                await self._clock.sleep(max(self._look_every_s, self._clock.real(0.1)))

    async def publish(self) -> int:
        """Publish one batch; how many records it had. Raise LogUnavailable, StoreUnavailable."""
        if not self._is_ours():
            self._tell(False, "")
            return 0
        rows = await self._store.transact(lambda tx: tx.unsent(_BATCH))
        if not rows or not self._is_ours():
            return 0
        await self._log.append_all([message for _, message in rows])
        self.published.update(message.topic for _, message in rows)
        at = self._clock.now()
        await self._store.transact(lambda tx: tx.mark_sent([row for row, _ in rows], at))
        self._tell(False, "")
        return len(rows)

    async def clean(self) -> None:
        """Forget what was sent long ago."""
        before = self._clock.now() - KEEP
        await self._store.transact(lambda tx: tx.forget_sent(before, self._events_topic))

    @property
    def down_for_s(self) -> float | None:
        """For how long nothing could be published; None while the log takes records."""
        return self._clock.monotonic() - self._down_at if self._is_down else None

    def _tell(self, is_down: bool, why: str) -> None:
        """One line when it goes, one when it comes back."""
        if is_down and not self._is_down:
            self._down_at = self._clock.monotonic()
            log.warning("log_unavailable", error=why, effect="announcements wait in the outbox")
        if self._is_down and not is_down:
            log.info("log_available_again")
        self._is_down, self.problem = is_down, why if is_down else None


async def drain(publisher: Publisher, clock: Clock, seconds: float) -> None:
    """Publish what is left, for so many real seconds at most."""
    try:
        async with asyncio.timeout(seconds):
            while await publisher.publish():
                await clock.breathe()
    except (TimeoutError, LogUnavailable, StoreUnavailable):
        return
