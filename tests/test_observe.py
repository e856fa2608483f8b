"""Observe mode: every rule is asked as if it were on, the answer is told, and nothing is done."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import msgspec

from events import topics
from machines.admission import Delayed, Granted, Pause
from machines.failover import Deferred, Due, Notify, Observed, Probed, Silenced, decide
from machines.model import InstanceId, MachineId, Mode, Source, Testimony, Word
from machines.policy import Policy
from machines.states import State
from tests.test_api_stage import Stage, settle, stage
from tests.test_failover import MUTE_PORT, OFFLINE, OLD, POLICY, SUSPECT, T0, ask, tell

PATH = "/api/v1/machines/123"


async def dies(s: Stage) -> None:
    """The gate is asked by the loop itself, as in production."""
    await s.loop.apply(MachineId(123), Silenced(40.0, 30.0))
    now = s.clock.now()
    said = (
        Testimony(Source.PROVIDER, Word.DEAD, "its host is offline", now),
        Testimony(Source.SSH, Word.DEAD, "the SSH port is silent", now),
    )
    await s.loop.apply(MachineId(123), Probed(InstanceId(456789), said))
    await settle()


async def observed(s: Stage) -> None:
    machine = await s.machine()
    await s.store.transact(lambda tx: tx.save_machine(replace(machine, mode=Mode.OBSERVE)))
    await s.loop.load()


async def events(s: Stage, name: str) -> list[dict[str, object]]:
    rows = await s.store.transact(lambda tx: tx.unsent(1000))
    return [
        msgspec.json.decode(message.value or b"{}")
        for _, message in rows
        if message.topic.endswith(topics.EVENTS) and dict(message.headers)["ce_type"].decode().endswith(name)
    ]


def test_one_that_is_observed_passes_every_rule_and_then_is_only_told() -> None:
    dead = tell(SUSPECT, Probed(OLD, (OFFLINE, MUTE_PORT)))[0]
    assert isinstance(ask(dead), Granted)
    held = ask(replace(dead, mode=Mode.OBSERVE))
    assert isinstance(held, Delayed)
    assert held.would_begin
    assert "would have failed over by" in held.because


def test_what_keeps_an_observed_one_from_it_is_said_in_the_same_words() -> None:
    dead = replace(tell(SUSPECT, Probed(OLD, (OFFLINE, MUTE_PORT)))[0], mode=Mode.OBSERVE)
    answer = ask(dead, pause=Pause("maintenance", T0 + timedelta(hours=1), "ana"))
    assert isinstance(answer, Delayed)
    assert not answer.would_begin
    assert "maintenance" in answer.because


def test_it_is_announced_once_for_each_death_and_waits_in_no_queue() -> None:
    dead = replace(tell(SUSPECT, Probed(OLD, (OFFLINE, MUTE_PORT)))[0], mode=Mode.OBSERVE)
    told = Deferred("would have failed over", T0 + timedelta(seconds=60), would_begin=True)
    first = decide(dead, told, T0, POLICY)
    assert [type(effect) for effect in first.effects] == [Notify, Observed]
    assert (first.machine.observed_at, first.machine.queued, first.machine.state) == (T0, None, State.DETECTING)
    again = decide(first.machine, told, T0 + timedelta(seconds=60), POLICY)
    assert [type(effect) for effect in again.effects] == [Notify]
    assert again.machine.observed_at == T0


async def test_the_whole_daemon_tells_what_it_would_have_done_and_does_nothing() -> None:
    async with stage() as s:
        await observed(s)
        await dies(s)
        machine = await s.stored()
        assert (machine.state, machine.failover) == (State.DETECTING, None)
        assert machine.because.startswith("would have failed over by cpu_standby: silent")
        [alert] = [one for one in (await s.http.get("/api/v1/alerts")).json()["alerts"] if "machine-123" in one["key"]]
        assert "would have failed over" in alert["text"]
        [event] = await events(s, "failover.observed.v1")
        assert (event["machine_id"], event["strategy"]) == (123, "cpu_standby")
        assert (await s.http.get("/api/v1/fleet")).json()["would_fail_over"] == [123]
        why = (await s.http.get(f"{PATH}/explain")).json()
        assert (why["stopped_by"], why["begins_now"]) == ("not_only_observed", False)
        assert why["observed_at"]


async def test_once_it_is_switched_on_the_death_that_was_only_told_is_looked_at_now() -> None:
    async with stage() as s:
        await observed(s)
        await dies(s)
        answer = await s.http.put("/api/v1/failover/settings/123", json={"auto_failover": "on"})
        assert answer.status_code == 200, answer.text
        machine = await s.stored()
        assert machine.look_at == s.clock.now()
        await s.loop.apply(MachineId(123), Due())
        said = (
            Testimony(Source.PROVIDER, Word.DEAD, "its host is offline", s.clock.now()),
            Testimony(Source.SSH, Word.DEAD, "the SSH port is silent", s.clock.now()),
        )
        await s.loop.apply(MachineId(123), Probed(InstanceId(456789), said))
        machine = await s.stored()
        assert machine.failover is not None
        assert machine.observed_at is None


def test_the_usual_policy_observes_nobody() -> None:
    assert Policy().auto_failover is Mode.ON
