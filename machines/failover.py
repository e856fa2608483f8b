"""From a signal about one machine to a decision: the machine as it is now, and the effects to act on after the save."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeAlias, assert_never

from machines.admission import FailoverRequest, Granted
from machines.evidence import Verdict, collect, judge
from machines.model import (
    Debt,
    DebtKind,
    Evidence,
    FailoverId,
    FenceGrade,
    FenceProof,
    InstanceId,
    Machine,
    Mode,
    Reason,
    Replacement,
    Rung,
    Running,
    Setting,
    Source,
    Testimony,
    Word,
)
from machines.policy import Policy
from machines.states import State, Trigger, edge
from machines.strategies.ladder import ATTEMPT_STATE, STARTED_BY, ladder


@dataclass(frozen=True, slots=True)
class Silenced:
    """Silence outlasted the grace period, in log time."""

    silent_s: float
    grace_s: float


@dataclass(frozen=True, slots=True)
class Heard:
    """An instance spoke, and something about it is news."""

    instance: InstanceId
    boot_id: str
    interval_s: float
    partition: int | None
    is_live: bool = True
    """False for a beat that is read back from before we judged its partition: no sign of life."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Somebody announced an end: the machine itself, or the provider."""

    instance: InstanceId
    source: Source
    what: str


@dataclass(frozen=True, slots=True)
class Faulted:
    """It beats, but says that its GPU or workload is broken."""

    instance: InstanceId
    detail: str


@dataclass(frozen=True, slots=True)
class Due:
    """The machine's durable `look_at` has come."""


@dataclass(frozen=True, slots=True)
class Probed:
    """The answers of one round of questions."""

    instance: InstanceId
    testimonies: tuple[Testimony, ...]


@dataclass(frozen=True, slots=True)
class Admitted:
    failover: FailoverId
    granted: Granted


@dataclass(frozen=True, slots=True)
class Deferred:
    because: str
    look_at: datetime


@dataclass(frozen=True, slots=True)
class FailoverAsked:
    request: FailoverRequest


@dataclass(frozen=True, slots=True)
class CancelAsked:
    failover: FailoverId


@dataclass(frozen=True, slots=True)
class Fenced:
    """The old instance of this failover is harmless, with its proof."""

    failover: FailoverId
    fence: int
    """The actor's; an outdated one changes nothing."""
    proof: FenceProof


@dataclass(frozen=True, slots=True)
class TakenOver:
    """Another replica goes on with the failover; whatever the one before it still writes is refused."""

    failover: FailoverId


@dataclass(frozen=True, slots=True)
class Won:
    new: Replacement


@dataclass(frozen=True, slots=True)
class Repaired:
    """The primary speaks again after its reboot."""


@dataclass(frozen=True, slots=True)
class Lost:
    """The attempt was undone without a trace."""

    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Parked:
    """An undo or a finish is stuck."""

    code: str
    why: str


@dataclass(frozen=True, slots=True)
class AttemptEnded:
    failover: FailoverId
    fence: int
    """The actor's; an outdated one changes nothing."""
    outcome: Won | Repaired | Lost | Parked


Signal: TypeAlias = (
    Silenced
    | Heard
    | Noticed
    | Faulted
    | Due
    | Probed
    | Admitted
    | Deferred
    | FailoverAsked
    | CancelAsked
    | Fenced
    | TakenOver
    | AttemptEnded
)


@dataclass(frozen=True, slots=True)
class Probe:
    """Ask the second sources about the machine's primary."""


@dataclass(frozen=True, slots=True)
class RequestAdmission:
    request: FailoverRequest


@dataclass(frozen=True, slots=True)
class BeginAttempt:
    failover: Running


@dataclass(frozen=True, slots=True)
class EndFailover:
    """Close the failover's record; `debts` are written in the same transaction."""

    failover: Running
    success: bool
    code: str | None
    why: str | None
    new: Replacement | None
    debts: tuple[Debt, ...] = ()


@dataclass(frozen=True, slots=True)
class Notify:
    """Tell the operators: one open alert for each key, resolved when `resolves` names it."""

    key: str
    text: str
    resolves: bool = False


Effect: TypeAlias = Probe | RequestAdmission | BeginAttempt | EndFailover | Notify


@dataclass(frozen=True, slots=True)
class Decision:
    """The machine as it is to be saved, and what to do once it is."""

    machine: Machine
    effects: tuple[Effect, ...] = ()


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
            return _on_deferred(machine, signal)
        case FailoverAsked():
            return Decision(machine, (RequestAdmission(signal.request),))
        case CancelAsked():
            return _on_cancel(machine, signal)
        case Fenced():
            return _on_fenced(machine, signal)
        case TakenOver():
            return _on_taken_over(machine, signal)
        case AttemptEnded():
            return _on_attempt_ended(machine, signal, now)
        case _:
            assert_never(signal)


