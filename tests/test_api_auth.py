"""Who is let in, and how a refusal looks: the matrix of tokens and routes, and the shape of problems."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import structlog

from adapters.sql.errors import StoreUnavailable
from daemon.api import beat_token
from daemon.api.auth import API_PREFIX, WEBHOOK_PATH
from daemon.api.problems import ProblemDocument
from machines.errors import LogUnavailable, NotYet, Stale
from tests.test_api_stage import EXECUTE, TOKEN, Stage, stage

GUARDED = [
    ("POST", "/api/v1/failover/execute"),
    ("GET", "/api/v1/failover/readiness/123"),
    ("GET", "/api/v1/failover/status/123"),
    ("POST", "/api/v1/failover/test/123"),
    ("GET", "/api/v1/failover/strategies"),
    ("POST", "/api/v1/failover/regional-volume/create"),
    ("POST", "/api/v1/failover/regional-volume/failover"),
    ("GET", "/api/v1/failover/regional-volume/list"),
    ("GET", "/api/v1/failover/regional-volume/search/123"),
    ("GET", "/api/v1/failover/regional-volume/123"),
    ("DELETE", "/api/v1/failover/regional-volume/123"),
    ("GET", "/api/v1/machines"),
    ("GET", "/api/v1/machines/123"),
    ("PUT", "/api/v1/machines/123"),
    ("DELETE", "/api/v1/machines/123"),
    ("GET", "/api/v1/machines/123/explain"),
    ("GET", "/api/v1/machines/123/active"),
    ("GET", "/api/v1/failovers"),
    ("GET", "/api/v1/failovers/fo_1"),
    ("POST", "/api/v1/failovers/fo_1/cancel"),
    ("POST", "/api/v1/failovers/fo_1/retry"),
    ("POST", "/api/v1/failovers/fo_1/ack"),
    ("GET", "/api/v1/failover/settings"),
    ("PUT", "/api/v1/failover/settings"),
    ("GET", "/api/v1/failover/settings/123"),
    ("PUT", "/api/v1/failover/settings/123"),
    ("DELETE", "/api/v1/failover/settings/123"),
    ("POST", "/api/v1/heartbeats"),
    ("POST", "/api/v1/pause"),
    ("POST", "/api/v1/resume"),
    ("POST", "/api/v1/notify/test"),
    ("GET", "/api/v1/fleet"),
    ("GET", "/api/v1/alerts"),
    ("GET", "/api/v1/debts"),
    ("GET", "/api/v1/orphans"),
    ("GET", "/api/v1/costs"),
    ("GET", "/api/v1/events"),
    ("GET", "/api/v1/audit"),
    ("GET", "/api/v1/report"),
    ("GET", "/api/v1/machines/123/snapshots"),
    ("GET", "/api/v1/machines/123/logs"),
    ("GET", "/api/v1/dead-letters"),
    ("POST", "/api/v1/dead-letters/heartbeats:0:1/replay"),
    ("POST", "/api/v1/tokens"),
    ("GET", "/api/v1/tokens"),
    ("DELETE", "/api/v1/tokens/ana"),
    ("DELETE", "/api/v1/machines/123/beat-token"),
    ("GET", "/api/v1"),
    ("GET", "/api/v1/nothing"),
]
BEAT = {"machine_id": 123, "instance_id": 456789, "boot_id": "b1", "sequence": 1}


def test_a_beat_token_is_derived_from_the_static_one() -> None:
    digest = hmac.new(b"secret", b"beat:123", hashlib.sha256).hexdigest()
    assert beat_token("secret", 123) == "fb_123_" + digest[:40]


@pytest.mark.parametrize(("method", "path"), GUARDED)
async def test_without_a_token_it_is_401(method: str, path: str) -> None:
    async with stage() as s:
        s.http.headers.pop("authorization")
        answer = await s.http.request(method, path, content=b"{")
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer ")
        assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "authorization",
    [
        "Bearer",
        "Bearer ",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN[:-1]}",
        f"Basic {TOKEN}",
        TOKEN,
        "Bearer ümlaut".encode("latin-1"),
        "Bearer " + beat_token("another secret", 123),
        "Bearer " + beat_token(TOKEN, 123)[:-1],
        "Bearer " + beat_token(TOKEN, 123).replace("fb_123", "fb_124"),
        "Bearer " + beat_token(TOKEN, 123).replace("fb_123", "fb_0123"),
    ],
)
async def test_an_unknown_token_is_401(authorization: str | bytes) -> None:
    async with stage() as s:
        s.http.headers.pop("authorization")
        headers: Any = [(b"authorization", authorization)]
        for method, path in (("GET", "/api/v1/machines"), ("POST", "/api/v1/heartbeats")):
            answer = await s.http.request(method, path, json=BEAT, headers=headers)
            assert answer.status_code == 401
            assert 'error="invalid_token"' in answer.headers["www-authenticate"]


async def test_without_a_secret_nobody_is_let_in() -> None:
    async with stage(token="") as s:
        for token in ("", beat_token("", 123)):
            answer = await s.http.post("/api/v1/heartbeats", json=BEAT, headers={"Authorization": f"Bearer {token}"})
            assert answer.status_code == 401


async def test_the_scheme_is_read_in_any_case() -> None:
    async with stage() as s:
        answer = await s.http.get("/api/v1/machines", headers={"Authorization": f"bearer  {TOKEN}"})
        assert answer.status_code == 200


@pytest.mark.parametrize(("method", "path"), [row for row in GUARDED if row[1] != "/api/v1/heartbeats"])
async def test_a_beat_token_may_do_nothing_but_beat(method: str, path: str) -> None:
    async with stage() as s:
        await s.machine()
        headers = {"Authorization": f"Bearer {beat_token(TOKEN, 123)}"}
        answer = await s.http.request(method, path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_a_beat_token_beats_for_its_own_machine_only() -> None:
    async with stage() as s:
        headers = {"Authorization": f"Bearer {beat_token(TOKEN, 123)}"}
        own = await s.http.post("/api/v1/heartbeats", json=BEAT, headers=headers)
        other = await s.http.post("/api/v1/heartbeats", json={**BEAT, "machine_id": 124}, headers=headers)
        got = await s.http.get("/api/v1/heartbeats", headers=headers)
        assert (own.status_code, other.status_code, got.status_code) == (202, 403, 403)


@pytest.mark.parametrize("path", ["/livez", "/readyz", "/healthz", "/openapi.json", "/docs"])
async def test_some_doors_are_open(path: str) -> None:
    async with stage() as s:
        s.http.headers.pop("authorization")
        assert (await s.http.get(path)).status_code == 200


async def test_every_route_under_the_prefix_is_in_the_matrix() -> None:
    async with stage() as s:
        document = (await s.http.get("/openapi.json")).json()
        known = {(method, re.sub(r"/(123|fo_1|ana|heartbeats:0:1)\b", "/{}", path)) for method, path in GUARDED}
        for path, operations in document["paths"].items():
            for method in operations:
                if path.startswith(API_PREFIX) and path != WEBHOOK_PATH:  # Its key is the letter's signature.
                    assert (method.upper(), re.sub(r"\{\w+\}", "{}", path)) in known


# -- problems


async def _unknown_route(s: Stage) -> Any:
    return await s.http.get("/api/v1/nothing")


async def _wrong_method(s: Stage) -> Any:
    return await s.http.delete("/api/v1/pause")


async def _bad_path(s: Stage) -> Any:
    return await s.http.get("/api/v1/machines/abc")


async def _unknown_parameter(s: Stage) -> Any:
    return await s.http.get("/api/v1/alerts?verbose=1")


async def _repeated_parameter(s: Stage) -> Any:
    return await s.http.get("/api/v1/machines?limit=1&limit=2")


async def _too_large(s: Stage) -> Any:
    return await s.http.post("/api/v1/pause", content=b" " * (256 * 1024 + 1))


async def _too_large_in_pieces(s: Stage) -> Any:
    async def pieces() -> Any:
        for _ in range(300):
            yield b" " * 1024

    return await s.http.post("/api/v1/pause", content=pieces())


async def _unknown_machine(s: Stage) -> Any:
    return await s.http.get("/api/v1/machines/5")


PROBLEMS: list[tuple[Callable[[Stage], Any], int, str, str | None]] = [
    (_unknown_route, 404, "unknown_route", None),
    (_wrong_method, 405, "method_not_allowed", None),
    (_bad_path, 400, "invalid_parameter", "machine_id"),
    (_unknown_parameter, 400, "invalid_parameter", "verbose"),
    (_repeated_parameter, 400, "invalid_parameter", "limit"),
    (_too_large, 413, "too_large", "body"),
    (_too_large_in_pieces, 413, "too_large", "body"),
    (_unknown_machine, 404, "unknown_machine", None),
]


@pytest.mark.parametrize(("ask", "status", "code", "name"), PROBLEMS)
async def test_every_refusal_is_a_problem(
    ask: Callable[[Stage], Any], status: int, code: str, name: str | None
) -> None:
    async with stage() as s:
        answer = await ask(s)
        assert answer.headers["content-type"] == "application/problem+json"
        document = ProblemDocument.model_validate(answer.json())
        assert (answer.status_code, document.status, document.code) == (status, status, code)
        assert document.type == f"/errors#{code}"
        assert document.instance == answer.request.url.path
        assert document.remedy
        assert answer.json().get("field") == name


async def test_a_wrong_method_says_which_are_right() -> None:
    async with stage() as s:
        assert (await _wrong_method(s)).headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (StoreUnavailable("the disk is full"), "store_unavailable"),
        (LogUnavailable("no broker"), "log_unavailable"),
        (Stale("changed"), "busy"),
        (NotYet("rate limited", timedelta(seconds=1)), "provider_unavailable"),
    ],
)
async def test_an_outage_is_503_and_never_500(error: Exception, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as s:
        monkeypatch.setattr(s.store, "transact", _raising(error))
        answer = await s.http.post("/api/v1/failover/execute", json=EXECUTE)
        assert (answer.status_code, answer.json()["code"]) == (503, code)
        assert int(answer.headers["retry-after"]) > 0


async def test_a_bug_is_500_without_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as s:
        monkeypatch.setattr(s.store, "transact", _raising(ZeroDivisionError("secret detail")))
        with structlog.testing.capture_logs() as told:  # Unconfigured it would draw every local variable, for a minute.
            answer = await s.http.get("/api/v1/machines/5")
        assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
        assert [line["event"] for line in told] == ["request_crashed"]
        assert "secret" not in answer.text
        assert "Traceback" not in answer.text


def _raising(error: Exception) -> Callable[..., Any]:
    async def transact(work: object) -> None:
        raise error

    return transact


async def test_what_is_no_text_is_refused_wherever_it_stands() -> None:
    """No database keeps it in one, so it must not get that far."""
    async with stage() as s:
        for method, path, body, field in (
            ("POST", "/api/v1/pause", rb'{"minutes": 5, "reason": "a\u0000b"}', "reason"),
            ("PUT", "/api/v1/machines/7", rb'{"env": {"A": "b", "C": "\u0000"}}', "env.C"),
            ("POST", "/api/v1/pause", b'{"minutes": 5, "reason": "a\x00b"}', "body"),
            ("POST", "/api/v1/pause", rb'{"minutes": 5, "reason": "a\ud800b"}', "reason"),
            ("PUT", "/api/v1/machines/7", rb'{"env": {"A": "\udc00\ud800"}}', "env.A"),
            ("PUT", "/api/v1/failover/settings", rb'{"\ud800": 1}', "body"),
            ("POST", "/api/v1/heartbeats", rb'{"machine_id": 1, "boot_id": "\uDFFF"}', "boot_id"),
            ("GET", "/api/v1/failovers/fo%00", b"", "path"),
            ("GET", "/api/v1/failovers?cursor=a%00", b"", "query"),
        ):
            answer = await s.http.request(method, path, content=body, headers={"Content-Type": "application/json"})
            code = "malformed" if field in ("body", "path", "query") else "invalid_parameter"
            assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, code, field), path
        escaped = rb'{"minutes": 5, "reason": "the text \\u0000 is none"}'
        for text in (escaped, rb'{"minutes": 5, "reason": "\ud83d\ude00 and \\ud800"}'):
            answer = await s.http.post("/api/v1/pause", content=text, headers={"Content-Type": "application/json"})
            assert answer.status_code == 200
