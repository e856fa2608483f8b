"""What was announced, in order, for those who follow it over HTTP: read from the outbox, so at any replica and after a restart.

An event's number is its place in the outbox. PostgreSQL gives numbers before the commit, so that a lower one may become
visible after a higher one; nothing is handed out before all that could come below it has ended.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import msgspec
import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.outbox_tx import Newest
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.publisher import KEEP
from events import codec, topics
from events.topics import Message
from machines.ports import Clock
from machines.problems import Problem

log = structlog.get_logger(__name__)

MOST_READERS = 200
REMOVED = "machine.removed"
_LOOK_EVERY_REAL_S = 0.3
_SETTLED_AFTER_REAL_S = 15.0
"""No transaction of ours lasts longer; another database's on the same server may, and would hold the events back."""
_KEPT = 1000
_PAGE = 200


@dataclass(frozen=True, slots=True)
class Told:
    """One event as it is shown: a CloudEvent in its JSON form."""

    number: int
    kind: str
    machine: int | None
    document: str


class EventFeed:
    """One look at the outbox serves all readers of this process; without a reader nobody looks."""

    def __init__(self, store: Store, clock: Clock, announcer: Announcer) -> None:
        self._store = store
        self._clock = clock
        self._topic = announcer.prefix + topics.EVENTS
        self._machines = announcer.prefix + topics.MACHINES
        self._source = announcer.source
        self._readers = 0
        self._looking: asyncio.Task[None] | None = None
        self._news = asyncio.Event()
        self._settled: int | None = None
        self._waits_for: tuple[Newest, float] | None = None
        self._floor = 0
        self._recent: deque[Told] = deque(maxlen=_KEPT)

    @property
    def readers(self) -> int:
        return self._readers

    @asynccontextmanager
    async def reader(self) -> AsyncIterator[None]:
        """A place among the readers. Raise Problem where too many read already."""
        if self._readers >= MOST_READERS:
            text = f"{MOST_READERS} clients follow the events of this daemon already"
            raise Problem(503, "too_many_streams", text, "close some, or ask another replica")
        self._readers += 1
        try:
            if self._looking is None:
                self._settled, self._waits_for = None, None
                self._recent.clear()
                self._looking = asyncio.create_task(self._look(), name="event feed")
            yield
        finally:
            self._readers -= 1
            if self._readers == 0 and self._looking is not None:
                self._looking.cancel()
                self._looking = None

    async def beyond(self, number: int) -> int:
        """The number of the last event, as soon as it is higher than this one."""
        while self._settled is None or self._settled <= number:
            await self._news.wait()
        return self._settled

    async def after(self, number: int) -> tuple[list[Told], int]:
        """The next events after this one, and how far they reach. Raise StoreUnavailable."""
        settled = await self.beyond(-1)
        if number >= self._floor:
            told = list(itertools.islice((told for told in self._recent if told.number > number), _PAGE))
        else:
            told = [self._told(place, message) for place, message in await self._page(number, settled)]
        return told, told[-1].number if len(told) == _PAGE else max(number, settled)

    async def gap(self, number: int) -> str | None:
        """Why what came after this number cannot be told without a gap; None where nothing is missing."""
        now = self._clock.now()

        def read(tx: Tx) -> tuple[int, Any]:
            return tx.last_message(), tx.oldest_message_of(self._topic)

        last, oldest = await self._store.transact(read)
        if number > last:
            return f"event {number} was never told here: the last one is {last}"
        if oldest is None or number >= oldest[0] or oldest[1] is None or now - oldest[1] < KEEP:
            return None
        return f"events after {number} were removed: they are kept for {KEEP.total_seconds() / 3600:g} h"

    async def _look(self) -> None:
        while True:
            try:
                await self._advance()
            except StoreUnavailable as error:
                log.debug("events_postponed", because=str(error))
            await self._clock.sleep(self._clock.real(_LOOK_EVERY_REAL_S))

    async def _advance(self) -> None:
        settled = self._settled_by(await self._store.transact(lambda tx: tx.newest_message()))
        if settled is None:
            return
        if self._settled is None:
            self._floor = settled
        else:
            await self._take(self._settled, settled)
        if settled != self._settled:
            self._settled = settled
            self._news.set()
            self._news = asyncio.Event()

    def _settled_by(self, seen: Newest) -> int | None:
        """The number below which nothing can come any more; None where that is not known to have moved."""
        now = self._clock.monotonic()
        if seen.is_settled:
            self._waits_for = None
            return seen.last
        if self._waits_for is None:
            self._waits_for = (seen, now)
            return None
        before, since = self._waits_for
        if seen.oldest_running < before.next_transaction and now - since < self._clock.real(_SETTLED_AFTER_REAL_S):
            return None
        self._waits_for = (seen, now)
        return before.last

    async def _take(self, after: int, settled: int) -> None:
        while after < settled:
            rows = await self._page(after, settled)
            for number, message in rows:
                if len(self._recent) == _KEPT:
                    self._floor = self._recent[0].number
                self._recent.append(self._told(number, message))
            after = rows[-1][0] if len(rows) == _PAGE else settled

    async def _page(self, after: int, up_to: int) -> list[tuple[int, Message]]:
        return await self._store.transact(lambda tx: tx.told_between(self._topic, self._machines, after, up_to, _PAGE))

    def _told(self, number: int, message: Message) -> Told:
        machine = int(message.key) if message.key is not None and message.key.isdigit() else None
        if message.value is None:
            event = {"type": f"io.failoverd.{REMOVED}.v1", "id": f"removed-{number}", "source": self._source}
            return Told(number, REMOVED, machine, _document(event, {"machine_id": machine}, machine))
        names = ("id", "source", "type", "time")
        event = {name: codec.header(message.headers, f"ce_{name}") or "" for name in names}
        kind = event["type"].removeprefix("io.failoverd.").rpartition(".")[0]
        return Told(number, kind, machine, _document(event, msgspec.Raw(message.value), machine))


def _document(event: dict[str, str], told: object, machine: int | None) -> str:
    subject = {} if machine is None else {"subject": str(machine)}
    whole = {"specversion": "1.0", **event, **subject, "datacontenttype": "application/json", "data": told}
    return msgspec.json.encode(whole).decode()
