"""`decide`, told as stories of one machine: no clock, no store, no provider."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.admission import Delayed, Denied, FailoverRequest, FleetFacts, Granted, Pause, admit, refusal
from machines.brake import Crowd
from machines.detector import Silence
from machines.errors import IllegalTransition
from machines.failover import (
    Admitted,
    AttemptEnded,
    BeginAttempt,
    CancelAsked,
    Deferred,
    Due,
    EndFailover,
    FailoverAsked,
    Faulted,
    Fenced,
    Heard,
    Lost,
    Noticed,
    Notify,
    Parked,
    Probe,
    Probed,
    Repaired,
    RequestAdmission,
    Silenced,
    Won,
    decide,
)
from machines.model import (
    DebtKind,
    Endpoint,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    InstanceId,
    Label,
    LandlordId,
    Machine,
    MachineId,
    Mode,
    Reason,
    Replacement,
    Rung,
    Setting,
    Source,
    Testimony,
    Word,
)
from machines.policy import Policy
from machines.states import ATTEMPTS, State

T0 = datetime(2026, 11, 23, tzinfo=UTC)
POLICY = Policy()
OLD, NEW = InstanceId(7001), InstanceId(7002)
FO = FailoverId("fo_test")
FREE = FleetFacts(Crowd(), None, pause_is_readable=True, blind=None)

OFFLINE = Testimony(Source.PROVIDER, Word.DEAD, "host offline", T0)
CRASHED = Testimony(Source.PROVIDER, Word.CRASHED, "exited", T0)
RUNNING = Testimony(Source.PROVIDER, Word.ALIVE, "running", T0)
GONE = Testimony(Source.PROVIDER, Word.GONE, "no such rental", T0)
MUTE_PORT = Testimony(Source.SSH, Word.DEAD, "refused", T0)
OPEN_PORT = Testimony(Source.SSH, Word.ALIVE, "answers", T0)

HEALTHY = Machine(MachineId(7), "golf", mode=Mode.ON, primary=OLD, host=HostId(3), ssh=Endpoint("h", 22))
REPLACEMENT = Replacement(
    NEW, Label("fo-x-c0"), HostId(9), LandlordId(9), Endpoint("h2", 23), "key", "RTX 4090", 0.5, "b2", 60.0
)
HEARD_OLD = Heard(OLD, "b1", 10.0, 0)


def tell(machine, *signals, policy=POLICY):
    """The machine after the signals, and the effects of the last one."""
    effects = ()
    for signal in signals:
        decision = decide(machine, signal, T0, policy)
        machine, effects = decision.machine, decision.effects
    return machine, effects


def silenced():
    return Silenced(31.0, 30.0)


def admitted(setting=Setting.CPU_STANDBY, reason=Reason.HEARTBEAT_LOST, repair=False):
    return Admitted(FO, Granted(FailoverRequest(reason), setting, repair))


SUSPECT, _ = tell(HEALTHY, silenced())
DEAD, _ = tell(SUSPECT, Probed(OLD, (OFFLINE, MUTE_PORT)))
IN_ATTEMPT, _ = tell(DEAD, admitted())
PROOF = FenceProof(FenceGrade.SEVERED, "our stop was accepted", T0)


def test_silence_makes_a_suspect_and_asks():
    machine, effects = tell(HEALTHY, silenced())
    assert machine.state is State.DETECTING
    assert effects == (Probe(),)
    assert machine.look_at > T0


def test_the_same_instance_speaking_again_ends_the_suspicion():
    machine, _ = tell(SUSPECT, HEARD_OLD)
    assert machine.state is State.HEALTHY
    assert machine.evidence is None


def test_another_instance_speaking_changes_nothing():
    machine, effects = tell(SUSPECT, Heard(NEW, "b9", 10.0, 0))
    assert (machine, effects) == (SUSPECT, ())


def test_death_asks_for_admission_and_changes_no_state_itself():
    machine, effects = tell(SUSPECT, Probed(OLD, (OFFLINE, MUTE_PORT)))
    assert machine.state is State.DETECTING
    assert isinstance(effects[0], RequestAdmission)


def test_a_living_machine_with_a_dead_agent_is_told_and_left():
    machine, effects = tell(SUSPECT, Probed(OLD, (RUNNING, OPEN_PORT)))
    assert machine.state is State.DETECTING
    assert "degraded monitoring" in machine.because
    assert all(isinstance(effect, Notify) for effect in effects)


@pytest.mark.parametrize(("mode", "setting"), [(Mode.OFF, Setting.BOTH), (Mode.OBSERVE, Setting.DISABLED)])
def test_without_leave_it_only_tells(mode, setting):
    suspect = replace(SUSPECT, mode=mode, setting=setting)
    machine, effects = tell(suspect, Probed(OLD, (OFFLINE, MUTE_PORT)))
    assert machine.state is State.DETECTING
    assert not any(isinstance(effect, RequestAdmission) for effect in effects)
    assert any(isinstance(effect, Notify) for effect in effects)


def test_a_disabled_strategy_fails_the_dead_machine_and_tells():
    machine, effects = tell(replace(SUSPECT, setting=Setting.DISABLED), Probed(OLD, (OFFLINE, MUTE_PORT)))
    assert machine.state is State.FAILED
    assert any(isinstance(effect, Notify) for effect in effects)


def test_stale_beats_of_a_gone_rental_do_not_resume_it():
    gone, _ = tell(SUSPECT, Probed(OLD, (GONE, MUTE_PORT)))
    machine, _ = tell(gone, HEARD_OLD)
    assert machine.state is State.DETECTING


def test_admission_raises_the_fence_and_begins_the_first_rung():
    machine, effects = tell(DEAD, admitted())
    assert machine.state is State.CPU_STANDBY_ATTEMPT
    assert machine.fence == DEAD.fence + 1 == machine.failover.fence
    assert effects == (BeginAttempt(machine.failover),)


def test_a_crashed_container_is_rebooted_before_the_ladder():
    machine, _ = tell(DEAD, admitted(repair=True))
    assert machine.state is State.DETECTING
    assert machine.failover.ladder == (Rung.REPAIR_PRIMARY, Rung.CPU_STANDBY)
    back, _ = tell(machine, AttemptEnded(FO, 1, Repaired()))
    assert back.state is State.HEALTHY
    onward, effects = tell(machine, AttemptEnded(FO, 1, Lost("primary_not_restartable", "exited again")))
    assert onward.state is State.CPU_STANDBY_ATTEMPT
    assert isinstance(effects[0], BeginAttempt)


def test_the_hand_over_makes_the_replacement_the_machine_and_owes_the_old_one():
    machine, effects = tell(IN_ATTEMPT, Fenced(FO, 1, PROOF), AttemptEnded(FO, 1, Won(REPLACEMENT)))
    assert machine.state is State.RECOVERED
    assert machine.primary == NEW
    ended = next(effect for effect in effects if isinstance(effect, EndFailover))
    assert [(debt.kind, debt.instance) for debt in ended.debts] == [(DebtKind.DESTROY_INSTANCE, OLD)]
    healthy, _ = tell(machine, Heard(NEW, "b2", 10.0, 0))
    assert healthy.state is State.HEALTHY


def test_the_old_instances_beat_after_the_hand_over_does_nothing():
    machine, _ = tell(IN_ATTEMPT, AttemptEnded(FO, 1, Won(REPLACEMENT)))
    assert tell(machine, HEARD_OLD) == (machine, ())


def test_both_goes_on_down_the_ladder_and_inherits_the_fence():
    machine, _ = tell(DEAD, admitted(Setting.BOTH), Fenced(FO, 1, PROOF))
    assert machine.state is State.WARM_POOL_ATTEMPT
    onward, effects = tell(machine, AttemptEnded(FO, 1, Lost("warm_pool_not_ready", "no standby")))
    assert onward.state is State.CPU_STANDBY_ATTEMPT
    assert onward.failover.proof == PROOF
    assert onward.failover.fence == machine.failover.fence
    assert isinstance(effects[0], BeginAttempt)


def test_an_exhausted_ladder_is_a_failure_that_somebody_hears_of():
    machine, effects = tell(IN_ATTEMPT, AttemptEnded(FO, 1, Lost("no_snapshot", "none")))
    assert machine.state is State.FAILED
    assert machine.failover is None
    assert any(isinstance(effect, Notify) and not effect.resolves for effect in effects)


def test_a_bad_candidate_begins_the_same_rung_again_at_most_twice():
    machine, begun = IN_ATTEMPT, 0
    while machine.failover is not None:
        machine, effects = tell(machine, AttemptEnded(FO, 1, Lost("restore_failed", "checksum")))
        begun += sum(isinstance(effect, BeginAttempt) for effect in effects)
    assert begun == 2
    assert machine.state is State.FAILED


def test_a_living_primary_that_was_not_fenced_is_kept():
    machine, _ = tell(HEALTHY, admitted(reason=Reason.HTTP), AttemptEnded(FO, 1, Lost("no_snapshot", "none")))
    assert machine.state is State.HEALTHY


def test_a_living_primary_that_was_fenced_is_started_again():
    machine, effects = tell(
        HEALTHY,
        admitted(reason=Reason.HTTP),
        Fenced(FO, 1, PROOF),
        AttemptEnded(FO, 1, Lost("no_offer_matches", "none")),
    )
    assert machine.state is State.FAILED
    ended = next(effect for effect in effects if isinstance(effect, EndFailover))
    assert [debt.kind for debt in ended.debts] == [DebtKind.START_INSTANCE]


def test_cancelling_a_silent_machines_attempt_leaves_it_a_suspect():
    machine, _ = tell(IN_ATTEMPT, CancelAsked(FO))
    assert machine.failover.cancel_asked
    machine, _ = tell(machine, AttemptEnded(FO, 1, Lost("cancelled", "an operator cancelled it")))
    assert machine.state is State.DETECTING


def test_a_parked_attempt_stays_visible():
    machine, _ = tell(IN_ATTEMPT, AttemptEnded(FO, 1, Parked("boot_timeout", "the undo does not end")))
    assert machine.state is State.FAILED
    assert "parked" in machine.because


def test_an_ended_failovers_late_signals_change_nothing():
    machine, _ = tell(IN_ATTEMPT, AttemptEnded(FO, 1, Won(REPLACEMENT)))
    for late in (AttemptEnded(FO, 1, Won(REPLACEMENT)), Fenced(FO, 1, PROOF), CancelAsked(FO)):
        assert tell(machine, late) == (machine, ())


def test_a_failed_machine_that_speaks_again_is_healthy():
    failed, _ = tell(IN_ATTEMPT, AttemptEnded(FO, 1, Lost("no_snapshot", "none")))
    machine, _ = tell(failed, HEARD_OLD)
    assert machine.state is State.HEALTHY


# -- the gate


def ask(machine=DEAD, request=None, **facts):
    found = replace(FREE, **facts)
    return admit(machine, request or FailoverRequest(Reason.HEARTBEAT_LOST), found, POLICY, T0)


def test_the_gate_grants_a_confirmed_death():
    assert isinstance(ask(), Granted)


@pytest.mark.parametrize(
    "facts",
    [
        {"crowd": Crowd(running=POLICY.max_concurrent)},
        {"pause": Pause("maintenance", T0 + timedelta(hours=1), "ana")},
        {"pause_is_readable": False},
    ],
    ids=["cap", "paused", "unreadable pause"],
)
def test_the_gate_holds_back(facts):
    assert isinstance(ask(**facts), Delayed)


def test_a_pause_that_is_over_holds_nothing_back():
    assert isinstance(ask(pause=Pause("maintenance", T0 - timedelta(seconds=1), "ana")), Granted)


def test_a_blind_observer_needs_the_providers_own_word():
    assert isinstance(ask(blind="ticks do not come back"), Granted)
    confirmed = replace(DEAD.evidence, testimonies=(RUNNING, MUTE_PORT), dead_since=T0 - timedelta(hours=1), rounds=9)
    assert isinstance(ask(replace(DEAD, evidence=confirmed), blind="ticks do not come back"), Delayed)


FAULTY = Testimony(Source.HEARTBEAT, Word.ALIVE, "it beats, but reports a fault: Xid 79", T0 - timedelta(seconds=40))


def heard(seconds_ago):
    return Silence(int(DEAD.id), seconds_ago, 30.0, 5)


@pytest.mark.parametrize("provider", [OFFLINE, RUNNING])
def test_what_beats_is_not_failed_over_whatever_else_does_not_answer(provider):
    said = replace(
        DEAD.evidence, testimonies=(FAULTY, provider, MUTE_PORT), dead_since=T0 - timedelta(hours=1), rounds=9
    )
    faulty = replace(DEAD, evidence=said)
    delayed = ask(faulty, silence=heard(4.0))
    assert isinstance(delayed, Delayed)
    assert "it beats, last 4 s ago" in delayed.because
    assert isinstance(ask(faulty, silence=heard(31.0)), Granted)
    assert isinstance(ask(faulty, silence=None), Granted)


def test_a_beat_that_came_after_the_suspicion_counts_whatever_began_it():
    """A silent machine that speaks again with a fault stays suspect, and is alive."""
    assert isinstance(ask(silence=heard(4.0), suspected=timedelta(seconds=60)), Delayed)
    assert isinstance(ask(silence=heard(4.0), suspected=timedelta(seconds=3)), Granted)  # Noticed, and mute since.


def test_what_the_provider_took_away_is_gone_though_stale_beats_arrive():
    gone = replace(OFFLINE, word=Word.GONE, detail="no such instance")
    said = replace(DEAD.evidence, testimonies=(FAULTY, gone))
    assert isinstance(ask(replace(DEAD, evidence=said), silence=heard(4.0)), Granted)


def test_stale_evidence_goes_back_to_the_probe():
    old = replace(DEAD.evidence, at=T0 - timedelta(seconds=POLICY.evidence_max_age_s + 1))
    assert isinstance(ask(replace(DEAD, evidence=old)), Delayed)


def test_a_person_passes_pause_and_cap():
    request = FailoverRequest(Reason.HTTP)
    assert isinstance(ask(HEALTHY, request, crowd=Crowd(running=99), pause_is_readable=False), Granted)


def test_a_second_failover_is_refused_with_the_running_one():
    denied = ask(IN_ATTEMPT, FailoverRequest(Reason.HTTP))
    assert isinstance(denied, Denied)
    assert denied.code == "failover_in_progress"
    assert FO in denied.because


def test_a_stale_instance_is_refused():
    assert refusal(HEALTHY, FailoverRequest(Reason.HTTP, gpu_instance_id=NEW)).code == "stale_instance"


def test_disabled_is_refused_unless_a_strategy_is_forced():
    machine = replace(HEALTHY, setting=Setting.DISABLED)
    assert refusal(machine, FailoverRequest(Reason.HTTP)).code == "protection_disabled"
    assert refusal(machine, FailoverRequest(Reason.HTTP, Setting.CPU_STANDBY)) is None


# -- properties

SIGNALS = st.sampled_from(
    [
        silenced(),
        HEARD_OLD,
        Heard(NEW, "b2", 10.0, 1),
        Noticed(OLD, Source.NOTICE, "shutdown"),
        Noticed(NEW, Source.PROVIDER, "gone"),
        Faulted(OLD, "gpu 0 is lost"),
        Due(),
        Probed(OLD, (OFFLINE, MUTE_PORT)),
        Probed(OLD, (RUNNING, OPEN_PORT)),
        Probed(OLD, (GONE, MUTE_PORT)),
        Probed(OLD, (CRASHED, MUTE_PORT)),
        Deferred("cap", T0),
        FailoverAsked(FailoverRequest(Reason.HTTP)),
        CancelAsked(FO),
        Fenced(FO, 1, PROOF),
        AttemptEnded(FO, 1, Won(REPLACEMENT)),
        AttemptEnded(FO, 1, Lost("no_snapshot", "none")),
        AttemptEnded(FO, 1, Lost("cancelled", "asked")),
        AttemptEnded(FO, 1, Parked("boot_timeout", "stuck")),
        AttemptEnded(FO, 1, Lost("verify_failed", "hash")),
        "admit",
    ]
)


@given(st.lists(SIGNALS, max_size=40), st.sampled_from(list(Mode)), st.sampled_from(list(Setting)))
def test_whatever_comes_in_whatever_order_the_machine_stays_sound(signals, mode, setting):
    machine = replace(HEALTHY, mode=mode, setting=setting)
    for signal in signals:
        if signal == "admit":
            if refusal(machine, FailoverRequest(Reason.HTTP)) is not None or machine.state in ATTEMPTS:
                continue
            signal = admitted(machine.setting)
        try:
            decision = decide(machine, signal, T0, POLICY)
        except IllegalTransition as error:
            raise AssertionError(f"{machine.state} {signal}") from error
        assert decision.machine.fence >= machine.fence
        assert (decision.machine.state in ATTEMPTS) <= (decision.machine.failover is not None)
        begins = [effect for effect in decision.effects if isinstance(effect, BeginAttempt)]
        assert len(begins) <= 1
        assert not begins or decision.machine.failover == begins[0].failover
        machine = decision.machine


def test_the_last_beat_before_a_silence_is_remembered_for_the_life_of_that_agent():
    machine, _ = tell(replace(HEALTHY, boot_id="b1"), Silenced(31.0, 30.0, 71))
    assert machine.last_sequence == 71
    again, _ = tell(machine, Heard(OLD, "b1", 10.0, 0))
    assert again.last_sequence == 71
    anew, _ = tell(machine, Heard(OLD, "b2", 10.0, 0))
    assert anew.last_sequence is None
