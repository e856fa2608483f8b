"""Readiness, status, test and strategies: the seed's answers word for word, and what a dry run says and leaves alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from daemon.api.documents import DryRunAnswer, ReadinessAnswer, StatusAnswer, StrategiesAnswer
from daemon.api.strategies import ENGLISH, wants_english
from machines.errors import StepError, Unknown
from machines.model import Listing, MachineId, Reason, Setting, Snapshot
from tests.test_api_stage import BEGIN, has_shape, settle, stage

READINESS: dict[str, Any] = {
    "machine_id": 123,
    "effective_strategy": "both",
    "warm_pool_ready": True,
    "warm_pool_status": {"state": "active", "standby_gpu_id": 789},
    "cpu_standby_ready": True,
    "cpu_standby_status": {"association_exists": True, "cpu_vm_running": True},
    "overall_ready": True,
}
STATUS: dict[str, Any] = {
    "machine_id": 123,
    "effective_strategy": "both",
    "warm_pool": {"enabled": True, "state": "active"},
    "cpu_standby": {"enabled": True, "gcp_zone": "europe-west1-b"},
    "recommended_action": None,
}
DRY_RUN: dict[str, Any] = {
    "dry_run": True,
    "would_succeed": True,
    "readiness": {"warm_pool_ready": True, "cpu_standby_ready": True},
    "message": "Use dry_run=False para executar o failover real",
}
STRATEGIES = [
    {
        "id": "warm_pool",
        "name": "GPU Warm Pool",
        "description": "Failover rápido (~30-60s) usando GPU standby no mesmo host",
        "recovery_time": "30-60 segundos",
        "cost": "Apenas armazenamento quando standby está parado",
        "requirements": ["Host com múltiplas GPUs", "Volume compartilhado VAST.ai"],
    },
    {
        "id": "cpu_standby",
        "name": "CPU Standby + Snapshot",
        "description": "Failover via snapshot e nova GPU (~10-20min)",
        "recovery_time": "10-20 minutos",
        "cost": "CPU standby no GCP + armazenamento de snapshots",
        "requirements": ["Credenciais GCP", "Bucket B2/S3 para snapshots"],
    },
    {
        "id": "both",
        "name": "Warm Pool + CPU Standby",
        "description": "Warm Pool como primário, CPU Standby como fallback",
        "recovery_time": "30-60s (warm pool) ou 10-20min (fallback)",
        "cost": "Combinado de ambas estratégias",
        "requirements": ["Requisitos de ambas estratégias"],
    },
    {
        "id": "regional_volume",
        "name": "Regional Volume Failover",
        "description": "Failover usando volume persistente regional (~30-60s)",
        "recovery_time": "30-60 segundos",
        "cost": "Volume regional (~$1-3/mês para 50GB)",
        "requirements": ["Volume VAST.ai na região", "GPUs disponíveis na mesma região"],
    },
    {
        "id": "disabled",
        "name": "Desabilitado",
        "description": "Nenhuma proteção de failover automático",
        "recovery_time": "Manual",
        "cost": "Nenhum",
        "requirements": [],
    },
]
TEST = "/api/v1/failover/test/123"
QUERY = {"gpu_instance_id": "456789", "ssh_host": "ssh4.vast.ai", "ssh_port": "12345"}


async def test_readiness_is_the_contracts() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.BOTH)
        s.outside.make_ready()
        answer = await s.http.get("/api/v1/failover/readiness/123")
        body = answer.json()
        assert answer.status_code == 200
        assert has_shape(READINESS, body, frozenset({"standby_gpu_id"})) == []
        ReadinessAnswer.model_validate(body)
        assert (body["effective_strategy"], body["cpu_standby_ready"], body["overall_ready"]) == ("both", True, True)
        assert body["checked_at"] == BEGIN.isoformat()


async def test_readiness_says_why_not() -> None:
    async with stage() as s:
        await s.machine()
        body = (await s.http.get("/api/v1/failover/readiness/123")).json()
        assert (body["overall_ready"], body["cpu_standby_status"]["association_exists"]) == (False, False)
        assert body["cpu_standby_status"]["why"] == "there is no verified snapshot"
        assert body["recommended_action"]


async def test_readiness_is_remembered_and_refreshed() -> None:
    async with stage() as s:
        await s.machine()
        path = "/api/v1/failover/readiness/123"
        await s.http.get(path)
        s.outside.make_ready()
        assert (await s.http.get(path)).json()["overall_ready"] is False
        assert (await s.http.get(path, params={"refresh": "false"})).json()["overall_ready"] is False
        assert (await s.http.get(path, params={"refresh": "true"})).json()["overall_ready"] is True


async def test_status_is_the_contracts() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.BOTH)
        s.outside.make_ready()
        body = (await s.http.get("/api/v1/failover/status/123")).json()
        assert has_shape(STATUS, body, frozenset({"gcp_zone"})) == []
        StatusAnswer.model_validate(body)
        assert (body["warm_pool"]["enabled"], body["cpu_standby"]["enabled"]) == (True, True)
        assert "volume_id" in body["recommended_action"], "both stands on one leg while the warm pool has no volume"


async def test_strategies_are_the_contracts_word_for_word() -> None:
    async with stage() as s:
        answer = await s.http.get("/api/v1/failover/strategies")
        assert answer.json() == {"strategies": STRATEGIES}
        assert answer.headers["content-language"] == "pt"
        StrategiesAnswer.model_validate(answer.json())
        english = await s.http.get("/api/v1/failover/strategies", headers={"Accept-Language": "en-US,en;q=0.9"})
        assert english.json() == {"strategies": list(ENGLISH)}
        assert [row["id"] for row in ENGLISH] == [row["id"] for row in STRATEGIES]


@pytest.mark.parametrize(
    ("header", "english"),
    [
        (None, False),
        ("*", False),
        ("en", True),
        ("EN-GB", True),
        ("pt-BR, en;q=0.5", False),
        ("pt;q=0.3, en;q=0.5", True),
        ("en;q=0", False),
        ("de, fr", False),
        (",;q=x", False),
    ],
)
def test_english_must_be_wanted_more(header: str | None, english: bool) -> None:
    assert wants_english(header) is english


# -- test


async def test_a_dry_run_is_the_contracts_and_touches_nothing() -> None:
    async with stage() as s:
        before = await s.machine()
        s.outside.make_ready()
        answer = await s.http.post(TEST, params=QUERY)
        body = answer.json()
        assert answer.status_code == 200
        assert has_shape(DRY_RUN, body) == []
        DryRunAnswer.model_validate(body)
        assert (body["would_succeed"], body["message"], body["reason"]) == (True, DRY_RUN["message"], None)
        assert "rent_candidate" in body["plan"]["steps"][0]["steps"]
        assert body["plan"]["offers"][0]["price_per_hour"] == 0.45
        assert body["plan"]["snapshot_age_seconds"] == 300.0
        assert await s.stored() == before
        assert await s.store.transact(lambda tx: tx.failovers()) == []


@pytest.mark.parametrize("flag", ["true", "True"])
async def test_dry_run_may_be_said(flag: str) -> None:
    async with stage() as s:
        await s.machine()
        body = (await s.http.post(TEST, params={**QUERY, "dry_run": flag})).json()
        assert (body["dry_run"], body["would_succeed"]) == (True, False)


async def test_a_dry_run_says_what_stands_in_the_way() -> None:
    async with stage() as s:
        await s.machine()

        async def reason(**change: str) -> tuple[Any, Any]:
            body = (await s.http.post(TEST, params={**QUERY, **change})).json()
            assert body["would_succeed"] is False
            return body["code"], body["reason"]

        assert (await reason(gpu_instance_id="1"))[0] == "stale_instance"
        assert await reason() == ("not_ready", "cpu_standby: there is no verified snapshot")
        assert (await reason(strategy="warm_pool"))[0] == "not_ready"
        assert (await reason(strategy="regional_volume"))[0] == "not_ready"
        s.outside.snapshot = Snapshot("s1", MachineId(123), BEGIN - timedelta(minutes=5), 1)
        await s.http.get("/api/v1/failover/readiness/123?refresh=true")
        assert (await reason())[0] == "no_offer_matches"
        waiting = await s.begin()
        assert (await reason())[0] == "failover_in_progress"
        await s.win()
        await waiting


async def test_without_dry_run_it_is_a_real_failover_marked_as_a_drill() -> None:

    async with stage() as s:
        await s.machine()
        waiting = asyncio.create_task(s.http.post(TEST, params={**QUERY, "dry_run": "False"}))
        await settle()
        running = (await s.stored()).failover
        assert running is not None
        assert running.reason is Reason.DRILL
        await s.win()
        answer = (await waiting).json()
        assert (answer["success"], answer["failover_id"], answer["new_gpu_id"]) == (True, running.id, 789012)
        record = (await s.http.get(f"/api/v1/failovers/{running.id}")).json()
        assert record["trigger"] == "drill"


BAD_QUERIES: list[tuple[str, dict[str, str | None]]] = [
    ("gpu_instance_id", {"gpu_instance_id": None}),
    ("gpu_instance_id", {"gpu_instance_id": "1.0"}),
    ("gpu_instance_id", {"gpu_instance_id": "1_0"}),
    ("gpu_instance_id", {"gpu_instance_id": " 1"}),
    ("gpu_instance_id", {"gpu_instance_id": "+1"}),
    ("gpu_instance_id", {"gpu_instance_id": "٣"}),
    ("ssh_host", {"ssh_host": None}),
    ("ssh_host", {"ssh_host": ""}),
    ("ssh_port", {"ssh_port": None}),
    ("ssh_port", {"ssh_port": "0"}),
    ("ssh_port", {"ssh_port": "65536"}),
    ("strategy", {"strategy": "disabled"}),
    ("strategy", {"strategy": ""}),
    ("dry_run", {"dry_run": "0"}),
    ("dry_run", {"dry_run": "no"}),
    ("dry_run", {"dry_run": "FALSE"}),
    ("dry_run", {"dry_run": ""}),
    ("dryrun", {"dryrun": "false"}),
]


@pytest.mark.parametrize(("name", "change"), BAD_QUERIES)
async def test_a_bad_query_is_400_with_its_field_and_begins_nothing(name: str, change: dict[str, str | None]) -> None:
    async with stage() as s:
        await s.machine()
        params = {key: value for key, value in {**QUERY, "dry_run": "false", **change}.items() if value is not None}
        answer = await s.http.post(TEST, params=params)
        assert (answer.status_code, answer.json()["field"]) == (400, name)
        assert (await s.stored()).failover is None


async def test_a_flag_that_is_given_twice_is_400() -> None:
    async with stage() as s:
        await s.machine()
        twice = [*QUERY.items(), ("dry_run", "true"), ("dry_run", "false")]
        answer = await s.http.post(TEST, params=twice, headers={"Prefer": "respond-async"})
        assert (answer.status_code, answer.json()["field"]) == (400, "dry_run")


@pytest.mark.parametrize("path", ["readiness/5", "status/5"])
async def test_an_unknown_machine_is_404(path: str) -> None:
    async with stage() as s:
        assert (await s.http.get(f"/api/v1/failover/{path}")).status_code == 404
        assert (await s.http.post("/api/v1/failover/test/5", params=QUERY)).status_code == 404


@pytest.mark.parametrize(
    ("took_s", "fault", "rest_s"),
    [
        (4.0, None, 0.0),
        (10.0, None, 40.0),
        (125.0, None, 60.0),
        (125.0, Unknown("the list was not answered"), 0.0),
    ],
)
async def test_a_poll_rests_only_after_a_long_listing_that_was_answered_and_a_minute_at_most(
    monkeypatch: pytest.MonkeyPatch, took_s: float, fault: StepError | None, rest_s: float
) -> None:
    async with stage() as s:
        asked: list[float] = []

        async def slow(max_age_s: float = 0.0, about: object = None) -> Listing:
            asked.append(s.clock.monotonic())
            await s.clock.advance(took_s)
            if fault is not None:
                raise fault
            return Listing({}, True, s.clock.now())

        monkeypatch.setattr(s.outside, "list", slow)
        poll = s.services.readiness.poll
        await poll()
        if rest_s:
            await s.clock.advance(rest_s - 0.1)
            await poll()
            assert len(asked) == 1
            await s.clock.advance(0.1)
        await poll()
        assert asked == [0.0, took_s + rest_s]


async def test_a_machine_tells_how_old_its_last_snapshot_is() -> None:
    async with stage() as s:
        await s.machine()
        assert (await s.http.get("/api/v1/machines/123")).json()["snapshot_age_seconds"] is None
        s.outside.make_ready()
        await s.http.get("/api/v1/failover/readiness/123?refresh=true")
        await s.clock.advance(60)
        for path, body in (("/machines/123", lambda found: found), ("/machines", lambda found: found["machines"][0])):
            found = body((await s.http.get(f"/api/v1{path}")).json())
            assert found["snapshot_age_seconds"] == 360.0
