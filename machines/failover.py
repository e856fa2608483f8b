"""From a signal about one machine to a decision: the machine as it is now, and the effects to act on after the save."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from machines.admission import FailoverRequest
from machines.brake import flapping_alert, flaps, quarantined_until, with_suspicion
from machines.endings import on_attempt_ended
from machines.evidence import Judgement, Verdict, collect, judge
from machines.hold import has_spoken_since, has_token, held_until, is_held, lacks_token
from machines.model import (
    Evidence,
    FenceGrade,
    Machine,
    Mode,
    Queued,
    Reason,
    Rung,
    Running,
    Setting,
    Source,
    Testimony,
    Word,
    is_served_by_vm,
)
from machines.policy import Policy
from machines.progress import enter, follow
from machines.restart import on_start_asked, on_start_failed, watched
from machines.signals import (
    Admitted,
    AttemptEnded,
    BeginAttempt,
    CancelAsked,
    Decision,
    Deferred,
    Due,
    Effect,
    EndFailover,
    FailoverAsked,
    Faulted,
    Fenced,
    Heard,
    Lost,
    Noticed,
    Notify,
    Observed,
    Parked,
    Probe,
    Probed,
    Repaired,
    RequestAdmission,
    Signal,
    Silenced,
    StartAsked,
    StartFailed,
    TakenOver,
    Won,
)
from machines.states import State, Trigger
from machines.strategies.ladder import ladder

__all__ = (
    "Admitted",
    "AttemptEnded",
    "BeginAttempt",
    "CancelAsked",
    "Decision",
    "Deferred",
    "Due",
    "Effect",
    "EndFailover",
    "FailoverAsked",
    "Faulted",
    "Fenced",
    "Heard",
    "Lost",
    "Noticed",
    "Notify",
    "Observed",
    "Parked",
    "Probe",
    "Probed",
    "Repaired",
    "RequestAdmission",
    "Signal",
    "Silenced",
    "StartAsked",
    "StartFailed",
    "TakenOver",
    "Won",
    "decide",
)
"""The words in which `decide` is spoken to come with it."""


def decide(machine: Machine, signal: Signal, now: datetime, policy: Policy) -> Decision:
    """Pure. A signal that means nothing in the machine's state changes nothing."""
    match signal:
        case Silenced():
            return _on_silence(machine, signal, now, policy)
        case Heard():
            return _on_heard(machine, signal, now)
        case Noticed():
            return _on_notice(machine, signal, now, policy)
        case Faulted():
            return _on_fault(machine, signal, now, policy)
        case Due():
            return _on_due(machine, now, policy)
        case Probed():
            return _on_probed(machine, signal, now, policy)
        case Admitted():
            return _on_admitted(machine, signal, now)
        case Deferred():
            return _on_deferred(machine, signal, now)
        case FailoverAsked():
            return Decision(machine, (RequestAdmission(signal.request),))
        case CancelAsked():
            return _on_cancel(machine, signal)
        case Fenced():
            return _on_fenced(machine, signal)
        case TakenOver():
            return _on_taken_over(machine, signal)
        case StartAsked():
            return on_start_asked(machine, signal, now, policy)
        case StartFailed():
            return on_start_failed(machine, signal, policy)
        case AttemptEnded():
            return on_attempt_ended(machine, signal, now, policy)
        case _:
            assert_never(signal)


_SERVING = (State.HEALTHY, State.RECOVERED)


def _suspect(machine: Machine, trigger: Trigger, now: datetime, policy: Policy, because: str) -> Decision:
    if machine.hold is not None and is_held(machine, now, policy):
        held = watched(follow(machine, trigger, now, f"{machine.hold.because}; {because}"), policy)
        if not lacks_token(held):
            return Decision(held)
        text = f"{machine.name}: {held.because}; give the agent its next token, or ask for a failover if it is dead"
        return Decision(held, (Notify(f"machine-{machine.id}", text),))
    suspect = replace(
        follow(machine, trigger, now, because),
        look_at=now + timedelta(seconds=policy.probe_every_s),
        evidence=None,
        hold=None,
        suspicions=with_suspicion(machine, now, policy),
        observed_at=None,
    )
    until = quarantined_until(suspect, policy)
    if until is None:
        return Decision(suspect, (Probe(),))
    text = f"{machine.name}: {flaps(suspect)}; in quarantine until {until.isoformat()}"
    return Decision(suspect, (Probe(), Notify(flapping_alert(machine.id), text)))