def follow(machine: Machine, trigger: Trigger, now: datetime, because: str | None = None) -> Machine:
    """The machine after the one edge for this trigger. Raise IllegalTransition."""
    row = edge(machine.state, trigger)
    return replace(machine, state=row.target, because=because or row.because, since=now)


_SERVING = (State.HEALTHY, State.RECOVERED)


def _suspect(machine: Machine, trigger: Trigger, now: datetime, policy: Policy, because: str) -> Decision:
    look_at = now + timedelta(seconds=policy.probe_every_s)
    suspect = replace(follow(machine, trigger, now, because), look_at=look_at, evidence=None)
    return Decision(suspect, (Probe(),))


def _on_silence(machine: Machine, signal: Silenced, now: datetime, policy: Policy) -> Decision:
    if machine.state not in _SERVING or machine.primary is None or machine.failover is not None:
        return Decision(machine)
    because = f"silent for {signal.silent_s:.0f} s of log time, the grace period is {signal.grace_s:.0f} s"
    return _suspect(machine, Trigger.HEARTBEAT_MISSED, now, policy, because)


def _on_heard(machine: Machine, signal: Heard, now: datetime) -> Decision:
    if signal.instance != machine.primary:
        return Decision(machine)
    partition = machine.partition if signal.partition is None else signal.partition
    heard = replace(machine, boot_id=signal.boot_id, interval_s=signal.interval_s, partition=partition)
    if not signal.is_live:
        return Decision(heard)
    if machine.failover is not None:
        return _on_return(heard, machine.failover)
    match machine.state:
        case State.DETECTING if not _is_gone(machine.evidence):
            return _resumed(heard, Trigger.HEARTBEAT_RESUMED, now)
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


def _resumed(machine: Machine, trigger: Trigger, now: datetime) -> Decision:
    healthy = replace(follow(machine, trigger, now), evidence=None, look_at=None)
    return Decision(healthy, (Notify(f"machine-{machine.id}", f"{machine.name} speaks again", resolves=True),))


def _on_notice(machine: Machine, signal: Noticed, now: datetime, policy: Policy) -> Decision:
    if signal.instance != machine.primary or machine.failover is not None:
        return Decision(machine)
    if machine.state in _SERVING:
        because = f"{signal.source.value} announced an end: {signal.what}"
        return _suspect(machine, Trigger.DEATH_NOTICED, now, policy, because)
    return Decision(machine, (Probe(),) if machine.state is State.DETECTING else ())


def _on_fault(machine: Machine, signal: Faulted, now: datetime, policy: Policy) -> Decision:
    if signal.instance != machine.primary or machine.state not in _SERVING or machine.failover is not None:
        return Decision(machine)
    because = f"it beats, but reports a fault: {signal.detail}"
    suspect = _suspect(machine, Trigger.FAULT_REPORTED, now, policy, because)
    return replace(suspect, effects=(*suspect.effects, Notify(f"machine-{machine.id}", f"{machine.name}: {because}")))


def _on_due(machine: Machine, now: datetime, policy: Policy) -> Decision:
    if machine.state is not State.DETECTING or machine.failover is not None:
        return Decision(replace(machine, look_at=None))
    return Decision(replace(machine, look_at=now + timedelta(seconds=policy.probe_every_s)), (Probe(),))


def _on_probed(machine: Machine, signal: Probed, now: datetime, policy: Policy) -> Decision:
    if machine.state is not State.DETECTING or machine.failover is not None or signal.instance != machine.primary:
        return Decision(machine)
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
            return Decision(replace(looked, look_at=look_at), (Notify(f"machine-{machine.id}", text),))
        case Verdict.UNSURE:
            # The first words after a death are often still those of before: the second look comes soon.
            pause = min(policy.probe_every_s, policy.first_probe_again_s * 2 ** min(evidence.rounds - 1, 8))
            return Decision(replace(looked, look_at=now + timedelta(seconds=pause)))
        case Verdict.DEAD:
            return _on_death(looked, now, policy, judgement.because)
        case _:
            assert_never(judgement.verdict)


