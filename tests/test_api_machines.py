"""The machines over HTTP: registered, paged, explained, asked whether they serve, removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from daemon.api import beat_token
from daemon.api.documents import MachineAnswer, MachinesAnswer
from machines.failover import Probed, Silenced
from machines.model import InstanceId, MachineId, Mode, Source, Testimony, Word, Workload
from tests.test_api_stage import BEGIN, TOKEN, instance, stage

PATH = "/api/v1/machines"


async def test_a_machine_is_registered_with_its_agents_token() -> None:
    async with stage() as s:
        s.outside.instances[456789] = instance(456789)
        body = {"name": "trainer", "gpu_instance_id": 456789, "strategy": "both", "env": {"HF_TOKEN": "secret"}}
        answer = await s.http.put(f"{PATH}/123", json=body)
        view = answer.json()
        assert answer.status_code == 201
        MachineAnswer.model_validate(view)
        assert view["beat_token"] == beat_token(TOKEN, 123)
        assert (view["id"], view["name"], view["strategy"], view["auto_failover"]) == (123, "trainer", "both", "on")
        assert (view["gpu_instance_id"], view["ssh_host"], view["ssh_port"]) == (456789, "ssh4.vast.ai", 12345)
        assert view["env_names"] == ["HF_TOKEN"]
        assert "secret" not in answer.text


async def test_a_put_resets_nothing_that_it_does_not_name() -> None:
    async with stage() as s:
        s.outside.instances[456789] = instance(456789)
        await s.http.put(f"{PATH}/123", json={"name": "trainer", "gpu_instance_id": 456789, "priority": 5})
        answer = await s.http.put(f"{PATH}/123", json={"strategy": "disabled"})
        view = answer.json()
        assert answer.status_code == 200
        assert (view["name"], view["priority"], view["strategy"]) == ("trainer", 5, "disabled")
        shown = (await s.http.get(f"{PATH}/123")).json()
        assert "beat_token" not in shown
        assert {name: shown[name] for name in shown} == {name: view[name] for name in shown}


BAD_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("priority", {"priority": "5"}),
    ("priority", {"priority": True}),
    ("ssh_port", {"ssh_port": 0}),
    ("strategy", {"strategy": "fast"}),
    ("auto_failover", {"auto_failover": "yes"}),
    ("max_price", {"max_price": 0}),
    ("max_price", {"max_price": "0.5"}),
    ("region", {"region": "Austria"}),
    ("gpu_instance_id", {"gpu_instance_id": 1}),
    ("env.A", {"env": {"A": 1}}),
    ("more", {"more": 1}),
]


@pytest.mark.parametrize(("name", "body"), BAD_BODIES)
async def test_a_bad_registration_is_400_with_its_field(name: str, body: dict[str, Any]) -> None:
    async with stage() as s:
        answer = await s.http.put(f"{PATH}/123", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, name)
        assert (await s.http.get(f"{PATH}/123")).status_code == 404


async def test_the_fleet_comes_in_pages() -> None:
    async with stage() as s:
        for number in range(1, 6):
            await s.machine(number, primary=number)
        found: list[int] = []
        url = f"{PATH}?limit=2"
        while url:
            answer = await s.http.get(url)
            body = answer.json()
            MachinesAnswer.model_validate(body)
            found += [row["id"] for row in body["machines"]]
            link = answer.headers.get("link", "")
            assert (body["next_cursor"] is None) is (link == "")
            url = link.partition("<")[2].partition(">")[0]
            assert not link or link.endswith('rel="next"')
        assert found == [1, 2, 3, 4, 5]


async def test_the_fleet_is_filtered_by_state() -> None:
    async with stage() as s:
        for number in (1, 2, 3):
            await s.machine(number, primary=number)
        await s.loop.apply(MachineId(2), Silenced(40.0, 30.0))
        detecting = await s.http.get(PATH, params={"state": "detecting"})
        healthy = await s.http.get(PATH, params={"state": "healthy", "limit": "1"})
        assert [row["id"] for row in detecting.json()["machines"]] == [2]
        assert "state=healthy" in healthy.headers["link"]


@pytest.mark.parametrize(
    ("name", "query"),
    [
        ("limit", "limit=0"),
        ("limit", "limit=501"),
        ("limit", "limit=ten"),
        ("cursor", "cursor=x"),
        ("state", "state=dead"),
        ("status", "status=healthy"),
    ],
)
async def test_a_bad_page_is_400(name: str, query: str) -> None:
    async with stage() as s:
        answer = await s.http.get(f"{PATH}?{query}")
        assert (answer.status_code, answer.json()["field"]) == (400, name)


async def test_a_machine_is_removed_unless_it_is_in_a_failover() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        refused = await s.http.delete(f"{PATH}/123")
        assert (refused.status_code, refused.json()["code"]) == (409, "failover_in_progress")
        await s.win()
        await waiting
        assert (await s.http.delete(f"{PATH}/123")).json() == {"machine_id": 123, "removed": True}
        assert (await s.http.delete(f"{PATH}/123")).status_code == 404


async def test_a_removed_machine_takes_its_alert_along() -> None:
    async with stage() as s:
        await s.machine()
        await s.store.transact(lambda tx: tx.raise_alert("machine-123", "it is silent", BEGIN))
        assert (await s.http.delete(f"{PATH}/123")).status_code == 200
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


async def test_a_suspect_is_explained_with_the_age_of_every_word() -> None:
    async with stage() as s:
        await s.machine()
        await s.loop.apply(MachineId(123), Silenced(40.0, 30.0))
        said = Testimony(Source.PROVIDER, Word.UNKNOWN, "the provider was mute", BEGIN)
        await s.loop.apply(MachineId(123), Probed(InstanceId(456789), (said,)))
        await s.clock.advance(4)
        body = (await s.http.get(f"{PATH}/123/explain")).json()
        assert (body["state"], body["because"], body["verdict"]) == ("detecting", "the provider was mute", "unsure")
        assert body["since_seconds"] == 4.0
        assert body["evidence"][0]["age_seconds"] == 4.0
        assert body["look_at"]
        assert "asked again" in body["next"]
        assert {"heartbeat_resumed", "cpu_standby_started"} <= {row["trigger"] for row in body["would_change_it"]}
        assert body["readiness"]["cpu_standby"] == "there is no verified snapshot"


async def test_an_explanation_names_the_pause_and_the_mode() -> None:
    async with stage() as s:
        await s.machine()
        await s.http.post("/api/v1/pause", json={"minutes": 5, "reason": "maintenance"})
        assert "maintenance" in (await s.http.get(f"{PATH}/123/explain")).json()["next"]
        await s.http.put(f"{PATH}/123", json={"auto_failover": "observe"})
        assert "observe" in (await s.http.get(f"{PATH}/123/explain")).json()["next"]


@pytest.mark.parametrize("harm", ["DELETE FROM pauses", "UPDATE pauses SET until = {spoilt}"])
async def test_where_the_pause_cannot_be_read_the_explanation_says_that_it_is_one(harm: str) -> None:
    """It once was an internal error, at the moment in which somebody asks why nothing happens."""
    async with stage() as s:
        await s.machine()
        spoilt = "'infinity'" if s.store.is_shared else "'spoilt'"
        await s.store.transact(lambda tx: tx._connection.exec_driver_sql(harm.format(spoilt=spoilt)))
        answer = await s.http.get(f"{PATH}/123/explain")
        assert answer.status_code == 200
        assert "paused: the pause flag cannot be read" in answer.json()["next"]
        assert (await s.http.get("/api/v1/fleet")).json()["automatic_failover"] == "paused"
        assert (await s.http.post("/api/v1/resume")).status_code == 200
        assert "paused" not in (await s.http.get(f"{PATH}/123/explain")).json()["next"]


async def test_a_machine_that_serves_is_active() -> None:
    async with stage() as s:
        await s.machine()
        answer = await s.http.get(f"{PATH}/123/active")
        assert (answer.status_code, answer.json()["active"]) == (200, True)
        other = await s.http.get(f"{PATH}/123/active", params={"gpu_instance_id": "1"})
        assert (other.status_code, other.json()["code"]) == (503, "not_active")
        await s.loop.apply(MachineId(123), Silenced(40.0, 30.0))
        suspect = await s.http.get(f"{PATH}/123/active")
        assert (suspect.status_code, suspect.json()["active"]) == (503, False)


async def test_a_suspect_that_a_second_source_calls_alive_is_active() -> None:
    async with stage() as s:
        await s.machine()
        await s.loop.apply(MachineId(123), Silenced(40.0, 30.0))
        said = Testimony(Source.SSH, Word.ALIVE, "the SSH port answers", BEGIN)
        await s.loop.apply(MachineId(123), Probed(InstanceId(456789), (said,)))
        assert (await s.http.get(f"{PATH}/123/active")).status_code == 200


async def test_a_machine_in_a_failover_is_not_active() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        assert (await s.http.get(f"{PATH}/123/active")).status_code == 503
        await s.win()
        await waiting
        assert (await s.http.get(f"{PATH}/123/active")).status_code == 200


async def test_a_machine_without_an_instance_is_shown_and_not_active() -> None:
    async with stage() as s:
        machine = await s.machine(primary=None)
        bare = replace(machine, ssh=None, mode=Mode.OBSERVE, workload=Workload(), since=None)
        await s.store.transact(lambda tx: tx.save_machine(bare))
        view = (await s.http.get(f"{PATH}/123")).json()
        MachineAnswer.model_validate(view)
        assert (view["gpu_instance_id"], view["ssh_host"], view["since_seconds"]) == (None, None, None)
        assert (await s.http.get(f"{PATH}/123/active")).status_code == 503


@pytest.mark.parametrize(
    ("path", "body", "told"),
    [
        ("machines/1", {"priority": True}, "(found true)"),
        ("machines/1", {"env": {"A": None}}, "(found null)"),
        ("machines/1", {"more": 1}, "more: there is no such field"),
        ("machines/1", {"strategy": "fast"}, 'strategy: "fast" is not allowed'),
        ("pause", {"minutes": None, "reason": "x"}, "(found null)"),
        ("pause", {"minutes": True, "reason": "x"}, "(found true)"),
        ("pause", {"minutes": 1, "reason": "x" * 600}, "…)"),
    ],
)
async def test_a_refusal_shows_what_it_found_as_it_was_sent(path: str, body: dict[str, Any], told: str) -> None:
    async with stage() as s:
        method = "PUT" if path.startswith("machines") else "POST"
        detail = (await s.http.request(method, f"/api/v1/{path}", json=body)).json()["detail"]
        assert told in detail
        assert not any(word in detail for word in ("None", "True", "False", "'"))
        assert len(detail) < 300


@pytest.mark.parametrize("path", [f"{PATH}/99999999999999999999", "/api/v1/failover/status/99999999999999999999"])
async def test_an_id_that_is_too_large_is_told_the_largest(path: str) -> None:
    async with stage() as s:
        answer = await s.http.get(path)
        assert (answer.status_code, answer.json()["field"]) == (400, "machine_id")
        assert "less than or equal to 4611686018427387903" in answer.json()["detail"]