def _on_silence(machine: Machine, signal: Silenced, now: datetime, policy: Policy) -> Decision:
    if machine.state not in _SERVING or machine.primary is None or machine.failover is not None:
        return Decision(machine)
    because = f"silent for {signal.silent_s:.0f} s of log time, the grace period is {signal.grace_s:.0f} s"
    if has_spoken_since(machine, now - timedelta(seconds=signal.silent_s)):
        machine = has_token(machine)
    machine = replace(machine, last_sequence=signal.sequence)
    return _suspect(machine, Trigger.HEARTBEAT_MISSED, now, policy, because)


def _on_heard(machine: Machine, signal: Heard, now: datetime) -> Decision:
    if signal.instance != machine.primary:
        return Decision(machine)
    hold = machine.hold
    if hold is not None and hold.is_stopped and hold.boot_id == signal.boot_id:
        return Decision(machine)  # On its way since before our stop.
    partition = machine.partition if signal.partition is None else signal.partition
    heard = replace(machine, interval_s=signal.interval_s, partition=partition)
    if not signal.is_live and machine.failover is not None:
        return Decision(heard)  # A new life of the agent would be a proof, and what is read back proves nothing.
    if signal.boot_id != machine.boot_id:
        heard = replace(heard, boot_id=signal.boot_id, last_sequence=None)
    if not signal.is_live:
        return Decision(heard)
    if hold is not None and hold.boot_id != signal.boot_id:
        heard = replace(heard, hold=None)
    if machine.failover is not None:
        return _on_return(heard, machine.failover)
    if is_served_by_vm(machine):
        return Decision(heard)  # It was fenced, and the newest work is on the VM: a failover brings it to a GPU.
    match machine.state:
        case State.DETECTING if not _is_gone(machine.evidence):
            return _resumed(_cleared(heard, signal, now), Trigger.HEARTBEAT_RESUMED, now)
        case State.FAILED:
            return _resumed(heard, Trigger.HEARTBEAT_RESUMED, now)
        case State.RECOVERED:
            return _resumed(heard, Trigger.HEARTBEAT_RECEIVED, now)
        case _:
            return Decision(heard)


def _on_return(machine: Machine, running: Running) -> Decision:
    """The old instance speaks in the middle of a failover that its silence began: it is cancelled, and what was rented
    is given back. Past the point of no return the runner goes on all the same (facts/scenarios.md, S3).

    A person's failover is of a machine that may well speak, and a reboot's whole point is that it does.
    """
    if running.reason is not Reason.HEARTBEAT_LOST or running.rung is Rung.REPAIR_PRIMARY or running.primary_spoke:
        return Decision(machine)
    if _is_gone(machine.evidence):
        return Decision(machine)
    return Decision(replace(machine, failover=replace(running, cancel_asked=True, primary_spoke=True)))


def _is_gone(evidence: Evidence | None) -> bool:
    """Stale beats may still arrive from a rental that the provider says has ended."""
    return evidence is not None and any(t.word is Word.GONE for t in evidence.testimonies)


def _cleared(machine: Machine, signal: Heard, now: datetime) -> Machine:
    """Where the observer was blind while the machine was suspect, that is no mark on the machine: else an outage of the
    broker that comes a few times would put the whole fleet into quarantine."""
    was_blind = machine.since is not None and signal.trusted_for_s < (now - machine.since).total_seconds()
    return replace(machine, suspicions=machine.suspicions[:-1]) if was_blind else machine


def _resumed(machine: Machine, trigger: Trigger, now: datetime) -> Decision:
    healthy = replace(follow(machine, trigger, now), evidence=None, look_at=None, queued=None, observed_at=None)
    return Decision(healthy, (Notify(f"machine-{machine.id}", f"{machine.name} speaks again", resolves=True),))


