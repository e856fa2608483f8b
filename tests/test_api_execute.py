"""POST /failover/execute: the contract's answer, its refusals, and how long a client waits for it."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from daemon.api.documents import FailoverAnswer
from daemon.api.failover import disabled_answer
from daemon.api.waiting import Preference, preference
from machines.model import Rung, Setting
from machines.states import State
from tests.test_api_stage import EXECUTE, TOKEN, Stage, has_shape, settle, stage

PATH = "/api/v1/failover/execute"
SEED: dict[str, Any] = {
    "success": True,
    "failover_id": "fo_abc123",
    "machine_id": 123,
    "strategy_attempted": "both",
    "strategy_succeeded": "warm_pool",
    "new_gpu_id": 789012,
    "new_ssh_host": "ssh5.vast.ai",
    "new_ssh_port": 54321,
    "new_gpu_name": "RTX_4090",
    "warm_pool_attempt_ms": 35000,
    "cpu_standby_attempt_ms": 0,
    "total_ms": 35000,
    "error": None,
}
OF_A_FAILURE = frozenset({"strategy_succeeded", "new_gpu_id", "new_ssh_host", "new_ssh_port", "new_gpu_name"})


async def test_it_answers_when_the_failover_has_ended() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.BOTH)
        waiting = await s.begin()
        assert not waiting.done()
        await s.clock.advance(2)
        await s.lose("warm_pool_not_ready")
        await s.clock.advance(33)
        failover = await s.win()
        await settle()
        answer = (await waiting).json()
        assert waiting.result().status_code == 200
        assert has_shape(SEED, answer) == []
        FailoverAnswer.model_validate(answer)
        assert {name: answer[name] for name in SEED} == {
            **SEED,
            "failover_id": failover,
            "strategy_succeeded": "cpu_standby",
            "warm_pool_attempt_ms": 2000,
            "cpu_standby_attempt_ms": 33000,
        }
        assert answer["warm_pool_error"] == "warm_pool_not_ready"
        assert answer["data_age_seconds"] == 300.0


async def test_a_failover_that_ran_and_failed_is_a_200() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        await s.lose("no_snapshot")
        answer = await waiting
        assert answer.status_code == 200
        body = answer.json()
        assert has_shape(SEED, body, OF_A_FAILURE) == []
        assert (body["success"], body["error"], body["state"]) == (False, "no_snapshot", "failed")
        assert (body["strategy_attempted"], body["strategy_succeeded"]) == ("cpu_standby", None)


async def test_a_disabled_machine_is_a_200_without_a_change() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.DISABLED)
        before = await s.stored()
        answer = await s.http.post(PATH, json=EXECUTE)
        assert answer.status_code == 200
        body = answer.json()
        assert has_shape(SEED, body, OF_A_FAILURE) == []
        FailoverAnswer.model_validate(body)
        assert (body["success"], body["error"]) == (False, "protection_disabled")
        assert body["failover_id"].startswith("fo_refused_")
        assert await s.stored() == before
        forced = await s.begin(force_strategy="cpu_standby")
        await s.win()
        assert (await forced).json()["strategy_attempted"] == "cpu_standby"


async def test_a_disabled_machine_answers_a_repetition_alike() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.DISABLED)
        key = {"Idempotency-Key": "k1"}
        first = await s.http.post(PATH, json=EXECUTE, headers=key)
        await s.clock.advance(60)
        second = await s.http.post(PATH, json=EXECUTE, headers=key)
        other = await s.http.post(PATH, json=EXECUTE)
        assert first.json() == second.json()
        assert first.json()["failover_id"] != other.json()["failover_id"]


async def test_the_refusal_of_a_disabled_machine_has_the_fields_of_every_answer() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        await s.win()
        assert set((await waiting).json()) == set(disabled_answer(123, "n", "d"))


async def test_an_unknown_machine_is_404() -> None:
    async with stage() as s:
        answer = await s.http.post(PATH, json=EXECUTE)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_machine")


async def test_a_running_failover_is_409_with_its_id() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        answer = await s.http.post(PATH, json=EXECUTE)
        running = (await s.stored()).failover
        assert running is not None
        assert (answer.status_code, answer.json()["code"]) == (409, "failover_in_progress")
        assert answer.json()["failover_id"] == running.id
        await s.win()
        assert (await waiting).json()["failover_id"] == running.id


async def test_an_instance_that_is_not_the_primary_is_409() -> None:
    async with stage() as s:
        await s.machine(primary=1)
        answer = await s.http.post(PATH, json=EXECUTE)
        assert (answer.status_code, answer.json()["code"]) == (409, "stale_instance")


BAD_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("machine_id", {"machine_id": "123"}),
    ("machine_id", {"machine_id": 123.0}),
    ("machine_id", {"machine_id": True}),
    ("machine_id", {"machine_id": None}),
    ("machine_id", {"machine_id": -1}),
    ("machine_id", {"machine_id": 1 << 63}),
    ("gpu_instance_id", {"gpu_instance_id": "456789"}),
    ("gpu_instance_id", {"gpu_instance_id": -5}),
    ("ssh_host", {"ssh_host": ""}),
    ("ssh_host", {"ssh_host": 7}),
    ("ssh_host", {"ssh_host": "a b"}),
    ("ssh_host", {"ssh_host": "x" * 256}),
    ("ssh_port", {"ssh_port": 0}),
    ("ssh_port", {"ssh_port": 65536}),
    ("ssh_port", {"ssh_port": "22"}),
    ("ssh_port", {"ssh_port": True}),
    ("workspace_path", {"workspace_path": "workspace"}),
    ("workspace_path", {"workspace_path": None}),
    ("workspace_path", {"workspace_path": "/a\0b"}),
    ("workspace_path", {"workspace_path": "/"}),
    ("workspace_path", {"workspace_path": "//"}),
    ("workspace_path", {"workspace_path": "/workspace/.."}),
    ("workspace_path", {"workspace_path": "/proc/self"}),
    ("force_strategy", {"force_strategy": "disabled"}),
    ("force_strategy", {"force_strategy": "WARM_POOL"}),
    ("force_strategy", {"force_strategy": 1}),
    ("dry_run", {"dry_run": False}),
]


@pytest.mark.parametrize(("name", "change"), BAD_BODIES)
async def test_a_bad_body_is_400_with_its_field(name: str, change: dict[str, Any]) -> None:
    async with stage() as s:
        await s.machine()
        answer = await s.http.post(PATH, json={**EXECUTE, **change})
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
        assert answer.json()["field"] == name
        assert (await s.stored()).failover is None


@pytest.mark.parametrize("name", ["machine_id", "gpu_instance_id", "ssh_host", "ssh_port"])
async def test_a_missing_field_is_400_with_its_name(name: str) -> None:
    async with stage() as s:
        answer = await s.http.post(PATH, json={key: value for key, value in EXECUTE.items() if key != name})
        assert (answer.status_code, answer.json()["field"]) == (400, name)


@pytest.mark.parametrize(
    ("content", "media_type"),
    [
        (b"{", "application/json"),
        (b"[]", "application/json"),
        (b"7", "application/json"),
        (b"", "application/json"),
        (b"\xff\xfe", "application/json"),
        (b'{"machine_id": ' + b"9" * 5000 + b"}", "application/json"),
        (json.dumps(EXECUTE).encode(), "application/x-www-form-urlencoded"),
    ],
)
async def test_what_is_no_json_object_is_400_with_the_body(content: bytes, media_type: str) -> None:
    async with stage() as s:
        answer = await s.http.post(PATH, content=content, headers={"Content-Type": media_type})
        assert (answer.status_code, answer.json()["field"]) == (400, "body")


async def test_every_wrong_field_is_named() -> None:
    async with stage() as s:
        answer = await s.http.post(PATH, json={**EXECUTE, "ssh_port": 0, "machine_id": "x", "more": 1})
        assert {fault["field"] for fault in answer.json()["errors"]} == {"ssh_port", "machine_id", "more"}


async def test_the_defaults_are_the_contracts() -> None:
    async with stage() as s:
        await s.machine(workspace_path="/data")
        body = {key: EXECUTE[key] for key in ("machine_id", "gpu_instance_id", "ssh_host", "ssh_port")}
        waiting = asyncio.create_task(s.http.post(PATH, json=body, headers={"Idempotency-Key": "k"}))
        await settle()
        stored = await s.stored()
        assert stored.failover is not None
        assert stored.failover.ladder == (Rung.CPU_STANDBY,), "no force_strategy is the machine's own"
        assert stored.workspace_path == "/data", "the default says nothing against the registration"
        await s.win()
        assert (await waiting).status_code == 200


async def test_a_workspace_path_that_was_named_is_the_one_that_is_recovered() -> None:
    async with stage() as s:
        await s.machine(workspace_path="/data")
        waiting = asyncio.create_task(s.http.post(PATH, json={**EXECUTE, "workspace_path": "/srv/work"}))
        await settle()
        assert (await s.stored()).workspace_path == "/srv/work"
        await s.win()
        assert (await waiting).status_code == 200


# -- Prefer


def test_prefer_is_read_leniently() -> None:
    assert preference([]) == Preference()
    assert preference(["respond-async"]) == Preference(True)
    assert preference(["respond-async, wait=30"]) == Preference(True, 30)
    assert preference(["WAIT=5; foo", "Respond-Async"]) == Preference(True, 5)
    assert preference(["wait=-1", "wait=soon", "handling=strict"]) == Preference()
    assert preference(["wait=3", "wait=9"]) == Preference(False, 3)


async def test_respond_async_answers_202_at_once() -> None:
    async with stage() as s:
        await s.machine()
        answer = await s.http.post(PATH, json=EXECUTE, headers={"Prefer": "respond-async"})
        running = (await s.stored()).failover
        assert running is not None
        assert answer.status_code == 202
        assert answer.headers["location"] == f"/api/v1/failovers/{running.id}"
        assert answer.headers["preference-applied"] == "respond-async"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json() == {"failover_id": running.id, "machine_id": 123, "state": "running"}


@pytest.mark.parametrize("prefer", ["wait=10", "respond-async, wait=10"])
async def test_wait_watches_so_long_and_no_longer(prefer: str) -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin({"Prefer": prefer})
        for _ in range(9):
            await s.clock.advance(1)
        assert not waiting.done()
        await s.clock.advance(1)
        answer = await waiting
        assert (answer.status_code, answer.headers["preference-applied"]) == (202, prefer)
        assert (await s.stored()).failover is not None


async def test_wait_answers_200_where_it_ended_in_time() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin({"Prefer": "wait=10"})
        await s.clock.advance(3)
        await s.win()
        answer = await waiting
        assert (answer.status_code, answer.json()["success"]) == (200, True)


# -- Idempotency-Key


async def test_the_same_key_and_body_get_the_same_answer() -> None:
    async with stage() as s:
        await s.machine()
        key = {"Idempotency-Key": "k1"}
        waiting = await s.begin(key)
        await s.win()
        first = await waiting
        again = await s.http.post(PATH, json=EXECUTE, headers={"Idempotency-Key": '"k1"'})
        assert (again.status_code, again.json()) == (200, first.json())
        failovers = await s.store.transact(lambda tx: tx.failovers())
        assert len(failovers) == 1


async def test_the_same_key_with_another_body_is_422() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin({"Idempotency-Key": "k1"})
        for change in ({"ssh_port": 1}, {"force_strategy": "both"}, {"gpu_instance_id": 1}):
            answer = await s.http.post(PATH, json={**EXECUTE, **change}, headers={"Idempotency-Key": "k1"})
            assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
        await s.win()
        await waiting


async def test_a_duplicate_in_flight_joins_the_wait() -> None:
    async with stage() as s:
        await s.machine()
        first, second = await s.begin({"Idempotency-Key": "k1"}), await s.begin({"Idempotency-Key": "k1"})
        assert not first.done()
        assert not second.done()
        await s.win()
        assert (await first).json() == (await second).json()


async def test_two_requests_under_one_key_at_one_time_are_one_failover() -> None:
    async with stage(inline=False) as s:
        await s.machine()
        headers = {"Idempotency-Key": "k1", "Prefer": "respond-async"}
        answers = await asyncio.gather(*(s.http.post(PATH, json=EXECUTE, headers=headers) for _ in range(8)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["failover_id"] for answer in answers}) == 1


async def test_a_refusal_is_repeated_under_its_key() -> None:
    async with stage() as s:
        waiting = {"Idempotency-Key": "k1"}
        first = await s.http.post(PATH, json=EXECUTE, headers=waiting)
        await s.machine()
        again = await s.http.post(PATH, json=EXECUTE, headers=waiting)
        assert (first.status_code, again.status_code) == (404, 404)
        assert first.json() == again.json()


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, '""', "ключ".encode()])
async def test_a_key_that_cannot_be_one_is_400(key: str | bytes) -> None:
    async with stage() as s:
        answer = await s.http.post(PATH, json=EXECUTE, headers=[(b"Idempotency-Key", key)])  # type: ignore[list-item]
        assert (answer.status_code, answer.json()["field"]) == (400, "Idempotency-Key")


# -- a client that goes away


async def test_a_client_that_goes_away_cancels_nothing() -> None:
    async with stage() as s:
        await s.machine()
        gone = asyncio.Event()
        sent: list[Any] = []
        asking = asyncio.create_task(_raw(s, gone, sent))
        await settle()
        assert not asking.done()
        gone.set()
        await asking
        machine = await s.stored()
        assert machine.failover is not None
        assert not machine.failover.cancel_asked
        failover = await s.win()
        assert (await s.stored()).state is State.RECOVERED
        told = await s.http.get(f"/api/v1/failovers/{failover}")
        assert told.json()["success"] is True


async def _raw(s: Stage, gone: asyncio.Event, sent: list[Any]) -> None:
    body = [{"type": "http.request", "body": json.dumps(EXECUTE).encode(), "more_body": False}]

    async def receive() -> dict[str, Any]:
        if body:
            return body.pop()
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": PATH,
        "raw_path": PATH.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"authorization", f"Bearer {TOKEN}".encode()), (b"content-type", b"application/json")],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
    }
    await s.app(scope, receive, send)