def _on_death(machine: Machine, now: datetime, policy: Policy, because: str) -> Decision:
    key = f"machine-{machine.id}"
    if machine.mode is not Mode.ON:
        would = f"{because}; automatic failover is {machine.mode.value}, so nothing is done"
        watched = replace(machine, because=would, look_at=now + timedelta(seconds=policy.watch_every_s))
        return Decision(watched, (Notify(key, f"{machine.name}: {would}"),))
    if machine.setting is Setting.DISABLED:
        failed = follow(machine, Trigger.PROTECTION_DISABLED, now, f"{because}; the strategy is disabled")
        return Decision(replace(failed, look_at=None), (Notify(key, f"{machine.name}: {failed.because}"),))
    look_at = now + timedelta(seconds=policy.retry_admission_s)
    request = FailoverRequest(Reason.HEARTBEAT_LOST, why=because)
    return Decision(replace(machine, look_at=look_at), (RequestAdmission(request),))


def _on_admitted(machine: Machine, signal: Admitted, now: datetime) -> Decision:
    granted = signal.granted
    rungs = ladder(granted.setting, granted.repair_first)
    alive = machine.state in _SERVING
    running = Running(
        signal.failover, granted.request.reason, rungs, 0, now, machine.fence + 1, primary_was_alive=alive
    )
    workspace_path = granted.request.workspace_path or machine.workspace_path
    admitted = replace(machine, fence=running.fence, failover=running, look_at=None, workspace_path=workspace_path)
    return Decision(_enter(admitted, running, now), (BeginAttempt(running),))


def _enter(machine: Machine, running: Running, now: datetime) -> Machine:
    """The machine in the state of the failover's present rung."""
    trigger = STARTED_BY.get(running.rung)
    if trigger is None:
        return replace(machine, because=f"{machine.because}; the primary is rebooted once first")
    why = f"{edge(machine.state, trigger).because} ({running.reason.value}: {machine.because})"
    return follow(machine, trigger, now, why if running.position == 0 else None)


def _on_deferred(machine: Machine, signal: Deferred) -> Decision:
    if machine.state is not State.DETECTING or machine.failover is not None:
        return Decision(machine)
    return Decision(replace(machine, because=signal.because, look_at=signal.look_at))


def _on_cancel(machine: Machine, signal: CancelAsked) -> Decision:
    running = machine.failover
    if running is None or running.id != signal.failover:
        return Decision(machine)
    return Decision(replace(machine, failover=replace(running, cancel_asked=True)))


def _on_fenced(machine: Machine, signal: Fenced) -> Decision:
    running = machine.failover
    if running is None or not _acts_for(running, signal) or running.proof is not None:
        return Decision(machine)
    return Decision(replace(machine, failover=replace(running, proof=signal.proof)))


def _acts_for(running: Running, signal: Fenced | AttemptEnded) -> bool:
    return running.id == signal.failover and running.fence == signal.fence


def _on_taken_over(machine: Machine, signal: TakenOver) -> Decision:
    running = machine.failover
    if running is None or running.id != signal.failover:
        return Decision(machine)
    fence = machine.fence + 1
    return Decision(replace(machine, fence=fence, failover=replace(running, fence=fence)))


def _on_attempt_ended(machine: Machine, signal: AttemptEnded, now: datetime) -> Decision:
    running = machine.failover
    if running is None or not _acts_for(running, signal):
        return Decision(machine)
    match signal.outcome:
        case Won(new):
            return _won(machine, running, new, now)
        case Repaired():
            back = follow(machine, Trigger.HEARTBEAT_RESUMED, now, "rebooted once; the primary speaks again")
            return _close(back, running, now, Lost("primary_repaired", back.because), success=True)
        case Lost(code, why):
            return _lost(machine, running, Lost(code, why), now)
        case Parked(code, why):
            return _parked(machine, running, code, why, now)
        case _:
            assert_never(signal.outcome)


def _won(machine: Machine, running: Running, new: Replacement, now: datetime) -> Decision:
    because = f"instance {new.instance} took over from {machine.primary} by {running.rung.value}"
    recovered = follow(machine, Trigger.ATTEMPT_SUCCEEDED, now, because)
    moved = replace(
        recovered,
        primary=new.instance,
        host=new.host,
        landlord=new.landlord,
        ssh=new.ssh,
        host_key=new.host_key,
        boot_id=new.boot_id,
        is_interruptible=new.is_interruptible,
        price_per_hour=new.price_per_hour,
        evidence=None,
        look_at=None,
        failover=None,
        last_failover=running.id,
        volume=machine.volume if new.has_volume else None,
        standby=None,
    )
    debts = _debts_of_the_old(machine, running, new)
    ended = EndFailover(running, True, None, None, new, debts)
    return Decision(moved, (ended, Notify(f"machine-{machine.id}", because, resolves=True)))


