"""Stored tokens: what each scope may do, on every route there is; how one is taken back; and that no secret is seen twice."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import Any

import pytest
import structlog
from fastapi import APIRouter
from sqlalchemy import select

from adapters.sql.errors import StoreUnavailable
from adapters.sql.tables import METADATA
from daemon.api import beat_token, scopes
from daemon.api.auth import API_PREFIX, WEBHOOK_PATH, Caller
from daemon.tokens import OUTAGE_S, digest_of, keyed
from machines.access import Scope
from machines.model import MachineId
from machines.signals import Silenced
from tests.test_api_stage import EXECUTE, TOKEN, Stage, stage

BEAT = {"machine_id": 123, "instance_id": 456789, "boot_id": "b1", "sequence": 1}
PLACES = {
    "{machine_id}": "123",
    "{failover_id}": "fo_1",
    "{volume_id}": "5",
    "{region}": "US",
    "{name}": "ana",
    "{letter_id}": "1",
}


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def made(s: Stage, name: str = "ana", scope: str = "read", **more: Any) -> str:
    """The secret of a new token."""
    answer = await s.http.post("/api/v1/tokens", json={"name": name, "scope": scope, **more})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["token"])


async def everything(s: Stage) -> dict[str, list[Any]]:
    """Every row of every table, but for when a token was last used."""

    def read(tx: Any) -> dict[str, list[Any]]:
        return {
            table.name: [
                tuple(value for name, value in row._mapping.items() if name != "last_used_at")
                for row in tx._connection.execute(select(table))
            ]
            for table in METADATA.sorted_tables
        }

    return await s.store.transact(read)


async def routes(s: Stage) -> list[tuple[str, str, str]]:
    """Method, template below the prefix, and a path, of all that /openapi.json names."""
    document = (await s.http.get("/openapi.json")).json()
    found = []
    for template, operations in document["paths"].items():
        if not template.startswith(API_PREFIX) or template == WEBHOOK_PATH:
            continue
        path = template
        for place, value in PLACES.items():
            path = path.replace(place, value)
        assert "{" not in path, f"the test does not know what to put into {template}"
        found += [(method.upper(), template.removeprefix(API_PREFIX), path) for method in operations]
    return found


# -- scopes


@pytest.mark.parametrize("scope", [Scope.READ, Scope.OPERATE])
async def test_a_token_changes_nothing_beyond_its_scope_on_any_route(scope: Scope) -> None:
    async with stage() as s:
        await s.machine()
        headers = bearing(await made(s, scope=scope.value))
        await s.http.get("/api/v1/alerts", headers=headers)
        before = await everything(s)
        refused = 0
        for method, template, path in await routes(s):
            needed = scopes.NEEDED[method, template]
            if scope.covers(needed):
                continue
            answer = await s.http.request(method, path, headers=headers, json=EXECUTE)
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), (method, path)
            assert answer.json()["needs"] == needed.value
            assert f'scope="{needed.value}"' in answer.headers["www-authenticate"]
            refused += 1
        assert await everything(s) == before
        assert refused >= (11 if scope is Scope.READ else 4)


async def test_a_reader_changes_nothing_where_it_is_let_in_either() -> None:
    async with stage() as s:
        await s.machine()
        s.outside.make_ready()
        headers = bearing(await made(s))
        before = await everything(s)
        s.app.state.closing.set()  # Or a stream of events would never end.
        for method, template, path in await routes(s):
            if scopes.NEEDED[method, template] is Scope.READ:
                assert method == "GET"
                answer = await s.http.get(path, headers=headers)
                assert answer.status_code not in (401, 403, 429, 500), (path, answer.text)
        assert await everything(s) == before


async def test_each_scope_opens_what_it_is_for() -> None:
    async with stage() as s:
        await s.machine()
        operator, reader = bearing(await made(s, "olga", "operate")), bearing(await made(s))
        assert (await s.http.get("/api/v1/machines", headers=reader)).status_code == 200
        paused = await s.http.post("/api/v1/pause", json={"minutes": 5, "reason": "a test"}, headers=operator)
        assert paused.status_code == 200
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=operator)).status_code == 202
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=reader)).status_code == 403
        chief = bearing(await made(s, "chief", "admin"))
        assert (await s.http.get("/api/v1/tokens", headers=chief)).status_code == 200


async def test_a_path_that_only_the_router_takes_for_a_route_is_closed_too() -> None:
    async with stage() as s:
        reader = bearing(await made(s))
        answer = await s.http.post("/api/v1/resume%0A", headers=reader)
        assert answer.status_code in (403, 404)


async def test_every_route_has_its_scope_and_one_without_keeps_the_daemon_from_starting() -> None:
    async with stage() as s:
        for method, template, _ in await routes(s):
            assert (method, template) in scopes.NEEDED
    stray = APIRouter()

    @stray.post("/machines/{machine_id}/explode")
    async def explode() -> None: ...

    with pytest.raises(LookupError, match="/explode"):
        scopes.check(stray.routes)
    whole = APIRouter()
    whole.include_router(stray)
    with pytest.raises(LookupError):
        scopes.check(whole.routes)


async def test_a_stored_beat_token_speaks_for_one_machine_and_does_nothing_else() -> None:
    async with stage() as s:
        await s.machine()
        headers = bearing(await made(s, "sensor", "beat", machine_id=123))
        own = await s.http.post("/api/v1/heartbeats", json=BEAT, headers=headers)
        other = await s.http.post("/api/v1/heartbeats", json={**BEAT, "machine_id": 124}, headers=headers)
        read = await s.http.get("/api/v1/machines", headers=headers)
        assert (own.status_code, other.status_code, read.status_code) == (202, 403, 403)


# -- making


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"name": "admin", "scope": "read"}, "name"),
        ({"name": "machine-7", "scope": "read"}, "name"),
        ({"name": "Ana", "scope": "read"}, "name"),
        ({"name": "ana", "scope": "root"}, "scope"),
        ({"name": "ana", "scope": "beat"}, "machine_id"),
        ({"name": "ana", "scope": "read", "machine_id": 123}, "machine_id"),
        ({"name": "ana", "scope": "read", "expires_in_s": 0}, "expires_in_s"),
        ({"name": "ana", "scope": "read", "secret": "mine"}, "secret"),
    ],
)
async def test_a_token_that_cannot_be_is_refused_with_its_field(body: dict[str, Any], field: str) -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/tokens", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, field)
        assert (await s.http.get("/api/v1/tokens")).json()["count"] == 0


async def test_a_name_is_taken_until_its_token_is_revoked() -> None:
    async with stage() as s:
        await made(s)
        again = await s.http.post("/api/v1/tokens", json={"name": "ana", "scope": "admin"})
        assert (again.status_code, again.json()["code"]) == (409, "token_exists")
        await s.http.delete("/api/v1/tokens/ana")
        await made(s)
        shown = (await s.http.get("/api/v1/tokens")).json()["tokens"]
        assert [(one["name"], one["state"]) for one in shown] == [("ana", "valid"), ("ana", "revoked")]


async def test_tokens_are_listed_a_page_at_a_time_the_newest_first() -> None:
    async with stage() as s:
        for name in ("ana", "eva", "ida"):
            await made(s, name)
        first = await s.http.get("/api/v1/tokens", params={"limit": 2})
        last = await s.http.get(first.links["next"]["url"])
    assert [one["name"] for one in first.json()["tokens"]] == ["ida", "eva"]
    assert [one["name"] for one in last.json()["tokens"]] == ["ana"]
    assert (last.json()["next_cursor"], "next" in last.links) == (None, False)


async def test_an_expired_token_keeps_neither_its_name_nor_a_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.tokens._MOST", 2)
    async with stage() as s:
        for name in ("ana", "eva"):
            await made(s, name, expires_in_s=60)
        full = await s.http.post("/api/v1/tokens", json={"name": "ida", "scope": "read"})
        assert (full.status_code, full.json()["code"]) == (409, "too_many_tokens")
        await s.clock.advance(60)
        await made(s, "ida")
        secret = await made(s, "ana")
        assert (await s.http.get("/api/v1/machines", headers=bearing(secret))).status_code == 200
        shown = (await s.http.get("/api/v1/tokens")).json()["tokens"]
        assert [one["state"] for one in shown if one["name"] == "ana"] == ["valid", "revoked"]


async def test_a_beat_token_is_of_a_machine_that_is_known() -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/tokens", json={"name": "sensor", "scope": "beat", "machine_id": 9})
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_machine")


# -- taking back


async def test_revoked_expired_and_unknown_tokens_get_the_same_401() -> None:
    async with stage() as s:
        revoked, expired = await made(s), await made(s, "eva", expires_in_s=60)
        for secret in (revoked, expired):
            assert (await s.http.get("/api/v1/machines", headers=bearing(secret))).status_code == 200
        assert (await s.http.delete("/api/v1/tokens/ana")).json() == {"name": "ana", "revoked": True}
        await s.clock.advance(60)
        answers = [
            await s.http.get("/api/v1/machines", headers=bearing(secret)) for secret in (revoked, expired, "ft_x", "y")
        ]
        assert {answer.status_code for answer in answers} == {401}
        assert len({answer.text for answer in answers}) == 1
        assert {answer.headers["www-authenticate"] for answer in answers} == {
            'Bearer realm="failoverd", error="invalid_token"'
        }


async def test_what_is_not_there_cannot_be_revoked() -> None:
    async with stage() as s:
        assert (await s.http.delete("/api/v1/tokens/nobody")).status_code == 404
        await made(s)
        await s.http.delete("/api/v1/tokens/ana")
        assert (await s.http.delete("/api/v1/tokens/ana")).status_code == 404


async def test_what_another_replica_revokes_is_closed_within_a_second() -> None:
    async with stage() as s:
        headers = bearing(await made(s))
        assert (await s.http.get("/api/v1/machines", headers=headers)).status_code == 200
        await s.store.transact(lambda tx: tx.revoke_token("ana", "elsewhere", s.clock.now()))
        await s.clock.advance(1.1)
        assert (await s.http.get("/api/v1/machines", headers=headers)).status_code == 401


async def test_a_machine_s_own_beat_token_is_revoked_for_good() -> None:
    async with stage() as s:
        await s.machine()
        first = beat_token(TOKEN, 123)
        answer = await s.http.delete("/api/v1/machines/123/beat-token")
        second = answer.json()["beat_token"]
        assert answer.headers["cache-control"] == "no-store"
        for token, status in ((first, 401), (second, 202)):
            assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=bearing(token))).status_code == status
        await s.http.delete("/api/v1/machines/123")
        again = await s.http.put("/api/v1/machines/123", json={"name": "anew"})
        assert again.json()["beat_token"] == second
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=bearing(first))).status_code == 401


async def test_a_machine_whose_beat_token_was_revoked_is_not_judged_by_its_silence() -> None:
    async with stage() as s:
        await s.machine()
        await s.http.delete("/api/v1/machines/123/beat-token")
        await s.loop.apply(MachineId(123), Silenced(31.0, 30.0))
        machine = await s.stored()
        assert "its beat token was revoked" in machine.because
        assert machine.look_at is not None
        assert machine.look_at - s.clock.now() > timedelta(minutes=29)
        alerts = await s.store.transact(lambda tx: tx.incidents())
        assert any("give the agent its next token" in one.text for one in alerts)


async def test_a_beat_token_is_not_revoked_while_a_replacement_may_be_getting_it() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        answer = await s.http.delete("/api/v1/machines/123/beat-token")
        assert (answer.status_code, answer.json()["code"]) == (409, "failover_in_progress")
        await s.win()
        await waiting
        assert (await s.http.delete("/api/v1/machines/123/beat-token")).status_code == 200
        assert (await s.http.delete("/api/v1/machines/9/beat-token")).status_code == 404


async def test_a_stranger_s_beat_token_asks_the_store_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as s:
        monkeypatch.setattr(s.store, "transact", _away)
        forged = beat_token("another secret", 77)
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=bearing(forged))).status_code == 401


# -- the store is out


async def _away(work: object) -> None:
    raise StoreUnavailable("gone")


async def test_in_an_outage_a_known_token_stays_for_a_while_and_nobody_is_called_unknown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with stage() as s:
        headers = bearing(await made(s, scope="operate"))
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=headers)).status_code == 202
        monkeypatch.setattr(s.store, "transact", _away)
        await s.clock.advance(10)
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=headers)).status_code == 202
        stranger = await s.http.post("/api/v1/heartbeats", json=BEAT, headers=bearing("ft_new"))
        assert (stranger.status_code, stranger.json()["code"]) == (503, "store_unavailable")
        await s.clock.advance(OUTAGE_S)
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=headers)).status_code == 503
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT)).status_code == 202, "the static one needs no store"


# -- secrets


async def test_no_secret_is_in_the_store_in_a_log_line_or_in_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with stage() as s:
        await s.machine()
        with structlog.testing.capture_logs() as told:
            secret = await made(s, scope="operate", reason="for the night shift")
            beats, answers = beat_token(TOKEN, 123), []
            for token in (secret, beats, TOKEN):
                for method, path in (
                    ("GET", "/api/v1/tokens"),
                    ("GET", "/api/v1/audit"),
                    ("GET", "/api/v1/nothing"),
                    ("POST", "/api/v1/pause"),
                    ("PUT", "/api/v1/machines/abc"),
                ):
                    answers.append(await s.http.request(method, path, headers=bearing(token)))
            answers.append(await s.http.post("/api/v1/pause", json={"minutes": 1, "reason": "x"}))
            answers.append(await s.http.delete("/api/v1/tokens/ana"))
            answers.append(await s.http.get("/api/v1/machines", headers=bearing(secret)))
        seen = [answer.text for answer in answers] + [str(answer.headers) for answer in answers]
        seen += [str(line) for line in told] + [caplog.text, repr(await everything(s)), repr(s.services)]
        for token in (secret, beats, TOKEN):
            assert not [text for text in seen if token in text]
        assert digest_of(secret) in repr(await everything(s))


async def test_when_a_token_was_used_is_noted_now_and_then() -> None:
    async with stage() as s:
        headers = bearing(await made(s))
        for _ in range(3):
            await s.http.get("/api/v1/alerts", headers=headers)
            await s.clock.advance(2)
        (shown,) = (await s.http.get("/api/v1/tokens")).json()["tokens"]
        assert shown["last_used_at"] is not None
        await s.clock.advance(timedelta(minutes=6).total_seconds())
        await s.http.get("/api/v1/alerts", headers=headers)
        await s.clock.advance(2)
        await s.http.get("/api/v1/alerts", headers=headers)
        (later,) = (await s.http.get("/api/v1/tokens")).json()["tokens"]
        assert later["last_used_at"] > shown["last_used_at"]


async def test_the_generation_of_a_machine_is_known_to_every_replica() -> None:
    async with stage() as s:
        machine = await s.machine()
        await s.store.transact(lambda tx: tx.revoke_beats(machine))
        assert await s.store.transact(lambda tx: tx.beat_generation(MachineId(123))) == 1
        assert (await s.stored()).beat_generation == 1


# -- a request that is repeated


async def test_a_repeated_request_has_the_same_token_and_another_one_under_its_key_is_refused() -> None:
    async with stage() as s:
        headers = {"Idempotency-Key": "k-1"}
        body = {"name": "ana", "scope": "read", "expires_in_s": 3600}
        first = await s.http.post("/api/v1/tokens", json=body, headers=headers)
        await s.clock.advance(60)
        again = await s.http.post("/api/v1/tokens", json=body, headers=headers)
        assert (first.status_code, again.status_code) == (201, 201)
        assert again.json() == first.json()
        bearer = bearing(first.json()["token"])
        assert (await s.http.get("/api/v1/machines", headers=bearer)).status_code == 200
        for other in ({**body, "scope": "admin"}, {**body, "name": "eve"}, {"name": "ana", "scope": "read"}):
            refused = await s.http.post("/api/v1/tokens", json=other, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (422, "idempotency_key_reused")
        unlike = await s.http.post("/api/v1/tokens", json={**body, "name": "eve"}, headers={"Idempotency-Key": "k-2"})
        assert unlike.json()["token"] != first.json()["token"]
        await s.http.delete("/api/v1/tokens/ana")
        gone = await s.http.post("/api/v1/tokens", json=body, headers=headers)
        assert (gone.status_code, gone.json()["code"]) == (409, "token_exists")
        assert "revoked" in gone.json()["detail"]


async def test_without_a_secret_of_its_own_a_deployment_makes_no_token_that_follows_from_a_key() -> None:
    async with stage(token="") as s:
        audit = Caller("root").did("create_token", s.clock.now(), subject="root")
        _, root = await s.services.tokens.create("root", Scope.ADMIN, None, None, audit)
        answer = await s.http.post(
            "/api/v1/tokens",
            json={"name": "ana", "scope": "read"},
            headers={**bearing(root), "Idempotency-Key": "k-1"},
        )
        assert answer.status_code == 201
        assert answer.json()["token"] != keyed("", "k-1")