def _on_notice(machine: Machine, signal: Noticed, now: datetime, policy: Policy) -> Decision:
    if signal.instance != machine.primary or machine.failover is not None:
        return Decision(machine)
    if lacks_token(machine):
        machine = replace(has_token(machine), look_at=now if machine.state is State.DETECTING else machine.look_at)
    if machine.state in _SERVING:
        because = f"{signal.source.value} announced an end: {signal.what}"
        machine = replace(machine, last_sequence=signal.sequence or machine.last_sequence)
        return _suspect(machine, Trigger.DEATH_NOTICED, now, policy, because)
    is_asked = machine.state is State.DETECTING and not is_held(machine, now, policy)
    return Decision(machine, (Probe(),) if is_asked else ())


def _on_fault(machine: Machine, signal: Faulted, now: datetime, policy: Policy) -> Decision:
    if signal.instance != machine.primary or machine.state not in _SERVING or machine.failover is not None:
        return Decision(machine)
    because = f"it beats, but reports a fault: {signal.detail}"
    suspect = _suspect(has_token(machine), Trigger.FAULT_REPORTED, now, policy, because)
    if suspect.machine.hold is None:
        said = Testimony(Source.HEARTBEAT, Word.ALIVE, because, now)
        evidence = Evidence(signal.instance, (said,), now, None, 0)
        suspect = replace(suspect, machine=replace(suspect.machine, evidence=evidence))
    return replace(suspect, effects=(*suspect.effects, Notify(f"machine-{machine.id}", f"{machine.name}: {because}")))


def _on_due(machine: Machine, now: datetime, policy: Policy) -> Decision:
    if machine.state is not State.DETECTING or machine.failover is not None:
        return Decision(replace(machine, look_at=None))
    if is_held(machine, now, policy):
        return Decision(replace(machine, look_at=held_until(machine, policy)))
    look_at = now + timedelta(seconds=policy.probe_every_s)
    return Decision(replace(machine, look_at=look_at, hold=None), (Probe(),))


def _on_probed(machine: Machine, signal: Probed, now: datetime, policy: Policy) -> Decision:
    if machine.state is not State.DETECTING or machine.failover is not None or signal.instance != machine.primary:
        return Decision(machine)
    if is_held(machine, now, policy):
        return Decision(machine)  # What was seen is perhaps what we did ourselves.
    if any(now - said.at > timedelta(seconds=policy.evidence_max_age_s) for said in signal.testimonies):
        # We stood still between the answers and now: what they said may be history.
        return Decision(replace(machine, look_at=now), (Probe(),))
    evidence = collect(machine.evidence, signal.instance, signal.testimonies, now)
    judgement = judge(evidence, policy)
    looked = replace(machine, evidence=evidence, because=judgement.because)
    match judgement.verdict:
        case Verdict.ALIVE:
            look_at = now + timedelta(seconds=policy.watch_every_s)
            text = f"{machine.name}: {judgement.because}; no failover"
            return Decision(replace(looked, look_at=look_at, queued=None), (Notify(f"machine-{machine.id}", text),))
        case Verdict.UNSURE if judgement.is_stopped:
            return _on_stop(looked, now, policy, judgement)
        case Verdict.UNSURE:
            # The first words after a death are often still those of before: the second look comes soon.
            pause = min(policy.probe_every_s, policy.first_probe_again_s * 2 ** min(evidence.rounds - 1, 8))
            # Its place in the queue stays: a provider that does not answer for a moment takes nobody's turn.
            return Decision(replace(looked, look_at=now + timedelta(seconds=pause)))
        case Verdict.DEAD:
            return _on_death(looked, now, policy, judgement.because)
        case _:
            assert_never(judgement.verdict)


def _on_stop(machine: Machine, now: datetime, policy: Policy, judgement: Judgement) -> Decision:
    """Whoever stopped it may start it again. An empty account is told once, for all of them (daemon/credit.py)."""
    watched = replace(machine, look_at=now + timedelta(seconds=policy.watch_every_s), queued=None)
    if not judgement.tells:
        return Decision(watched)
    text = f"{machine.name}: {judgement.because}; no failover: start it again, or remove the machine"
    return Decision(watched, (Notify(f"machine-{machine.id}", text),))