def _debts_of_the_old(machine: Machine, running: Running, new: Replacement) -> tuple[Debt, ...]:
    """What the machine leaves behind is given up, and what it needs for the next time is owed."""
    debts: list[Debt] = []
    if machine.primary is not None:
        debts.append(_debt(machine, running, DebtKind.DESTROY_INSTANCE, machine.primary, "replaced"))
    standby = machine.standby.instance if machine.standby else None
    if standby is not None and standby != new.instance:
        debts.append(_debt(machine, running, DebtKind.DESTROY_INSTANCE, standby, "its primary was replaced elsewhere"))
    if machine.volume is not None and not new.has_volume:
        volume = _debt(machine, running, DebtKind.DELETE_VOLUME, None, "its machine was moved to another host")
        debts.append(replace(volume, volume=machine.volume.id))
    if machine.volume is not None and new.has_volume:
        debts.append(_debt(machine, running, DebtKind.REARM, None, "its standby became the machine"))
    return tuple(debts)


def _debt(machine: Machine, running: Running, kind: DebtKind, instance: InstanceId | None, because: str) -> Debt:
    return Debt(kind, machine.id, running.id, instance, None, None, f"{because} by failover {running.id}")


def _lost(machine: Machine, running: Running, lost: Lost, now: datetime) -> Decision:
    cancelled = lost.code == "cancelled"
    is_repeatable = running.rung is Rung.CPU_STANDBY and lost.code in WORTH_REPEATING
    if is_repeatable and running.repeats < MAX_REPEATS:
        again = replace(running, attempt=running.attempt + 1, repeats=running.repeats + 1)
        return Decision(replace(machine, failover=again), (BeginAttempt(again),))
    if running.position + 1 < len(running.ladder) and not cancelled:
        onward = replace(running, position=running.position + 1, attempt=running.attempt + 1, repeats=0)
        return Decision(_enter(replace(machine, failover=onward), onward, now), (BeginAttempt(onward),))
    is_alive = running.primary_was_alive or (running.primary_spoke and cancelled)
    if is_alive and running.proof is None:
        kept = follow(machine, Trigger.PRIMARY_KEPT, now, f"{lost.why}; the primary serves on")
        return _close(kept, running, now, lost, success=False)
    if cancelled:
        return _cancelled(machine, running, lost, now)
    failed = follow(machine, Trigger.ATTEMPTS_EXHAUSTED, now, f"{lost.code}: {lost.why}")
    return _close(failed, running, now, lost, success=False)


WORTH_REPEATING = frozenset({"restore_failed", "verify_failed", "ssh_unreachable"})
"""The candidate was at fault, not the strategy: the same rung begins again on other hosts."""
MAX_REPEATS = 2


def _cancelled(machine: Machine, running: Running, lost: Lost, now: datetime) -> Decision:
    if machine.state is ATTEMPT_STATE.get(running.rung) and machine.state is not State.DETECTING:
        machine = follow(machine, Trigger.ATTEMPT_CANCELLED, now, lost.why)
    return _close(replace(machine, look_at=now), running, now, lost, success=False)


def _close(machine: Machine, running: Running, now: datetime, lost: Lost, success: bool) -> Decision:
    """End a failover without a hand-over. A primary that was alive when it was fenced is started again."""
    debts: tuple[Debt, ...] = ()
    # Also without a proof: our stop may have been accepted before its effect was seen. A start of what runs is nothing.
    is_living = running.primary_was_alive or running.primary_spoke
    if is_living and not success and machine.primary is not None and not _is_destroyed(running.proof):
        debts = (_debt(machine, running, DebtKind.START_INSTANCE, machine.primary, "perhaps fenced, and not replaced"),)
    closed = replace(machine, failover=None, last_failover=running.id, evidence=None)
    if machine.state is not State.DETECTING:
        closed = replace(closed, look_at=None)
    ended = EndFailover(running, success, None if success else lost.code, lost.why, None, debts)
    text = f"{machine.name}: {machine.because}"
    return Decision(closed, (ended, Notify(f"machine-{machine.id}", text, resolves=machine.state is State.HEALTHY)))


def _is_destroyed(proof: FenceProof | None) -> bool:
    return proof is not None and proof.grade is FenceGrade.DESTROYED


def _parked(machine: Machine, running: Running, code: str, why: str, now: datetime) -> Decision:
    text = f"parked: {code}: {why}"
    if machine.state is State.DETECTING:
        # A repair leaves nothing behind, so it is only lost, never parked.
        return _lost(machine, running, Lost(code, why), now)
    parked = follow(machine, Trigger.ATTEMPT_PARKED, now, text)
    closed = replace(parked, failover=None, last_failover=running.id, look_at=None)
    ended = EndFailover(running, False, code, why, None)
    return Decision(closed, (ended, Notify(f"machine-{machine.id}", f"{machine.name}: {text}")))
