"""What must be true of every step, said without the code that it is said about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from machines.brake import quarantined_until
from machines.failover import (
    Admitted,
    AttemptEnded,
    BeginAttempt,
    Decision,
    EndFailover,
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
    Signal,
    Silenced,
    TakenOver,
    Won,
)
from machines.model import DebtKind, FenceGrade, Machine, Mode, Rung, Setting, Source, Word
from machines.states import ATTEMPTS, EDGES, Edge, State, Trigger
from tests.state_model.configuration import POLICY
from tests.state_model.moves import Move


@dataclass(frozen=True, slots=True)
class Step:
    """One signal at one machine, and what came of it."""

    before: Machine
    move: Move
    signal: Signal
    decision: Decision
    now: datetime

    @property
    def after(self) -> Machine:
        return self.decision.machine

    def effects(self, kind: type) -> list[object]:
        return [effect for effect in self.decision.effects if isinstance(effect, kind)]


_STARTS = frozenset({Trigger.WARM_POOL_STARTED, Trigger.CPU_STANDBY_STARTED, Trigger.REGIONAL_VOLUME_STARTED})
_LOST = frozenset({Trigger.PRIMARY_KEPT, Trigger.ATTEMPT_CANCELLED, Trigger.ATTEMPTS_EXHAUSTED})
MAY_TAKE: dict[type, frozenset[Trigger]] = {
    Silenced: frozenset({Trigger.HEARTBEAT_MISSED}),
    Heard: frozenset({Trigger.HEARTBEAT_RESUMED, Trigger.HEARTBEAT_RECEIVED}),
    Noticed: frozenset({Trigger.DEATH_NOTICED}),
    Faulted: frozenset({Trigger.FAULT_REPORTED}),
    Probed: frozenset({Trigger.PROTECTION_DISABLED}),
    Admitted: _STARTS,
    Won: frozenset({Trigger.ATTEMPT_SUCCEEDED}),
    Repaired: frozenset({Trigger.HEARTBEAT_RESUMED}),
    Lost: _STARTS | _LOST,
    Parked: _STARTS | _LOST | {Trigger.ATTEMPT_PARKED},
}
"""The edges on which each signal, or each outcome of an attempt, may lead; every other one moves nothing."""


def edge_of(step: Step) -> Edge | None:
    """The one row of the table that the step followed; None where it followed none."""
    told = step.signal.outcome if isinstance(step.signal, AttemptEnded) else step.signal
    allowed = MAY_TAKE.get(type(told), frozenset())
    if isinstance(told, Parked) and step.before.state is not State.DETECTING:
        allowed = frozenset({Trigger.ATTEMPT_PARKED})
    ends = (step.before.state, step.after.state)
    return next((row for row in EDGES if (row.source, row.target) == ends and row.trigger in allowed), None)


def state_moves_along_the_table(step: Step) -> str | None:
    if step.after.state is step.before.state or edge_of(step) is not None:
        return None
    return "there is no such row, or not for this signal"


def the_fence_rises_by_one_where_somebody_new_acts_and_nowhere_else(step: Step) -> str | None:
    begun = isinstance(step.signal, Admitted) and step.before.failover is None
    rises = int(begun or isinstance(step.signal, TakenOver))
    if step.after.fence == step.before.fence + rises:
        return None
    return f"it went from {step.before.fence} to {step.after.fence}, and was to rise by {rises}"


def a_failover_stands_exactly_in_its_attempts_state(step: Step) -> str | None:
    running, state = step.after.failover, step.after.state
    if running is None:
        return "no failover runs in an attempt's state" if state in ATTEMPTS else None
    if running.fence != step.after.fence:
        return f"the failover has fence {running.fence}, the machine {step.after.fence}"
    wanted = State.DETECTING if running.rung is Rung.REPAIR_PRIMARY else State(f"{running.rung.value}_attempt")
    return None if state is wanted else f"{running.rung.value} is tried in the state {state.value}"


def a_failover_begins_by_admission_and_ends_by_its_own_last_attempt(step: Step) -> str | None:
    was, runs = step.before.failover, step.after.failover
    ended = step.effects(EndFailover)
    if (was is not None and runs is None) != (len(ended) == 1):
        return f"{len(ended)} ends were told"
    if was is None and runs is not None and not isinstance(step.signal, Admitted):
        return "it began without admission"
    if was is not None and runs is not None and was.id != runs.id:
        return "one failover became another"
    if was is not None and runs is None and not isinstance(step.signal, AttemptEnded):
        return "it ended without its attempt"
    return None


def each_attempt_is_begun_once(step: Step) -> str | None:
    was, runs = step.before.failover, step.after.failover
    is_new = runs is not None and (was is None or was.attempt != runs.attempt or was.rung is not runs.rung)
    if is_new and runs is not None and was is not None and runs.attempt != was.attempt + 1:
        return f"attempt {was.attempt} is followed by {runs.attempt}"
    return None if len(step.effects(BeginAttempt)) == int(is_new) else "it was not begun once"


def only_a_win_moves_the_machine_and_what_it_leaves_is_owed(step: Step) -> str | None:
    if step.before.primary == step.after.primary:
        return None
    if not (isinstance(step.signal, AttemptEnded) and isinstance(step.signal.outcome, Won)):
        return "its primary changed without a hand-over"
    owed = [debt for end in step.effects(EndFailover) if isinstance(end, EndFailover) for debt in end.debts]
    given_up = {debt.instance for debt in owed if debt.kind is DebtKind.DESTROY_INSTANCE}
    return None if step.before.primary in given_up else "nobody owes the end of the old instance"


def a_proof_is_the_fencers_and_stays(step: Step) -> str | None:
    was, runs = step.before.failover, step.after.failover
    if was is None or runs is None or was.proof == runs.proof:
        return None
    is_destroyed = runs.proof is not None and runs.proof.grade is FenceGrade.DESTROYED
    is_the_fencers = isinstance(step.signal, Fenced) and (was.proof is None or is_destroyed)
    return None if is_the_fencers else "the proof changed"


def what_was_asked_of_a_failover_stays_asked(step: Step) -> str | None:
    was, runs = step.before.failover, step.after.failover
    if was is None or runs is None:
        return None
    return "the cancel was forgotten" if was.cancel_asked and not runs.cancel_asked else None


def a_suspect_has_an_alarm(step: Step) -> str | None:
    after = step.after
    is_left = after.state is State.DETECTING and after.failover is None and after.look_at is None
    return "nothing will ever look at it again" if is_left else None


def a_machine_that_fails_tells_somebody(step: Step) -> str | None:
    if step.after.state is not State.FAILED or step.before.state is State.FAILED:
        return None
    told = [one for one in step.effects(Notify) if isinstance(one, Notify) and not one.resolves]
    return None if told else "nobody was told"


def a_machine_that_is_well_again_ends_its_alert(step: Step) -> str | None:
    if step.after.state not in (State.HEALTHY, State.RECOVERED) or step.before.state is step.after.state:
        return None
    told = [one for one in step.effects(Notify) if isinstance(one, Notify) and one.resolves]
    return None if told else "its alert stays open"


def a_beat_from_before_our_stop_is_no_sign_of_life(step: Step) -> str | None:
    hold = step.before.hold
    if not isinstance(step.signal, Heard) or hold is None or not hold.is_stopped or hold.boot_id != step.signal.boot_id:
        return None
    return None if step.after == step.before else "it was taken for one"


def a_beat_that_is_read_back_moves_nothing(step: Step) -> str | None:
    if not isinstance(step.signal, Heard) or step.signal.is_live:
        return None
    kept = (step.before.state, step.before.failover, step.before.hold)
    return None if (step.after.state, step.after.failover, step.after.hold) == kept else "it was taken for news"


def nothing_is_wished_for_without_a_second_source(step: Step) -> str | None:
    if not step.effects(RequestAdmission):
        return None
    return _why_unproved(step.after, step.now)


def nothing_automatic_begins_without_the_fleets_leave(step: Step) -> str | None:
    """By what the gate was told, and by what the machine's record says."""
    request, facts, before = step.move.request, step.move.facts, step.before
    if not isinstance(step.signal, Admitted) or request is None or facts is None or not request.is_automatic:
        return None
    if before.state is not State.DETECTING or before.mode is not Mode.ON or before.setting is Setting.DISABLED:
        return f"the machine is {before.state.value}, {before.mode.value}, {before.setting.value}"
    if facts.pause is not None or not facts.pause_is_readable or facts.crowd.running >= POLICY.max_concurrent:
        return f"the fleet says no: {facts}"
    until = quarantined_until(before, POLICY)
    if facts.rested is not None or (until is not None and step.now < until):
        return "it cools down, or is in quarantine"
    words = {said.word for said in before.evidence.testimonies} if before.evidence else set()
    if facts.blind is not None and not words & {Word.DEAD, Word.GONE, Word.CRASHED}:
        return "the observer is blind"
    return _why_unproved(before, step.now)


