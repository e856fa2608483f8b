"""GET /events: every change as it happens, as server-sent events that can be taken up again where they were cut.

The reader pulls: what it has not taken yet stays in the store, so a slow one costs nothing and is dropped after a while.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any

import orjson
import structlog
from fastapi import APIRouter, Header, Query, Request
from fastapi.sse import format_sse_event
from pydantic import Field
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from adapters.sql.errors import StoreUnavailable
from daemon.api.auth import API_PREFIX, Known
from daemon.api.parameters import MOST, Flag, StrictQuery, Whole
from daemon.api.services import Services, Wired
from daemon.event_feed import EventFeed, Told
from machines.ports import Clock
from machines.problems import invalid

log = structlog.get_logger(__name__)

router = APIRouter(tags=["events"])

_KEEP_ALIVE_REAL_S = 15.0
_SLOWEST_REAL_S = 30.0
"""A reader that takes nothing for so long is dropped; it may come back with the last id that it has."""
_LAST_WORD_REAL_S = 1.0
"""So long a reader may take to hear that the daemon stops; nobody keeps it from that."""
_RETRY_MS = 2000
Ends = tuple[asyncio.Task[Any], ...]
"""Done when the client has left, or the server closes."""


class EventsQuery(StrictQuery):
    machine_id: Annotated[int, Field(ge=0, le=MOST), Whole] | None = None
    after: Annotated[int, Field(ge=0, le=MOST), Whole] | None = None
    """Begin after this event; 0 is with the oldest that is kept. Without it: with the next one that happens."""
    follow: Flag = True
    """False ends the answer with the last event so far."""


_EVENT: dict[str, Any] = {
    "type": "object",
    "properties": {
        "event": {"enum": ["machine.changed", "machine.removed", "failover.changed", "reset", "closing"]},
        "data": {
            "type": "string",
            "description": "A CloudEvent as JSON; of `reset` and `closing` a code and a remedy.",
        },
        "id": {"type": "string"},
        "retry": {"type": "integer"},
    },
}
"""Of one event; the answer is many of them, one after the other."""
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Events `machine.changed`, `machine.removed` and `failover.changed`, each with a CloudEvent as its data; "
        "`reset` where events are missing: read machines and failovers anew; `closing` as the last one where the daemon stops.",
        "content": {"text/event-stream": {"schema": _EVENT}},
    }
}


@router.get("/events", responses=_STREAM, response_class=Response)
async def events(
    query: Annotated[EventsQuery, Query()],
    request: Request,
    services: Wired,
    _: Known,
    last_event_id: Annotated[
        str,
        Header(
            description="The last event that the client has; goes before `after`.",
            json_schema_extra={"pattern": "^[0-9]{0,18}$"},
        ),
    ] = "",
) -> Response:
    """Every change of a machine and of a failover. The connection stays open; a client that comes back with Last-Event-ID
    misses nothing that happened within the last hour."""
    after = _number(last_event_id) if last_event_id.strip() else query.after
    await services.events.gap(after or 0)  # A store that is away is told as such, before anything else is.
    return EventStream(services, query, after, request.app.state.closing, request.state.is_still_known)


def _number(given: str) -> int:
    text = given.strip()
    if not (text.isascii() and text.isdigit() and len(text) < 19):
        raise invalid("Last-Event-ID", given, "the id of an event of this stream, a whole number")
    return int(text)


class EventStream(Response):
    """Writes events until the client leaves, the server closes, its token is revoked or expires, or it takes nothing any more."""

    media_type = "text/event-stream"

    def __init__(
        self,
        services: Services,
        query: EventsQuery,
        after: int | None,
        closing: asyncio.Event,
        is_still_known: Callable[[], Awaitable[bool]],
    ) -> None:
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(headers=headers)
        del self.headers["content-length"]
        self._feed: EventFeed = services.events
        self._clock: Clock = services.clock
        self._query = query
        self._after = after
        self._closing = closing
        self._is_still_known = is_still_known
        self._asked_at = self._clock.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._feed.reader():
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            ends = (asyncio.create_task(_gone(receive)), asyncio.create_task(self._closing.wait()))
            try:
                async with aclosing(self._chunks(ends)) as chunks:
                    async for chunk in chunks:
                        if not await self._is_let_in():
                            break
                        await self._sent(send, chunk)
                if self._closing.is_set():
                    await self._sent(send, _CLOSING)
                if not ends[0].done():
                    await self._sent(send, b"", more=False)
            except TimeoutError:
                log.info("event_reader_dropped", path=f"{API_PREFIX}/events", because="it takes nothing")
            finally:
                await _stopped(*ends)

    async def _is_let_in(self) -> bool:
        """Asked again as often as a quiet stream is kept alive."""
        now = self._clock.monotonic()
        if now - self._asked_at < self._clock.real(_KEEP_ALIVE_REAL_S):
            return True
        self._asked_at = now
        return await self._is_still_known()

    async def _sent(self, send: Send, chunk: bytes, more: bool = True) -> None:
        sending = asyncio.ensure_future(send({"type": "http.response.body", "body": chunk, "more_body": more}))
        patience_s = _LAST_WORD_REAL_S if self._closing.is_set() else _SLOWEST_REAL_S
        await self._clock.wait_for(sending, self._clock.real(patience_s))

    async def _chunks(self, ends: Ends) -> AsyncGenerator[bytes, None]:
        while not await self._news(-1, ends):
            yield format_sse_event(comment="keep-alive")
        if any(task.done() for task in ends):
            return
        try:
            cursor, gap = await self._feed.beyond(-1), None
            if self._after is not None:
                cursor, gap = self._after, await self._feed.gap(self._after)
            yield format_sse_event(comment="events of failoverd", retry=_RETRY_MS, id=str(cursor))
            if gap is not None:
                yield _reset(cursor, gap)
            async for chunk in self._told_from(0 if gap is not None else cursor, ends):
                yield chunk
        except StoreUnavailable as error:
            yield format_sse_event(comment=f"the store is away: {error}")

    async def _told_from(self, cursor: int, ends: Ends) -> AsyncIterator[bytes]:
        wanted = self._query.machine_id
        while not any(task.done() for task in ends):
            told, reached = await self._feed.after(cursor)
            chosen = [event for event in told if wanted in (None, event.machine)]
            if chosen:
                yield b"".join(map(_line, chosen))
            if reached > cursor:
                cursor = reached
                continue
            if not self._query.follow:
                return
            if not await self._news(cursor, ends):
                yield format_sse_event(comment="keep-alive", id=str(cursor))

    async def _news(self, cursor: int, ends: Ends) -> bool:
        """Wait until something may be told, or an end has come; False after a while in which nothing happened."""
        news = asyncio.create_task(self._feed.beyond(cursor))
        quiet = asyncio.create_task(self._clock.sleep(self._clock.real(_KEEP_ALIVE_REAL_S)))
        try:
            await asyncio.wait((news, quiet, *ends), return_when=asyncio.FIRST_COMPLETED)
            return news.done() or any(task.done() for task in ends)
        finally:
            await _stopped(news, quiet)


def _line(event: Told) -> bytes:
    return format_sse_event(event=event.kind, data_str=event.document, id=str(event.number))


def _reset(after: int, gap: str) -> bytes:
    told = {
        "code": "events_lost",
        "detail": gap,
        "remedy": f"read {API_PREFIX}/machines and {API_PREFIX}/failovers anew",
        "last_event_id": str(after),
    }
    return format_sse_event(event="reset", data_str=orjson.dumps(told).decode(), id="0")


_CLOSING = format_sse_event(
    event="closing",
    data_str=orjson.dumps({"code": "shutting_down", "detail": "the daemon stops", "remedy": "connect again"}).decode(),
    retry=_RETRY_MS,
)
"""Without an id: who connects again goes on behind the last event that it has."""


async def _stopped(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue
