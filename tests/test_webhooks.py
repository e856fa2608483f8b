"""The provider's letters: only genuine and young ones count, each once, and they only make us look."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
from typing import Any

import httpx
import pytest

from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings
from adapters.vast import VastApi, VastSettings, vast_client
from adapters.vast.webhooks import EVENTS, ensure_webhook
from machines.errors import Refused
from machines.states import State
from tests.test_api_stage import BEGIN, WEBHOOK_SECRET, Stage, settle, stage
from tests.test_vast_provider import EvenRandom, VirtualClock, virtual

PATH = "/api/v1/webhooks/vast"
OUTBID = "Your Interruptible Instance #456789 Has Been Outbid"


def event(number: str = "evt-1", kind: str = "outbid", subject: str = OUTBID) -> bytes:
    fields = {"event_id": number, "user_id": 1, "notif_type": kind, "subject": subject, "message": "", "timestamp": 1.5}
    return json.dumps(fields).encode()


def signed(body: bytes, at: float = 0.0, secret: str = WEBHOOK_SECRET) -> dict[str, str]:
    stamp = str(int(BEGIN.timestamp() + at))
    digest = hmac.new(secret.encode(), f"{stamp}.".encode() + body, hashlib.sha256).hexdigest()
    return {"X-Vast-Timestamp": stamp, "X-Vast-Signature-256": f"sha256={digest}"}


async def send(s: Stage, body: bytes, headers: dict[str, str]) -> httpx.Response:
    s.http.headers.pop("authorization", None)
    return await s.http.post(PATH, content=body, headers=headers)


async def test_a_genuine_letter_makes_a_machine_suspect_and_no_more() -> None:
    async with stage() as s:
        await s.machine()
        answer = await send(s, event(), signed(event()))
        assert (answer.status_code, answer.json()["is_new"], answer.json()["instance"]) == (200, True, 456789)
        running = asyncio.create_task(s.loop.run())
        await settle()
        machine = await s.services.machine(123)
        running.cancel()
        assert (machine.state, machine.failover) == (State.DETECTING, None)
        assert "webhook announced an end: outbid" in machine.because


async def test_the_same_letter_counts_once_however_often_it_comes() -> None:
    async with stage() as s:
        await s.machine()
        answers = [(await send(s, event(), signed(event(), at))).json()["is_new"] for at in (0, 1, 60)]
        assert answers == [True, False, False]


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(event(), secret="another"),
        signed(event("evt-2")),
        signed(event(), at=-301),
        signed(event(), at=301),
        {**signed(event()), "X-Vast-Timestamp": "soon"},
        {"X-Vast-Timestamp": signed(event())["X-Vast-Timestamp"]},
    ],
)
async def test_a_letter_that_is_not_genuine_and_young_is_401(headers: dict[str, str]) -> None:
    async with stage() as s:
        await s.machine()
        answer = await send(s, event(), headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert (await s.services.machine(123)).state is State.HEALTHY


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"{}", b'{"event_id": true, "notif_type": "outbid"}'])
async def test_a_genuine_letter_without_sense_is_400(body: bytes) -> None:
    async with stage() as s:
        answer = await send(s, body, signed(body))
        assert (answer.status_code, answer.json()["code"]) == (400, "malformed")


@pytest.mark.parametrize(
    ("kind", "subject"),
    [
        ("instance_started", OUTBID),
        ("near_end_date", OUTBID),
        ("webhook_test", "Webhook test"),
        ("outbid", "an instance was outbid"),
        ("outbid", "Your Interruptible Instance #1 Has Been Outbid"),
    ],
)
async def test_a_letter_about_nothing_of_ours_is_taken_and_changes_nothing(kind: str, subject: str) -> None:
    async with stage() as s:
        await s.machine()
        body = event(kind=kind, subject=subject)
        assert (await send(s, body, signed(body))).status_code == 200
        assert s.loop.is_idle()


def api_of(server: SimServer, clock: VirtualClock) -> VastApi:
    client = vast_client("k", "http://vast.test", transport=httpx.ASGITransport(server.app))
    return VastApi(client, clock, EvenRandom(), VastSettings())


@virtual
async def test_the_webhook_is_made_once_and_a_secret_that_was_lost_is_changed() -> None:
    clock = VirtualClock()
    server = SimServer(SimSettings(has_bodies=False, world=WorldSettings()), clock)
    api, url = api_of(server, clock), "https://failoverd.example/api/v1/webhooks/vast"
    first = await ensure_webhook(api, url, "failoverd fo-1", None)
    again = await ensure_webhook(api, url, "failoverd fo-1", first)
    hooks: Any = server.world.webhooks.hooks
    (hook,) = hooks.values()
    assert (first, hook.secret, hook.event_types) == (again, first, tuple(f"client:{one}" for one in EVENTS))
    changed = await ensure_webhook(api, url, "failoverd fo-1", None)
    assert changed != first
    assert [one.secret for one in hooks.values()] == [changed]


@virtual
async def test_an_account_with_four_webhooks_refuses_a_fifth_in_its_own_words() -> None:
    clock = VirtualClock()
    server = SimServer(SimSettings(has_bodies=False, world=WorldSettings()), clock)
    api = api_of(server, clock)
    for number in range(4):
        await ensure_webhook(api, f"https://failoverd.example/{number}", "failoverd", None)
    with pytest.raises(Refused, match="Maximum of 4 webhooks per user"):
        await ensure_webhook(api, "https://failoverd.example/5", "failoverd", None)