def nothing_is_asked_of_a_machine_that_is_held(step: Step) -> str | None:
    """What would be seen is perhaps what we did ourselves."""
    hold = step.before.hold
    if hold is None or step.before.failover is not None or isinstance(step.signal, Heard):
        return None
    over_at = (hold.asked_at or hold.since) + timedelta(seconds=POLICY.boot_timeout_s)
    is_asked = step.effects(Probe) or step.effects(RequestAdmission)
    return "it was" if is_asked and step.now < over_at else None


def _why_unproved(machine: Machine, now: datetime) -> str | None:
    evidence, hold = machine.evidence, machine.hold
    if hold is not None and now < (hold.asked_at or hold.since) + timedelta(seconds=POLICY.boot_timeout_s):
        return "it is held"
    if evidence is None or now - evidence.at > timedelta(seconds=POLICY.evidence_max_age_s):
        return "the evidence is stale, or there is none"
    words = {said.source: said.word for said in evidence.testimonies}
    provider, ssh = words.get(Source.PROVIDER, Word.UNKNOWN), words.get(Source.SSH, Word.UNKNOWN)
    if provider is Word.GONE:
        return None
    if ssh is Word.ALIVE or provider in (Word.UNKNOWN, Word.STOPPED, Word.UNPAID, Word.STOPPING):
        return f"the provider says {provider.value}, SSH {ssh.value}"
    lasted = evidence.dead_since is not None and (evidence.at - evidence.dead_since).total_seconds() >= 30
    agree = ssh is Word.DEAD and provider in (Word.DEAD, Word.CRASHED)
    return None if agree or lasted else f"one source only, and not for long: {provider.value}, {ssh.value}"


Law = Callable[[Step], str | None]
LAWS: tuple[Law, ...] = (
    state_moves_along_the_table,
    the_fence_rises_by_one_where_somebody_new_acts_and_nowhere_else,
    a_failover_stands_exactly_in_its_attempts_state,
    a_failover_begins_by_admission_and_ends_by_its_own_last_attempt,
    each_attempt_is_begun_once,
    only_a_win_moves_the_machine_and_what_it_leaves_is_owed,
    a_proof_is_the_fencers_and_stays,
    what_was_asked_of_a_failover_stays_asked,
    a_suspect_has_an_alarm,
    a_machine_that_fails_tells_somebody,
    a_machine_that_is_well_again_ends_its_alert,
    a_beat_from_before_our_stop_is_no_sign_of_life,
    a_beat_that_is_read_back_moves_nothing,
    nothing_is_wished_for_without_a_second_source,
    nothing_automatic_begins_without_the_fleets_leave,
    nothing_is_asked_of_a_machine_that_is_held,
)
