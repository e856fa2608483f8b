"""GET /events: every change in order, taken up again after a cut, a restart or at another replica; and what was pruned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from daemon.publisher import KEEP
from events import topics
from tests.test_api_stage import HEADERS, Stage, settle, stage

EVENTS = "/api/v1/events"


@dataclass
class Reader:
    """A client of the stream over bare ASGI: it may stop reading, and leave."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    text: str = ""
    has_ended: bool = False
    takes: asyncio.Event = field(default_factory=asyncio.Event)
    leaves: asyncio.Event = field(default_factory=asyncio.Event)

    def events(self, kind: str | None = None) -> list[dict[str, Any]]:
        return [one for one in parsed(self.text) if kind in (None, one["event"])]

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            return
        await self.takes.wait()
        self.text += message.get("body", b"").decode()
        self.has_ended = not message.get("more_body", False)


def parsed(text: str) -> list[dict[str, Any]]:
    found = []
    for block in text.split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if "data" in lines:
            found.append({"event": lines["event"], "number": int(lines["id"]), **json.loads(lines["data"])})
    return found


@asynccontextmanager
async def reading(
    s: Stage, query: str = "", last: str | None = None, takes: bool = True, token: str | None = None
) -> AsyncIterator[Reader]:
    reader = Reader()
    if takes:
        reader.takes.set()
    sent = HEADERS if token is None else {**HEADERS, "Authorization": f"Bearer {token}"}
    headers = [(name.lower().encode(), value.encode()) for name, value in sent.items()]
    if last is not None:
        headers.append((b"last-event-id", last.encode()))
    scope = {
        "type": "http",
        "method": "GET",
        "path": EVENTS,
        "raw_path": EVENTS.encode(),
        "query_string": query.encode(),
        "headers": headers,
        "http_version": "1.1",
        "scheme": "http",
        "client": ("127.0.0.1", 1),
        "server": ("failoverd", 80),
        "root_path": "",
        "extensions": {},
    }
    begun = False

    async def receive() -> Any:
        nonlocal begun
        if not begun:
            begun = True
            return {"type": "http.request", "body": b"", "more_body": False}
        await reader.leaves.wait()
        return {"type": "http.disconnect"}

    running = asyncio.create_task(s.app(scope, receive, reader.send))
    await settle()
    try:
        yield reader
    finally:
        reader.leaves.set()
        reader.takes.set()
        await asyncio.wait_for(running, 5)


async def looked(s: Stage) -> None:
    """The feed has looked once more."""
    await s.clock.advance(0.4)