def _on_death(machine: Machine, now: datetime, policy: Policy, because: str) -> Decision:
    key = f"machine-{machine.id}"
    if machine.mode is Mode.OFF or (machine.mode is Mode.OBSERVE and machine.setting is Setting.DISABLED):
        would = f"{because}; automatic failover is {machine.mode.value}, so nothing is done"
        watched = replace(machine, because=would, look_at=now + timedelta(seconds=policy.watch_every_s), queued=None)
        return Decision(watched, (Notify(key, f"{machine.name}: {would}"),))
    if machine.setting is Setting.DISABLED:
        failed = follow(machine, Trigger.PROTECTION_DISABLED, now, f"{because}; the strategy is disabled")
        return Decision(replace(failed, look_at=None, queued=None), (Notify(key, f"{machine.name}: {failed.because}"),))
    look_at = now + timedelta(seconds=policy.retry_admission_s)
    request = FailoverRequest(Reason.HEARTBEAT_LOST, why=because)
    return Decision(replace(machine, look_at=look_at), (RequestAdmission(request),))


def _on_admitted(machine: Machine, signal: Admitted, now: datetime) -> Decision:
    granted = signal.granted
    rungs = ladder(granted.setting, granted.repair_first)
    alive = machine.state in _SERVING
    running = Running(
        signal.failover,
        granted.request.reason,
        rungs,
        0,
        now,
        machine.fence + 1,
        primary_was_alive=alive,
        wishes=granted.request.wishes,
    )
    workspace_path = granted.request.workspace_path or machine.workspace_path
    admitted = replace(
        machine,
        fence=running.fence,
        failover=running,
        look_at=None,
        workspace_path=workspace_path,
        hold=None,
        queued=None,
        observed_at=None,
    )
    return Decision(enter(admitted, running, now), (BeginAttempt(running),))


def _on_deferred(machine: Machine, signal: Deferred, now: datetime) -> Decision:
    if machine.state is not State.DETECTING or machine.failover is not None:
        return Decision(machine)
    if signal.would_begin:
        return _on_observed(machine, signal, now)
    queued = None
    if signal.waits_for is not None and machine.mode is Mode.ON:
        queued = Queued(machine.queued.since if machine.queued else now, now, signal.waits_for)
    return Decision(replace(machine, because=signal.because, look_at=signal.look_at, queued=queued))


def _on_observed(machine: Machine, signal: Deferred, now: datetime) -> Decision:
    """Told once for each death, and shown as long as it lasts."""
    observed = replace(machine, because=signal.because, look_at=signal.look_at, queued=None)
    told = Notify(f"machine-{machine.id}", f"{machine.name}: {signal.because}")
    if machine.observed_at is not None:
        return Decision(observed, (told,))
    return Decision(replace(observed, observed_at=now), (told, Observed(signal.because)))


def _on_cancel(machine: Machine, signal: CancelAsked) -> Decision:
    running = machine.failover
    if running is None or running.id != signal.failover:
        return Decision(machine)
    return Decision(replace(machine, failover=replace(running, cancel_asked=True)))


def _on_fenced(machine: Machine, signal: Fenced) -> Decision:
    running = machine.failover
    if running is None or not running.is_worked_by(signal.failover, signal.fence):
        return Decision(machine)
    if running.proof is not None and signal.proof.grade is not FenceGrade.DESTROYED:
        return Decision(machine)  # The first proof stands; only what became of the stopped one afterwards says more.
    return Decision(replace(machine, failover=replace(running, proof=signal.proof)))


def _on_taken_over(machine: Machine, signal: TakenOver) -> Decision:
    running = machine.failover
    if running is None or running.id != signal.failover:
        return Decision(machine)
    fence = machine.fence + 1
    return Decision(replace(machine, fence=fence, failover=replace(running, fence=fence)))
