"""After a failover that replaced nothing: our own stop is no death, and the primary has the time to come up again."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest

from daemon.demo_stage import Cast, Stage, stage
from machines.admission import Delayed, FailoverRequest, FleetFacts, Granted, admit
from machines.brake import Crowd
from machines.failover import (
    Admitted,
    AttemptEnded,
    Due,
    EndFailover,
    Fenced,
    Heard,
    Lost,
    Noticed,
    Notify,
    Probe,
    Probed,
    RequestAdmission,
    Silenced,
    StartAsked,
    StartFailed,
    Won,
    decide,
)
from machines.hold import as_of_now, is_held, without_token
from machines.model import (
    DebtKind,
    Endpoint,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Reason,
    Setting,
    Source,
    Testimony,
    Word,
)
from machines.policy import Policy
from machines.states import State
from tests.test_warm_pool import replacement

T0 = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)
POLICY = Policy()
BOOT_S = POLICY.boot_timeout_s
OLD = InstanceId(7001)
FO = FailoverId("fo_1")
STOPPED = FenceProof(FenceGrade.STOPPED, "read back", T0)
SEVERED = FenceProof(FenceGrade.SEVERED, "host offline", T0)
HEALTHY = Machine(MachineId(7), "golf", mode=Mode.ON, primary=OLD, host=HostId(3), ssh=Endpoint("h", 22), boot_id="b1")
CANCELLED = Lost("cancelled", "an operator cancelled it")
EXHAUSTED = Lost("no_offer_matches", "none")
SILENCED = Silenced(31.0, 30.0)


def tell(machine, *signals, after_s=0.0):
    """The machine after the signals, and the effects of the last one."""
    effects = ()
    for signal in signals:
        decision = decide(machine, signal, T0 + timedelta(seconds=after_s), POLICY)
        machine, effects = decision.machine, decision.effects
    return machine, effects


def begun(reason=Reason.HTTP, machine=HEALTHY):
    return tell(machine, Admitted(FO, Granted(FailoverRequest(reason), Setting.CPU_STANDBY, False)))[0]


def ended(outcome, *before, may_be_stopped=True, **more):
    return tell(begun(**more), *before, AttemptEnded(FO, 1, outcome, may_be_stopped))


def crashed(after_s):
    """What our own stop looks like once our start was accepted and the container is not up yet."""
    at = T0 + timedelta(seconds=after_s)
    exited = Testimony(Source.PROVIDER, Word.CRASHED, "status exited, intended running", at)
    return Probed(OLD, (exited, Testimony(Source.SSH, Word.DEAD, "refused", at)))


def beat(boot_id, is_live=True):
    return Heard(OLD, boot_id, 10.0, 0, is_live)


def kinds(effects):
    return [debt.kind for effect in effects if isinstance(effect, EndFailover) for debt in effect.debts]


CANCELLED_FENCED, CANCELLED_EFFECTS = ended(CANCELLED, Fenced(FO, 1, STOPPED))


# -- our own stop is no death


def test_after_a_cancel_behind_the_fence_the_machine_is_watched_and_not_judged():
    machine = CANCELLED_FENCED
    assert machine.state is State.DETECTING
    assert "its primary is being started again" in machine.because
    assert machine.look_at == T0 + timedelta(seconds=BOOT_S)
    assert kinds(CANCELLED_EFFECTS) == [DebtKind.START_INSTANCE]
    assert not any(isinstance(effect, Probe | RequestAdmission) for effect in CANCELLED_EFFECTS)


@pytest.mark.parametrize("after_s", [0.05, 5.0, 60.0, BOOT_S - 1])
def test_what_our_own_stop_looks_like_begins_no_failover(after_s):
    assert tell(CANCELLED_FENCED, crashed(after_s), after_s=after_s) == (CANCELLED_FENCED, ())
    assert tell(CANCELLED_FENCED, Due(), after_s=after_s)[1] == ()


def test_the_gate_itself_refuses_a_held_machine_whatever_its_evidence_says():
    dead, _ = tell(replace(CANCELLED_FENCED, hold=None), crashed(1.0), after_s=1.0)
    held = replace(dead, hold=CANCELLED_FENCED.hold)
    facts = FleetFacts(Crowd(), None, pause_is_readable=True, blind=None)
    request = FailoverRequest(Reason.HEARTBEAT_LOST)
    now = T0 + timedelta(seconds=1)
    assert isinstance(admit(dead, request, facts, POLICY, now), Granted)
    for blind in (None, "our own ticks do not come back"):
        answer = admit(held, request, replace(facts, blind=blind), POLICY, now)
        assert answer == Delayed("its primary is being started again", T0 + timedelta(seconds=BOOT_S))


@pytest.mark.parametrize("step", [timedelta(hours=-1), timedelta(hours=1)])
def test_a_hold_lasts_as_long_as_it_says_however_the_time_of_day_is_stepped(step):
    held, _ = tell(CANCELLED_FENCED, StartAsked(OLD), after_s=5)
    for after_s, is_over in ((10, False), (BOOT_S, False), (BOOT_S + 10, True)):
        now = T0 + step + timedelta(seconds=after_s)
        machine = as_of_now(held, now, lambda at, after_s=after_s: T0 + timedelta(seconds=after_s) - at)
        assert is_held(machine, now, POLICY) is not is_over
        assert bool(decide(machine, Due(), now, POLICY).effects) is is_over
    assert as_of_now(held, T0 + timedelta(seconds=9), lambda at: T0 + timedelta(seconds=9) - at) is held


def test_a_person_passes_the_hold_and_ends_it():
    facts = FleetFacts(Crowd(), None, pause_is_readable=True, blind=None)
    assert isinstance(admit(CANCELLED_FENCED, FailoverRequest(Reason.HTTP), facts, POLICY, T0), Granted)
    assert begun(machine=CANCELLED_FENCED).hold is None


def test_a_primary_that_comes_up_again_is_healthy_and_judged_as_any_other():
    machine, _ = tell(CANCELLED_FENCED, beat("b2"), after_s=40)
    assert (machine.state, machine.hold) == (State.HEALTHY, None)
    suspect, effects = tell(machine, SILENCED, after_s=80)
    assert effects == (Probe(),)
    assert isinstance(tell(suspect, crashed(80), after_s=80)[1][0], RequestAdmission)


def test_a_late_beat_of_the_boot_that_we_stopped_is_no_sign_of_life():
    assert tell(CANCELLED_FENCED, beat("b1"), after_s=2) == (CANCELLED_FENCED, ())
    exhausted, _ = ended(EXHAUSTED, Fenced(FO, 1, STOPPED))
    assert tell(exhausted, beat("b1"), after_s=2) == (exhausted, ())


def test_after_a_fence_that_only_severed_the_same_boot_may_speak_on():
    severed, _ = ended(CANCELLED, Fenced(FO, 1, SEVERED))
    machine, _ = tell(severed, beat("b1"), after_s=2)
    assert machine.state is State.HEALTHY
    assert machine.hold is not None, "our stop may still come into effect"


def test_one_that_does_not_come_up_is_judged_by_fresh_evidence_after_the_time_of_a_boot():
    asked, _ = tell(CANCELLED_FENCED, StartAsked(OLD), after_s=10)
    assert asked.look_at == T0 + timedelta(seconds=10 + BOOT_S)
    late = 10 + BOOT_S
    asking, effects = tell(asked, Due(), after_s=late)
    assert effects == (Probe(),)
    assert (asking.evidence, asking.hold) == (None, None)
    assert isinstance(tell(asking, crashed(late), after_s=late)[1][0], RequestAdmission)


def test_each_start_whose_answer_may_be_lost_begins_the_time_of_a_boot_anew():
    machine = CANCELLED_FENCED
    for after_s in (0, 30, 400, 800, 1200):
        machine, _ = tell(machine, StartAsked(OLD), after_s=after_s)
    assert tell(machine, crashed(1500), after_s=1500) == (machine, ())


def test_a_start_that_comes_after_the_time_was_over_holds_the_suspect_again():
    asking, _ = tell(CANCELLED_FENCED, Due(), after_s=BOOT_S)
    held, _ = tell(asking, StartAsked(OLD), after_s=BOOT_S + 1)
    assert tell(held, crashed(BOOT_S + 2), after_s=BOOT_S + 2) == (held, ())


def test_a_start_that_the_provider_refuses_is_told_and_prolongs_nothing():
    asked, _ = tell(CANCELLED_FENCED, StartAsked(OLD), after_s=60)
    refused, effects = tell(asked, StartFailed(OLD, "the GPU is taken", is_final=True), after_s=61)
    assert refused.look_at == T0 + timedelta(seconds=BOOT_S)
    (told,) = effects
    assert isinstance(told, Notify)
    assert "primary_not_restartable" in told.text
    later, quiet = tell(asked, StartFailed(OLD, "rate limited", is_final=False), after_s=61)
    assert (later.look_at, quiet) == (refused.look_at, ())


def test_what_we_stopped_and_cannot_start_is_for_a_person_and_no_death():
    asking, _ = tell(CANCELLED_FENCED, Due(), after_s=BOOT_S)
    stopped = Testimony(Source.PROVIDER, Word.STOPPED, "exited", T0 + timedelta(seconds=BOOT_S))
    machine, effects = tell(asking, Probed(OLD, (stopped,)), after_s=BOOT_S)
    assert machine.state is State.DETECTING
    assert not any(isinstance(effect, RequestAdmission) for effect in effects)


# -- the same pattern elsewhere


@pytest.mark.parametrize("reason", [Reason.HTTP, Reason.DRILL, Reason.COMMAND])
@pytest.mark.parametrize("outcome", [CANCELLED, EXHAUSTED])
def test_a_primary_that_is_kept_while_our_stop_may_be_under_way_is_held_too(reason, outcome):
    kept, effects = ended(outcome, reason=reason)
    assert kept.state is State.HEALTHY
    assert kinds(effects) == [DebtKind.START_INSTANCE]
    suspect, effects = tell(kept, SILENCED, after_s=35)
    assert suspect.state is State.DETECTING
    assert "its primary is being started again" in suspect.because
    assert (suspect.look_at, effects) == (T0 + timedelta(seconds=BOOT_S), ())
    assert tell(kept, Noticed(OLD, Source.NOTICE, "shutdown"), after_s=1)[1] == ()


@pytest.mark.parametrize("reason", [Reason.HTTP, Reason.DRILL])
def test_an_exhausted_ladder_behind_the_fence_waits_for_its_primary(reason):
    failed, effects = ended(EXHAUSTED, Fenced(FO, 1, STOPPED), reason=reason)
    assert failed.state is State.FAILED
    assert "its primary is being started again" in failed.because
    assert kinds(effects) == [DebtKind.START_INSTANCE]
    assert tell(failed, beat("b2"), after_s=40)[0].state is State.HEALTHY


def test_a_return_behind_the_fence_is_started_again_and_not_judged_by_the_fence():
    spoke = Heard(OLD, "b1", 10.0, 0)
    suspect, _ = tell(HEALTHY, SILENCED)
    machine, effects = ended(
        Lost("cancelled", "the old instance speaks again"),
        Fenced(FO, 1, STOPPED),
        spoke,
        reason=Reason.HEARTBEAT_LOST,
        machine=suspect,
    )
    assert machine.state is State.DETECTING
    assert kinds(effects) == [DebtKind.START_INSTANCE]
    assert tell(machine, crashed(5), after_s=5) == (machine, ())


def test_cancelling_a_dead_machines_failover_lifts_its_fence_and_begins_no_other_at_once():
    suspect, _ = tell(HEALTHY, SILENCED)
    dead = begun(Reason.HEARTBEAT_LOST, suspect)
    fenced, effects = tell(dead, Fenced(FO, 1, STOPPED), AttemptEnded(FO, 1, CANCELLED))
    assert kinds(effects) == [DebtKind.START_INSTANCE], "our stop must not read as its owner's for ever"
    assert tell(fenced, crashed(5), after_s=5) == (fenced, ())
    untouched, effects = tell(dead, AttemptEnded(FO, 1, CANCELLED, may_be_stopped=False))
    assert kinds(effects) == []
    assert tell(untouched, crashed(5), after_s=5) == (untouched, ())
    _, effects = tell(untouched, Due(), after_s=BOOT_S)
    assert effects == (Probe(),)
    assert tell(untouched, beat("b1"), after_s=5)[0].state is State.HEALTHY


def test_the_hand_over_and_the_fence_of_another_actor_leave_no_hold():
    won, _ = ended(Won(replacement(InstanceId(7002), has_volume=False)))
    assert won.hold is None
    assert tell(won, StartAsked(OLD))[0] == won, "the old one must never come up again"


# -- what was never fenced is not started


@pytest.mark.parametrize("outcome", [CANCELLED, EXHAUSTED, Lost("warm_pool_not_ready", "no standby")])
def test_a_primary_that_no_fence_was_begun_for_is_neither_started_nor_held(outcome):
    kept, effects = ended(outcome, may_be_stopped=False)
    assert (kept.state, kept.hold) == (State.HEALTHY, None)
    assert kinds(effects) == []


# -- the whole daemon beside a simulated world


async def until(play: Stage, look, real_s=90.0):
    async with asyncio.timeout(real_s):
        while True:
            play.check()
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.02)


async def test_a_cancelled_failover_of_a_healthy_machine_is_its_last(tmp_path: Path):
    """Seen: a new `heartbeat_lost` failover 50 ms after the cancel, "the container has exited": by our own stop."""
    async with stage(tmp_path, 40.0, 7, "calm", "refused", 3) as play:
        people = await play.load(2)
        for person in people:
            await play.register(person)
        token = {"Authorization": f"Bearer {play.daemon.token}"}
        async with httpx.AsyncClient(base_url=f"{play.api_url}/api/v1", headers=token) as http:
            one = people[0]
            failover = await _begin(play, http, one)

            async def fenced():
                return (await http.get(f"/failovers/{failover}")).json()["fence_grade"]

            await until(play, fenced)
            assert (await http.post(f"/failovers/{failover}/cancel")).status_code == 202

            async def well():
                row = (await http.get(f"/machines/{one.id}")).json()
                return row["state"] == "healthy" and (await http.get("/debts")).json()["count"] == 0

            await until(play, well)
            await play.clock.sleep(120.0)
            found = (await http.get("/failovers", params={"machine_id": int(one.id)})).json()["failovers"]
            assert [(row["failover_id"], row["error"]) for row in found] == [(failover, "cancelled")]
            assert (await http.get(f"/machines/{one.id}")).json()["gpu_instance_id"] == one.instance


async def _begin(play: Stage, http: httpx.AsyncClient, one: Cast) -> str:
    async def ready():
        row = (await http.get(f"/failover/readiness/{one.id}", params={"refresh": "true"})).json()
        return row["cpu_standby_ready"] and play.daemon.ingest.heard(one.instance)

    await until(play, ready)
    body = {"machine_id": int(one.id), "gpu_instance_id": int(one.instance), "ssh_host": "x", "ssh_port": 22}
    body["force_strategy"] = "cpu_standby"
    answer = await http.post("/failover/execute", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return str(answer.json()["failover_id"])


async def test_a_forced_strategy_that_is_refused_at_once_leaves_nothing_behind(tmp_path: Path):
    """Seen: a debt to start the primary, which nobody had stopped."""
    async with stage(tmp_path, 40.0, 7, "calm", "refused", 3) as play:
        (one,) = await play.load(1)
        body = {"gpu_instance_id": int(one.instance), "strategy": "cpu_standby", "interval_s": 10.0}
        await play.daemon.registry.put(one.id, body, "the test")
        token = {"Authorization": f"Bearer {play.daemon.token}"}
        async with httpx.AsyncClient(base_url=f"{play.api_url}/api/v1", headers=token, timeout=30.0) as http:
            ask = {"machine_id": int(one.id), "gpu_instance_id": int(one.instance), "ssh_host": "x", "ssh_port": 22}
            for count, forced in enumerate(("warm_pool", "regional_volume"), 1):
                answer = (await http.post("/failover/execute", json={**ask, "force_strategy": forced})).json()
                assert answer["success"] is False
                assert await play.daemon.store.transact(lambda tx: tx.open_debts()) == []
                machine = (await http.get(f"/machines/{one.id}")).json()
                assert (machine["state"], machine["fence"]) == ("healthy", count), "one fence number a failover"


# -- a revoked beat token

REVOKED = without_token(HEALTHY, T0)


def test_the_silence_after_a_revocation_is_watched_and_told_but_not_judged():
    machine, effects = tell(REVOKED, Silenced(31.0, 30.0), after_s=31)
    assert machine.state is State.DETECTING
    assert machine.look_at == T0 + timedelta(minutes=30)
    (alert,) = effects
    assert isinstance(alert, Notify)
    assert "give the agent its next token" in alert.text
    assert tell(machine, crashed(1700), after_s=1700) == (machine, ())
    back, _ = tell(machine, beat("b1"), after_s=900)
    assert back.state is State.HEALTHY


def test_without_the_next_token_the_machine_is_judged_in_the_end():
    machine, _ = tell(REVOKED, Silenced(31.0, 30.0), after_s=31)
    machine, effects = tell(machine, Due(), after_s=1801)
    assert (machine.hold, effects) == (None, (Probe(),))


@pytest.mark.parametrize("silent_s", [30.0, 60.0])
def test_whoever_was_heard_after_the_revocation_is_judged_by_its_silence_as_ever(silent_s):
    machine, effects = tell(REVOKED, Silenced(silent_s, 30.0), after_s=100)
    assert (machine.hold, effects) == (None, (Probe(),))


def test_a_new_life_of_the_agent_ends_the_hold_of_a_revoked_token():
    assert tell(REVOKED, beat("b2"), after_s=1)[0].hold is None
    assert tell(REVOKED, beat("b1"), after_s=1)[0].hold == REVOKED.hold


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_death_notice_counts_although_the_token_was_revoked(is_silent):
    before = (Silenced(31.0, 30.0),) if is_silent else ()
    machine, effects = tell(REVOKED, *before, Noticed(OLD, Source.NOTICE, "preemption", 7), after_s=35)
    assert (machine.state, machine.hold) == (State.DETECTING, None)
    assert Probe() in effects
    assert tell(machine, crashed(36), after_s=36)[0].evidence is not None


def test_the_revocation_of_a_suspect_s_token_changes_nothing():
    suspect, _ = tell(HEALTHY, Silenced(31.0, 30.0))
    assert without_token(suspect, T0) == suspect