async def test_changes_come_as_they_happen_and_in_their_order() -> None:
    async with stage() as s, reading(s) as reader:
        assert (reader.status, reader.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
        assert reader.headers["cache-control"] == "no-store"
        await s.machine()
        waiting = await s.begin()
        await s.win()
        await waiting
        await looked(s)
        told = reader.events()
        assert [one["number"] for one in told] == sorted({one["number"] for one in told})
        whats = [one["data"]["what"] for one in told if one["event"] == "failover.changed"]
        assert (whats[0], whats[-1]) == ("began", "ended")
        states = [one["data"]["state"] for one in told if one["event"] == "machine.changed"]
        assert states[-1] == "recovered"
        assert {one["type"] for one in told} == {
            "io.failoverd.machine.changed.v1",
            "io.failoverd.failover.changed.v1",
        }
        assert all((one["specversion"], one["subject"]) == ("1.0", "123") for one in told)


async def test_who_comes_back_with_the_last_id_misses_nothing_and_gets_nothing_twice() -> None:
    async with stage() as s:
        async with reading(s) as reader:
            await s.machine()
            waiting = await s.begin()
            await looked(s)
            first = reader.events()
        await s.win()
        await waiting
        # Another replica, or this one after a restart: the feed knows nothing.
        assert s.services.events.readers == 0
        async with reading(s, last=str(first[-1]["number"])) as again:
            assert again.events()
            everything = first + again.events()
        async with reading(s, "after=0&follow=false") as whole:
            assert whole.has_ended
            assert [one["number"] for one in whole.events()] == [one["number"] for one in everything]


async def test_one_machine_can_be_followed_alone_and_a_removal_is_told() -> None:
    async with stage() as s, reading(s, "machine_id=7") as reader:
        for number in (7, 8):
            await s.http.put(f"/api/v1/machines/{number}", json={"name": f"m{number}"})
        await s.http.delete("/api/v1/machines/7")
        await looked(s)
        assert [(one["event"], one["data"]["machine_id"]) for one in reader.events()] == [
            ("machine.changed", 7),
            ("machine.removed", 7),
        ]


async def test_a_quiet_stream_is_kept_alive_with_its_last_id() -> None:
    async with stage() as s:
        await s.http.put("/api/v1/machines/7", json={"name": "m7"})
        async with reading(s) as reader:
            begin = reader.text
            await s.clock.advance(16)
            assert ": keep-alive\nid: " in reader.text.removeprefix(begin)
            assert reader.events() == []


async def test_events_that_were_pruned_are_a_reset_and_a_reader_that_has_them_all_gets_none() -> None:
    async with stage() as s:
        for name in ("a", "b", "c"):
            await s.http.put("/api/v1/machines/7", json={"name": name, "auto_failover": "on" if name == "b" else "off"})
        async with reading(s, "after=0&follow=false") as whole:
            ids = [one["number"] for one in whole.events()]
        assert len(ids) == 3
        now = s.clock.now()
        await s.store.transact(lambda tx: tx.mark_sent([n for n, _ in tx.unsent(100)], now))
        await s.clock.advance(KEEP.total_seconds() + 1)
        before = s.clock.now() - KEEP
        assert await s.store.transact(lambda tx: tx.forget_sent(before, topics.EVENTS)) > 0
        async with reading(s, "follow=false", last=str(ids[0])) as late:
            (reset, *rest) = late.events()
            assert (reset["event"], reset["code"], reset["last_event_id"]) == ("reset", "events_lost", str(ids[0]))
            assert "/api/v1/machines" in reset["remedy"]
            assert [one["number"] for one in rest] == ids[-1:]
        async with reading(s, "follow=false", last=str(ids[-1])) as current:
            assert current.events() == []
        async with reading(s, "follow=false", last="999999") as stranger:
            assert stranger.events()[0]["event"] == "reset"


async def test_a_reader_that_takes_nothing_is_dropped_and_others_go_on() -> None:
    async with stage() as s, reading(s, takes=False) as slow, reading(s) as quick:
        await s.http.put("/api/v1/machines/7", json={"name": "m7"})
        await looked(s)
        assert s.services.events.readers == 2
        await s.clock.advance(31)
        assert s.services.events.readers == 1
        assert slow.text == ""
        assert len(quick.events()) == 1


async def test_a_closing_server_ends_every_stream() -> None:
    async with stage() as s, reading(s) as one, reading(s) as other:
        s.app.state.closing.set()
        await settle()
        assert (one.has_ended, other.has_ended) == (True, True)
        last = one.text.split("\n\n")[-2]
        assert "event: closing" in last
        assert '"shutting_down"' in last
        assert "id:" not in last
        assert s.services.events.readers == 0


@pytest.mark.parametrize("is_revoked", [True, False])
async def test_a_stream_ends_soon_after_its_token_does(is_revoked: bool) -> None:
    async with stage() as s:
        body = {"name": "bob", "scope": "read", "expires_in_s": 3600 if is_revoked else 40}
        secret = (await s.http.post("/api/v1/tokens", json=body)).json()["token"]
        async with reading(s, token=secret) as reader, reading(s) as other:
            for _ in range(7):
                await s.clock.advance(5)
            assert (reader.status, reader.has_ended) == (200, False)
            if is_revoked:
                await s.http.delete("/api/v1/tokens/bob")
            for _ in range(10):
                await s.clock.advance(2)
            assert reader.has_ended
            await s.http.put("/api/v1/machines/7", json={"name": "m7"})
            await looked(s)
            assert (reader.events(), len(other.events())) == ([], 1)


async def test_more_readers_than_there_are_places_are_refused() -> None:
    async with stage() as s:
        s.services.events._readers = 200  # All places are taken.
        async with reading(s) as reader:
            assert reader.status == 503
            assert '"too_many_streams"' in reader.text
        s.services.events._readers = 0


async def test_an_id_that_is_none_is_refused_by_its_name() -> None:
    async with stage() as s:
        answer = await s.http.get(EVENTS, params={"follow": "false"}, headers={"Last-Event-ID": "abc"})
        assert (answer.status_code, answer.json()["field"]) == (400, "Last-Event-ID")


async def test_a_store_that_is_away_is_an_outage_and_a_stream_outlives_it() -> None:
    async with stage() as s:
        async with reading(s) as reader:
            await s.store.close()
            await looked(s)
            assert (reader.status, reader.has_ended) == (200, False)
        answer = await s.http.get(EVENTS, params={"follow": "false"})
        assert (answer.status_code, answer.json()["code"]) == (503, "store_unavailable")


async def test_far_more_events_than_are_kept_in_memory_come_all() -> None:
    async with stage() as s:
        await s.http.put("/api/v1/machines/7", json={"name": "m7"})
        one = next(m for _, m in await s.store.transact(lambda tx: tx.unsent(9)) if m.topic == topics.EVENTS)
        async with reading(s) as quick, reading(s, takes=False) as slow:
            await s.store.transact(lambda tx: tx.post([one] * 1500))
            await looked(s)
            slow.takes.set()
            for _ in range(30):
                await settle()
            assert (len(quick.events()), len(slow.events())) == (1500, 1500)
