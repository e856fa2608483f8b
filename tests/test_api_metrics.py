"""/metrics, /healthz and /docs: what Prometheus scrapes, and a page that needs nothing from another server."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as read_openmetrics
from prometheus_client.parser import text_string_to_metric_families as read_text

from adapters.vast import vast_client
from daemon.runner import StepTry
from machines.failover import Silenced
from machines.journal import Mark
from machines.model import MachineId
from machines.ports import RestoreReport
from tests.test_api_stage import Stage, settle, stage


async def scraped(s: Stage) -> dict[str, float]:
    """Every sample, by its name and labels as they stand on the page."""
    answer = await s.http.get("/metrics")
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    found = {}
    for family in read_text(answer.text):
        for sample in family.samples:
            labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}" if labels else sample.name] = sample.value
    return found


async def test_the_fleet_is_told_as_it_stands() -> None:
    async with stage() as s:
        await s.machine()
        await s.machine(7, primary=7007, price_per_hour=0.25)
        s.outside.make_ready()
        await s.services.readiness.poll()
        waiting = await s.begin()
        told = await scraped(s)
        assert told["failoverd_machines{state=healthy}"] == 1
        assert told["failoverd_machines{state=cpu_standby_attempt}"] == 1
        assert told["failoverd_machine_state{machine=7,name=machine-7,state=healthy}"] == 1
        assert told["failoverd_machine_state{machine=7,name=machine-7,state=failed}"] == 0
        assert told["failoverd_machine_price_dollars_per_hour{machine=7,name=machine-7}"] == 0.25
        snapshot = told["failoverd_snapshot_last_success_timestamp_seconds{machine=123,name=machine-123}"]
        assert snapshot == (s.clock.now() - timedelta(minutes=5)).timestamp()
        assert told["failoverd_failovers_in_progress"] == 1
        assert told["failoverd_auto_failover_mode{mode=on}"] == 2
        assert told["failoverd_store_up"] == 1
        assert told["failoverd_orphan_resources{kind=vm,provider=gce}"] == 0
        assert told["failoverd_build_info{version=0.1.0}"] == 1
        assert told["process_resident_memory_bytes"] > 1_000_000
        await s.win()
        await waiting


async def test_what_happens_is_counted_and_timed() -> None:
    async with stage() as s:
        await s.machine()
        await s.loop.apply(MachineId(123), Silenced(32.5, 30.0))
        waiting = await s.begin()
        await s.clock.advance(40)
        await s.win()
        await waiting
        again = await s.http.post(
            "/api/v1/failover/execute", json={"machine_id": 99, "gpu_instance_id": 1, "ssh_host": "h", "ssh_port": 22}
        )
        assert again.status_code == 404
        s.services.metrics.meters.step(StepTry("restore", Mark.REFUSED, "restore_failed", 61.0))  # type: ignore[attr-defined]
        restored = StepTry("restore", Mark.DONE, None, 9.0, RestoreReport(2_000_000, 9.0))
        s.services.metrics.meters.step(restored)  # type: ignore[attr-defined]
        s.services.metrics.meters.gaps([9.5, 10.5])  # type: ignore[attr-defined]
        told = await scraped(s)
        assert told["failoverd_heartbeat_interval_seconds_sum"] == 20
        assert told["failoverd_heartbeat_interval_seconds_bucket{le=10.0}"] == 1
        assert told["failoverd_detection_latency_seconds_sum{signal=heartbeat_missed}"] == 32.5
        assert told["failoverd_failovers_total{outcome=succeeded,trigger=http}"] == 1
        assert told["failoverd_failover_duration_seconds_sum{outcome=succeeded,trigger=http}"] == 40
        assert told["failoverd_failover_duration_seconds_bucket{le=45.0,outcome=succeeded,trigger=http}"] == 1
        assert told["failoverd_failover_duration_seconds_bucket{le=30.0,outcome=succeeded,trigger=http}"] == 0
        assert told["failoverd_commands_total{outcome=accepted,transport=http,type=failover}"] == 1
        assert told["failoverd_commands_total{outcome=refused,transport=http,type=failover}"] == 1
        assert told["failoverd_failover_step_duration_seconds_sum{outcome=refused,step=restore}"] == 61
        tries = "failoverd_failover_step_attempts_total{outcome=refused,reason=restore_failed,step=restore}"
        assert told[tries] == 1
        assert told["failoverd_restore_bytes_total"] == 2_000_000


async def test_it_is_told_that_a_replica_leaves_its_work_to_others() -> None:
    async with stage() as s:
        for stands_back in (True, False):
            s.services.metrics.leases.stand_back(stands_back)  # type: ignore[attr-defined]
            assert (await scraped(s))["failoverd_stands_back"] == stands_back


async def test_a_pause_is_told_with_its_end() -> None:
    async with stage() as s:
        assert (await scraped(s))["failoverd_paused"] == 0
        await s.http.post("/api/v1/pause", json={"minutes": 10, "reason": "works"})
        told = await scraped(s)
        end = (s.clock.now() + timedelta(minutes=10)).timestamp()
        assert (told["failoverd_paused"], told["failoverd_pause_until_timestamp_seconds{scope=fleet}"]) == (1, end)
        await s.clock.advance(601)
        told = await scraped(s)
        assert (told["failoverd_paused"], told["failoverd_pause_until_timestamp_seconds{scope=fleet}"]) == (0, 0)


async def test_a_page_comes_without_the_store_too() -> None:
    async with stage() as s:
        await s.machine()
        await s.store.close()
        told = await scraped(s)
        assert told["failoverd_store_up"] == 0
        assert told["failoverd_machines{state=healthy}"] == 1
        assert "failoverd_alerts_open" not in told


async def test_a_large_fleet_is_told_in_sums_only() -> None:
    async with stage() as s:
        one = await s.machine()
        for number in range(1, 1002):
            s.loop._known[MachineId(number)] = replace(one, id=MachineId(number))
        told = await scraped(s)
        assert told["failoverd_machines{state=healthy}"] == 1001
        assert not [name for name in told if name.startswith("failoverd_machine_")]


async def test_openmetrics_is_spoken_to_who_asks_for_it() -> None:
    async with stage() as s:
        answer = await s.http.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
        assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
        names = {family.name for family in read_openmetrics(answer.text)}
        assert {"failoverd_build", "failoverd_failovers", "failoverd_machines"} <= names


async def test_units_are_in_the_names_and_counters_end_in_total() -> None:
    async with stage() as s:
        await s.machine()
        for name in await scraped(s):
            bare = name.partition("{")[0]
            assert re.fullmatch(r"(failoverd|process)_[a-z0-9_]+", bare), bare
            assert not re.search(r"_(ms|minutes|hours|kb|mb|gb)(_|$)", bare), bare


async def test_prices_are_not_told_to_everybody() -> None:
    async with stage() as s:
        bare = await s.http.get("/metrics", headers={"Authorization": ""})
        assert (bare.status_code, bare.json()["code"]) == (401, "unauthorized")


async def test_healthz_is_readyz() -> None:
    async with stage() as s:
        assert (await s.http.get("/healthz")).json() == {"status": "ok", "version": "0.1.0"}
        assert "store" in (await s.http.get("/healthz?verbose")).json()["checks"]
        await s.store.close()
        assert (await s.http.get("/healthz")).status_code == 503


async def test_the_documentation_needs_no_other_server() -> None:
    async with stage() as s:
        page = await s.http.get("/docs", headers={"Authorization": ""})
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        wanted = re.findall(r"""(?:src|href)=["']([^"']+)""", page.text)
        assert sorted(wanted) == ["/docs/favicon.png", "/docs/swagger-ui-bundle.js", "/docs/swagger-ui.css"]
        assert "http" not in page.text.replace("http://www.w3.org", "")
        for name in wanted:
            part = await s.http.get(name)
            assert (part.status_code, len(part.content) > 1000) == (200, True)
        script = (await s.http.get("/docs/swagger-ui-bundle.js")).text
        assert "3.1" in script, "it can show OpenAPI 3.1"
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert (await s.http.get("/docs/other.js")).status_code == 404


async def test_every_answer_bears_its_requests_id() -> None:
    async with stage() as s:
        made = [(await s.http.get("/livez")).headers["x-request-id"] for _ in range(2)]
        assert made[0] != made[1]
        own = await s.http.get("/api/v1/machines", headers={"X-Request-Id": "trace-7"})
        assert own.headers["x-request-id"] == "trace-7"
        bad = await s.http.get("/api/v1/machines", headers={"X-Request-Id": "a b", "Authorization": ""})
        assert bad.status_code == 401
        assert bad.headers["x-request-id"].startswith("r_")
        await settle()


async def test_calls_of_the_provider_are_counted_by_operation_and_code() -> None:
    answers = iter((200, 429, None))

    def answer(request: httpx.Request) -> httpx.Response:
        code = next(answers)
        if code is None:
            raise httpx.ReadTimeout("nothing came")
        return httpx.Response(code, json={})

    async with stage() as s, vast_client("key", "http://vast", httpx.MockTransport(answer)) as client:
        client.on_answer = s.services.metrics.meters.vast_answer  # type: ignore[attr-defined]
        for number in (17, 18):
            await client.get(f"/api/v0/instances/{number}/")
        with pytest.raises(httpx.ReadTimeout):
            await client.put("/api/v0/asks/9/", json={})
        told = await scraped(s)
        shown = {name: value for name, value in told.items() if name.startswith("failoverd_provider_requests_total")}
        assert shown == {
            "failoverd_provider_requests_total{code=200,operation=GET /api/v0/instances/{id}/,provider=vast}": 1,
            "failoverd_provider_requests_total{code=429,operation=GET /api/v0/instances/{id}/,provider=vast}": 1,
            "failoverd_provider_requests_total{code=none,operation=PUT /api/v0/asks/{id}/,provider=vast}": 1,
        }
