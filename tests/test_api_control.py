"""Heartbeats, pause, alerts, debts and health over HTTP, and what /openapi.json promises."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.api import Check
from events import codec, topics
from events.schema import Heartbeat, Notice
from machines.model import Debt, DebtKind, InstanceId, MachineId
from machines.ports import Record
from tests.test_api_stage import BEGIN, Stage, stage

BEAT: dict[str, Any] = {"machine_id": 123, "instance_id": 456789, "boot_id": "b1", "sequence": 7, "interval_s": 2.5}


def appended(s: Stage) -> list[Record]:
    return [record for stretch in s.log.stretches(topics.HEARTBEATS) for record in stretch.read(0, 100)]


@pytest.mark.parametrize("kind", [{}, {"kind": "heartbeat"}])
async def test_a_heartbeat_goes_to_the_log_under_its_machines_key(kind: dict[str, str]) -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/heartbeats", json={**BEAT, **kind})
        assert answer.status_code == 202
        (record,) = appended(s)
        assert record.key == b"123"
        assert codec.decode_from_machine(record.value) == Heartbeat(123, 456789, "b1", 7, 2.5)
        assert codec.header(record.headers, "ce_type") == "io.failoverd.machine.heartbeat.v1"


async def test_a_notice_goes_the_same_way() -> None:
    async with stage() as s:
        body = {"kind": "notice", "machine_id": 1, "instance_id": 2, "boot_id": "b", "what": "preemption"}
        assert (await s.http.post("/api/v1/heartbeats", json=body)).status_code == 202
        (record,) = appended(s)
        assert codec.decode_from_machine(record.value) == Notice(1, 2, "b", "preemption")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("body", b""),
        ("body", b"{"),
        ("body", b"[]"),
        ("machine_id", b'{"instance_id": 1, "boot_id": "b", "sequence": 1}'),
        ("machine_id", b'{"machine_id": "1", "instance_id": 1, "boot_id": "b", "sequence": 1}'),
        ("sequence", b'{"machine_id": 1, "instance_id": 1, "boot_id": "b", "sequence": true}'),
        ("what", b'{"kind": "notice", "machine_id": 1, "instance_id": 1, "boot_id": "b"}'),
        ("kind", b'{"kind": "word", "machine_id": 1, "instance_id": 1, "boot_id": "b"}'),
    ],
)
async def test_what_is_no_heartbeat_is_400(name: str, content: bytes) -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/heartbeats", content=content)
        assert (answer.status_code, answer.json()["field"]) == (400, name)
        assert appended(s) == []


async def test_a_heartbeat_out_of_range_is_400() -> None:
    async with stage() as s:
        for change in ({"interval_s": 0.0}, {"sequence": -1}, {"machine_id": -1}):
            answer = await s.http.post("/api/v1/heartbeats", json={**BEAT, **change})
            assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


async def test_a_heartbeat_that_is_too_large_is_413() -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/heartbeats", json={**BEAT, "gpu": "x" * 70_000})
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


async def test_a_log_that_is_away_is_503() -> None:
    async with stage() as s:
        await s.log.stop()
        answer = await s.http.post("/api/v1/heartbeats", json=BEAT)
        assert (answer.status_code, answer.json()["code"]) == (503, "log_unavailable")
        await s.log.start()


# -- pause and resume


async def test_pause_and_resume() -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/pause", json={"minutes": 30, "reason": "maintenance"})
        assert (answer.status_code, answer.json()) == (200, {"paused_until": "2026-11-23T12:30:00+00:00"})
        paused = await s.store.transact(lambda tx: tx.pause())
        assert paused is not None
        assert (paused.reason, paused.by) == ("maintenance", "admin")
        assert (await s.http.post("/api/v1/resume")).json() == {"paused_until": None}
        assert await s.store.transact(lambda tx: tx.pause()) is None
        assert (await s.http.post("/api/v1/resume", json={"reason": "done"})).status_code == 200


async def test_a_pause_is_repeated_under_its_key() -> None:
    async with stage() as s:
        body, key = {"minutes": 30, "reason": "maintenance"}, {"Idempotency-Key": "p1"}
        first = await s.http.post("/api/v1/pause", json=body, headers=key)
        await s.clock.advance(600)
        assert (await s.http.post("/api/v1/pause", json=body, headers=key)).json() == first.json()
        other = await s.http.post("/api/v1/pause", json={**body, "minutes": 5}, headers=key)
        assert other.status_code == 422


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("minutes", {"reason": "r"}),
        ("minutes", {"minutes": "5", "reason": "r"}),
        ("minutes", {"minutes": True, "reason": "r"}),
        ("minutes", {"minutes": 0, "reason": "r"}),
        ("minutes", {"minutes": 10081, "reason": "r"}),
        ("reason", {"minutes": 5}),
        ("reason", {"minutes": 5, "reason": ""}),
        ("until", {"minutes": 5, "reason": "r", "until": "x"}),
    ],
)
async def test_a_bad_pause_is_400(name: str, body: dict[str, Any]) -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/pause", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, name)
        assert await s.store.transact(lambda tx: tx.pause()) is None


# -- lamps


async def test_that_the_store_fails_is_an_alert_though_nobody_can_store_it() -> None:
    checks = {"store": Check(False, "the database is not available: full", for_s=30.0)}
    async with stage(health=lambda: checks) as s:
        await s.store.transact(lambda tx: tx.raise_alert("machine-1", "it is silent", BEGIN))
        await s.clock.advance(60)
        told = (await s.http.get("/api/v1/alerts")).json()
        assert [(row["key"], row["age_seconds"]) for row in told["alerts"]] == [
            ("machine-1", 60.0),
            ("store-unavailable", 30.0),
        ]
        assert "incomplete" not in told
        assert (await s.http.get("/readyz")).status_code == 503
        s.store._is_closed = True
        answer = await s.http.get("/api/v1/alerts")
        assert answer.status_code == 200
        assert [row["key"] for row in answer.json()["alerts"]] == ["store-unavailable"]
        assert "cannot be read" in answer.json()["incomplete"]
        s.store._is_closed = False


async def test_alerts_and_debts_are_listed() -> None:
    async with stage() as s:
        await s.store.transact(lambda tx: tx.raise_alert("machine-1", "it is silent", BEGIN))
        debt = Debt(DebtKind.DESTROY_INSTANCE, MachineId(1), None, InstanceId(5), None, None, "replaced")
        await s.store.transact(lambda tx: tx.add_debts([debt]))
        alerts = (await s.http.get("/api/v1/alerts")).json()
        assert (alerts["count"], alerts["alerts"][0]["text"]) == (1, "it is silent")
        assert alerts["alerts"][0]["age_seconds"] == 0.0
        debts = (await s.http.get("/api/v1/debts")).json()
        assert (debts["count"], debts["debts"][0]["kind"]) == (1, "destroy_instance")
        assert debts["debts"][0]["gpu_instance_id"] == 5


async def test_health_says_what_is_wrong_to_those_who_ask() -> None:
    checks: dict[str, Check | str] = {"broker": Check(False, "no broker answers", for_s=7.0), "log": "kafka"}
    async with stage(health=lambda: checks) as s:
        assert (await s.http.get("/livez")).json() == {"status": "ok", "version": "0.1.0"}
        ready = await s.http.get("/readyz")
        assert (ready.status_code, ready.json()) == (503, {"status": "failing", "version": "0.1.0"})
        told = (await s.http.get("/readyz?verbose")).json()["checks"]
        assert told["broker"] == {"ok": False, "detail": "no broker answers", "for_seconds": 7.0}
        assert told["log"] == {"ok": True, "detail": "kafka"}
        assert told["store"]["ok"] is True
        checks["loop"] = Check(False, "the control loop stands still", vital=True)
        assert (await s.http.get("/livez?verbose")).status_code == 503


async def test_a_store_that_is_away_makes_it_unready_and_not_dead() -> None:
    async with stage() as s:
        await s.store.close()
        assert (await s.http.get("/readyz")).status_code == 503
        assert (await s.http.get("/livez")).status_code == 200


# -- what is promised


async def test_openapi_promises_problems_and_no_422_of_the_framework() -> None:
    async with stage() as s:
        document = (await s.http.get("/openapi.json")).json()
        assert "HTTPValidationError" not in str(document)
        problem = document["components"]["schemas"]["Problem"]
        assert {"type", "title", "status", "detail", "instance", "code", "remedy"} <= set(problem["required"])
        for path, operations in document["paths"].items():
            for operation in operations.values():
                assert "422" not in operation["responses"]
                assert "application/problem+json" in operation["responses"]["default"]["content"]
                assert ("security" in operation) is path.startswith(("/api/v1", "/metrics"))


async def test_every_reference_of_openapi_is_resolved() -> None:
    async with stage() as s:
        document = (await s.http.get("/openapi.json")).json()
        for reference in _references(document):
            place = document
            for part in reference.removeprefix("#/").split("/"):
                place = place[part]


def _references(node: Any) -> list[str]:
    if isinstance(node, dict):
        here = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
        return here + [found for value in node.values() for found in _references(value)]
    return [found for value in node for found in _references(value)] if isinstance(node, list) else []


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
async def test_no_page_loads_a_cdn(path: str) -> None:
    async with stage() as s:
        assert (await s.http.get(path)).status_code == 404
