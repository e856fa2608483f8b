"""Settings of the fleet and of single machines: default, file, fleet, machine; the later goes before the earlier."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from daemon.announce import Announcer
from daemon.asked import Asked
from daemon.loop import Loop
from daemon.policy_book import PolicyBook
from daemon.policy_desk import PolicyDesk
from daemon.registration import news_of
from daemon.registry import CONFIGURATION, Registry
from daemon.settings import PolicySection
from daemon.snapshot_grants import late_alert, takes_snapshots
from events.schema import Command, Heartbeat
from machines.admission import FailoverRequest, Granted, checks
from machines.model import DebtKind, HostId, InstanceId, MachineId, Mode, Own, Reason, Setting, Volume, VolumeId
from machines.policy import INHERITABLE, NAMES, OF_A_MACHINE, OF_THE_FLEET, Origin, Policy
from machines.problems import Problem
from tests.test_api_stage import Numbers, Stage, instance, stage

SETTINGS = "/api/v1/failover/settings"
MACHINES = "/api/v1/machines"


async def registered(s: Stage, number: int = 7, **body: Any) -> None:
    s.outside.instances[InstanceId(1000 + number)] = instance(1000 + number)
    answer = await s.http.put(f"{MACHINES}/{number}", json={"gpu_instance_id": 1000 + number, **body})
    assert answer.status_code in (200, 201), answer.text


async def shown(s: Stage, path: str = SETTINGS) -> tuple[dict[str, Any], dict[str, str]]:
    answer = await s.http.get(path)
    assert answer.status_code == 200, answer.text
    return answer.json()["settings"], answer.json()["origins"]


async def say(s: Stage, body: dict[str, Any], number: int | None = None) -> None:
    answer = await s.http.put(SETTINGS if number is None else f"{SETTINGS}/{number}", json=body)
    assert answer.status_code == 200, answer.text


def file(**values: Any) -> PolicyBook:
    return PolicyBook(PolicySection(**values))


async def test_each_value_is_shown_with_who_said_it() -> None:
    async with stage(policies=file(max_concurrent=7)) as s:
        await say(s, {"grace_floor_s": 12, "auto_failover": "observe"})
        settings, origins = await shown(s)
        assert (settings["grace_floor_s"], settings["max_concurrent"], settings["auto_failover"]) == (12, 7, "observe")
        assert (origins["grace_floor_s"], origins["max_concurrent"], origins["max_spend"]) == (
            "fleet",
            "file",
            "default",
        )
        assert set(settings) == set(origins) == set(NAMES)


async def test_a_put_resets_nothing_that_it_does_not_name() -> None:
    async with stage() as s:
        await say(s, {"grace_floor_s": 12})
        await say(s, {"max_concurrent": 3})
        settings, _ = await shown(s)
        assert (settings["grace_floor_s"], settings["max_concurrent"]) == (12, 3)


async def test_null_takes_back_what_was_said() -> None:
    async with stage(policies=file(max_concurrent=7)) as s:
        await say(s, {"max_concurrent": 3})
        await say(s, {"max_concurrent": None})
        settings, origins = await shown(s)
        assert (settings["max_concurrent"], origins["max_concurrent"]) == (7, "file")


async def test_a_machine_has_its_own_before_the_fleets_and_others_do_not() -> None:
    async with stage() as s:
        await registered(s, 7)
        await registered(s, 8)
        await say(s, {"confirm_after_s": 5, "max_snapshot_age_s": 600}, 7)
        await say(s, {"confirm_after_s": 20})
        own, origins = await shown(s, f"{SETTINGS}/7")
        assert (own["confirm_after_s"], origins["confirm_after_s"]) == (5, "machine")
        other, origins = await shown(s, f"{SETTINGS}/8")
        assert (other["confirm_after_s"], origins["confirm_after_s"]) == (20, "fleet")
        machine = await s.stored(7)
        assert s.services.policies.of(machine).max_snapshot_age_s == 600
        body = (await s.http.get(f"{SETTINGS}/7")).json()
        assert body["of_the_fleet"]["confirm_after_s"] == 20
        assert {"confirm_after_s", "max_snapshot_age_s"} <= set(body["own"])


async def test_what_a_machine_inherits_follows_the_fleet_at_once_and_what_is_its_own_stays() -> None:
    async with stage() as s:
        await registered(s, 7)
        await registered(s, 8, strategy="both", auto_failover="on", priority=4)
        await say(s, {"strategy": "disabled", "auto_failover": "off", "priority": 9})
        seven, eight = await s.stored(7), await s.stored(8)
        assert (seven.setting, seven.mode, seven.priority) == (Setting.DISABLED, Mode.OFF, 9)
        assert (eight.setting, eight.mode, eight.priority) == (Setting.BOTH, Mode.ON, 4)
        assert {one.id: one.mode for one in s.loop.machines()} == {7: Mode.OFF, 8: Mode.ON}
        await registered(s, 9)
        assert (await s.stored(9)).mode is Mode.OFF


async def test_delete_makes_a_machine_follow_the_fleet_in_everything() -> None:
    async with stage() as s:
        await registered(s, 7, strategy="both", max_price=0.7)
        await say(s, {"confirm_after_s": 5}, 7)
        answer = await s.http.delete(f"{SETTINGS}/7")
        assert answer.status_code == 200, answer.text
        assert answer.json()["own"] == []
        machine = await s.stored(7)
        assert (machine.setting, machine.workload.max_price) == (Setting.CPU_STANDBY, None)
        assert machine.own == Own(inherits=INHERITABLE)


async def test_what_the_configuration_says_of_a_machine_is_shown_as_its_word_and_comes_back() -> None:
    entry = {"id": 7, "priority": 2, "policy": {"confirm_after_s": 9}}
    async with stage(configured={7: entry}) as s:
        body = {name: value for name, value in entry.items() if name != "id"}
        await s.services.registry.put(MachineId(7), news_of(body, None), CONFIGURATION)
        _, origins = await shown(s, f"{SETTINGS}/7")
        assert (origins["priority"], origins["confirm_after_s"]) == ("machine_file", "machine_file")
        await say(s, {"priority": 5, "confirm_after_s": 3}, 7)
        assert news_of(body, await s.stored(7)) == {"policy": {}}
        await s.services.registry.put(MachineId(7), news_of(body, await s.stored(7)), CONFIGURATION)
        settings, origins = await shown(s, f"{SETTINGS}/7")
        assert (settings["priority"], settings["confirm_after_s"], origins["priority"]) == (5, 3, "machine")
        await s.http.delete(f"{SETTINGS}/7")
        settings, origins = await shown(s, f"{SETTINGS}/7")
        assert (settings["priority"], settings["confirm_after_s"], origins["priority"]) == (2, 9, "machine_file")


async def test_what_the_configuration_says_no_more_is_the_fleets_again() -> None:
    async with stage() as s:
        await s.services.registry.put(MachineId(7), {"priority": 2, "policy": {"confirm_after_s": 9}}, CONFIGURATION)
        await s.services.registry.put(MachineId(7), {"name": "trainer"}, CONFIGURATION)
        machine = await s.stored(7)
        assert (machine.priority, machine.own) == (0, Own(inherits=INHERITABLE))


async def test_a_machine_from_before_keeps_what_it_has() -> None:
    async with stage() as s:
        await s.machine(7)
        await say(s, {"strategy": "disabled"})
        assert (await s.stored(7)).setting is Setting.CPU_STANDBY


async def test_nonsense_is_400_with_the_field_and_loses_nothing() -> None:
    async with stage() as s:
        await say(s, {"max_concurrent": 3})
        for body, field in (
            ({"grace_flor_s": 3}, "grace_flor_s"),
            ({"max_concurrent": 0}, "max_concurrent"),
            ({"max_concurrent": 1.5}, "max_concurrent"),
            ({"max_concurrent": "3"}, "max_concurrent"),
            ({"auto_failover": True}, "auto_failover"),
            ({"strategy": "fast"}, "strategy"),
            ({"evidence_max_age_s": 2}, "evidence_max_age_s"),
            ({"probe_every_s": 100}, "evidence_max_age_s"),
        ):
            answer = await s.http.put(SETTINGS, json={"grace_floor_s": 8, **body})
            assert (answer.status_code, answer.json()["field"]) == (400, field), answer.text
            assert answer.json()["remedy"]
        settings, _ = await shown(s)
        assert (settings["max_concurrent"], settings["grace_floor_s"]) == (3, 5)


async def test_what_only_the_fleet_can_have_is_refused_for_a_machine() -> None:
    async with stage() as s:
        await registered(s)
        for name in sorted(OF_THE_FLEET):
            answer = await s.http.put(f"{SETTINGS}/7", json={name: 1})
            assert (answer.status_code, answer.json()["field"]) == (400, name)


async def test_an_empty_put_and_an_unknown_machine_are_refused() -> None:
    async with stage() as s:
        assert (await s.http.put(SETTINGS, json={})).status_code == 400
        assert (await s.http.put(f"{SETTINGS}/9", json={"priority": 1})).status_code == 404
        assert (await s.http.get(f"{SETTINGS}/9")).status_code == 404
        assert (await s.http.delete(f"{SETTINGS}/9")).status_code == 404


async def test_the_fleet_cannot_be_given_what_contradicts_a_machines_own() -> None:
    async with stage() as s:
        await registered(s)
        await say(s, {"evidence_max_age_s": 20}, 7)
        refused = await s.http.put(SETTINGS, json={"probe_every_s": 30})
        assert (refused.status_code, refused.json()["code"], refused.json()["machine_id"]) == (
            409, "settings_contradict", 7,
        )  # fmt: skip


async def test_the_command_sets_the_same_for_the_fleet_and_for_one_machine() -> None:
    async with stage() as s:
        await registered(s)
        for command in (
            Command("set_policy", command_id="p1", arguments={"max_concurrent": 2}),
            Command("set_policy", 7, command_id="p2", strategy="both", arguments={"confirm_after_s": 4}),
        ):
            accepted = await s.services.commands.submit(Asked(command, "kafka", "ana", s.clock.now(), s.clock.now()))
            assert accepted.answer is not None
        settings, origins = await shown(s, f"{SETTINGS}/7")
        assert (settings["max_concurrent"], settings["strategy"], settings["confirm_after_s"]) == (2, "both", 4)
        assert (origins["max_concurrent"], origins["strategy"]) == ("fleet", "machine")
        wrong = Command("set_policy", 7, command_id="p3", arguments={"ssh_host": "elsewhere"})
        with pytest.raises(Problem) as refused:
            await s.services.commands.submit(Asked(wrong, "kafka", "ana", s.clock.now(), s.clock.now()))
        assert refused.value.extra["field"] == "ssh_host"


@pytest.mark.parametrize(
    ("path", "content", "field"),
    [
        ("failover/settings", b'{"confirm_after_s": 30, "confirm_after_s": 31}', "confirm_after_s"),
        ("machines/7", b'{"name": "a", "env": {"A": "1", "B": "2", "A": "3"}}', "A"),
    ],
)
async def test_a_field_that_is_given_twice_has_no_one_meaning(path: str, content: bytes, field: str) -> None:
    async with stage() as s:
        headers = {"Content-Type": "application/json"}
        answer = await s.http.put(f"/api/v1/{path}", content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"], answer.json()["field"]) == (400, "invalid_parameter", field)
        assert "given twice" in answer.json()["detail"]


async def test_what_mends_a_refusal_is_a_sentence() -> None:
    async with stage() as s:
        bounds = await s.http.put(SETTINGS, json={"max_concurrent": 0})
        twice = await s.http.get("/api/v1/alerts?limit=1&limit=2")
    assert bounds.json()["remedy"] == "mend max_concurrent: it must be greater than or equal to 1"
    assert twice.json()["remedy"] == "mend limit: it must be given once"


async def test_another_process_reads_what_was_said() -> None:
    async with stage() as s:
        await say(s, {"max_concurrent": 2})
        fresh = file(max_concurrent=9)
        assert fresh.take(await s.store.transact(lambda tx: tx.fleet_settings()))
        assert (fresh.fleet.max_concurrent, fresh.origin("max_concurrent")) == (2, Origin.FLEET)
        assert not fresh.take({"max_concurrent": 2})


def test_what_does_not_fit_any_more_leaves_the_configurations_brakes_on() -> None:
    book = file(max_concurrent=4)
    book.take({"max_concurrent": -1})
    assert book.fleet.max_concurrent == 4


async def test_a_configuration_that_contradicts_one_word_said_of_the_fleet_loses_none_of_them() -> None:
    async with stage() as s:
        await registered(s)
        said = {"auto_failover": "off", "grace_floor_s": 20, "max_candidates": 3, "max_fleet_price": 7}
        await say(s, said)
        await s.services.desk.configure(PolicySection(grace_cap_s=15, candidate_width=5), {})
        settings, _ = await shown(s)
        assert {name: settings[name] for name in said} == said
        assert (settings["grace_cap_s"], settings["candidate_width"]) == (20, 3)
        assert (await s.stored(7)).mode is Mode.OFF
        [alert] = await s.store.transact(lambda tx: tx.open_alerts())
        assert alert.key == "settings-contradict"
        assert "grace_cap_s: 15 contradicts grace_floor_s (20): 20 counts" in alert.text
        await say(s, {"max_concurrent": 2})
        await say(s, {"grace_floor_s": None, "max_candidates": None})
        await s.services.desk.settle()
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []
        settings, _ = await shown(s)
        assert (settings["grace_cap_s"], settings["auto_failover"], settings["max_concurrent"]) == (15, "off", 2)


async def test_what_the_rest_leans_on_cannot_be_taken_back_alone() -> None:
    async with stage() as s:
        await say(s, {"grace_cap_s": 3000, "grace_floor_s": 2000})
        assert (await s.http.put(SETTINGS, json={"grace_cap_s": None})).status_code == 400
        await say(s, {"grace_cap_s": None, "grace_floor_s": None})


def test_a_word_that_cannot_be_read_takes_no_other_with_it_and_turns_nothing_on() -> None:
    book = file()
    book.take({"auto_failover": "sometimes", "max_concurrent": 2, "grace_floor_s": "long"})
    assert (book.fleet.auto_failover, book.fleet.max_concurrent, book.fleet.grace_floor_s) == (Mode.OFF, 2, 5)
    assert len(book.misfits) == 2


async def test_a_machines_own_word_stands_where_the_fleets_comes_to_contradict_it() -> None:
    """Else all evidence of it would be too old before it is asked for again, and it could never be failed over."""
    async with stage() as s:
        await registered(s)
        await say(s, {"evidence_max_age_s": 20}, 7)
        await s.services.desk.configure(PolicySection(probe_every_s=30), {})
        policy = s.services.policies.of(await s.stored(7))
        assert (policy.evidence_max_age_s, policy.probe_every_s) == (20, 20)


@pytest.mark.parametrize("path", [f"{MACHINES}/7", f"{SETTINGS}/7", SETTINGS])
async def test_by_whichever_door_a_machine_gets_a_warm_pool_its_standby_is_owed(path: str) -> None:
    async with stage() as s:
        s.outside.shelf[VolumeId(55)] = Volume(VolumeId(55), HostId(60), 10.0, (InstanceId(1007),))
        await registered(s, volume_id=55, workspace_path="/workspace")
        late = late_alert(MachineId(7))
        await s.store.transact(lambda tx: tx.raise_alert(late, "no snapshot comes", s.clock.now()))
        assert (await s.http.put(path, json={"strategy": "warm_pool"})).status_code == 200
        debts, alerts = await s.store.transact(lambda tx: (tx.open_debts(), tx.open_alerts()))
        assert [debt.kind for debt in debts] == [DebtKind.REARM]
        assert alerts == [], "it takes no snapshots any more"


async def test_a_machine_that_is_not_failed_over_by_itself_still_takes_snapshots() -> None:
    async with stage() as s:
        await registered(s)
        await say(s, {"auto_failover": "off"})
        assert takes_snapshots(await s.stored(7))


def another_replica(s: Stage) -> tuple[Loop, PolicyDesk, Registry]:
    """On the same store, which has not yet heard what is said of the fleet from now on."""
    book = file()
    announcer = Announcer("test")
    loop = Loop(s.store, book, s.clock, Numbers(), announcer, lambda machine, instance: "agent", no_blindness)
    registry = Registry(s.store, loop, s.outside, s.outside, announcer, s.clock, policies=book)  # type: ignore[arg-type]
    return loop, PolicyDesk(s.store, loop, book, announcer, s.clock, {}), registry


async def no_blindness(partitions: Sequence[int], because: str | None) -> None:
    pass


async def test_a_replica_that_has_not_heard_yet_gives_no_machine_what_the_fleet_had_before() -> None:
    async with stage() as s:
        await registered(s, 7, auto_failover="on", strategy="both")
        loop, desk, registry = another_replica(s)
        await say(s, {"auto_failover": "off", "priority": 9, "strategy": "disabled"})
        await s.store.transact(lambda tx: desk.change_machine(tx, MachineId(7), {"auto_failover": None}))
        assert (await s.stored(7)).mode is Mode.OFF
        await registry.put(MachineId(8), {"name": "eight"}, "ana")
        eight = await s.stored(8)
        assert (eight.mode, eight.priority, eight.setting) == (Mode.OFF, 9, Setting.DISABLED)
        loop.meet(Heartbeat(9, 1009, "b", 1, 5.0), 0, True)
        await loop._register_strangers()
        nine = await s.stored(9)
        assert (nine.mode, nine.priority, nine.setting) == (Mode.OBSERVE, 9, Setting.DISABLED)


async def test_a_machine_that_came_to_differ_from_what_it_inherits_is_settled_again() -> None:
    async with stage() as s:
        await registered(s)
        await say(s, {"auto_failover": "off"})
        wrong = replace(await s.stored(7), mode=Mode.ON)
        s.loop.follow(await s.store.transact(lambda tx: tx.save_machine(wrong)))
        await s.services.desk.settle()
        assert (await s.stored(7)).mode is Mode.OFF
        assert [one.mode for one in s.loop.machines()] == [Mode.OFF]


async def test_the_file_of_a_replica_without_the_fleets_jobs_is_written_to_no_machine() -> None:
    """Else the last of two replicas with different files to be restarted would win."""
    async with stage() as s:
        await registered(s)
        book, jobs = file(), [False]
        desk = PolicyDesk(s.store, s.loop, book, Announcer("test"), s.clock, {}, lambda: jobs[0])
        await desk.configure(PolicySection(auto_failover="off"), {})
        assert (await s.stored(7)).mode is Mode.ON
        jobs[0] = True
        await desk.settle()
        assert (await s.stored(7)).mode is Mode.OFF


async def test_a_configuration_that_is_read_anew_counts_at_once_below_what_was_said() -> None:
    async with stage() as s:
        await registered(s)
        await say(s, {"max_concurrent": 2})
        await s.services.desk.configure(PolicySection(max_concurrent=8, gather_s=1, auto_failover="off"), {})
        settings, origins = await shown(s)
        assert (settings["max_concurrent"], settings["gather_s"], origins["gather_s"]) == (2, 1, "file")
        assert (await s.stored(7)).mode is Mode.OFF


async def test_a_machine_alone_is_paused_for_a_reason_and_until_an_end() -> None:
    async with stage() as s:
        machine = await s.machine()
        paused = {"machine_id": 123, "minutes": 5, "reason": "its disk is being looked at"}
        answer = await s.http.post("/api/v1/pause", json=paused)
        assert answer.json()["machine_id"] == 123
        rest = (await s.stored()).rest
        assert rest is not None
        assert rest.until == s.clock.now() + timedelta(minutes=5)
        assert (await s.http.get("/api/v1/fleet")).json()["automatic_failover"] == "on"
        assert [one["machine_id"] for one in (await s.http.get("/api/v1/fleet")).json()["paused_machines"]] == [123]
        why = (await s.http.get("/api/v1/machines/123/explain")).json()
        assert "its disk is being looked at" in why["next"]
        assert (await s.http.post("/api/v1/resume", json={"machine_id": 123})).status_code == 200
        assert (await s.stored()).rest is None
        assert (await s.http.post("/api/v1/resume", json={"machine_id": 9})).status_code == 404
        assert machine.rest is None


async def test_every_setting_that_moves_a_rule_is_named_with_who_said_it() -> None:
    async with stage(policies=file(machine_cooldown_s=60)) as s:
        await registered(s)
        await say(s, {"confirm_after_s": 5}, 7)
        why = (await s.http.get(f"{MACHINES}/7/explain")).json()
        rules = {rule["rule"]: rule for rule in why["rules"]}
        assert rules["confirmed_dead"]["settings"] == [{"name": "confirm_after_s", "value": 5, "origin": "machine"}]
        assert rules["cooldown_over"]["settings"] == [{"name": "machine_cooldown_s", "value": 60, "origin": "file"}]
        assert why["stopped_by"] == "suspect"
        assert rules["has_a_place"]["threshold"] == 10


def test_the_chain_and_the_gate_are_the_same_rules() -> None:
    """Not by chance: the gate answers with the first rule that stops."""
    from machines.admission import admit
    from tests.test_failover import DEAD, FREE, POLICY, T0

    request = FailoverRequest(Reason.HEARTBEAT_LOST)
    assert isinstance(admit(DEAD, request, FREE, POLICY, T0), Granted)
    found = list(checks(DEAD, request, FREE, POLICY, T0))
    assert all(check.stops is None for check in found)
    assert len({check.rule for check in found}) == len(found)
    assert {name for check in found for name in check.settings} <= set(NAMES)


def test_what_a_machine_may_have_and_what_only_the_fleet_are_the_whole_policy() -> None:
    assert set(OF_A_MACHINE) | OF_THE_FLEET == set(NAMES)
    assert not set(OF_A_MACHINE) & OF_THE_FLEET
    assert Policy().of is not None
