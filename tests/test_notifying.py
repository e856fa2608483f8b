"""Channels hear of incidents from the store: durably, once, however the daemon and the channels fare."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from adapters.notify import AppriseChannel, PagerDuty, Ping, Webhook, wrong_url
from daemon.api.services import Check
from daemon.cli_notify import try_channels
from daemon.cli_output import Output
from daemon.client import ApiClient, Door
from daemon.life_sign import LifeSign
from daemon.notifying import Channel, Notifying
from machines.errors import NotYet, Refused
from machines.notifications import Grouping, Level
from machines.ports import Telling
from machines.states import State
from tests.test_api_stage import Stage, StillClock, stage

GROUPING = Grouping(5, timedelta(seconds=60))


class Ear:
    """A channel that hears, or is deaf."""

    def __init__(self, deaf: int = 0) -> None:
        self.deaf, self.heard = deaf, list[Telling]()

    async def tell(self, telling: Telling) -> None:
        if self.deaf:
            self.deaf -= 1
            raise NotYet("it answered 503", timedelta(seconds=30))
        self.heard.append(telling)

    @property
    def said(self) -> list[str]:
        return [("over " if one.is_over else f"{one.level.name.lower()} ") + one.text for one in self.heard]


def notifying(s: Stage, least: Level = Level.WARNING, **ears: Ear) -> Notifying:
    channels = [Channel(name, "webhook", least, ear) for name, ear in ears.items()]
    return Notifying(s.store, s.clock, "fo-abc", channels, GROUPING)


async def raised(s: Stage, key: str, text: str) -> None:
    now = s.clock.now()
    await s.store.transact(lambda tx: tx.raise_alert(key, text, now))


async def resolved(s: Stage, key: str) -> None:
    now = s.clock.now()
    await s.store.transact(lambda tx: tx.resolve_alert(key, now))


async def open_alerts(s: Stage) -> list[str]:
    return await s.store.transact(lambda tx: [alert.key for alert in tx.open_alerts()])


async def test_an_alert_is_told_once_and_its_end_once_also_over_a_restart() -> None:
    ear = Ear()
    async with stage() as s:
        await raised(s, "topic-a", "topic a is wrong")
        await notifying(s, ops=ear).look()
        await notifying(s, ops=ear).look()
        await resolved(s, "topic-a")
        await notifying(s, ops=ear).look()
        await notifying(s, ops=ear).look()
    assert ear.said == ["warning topic a is wrong", "over over: topic a is wrong"]
    assert len({one.ref for one in ear.heard}) == 1
    assert len({one.id for one in ear.heard}) == 2


async def test_a_failover_that_was_asked_for_is_news_only_to_those_who_hear_everything() -> None:
    everything, ops = Ear(), Ear()
    async with stage() as s:
        await s.machine()
        both = [Channel("all", "webhook", Level.INFO, everything), Channel("ops", "webhook", Level.WARNING, ops)]
        telling = Notifying(s.store, s.clock, "fo-abc", both, GROUPING)
        asking = await s.begin()
        await telling.look()
        assert everything.said[0].startswith("info machine-123: failover fo_")
        assert everything.heard[0].ref.startswith("fo_")
        await s.lose("no_offer_matches")
        await asking
        await telling.look()
    assert "ended without a replacement" in everything.said[1]
    assert ops.said == []


async def test_a_machine_that_has_failed_is_critical() -> None:
    pager = Ear()
    async with stage() as s:
        await s.machine(state=State.FAILED)
        await raised(s, "machine-123", "machine-123: every strategy was tried")
        await raised(s, "topic-a", "topic a is wrong")
        await notifying(s, Level.CRITICAL, pager=pager).look()
    assert pager.said == ["critical machine-123: every strategy was tried"]


async def test_a_failover_that_goes_well_ends_with_where_the_machine_serves() -> None:
    ear = Ear()
    async with stage() as s:
        await s.machine()
        telling = notifying(s, Level.INFO, ops=ear)
        asking = await s.begin()
        await telling.look()
        await s.clock.advance(47.0)
        await s.win(new=789012)
        await asking
        await telling.look()
    assert ear.heard[-1].is_over
    assert "serves on instance 789012" in ear.said[-1]
    assert "47 s after the failover began" in ear.said[-1]
    assert ear.heard[0].ref == ear.heard[-1].ref


async def test_a_deaf_channel_holds_up_no_other_and_becomes_an_incident_itself() -> None:
    deaf, ear = Ear(deaf=3), Ear()
    async with stage() as s:
        telling = notifying(s, deaf=deaf, ops=ear)
        await raised(s, "topic-a", "topic a is wrong")
        for _ in range(3):
            await telling.look()
            await s.clock.advance(60.0)
        await telling.look()
        assert ear.said[0] == "warning topic a is wrong"
        assert "channel deaf takes no notifications: it answered 503" in ear.said[1]
        await s.clock.advance(60.0)
        await telling.look()
        await telling.look()
        open_now = await open_alerts(s)
    assert deaf.said == ["warning topic a is wrong"]
    assert open_now == ["topic-a"]
    assert ear.said[-1].startswith("over over: channel deaf")


@pytest.mark.parametrize("left", [(), ("ops",)])
async def test_the_alert_of_a_channel_ends_when_the_channel_is_removed_from_the_configuration(
    left: tuple[str, ...],
) -> None:
    deaf, ear = Ear(deaf=1000), Ear()
    async with stage() as s:
        telling = notifying(s, deaf=deaf, ops=ear)
        await raised(s, "topic-a", "topic a is wrong")
        for _ in range(4):
            await telling.look()
            await s.clock.advance(60.0)
        assert await open_alerts(s) == ["topic-a", "channel-deaf"]
        await notifying(s, **dict.fromkeys(left, ear)).look()
        assert await open_alerts(s) == ["topic-a"]
        await notifying(s, **dict.fromkeys(left, ear)).look()
    assert ear.said[-1].startswith("over over: channel deaf") is bool(left)


async def test_a_channel_that_hangs_is_left_after_a_while() -> None:
    class Hangs:
        async def tell(self, telling: Telling) -> None:
            await asyncio.Event().wait()

    ear = Ear()
    async with stage() as s:
        channels = [Channel("hangs", "webhook", Level.INFO, Hangs()), Channel("ops", "webhook", Level.INFO, ear)]
        telling = Notifying(s.store, s.clock, "fo-abc", channels, GROUPING)
        await raised(s, "a", "a")
        looking = asyncio.create_task(telling.look())
        await s.clock.advance(0.0)
        assert ear.said == ["warning a"]
        assert not looking.done()
        await s.clock.advance(21.0)
        await looking
        rows = await s.store.transact(lambda tx: tx.notifications("hangs", s.clock.now()))
    assert [(one.tries, one.last_error) for one in rows] == [(1, "it did not answer within 20 s")]


async def test_what_was_told_to_a_channel_that_is_no_more_is_forgotten() -> None:
    ear = Ear()
    async with stage() as s:
        await raised(s, "a", "a")
        telling = notifying(s, ops=ear)
        await telling.look()
        telling.use([], GROUPING)
        await telling.look()
        assert await s.store.transact(lambda tx: tx.notifications("ops", s.clock.now() + timedelta(days=1))) == []
        await s.clock.advance(8 * 86400.0)
        await telling.clean()
        assert await s.store.transact(lambda tx: tx.notifications("ops", s.clock.now() - timedelta(days=99))) == []


# -- what goes over the wire


class Wire:
    """An HTTP server as the channels see it."""

    def __init__(self, status: int = 202, headers: dict[str, str] | None = None, text: str = "") -> None:
        self.status, self.headers, self.text = status, headers or {}, text
        self.requests: list[httpx.Request] = []

    @asynccontextmanager
    async def client(self) -> AsyncIterator[httpx.AsyncClient]:
        def answer(request: httpx.Request) -> httpx.Response:
            self.requests.append(request)
            return httpx.Response(self.status, headers=self.headers, text=self.text)

        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            yield client


def telling(is_over: bool = False, level: Level = Level.CRITICAL) -> Telling:
    now = StillClock().now()
    return Telling("fo-abc-1-x", "fo_1", is_over, level, "failoverd: critical", "alpha is ill", now, "fo-abc", ("m",))


async def test_a_webhook_is_signed_as_standard_webhooks_has_it() -> None:
    wire, key = Wire(), b"0123456789abcdef0123456789abcdef"
    secret = "whsec_" + base64.b64encode(key).decode()
    async with wire.client() as client:
        await Webhook(client, "https://h/x", secret, StillClock().now).tell(telling())
    [request] = wire.requests
    number, stamp = request.headers["webhook-id"], request.headers["webhook-timestamp"]
    signed = f"{number}.{stamp}.".encode() + request.content
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    body = json.loads(request.content)
    assert (body["type"], body["data"]["incident"], body["data"]["level"]) == ("incident.opened", "fo_1", "critical")


async def test_pagerduty_is_triggered_and_resolved_under_one_key() -> None:
    wire = Wire()
    async with wire.client() as client:
        pager = PagerDuty(client, "key-of-mine")
        await pager.tell(telling())
        await pager.tell(telling(is_over=True))
    first, last = (json.loads(request.content) for request in wire.requests)
    assert wire.requests[0].url == "https://events.pagerduty.com/v2/enqueue"
    assert (first["event_action"], last["event_action"]) == ("trigger", "resolve")
    assert first["dedup_key"] == last["dedup_key"] == "fo-abc/fo_1"
    assert first["payload"]["severity"] == "critical"
    assert first["payload"]["summary"].startswith("failoverd: critical: alpha is ill")
    assert last["routing_key"] == "key-of-mine"


@pytest.mark.parametrize(("status", "kind"), [(429, NotYet), (503, NotYet), (400, Refused), (404, Refused)])
async def test_what_an_answer_means(status: int, kind: type[Exception]) -> None:
    wire = Wire(status, {"Retry-After": "120"}, "no such hook")
    async with wire.client() as client:
        with pytest.raises(kind, match=str(status)) as error:
            await Webhook(client, "https://h/s3cr3t", "s3cr3t", StillClock().now).tell(telling())
    assert "s3cr3t" not in str(error.value)
    if isinstance(error.value, NotYet):
        assert error.value.delay == timedelta(seconds=120)


async def test_a_server_that_is_away_is_not_yet_and_its_address_is_not_told() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no route to s3cr3t")

    async with httpx.AsyncClient(transport=httpx.MockTransport(refuse)) as client:
        with pytest.raises(NotYet, match="could not be reached") as error:
            await Webhook(client, "https://h/s3cr3t", "x", StillClock().now).tell(telling())
        with pytest.raises(NotYet):
            await Ping(client, "https://h/s3cr3t").beat()
    assert "s3cr3t" not in str(error.value)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the plug-ins, which it loads all at once
async def test_apprise_speaks_to_a_service_by_its_url() -> None:
    """Its JSON service, on a server of ours: the library asks with a client of its own, so that is a real one."""
    heard: list[dict[str, Any]] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        heard.append(json.loads(await reader.readexactly(length)))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        channel = AppriseChannel(f"json://127.0.0.1:{port}/hook")
        await channel.tell(telling())
    assert [(one["title"], one["message"], one["type"]) for one in heard] == [
        ("failoverd: critical", "alpha is ill", "failure")
    ]
    with pytest.raises(NotYet, match="JSON"):
        await channel.tell(telling())
    with pytest.raises(Refused):
        await AppriseChannel("nosuchservice://x").tell(telling())
    assert wrong_url("nosuchservice://x") == "is no URL of a service that Apprise knows"
    assert wrong_url("json://127.0.0.1/x") is None


# -- the sign of life


async def test_a_sign_of_life_is_given_only_while_the_loop_works() -> None:
    wire, well = Wire(200), [True]
    async with wire.client() as client:
        ping = Ping(client, "https://hc.example/uuid")
        sign = LifeSign(ping, lambda: {"loop": Check(well[0], "stuck", vital=True), "log": "x"}, StillClock())
        await sign.give()
        well[0] = False
        await sign.give()
        well[0] = True
        await sign.give()
    assert [str(request.url) for request in wire.requests] == ["https://hc.example/uuid"] * 2


# -- the door


async def test_the_door_tries_each_channel_and_tells_what_came_of_it() -> None:
    path = "/api/v1/notify/test"
    async with stage() as s:
        answer = await s.http.post(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_channel")
        ear = Ear()
        telling = notifying(s, ops=ear, deaf=Ear(deaf=1))
        s.app.state.services = replace(s.services, notifying=telling)
        answer = await s.http.post(path)
        told = {one["channel"]: (one["ok"], one["error"]) for one in answer.json()["channels"]}
        assert (answer.status_code, answer.json()["ok"]) == (200, False)
        assert told == {"ops": (True, None), "deaf": (False, "it answered 503")}
        assert ear.said[0].startswith("info A message for trial")
        answer = await s.http.post(path, json={"channel": "ops"})
        assert (answer.json()["ok"], answer.json()["count"]) == (True, 1)
        answer = await s.http.post(path, json={"channel": "nobody"})
        assert answer.status_code == 404


def test_the_command_says_which_channel_took_it_and_is_6_where_one_did_not(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"channel": "ops", "kind": "apprise", "ok": True, "error": None, "seconds": 0.31},
        {"channel": "pager", "kind": "pagerduty", "ok": False, "error": "it answered 400: no such key", "seconds": 0.1},
    ]

    def answer(request: httpx.Request) -> httpx.Response:
        assert (request.method, request.url.path) == ("POST", "/api/v1/notify/test")
        return httpx.Response(200, json={"ok": False, "channels": rows, "count": 2})

    with ApiClient(Door("http://d", "t"), httpx.MockTransport(answer)) as api:
        assert try_channels(api, None, Output.TABLE) == 6
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        assert lines[1] == ["ops", "apprise", "took", "it", "0.3"]
        assert lines[2][:4] == ["pager", "pagerduty", "FAILED:", "it"]
        assert ["remedy", "mend"] in [line[:2] for line in lines]
        assert try_channels(api, None, Output.JSON) == 6
        assert json.loads(capsys.readouterr().out)["channels"] == rows
