"""The machines over HTTP: registered, paged, explained, asked whether they serve, removed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import asyncssh
import pytest

from daemon.api import beat_token
from daemon.api.documents import MachineAnswer, MachinesAnswer
from daemon.registration import news_of
from machines.cpu_vm import CpuStandby, VmId, VmPlace, VmServing, Zone
from machines.detector import Silence
from machines.explanation import explain
from machines.failover import Probed, Silenced
from machines.model import (
    FailoverId,
    HostId,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Source,
    Standby,
    Testimony,
    Volume,
    VolumeId,
    Word,
    Workload,
)
from machines.states import State
from tests.test_api_stage import BEGIN, TOKEN, instance, stage

PATH = "/api/v1/machines"
PUBLIC_KEY = asyncssh.generate_private_key("ssh-ed25519", comment="me").export_public_key().decode().strip()


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


async def test_the_customers_keys_and_the_way_its_image_starts_are_kept_and_a_registrys_password_is_never_shown() -> (
    None
):
    async with stage() as s:
        s.outside.instances[456789] = replace(instance(456789), runtype="jupyter_direc ssh_direc ssh_proxy")
        body = {
            "gpu_instance_id": 456789,
            "ssh_keys": [f"  {PUBLIC_KEY}\n"],
            "image_login": "-u me -p hunter2 r.example",
        }
        answer = await s.http.put(f"{PATH}/123", json=body)
        view = answer.json()
        assert answer.status_code == 201, view
        assert (view["runtype"], view["ssh_keys"]) == ("jupyter_direc ssh_direc ssh_proxy", [PUBLIC_KEY])
        assert "hunter2" not in answer.text
        workload = (await s.stored()).workload
        assert workload.image_login == "-u me -p hunter2 r.example"
        s.outside.instances[456789] = replace(instance(456789), runtype="args")
        await s.http.put(f"{PATH}/123", json={"gpu_instance_id": 456789, "ssh_keys": []})
        workload = (await s.stored()).workload
        assert (workload.runtype, workload.ssh_keys) == ("jupyter_direc ssh_direc ssh_proxy", ())


@pytest.mark.parametrize(
    "body",
    [
        {"image_login": ["hunter2"]},
        {"image_login": "hunter2" * 1000},
        {"env": {"A": ["hunter2"]}},
        {"onstart": ["hunter2"]},
    ],
)
async def test_a_secret_in_the_wrong_form_is_refused_without_being_repeated(body: dict[str, Any]) -> None:
    async with stage() as s:
        answer = await s.http.put(f"{PATH}/123", json=body)
        assert answer.status_code == 400
        assert "hunter2" not in answer.text


BAD_BODIES: list[tuple[str, dict[str, Any]]] = [
    ("priority", {"priority": "5"}),
    ("priority", {"priority": True}),
    ("ssh_port", {"ssh_port": 0}),
    ("strategy", {"strategy": "fast"}),
    ("auto_failover", {"auto_failover": "yes"}),
    ("max_price", {"max_price": 0}),
    ("max_price", {"max_price": "0.5"}),
    ("region", {"region": "Austria"}),
    ("region", {"region": "XX"}),
    ("image_login", {"image_login": "hunter2"}),
    ("gpu_instance_id", {"gpu_instance_id": 1}),
    ("env.A", {"env": {"A": 1}}),
    ("ssh_keys.0", {"ssh_keys": ["ssh-ed25519 nonsense"]}),
    ("image_login", {"image_login": ""}),
    ("more", {"more": 1}),
]


@pytest.mark.parametrize(("name", "body"), BAD_BODIES)
async def test_a_bad_registration_is_400_with_its_field(name: str, body: dict[str, Any]) -> None:
    async with stage() as s:
        answer = await s.http.put(f"{PATH}/123", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, name)
        assert (await s.http.get(f"{PATH}/123")).status_code == 404


@pytest.mark.parametrize(
    "has", [{"primary": 7004}, {"primary": 7003, "standby": Standby(InstanceId(7004), HostId(60))}]
)
async def test_an_instance_that_another_machine_has_is_refused(has: dict[str, Any]) -> None:
    """A failover of the one would stop the living instance of the other."""
    async with stage() as s:
        await s.machine(1, **has)
        s.outside.instances[7004] = instance(7004)
        answer = await s.http.put(f"{PATH}/2", json={"gpu_instance_id": 7004})
        problem = answer.json()
        assert (answer.status_code, problem["code"], problem["field"]) == (409, "instance_in_use", "gpu_instance_id")
        assert problem["machine_id"] == 1
        assert (await s.http.get(f"{PATH}/2")).status_code == 404
        assert (await s.http.put(f"{PATH}/1", json={"priority": 3})).status_code == 200


async def test_no_failover_begins_of_a_machine_whose_instance_is_anothers_too() -> None:
    """Two that were registered so before that was refused."""
    async with stage() as s:
        await s.machine(1, 7004)
        await s.machine(2, 7004)
        body = {"machine_id": 2, "gpu_instance_id": 7004, "ssh_host": "ssh4.vast.ai", "ssh_port": 12345}
        answer = await s.http.post("/api/v1/failover/execute", json=body)
        assert (answer.status_code, answer.json()["code"]) == (409, "instance_in_use")
        assert (await s.stored(2)).failover is None


@pytest.mark.parametrize("name", ["7", "last", "fo_abc"])
async def test_a_name_that_could_be_mistaken_is_refused(name: str) -> None:
    async with stage() as s:
        answer = await s.http.put(f"{PATH}/2", json={"name": name})
        assert (answer.status_code, answer.json()["field"]) == (400, "name")
        assert "can be mistaken for" in answer.json()["detail"]


async def test_a_name_is_one_machines() -> None:
    async with stage() as s:
        assert (await s.http.put(f"{PATH}/1", json={"name": "alpha"})).status_code == 201
        answer = await s.http.put(f"{PATH}/2", json={"name": "alpha"})
        assert (answer.status_code, answer.json()["code"], answer.json()["machine_id"]) == (409, "name_in_use", 1)
        assert (await s.http.put(f"{PATH}/1", json={"name": "alpha", "priority": 2})).status_code == 200


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


@pytest.mark.parametrize(("silent_s", "rule"), [(12.0, "heartbeat"), (251.0, "silence")])
async def test_a_silent_machine_is_not_explained_as_if_its_heartbeat_were_well(silent_s: float, rule: str) -> None:
    async with stage() as s:
        await s.machine()
        found = await s.loop.at_the_gate(MachineId(123))
        assert found is not None
        machine, facts, policy = found
        why = explain(machine, replace(facts, silence=Silence(123, silent_s, 30.0, 5)), policy, s.clock.now())
    first = why.chain[0]
    assert (first.rule, first.stops) == (rule, None)
    assert first.found.endswith("it is silent, which holds no failover back") is (rule == "silence")


async def test_an_explanation_names_the_pause_and_the_mode() -> None:
    async with stage() as s:
        await s.machine()
        await s.http.post("/api/v1/pause", json={"minutes": 5, "reason": "maintenance"})
        assert "maintenance" in (await s.http.get(f"{PATH}/123/explain")).json()["next"]
        await s.http.post("/api/v1/resume")
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


async def test_a_machine_whose_cpu_vm_serves_is_active_there() -> None:
    async with stage() as s:
        machine = await s.machine()
        serving = VmServing("203.0.113.7", 22, "ssh-ed25519 AAAA", BEGIN)
        place = VmPlace(Zone("europe-west4-a"), "fo-x-m123-cpu-1-0", VmId(7))
        dead = replace(machine, state=State.FAILED, cpu_standby=CpuStandby(vm=place, serving=serving))
        await s.store.transact(lambda tx: tx.save_machine(dead))
        answer = (await s.http.get(f"{PATH}/123/active")).json()
        assert (answer["active"], answer["served_by"]) == (True, "cpu_vm")
        assert (answer["ssh_host"], answer["ssh_port"], answer["ssh_host_key"]) == (
            "203.0.113.7",
            22,
            "ssh-ed25519 AAAA",
        )
        asked_of_it = await s.http.get(f"{PATH}/123/active", params={"gpu_instance_id": "456789"})
        assert asked_of_it.status_code == 503
        view = (await s.http.get(f"{PATH}/123")).json()
        MachineAnswer.model_validate(view)
        assert view["cpu_standby"]["serving"]["ssh_host"] == "203.0.113.7"


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


def test_the_configuration_does_not_put_a_machine_back_on_what_a_failover_moved_it_off() -> None:
    """Seen: at each start a machine was put on the volume again that it had left, and whose deletion was owed."""
    body = {"name": "trainer", "gpu_instance_id": 1, "volume_id": 881, "volume_path": "/data", "priority": 3}
    known = Machine(MachineId(7), "trainer")
    assert news_of(body, None) == news_of(body, known) == body
    there = replace(known, primary=InstanceId(2))
    assert sorted(news_of(body, there)) == ["name", "priority", "volume_id", "volume_path"]
    assert sorted(news_of(body, replace(there, last_failover=FailoverId("fo_1")))) == ["name", "priority"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "alpha\n    ProxyCommand true"),
        ("name", "\x1b[31mred"),
        ("ssh_host", "127.0.0.1\n    ProxyCommand true"),
        ("ssh_host", "a b"),
        ("ssh_host", "a\x07"),
    ],
)
async def test_a_name_or_an_address_of_more_than_one_line_is_refused(field: str, value: str) -> None:
    async with stage() as s:
        await s.machine()
        answer = await s.http.put("/api/v1/machines/123", json={field: value})
    assert (answer.status_code, answer.json()["field"]) == (400, field)


@pytest.mark.parametrize(
    ("shelf", "remedy"),
    [
        ({}, "a volume that the provider knows"),
        ({5: Volume(VolumeId(5), HostId(99), 10.0, ())}, "a volume on host 60"),
        ({5: Volume(VolumeId(5), HostId(60), 10.0, ())}, "it has none"),
        (
            {
                5: Volume(VolumeId(5), HostId(60), 10.0, ()),
                6: Volume(VolumeId(6), HostId(60), 10.0, (InstanceId(1001),)),
            },
            "has mounted (6)",
        ),
    ],
    ids=["unknown", "another host", "not mounted", "another one"],
)
async def test_a_volume_that_the_instance_has_not_mounted_is_not_the_machines(shelf: Any, remedy: str) -> None:
    """A failover deletes what it leaves behind, so a stranger's volume must never become a machine's by a slip."""
    async with stage() as s:
        s.outside.instances[InstanceId(1001)] = instance(1001)
        s.outside.shelf = {VolumeId(number): volume for number, volume in shelf.items()}
        body = {"gpu_instance_id": 1001, "volume_id": 5}
        answer = await s.http.put("/api/v1/machines/1", json=body)
        assert (answer.status_code, answer.json()["field"]) == (400, "volume_id")
        assert remedy in answer.json()["remedy"]
        s.outside.shelf = {VolumeId(5): Volume(VolumeId(5), HostId(60), 10.0, (InstanceId(1001),))}
        assert (await s.http.put("/api/v1/machines/1", json=body)).status_code in (200, 201)
        s.outside.instances[InstanceId(1002)] = instance(1002)
        moved = await s.http.put("/api/v1/machines/1", json={"gpu_instance_id": 1002})
        assert (moved.status_code, moved.json()["field"]) == (400, "volume_id"), "its volume is not mounted there"
        moved = await s.http.put("/api/v1/machines/1", json={"gpu_instance_id": 1002, "volume_id": None})
        assert moved.status_code == 200
        assert (await s.stored(1)).volume is None
