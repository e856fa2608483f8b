"""May this failover begin now? The one gate that every failover passes: pause, blindness, age of the evidence, brakes.

The gate is asked, and its answer saved, in one transaction; what was true before the lock may be history.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple, TypeAlias

from machines.brake import Crowd, flaps, no_place, quarantined_until
from machines.budget import NOTHING_SPENT, FleetSpending, Reservation, over_budget, reservation
from machines.detector import Silence
from machines.evidence import Judgement, Verdict, judge
from machines.hold import held_until
from machines.model import InstanceId, Machine, MachineId, Mode, Reason, Setting, Source, WaitsFor, Wishes, Word
from machines.policy import Policy
from machines.states import State
from machines.strategies.ladder import ladder

UNREADABLE_PAUSE = "the pause flag cannot be read: pause or resume to write it anew"
HEARD_AFTER_S = 5.0
"""By so much a beat must be younger than the suspicion, to have come after it: log time runs a little late."""
AUTOMATIC = frozenset({Reason.HEARTBEAT_LOST, Reason.NOTICE, Reason.FAULT})


@dataclass(frozen=True, slots=True)
class FailoverRequest:
    """A wish for a failover, by whichever door it came."""

    reason: Reason
    setting: Setting | None = None
    """None is the machine's own."""
    gpu_instance_id: InstanceId | None = None
    command_id: str | None = None
    asked_by: str = "failoverd"
    why: str = ""
    workspace_path: str | None = None
    """Where the work lies, where whoever asks says so; None is the machine's own."""
    wishes: Wishes | None = None
    is_retry: bool = False
    """Only of a machine that has failed, and is still that when the gate is asked."""

    @property
    def is_automatic(self) -> bool:
        return self.reason in AUTOMATIC


@dataclass(frozen=True, slots=True)
class Pause:
    """Automatic action is off, for a reason and until an end."""

    reason: str
    until: datetime
    by: str


@dataclass(frozen=True, slots=True)
class FleetFacts:
    """What the gate must know of the fleet, read in the transaction that saves its answer."""

    crowd: Crowd
    pause: Pause | None
    pause_is_readable: bool
    blind: str | None
    """Why the observer of this machine's partition cannot judge silence now; None where it can."""
    rested: timedelta | None = None
    """How long ago the machine's last automatic failover ended, however the time of day was stepped since."""
    suspected: timedelta | None = None
    """The same of the last time that it became suspect; None where that is not known better than by its record."""
    silence: Silence | None = None
    """As it is heard here, in log time; None where another replica judges the machine."""
    spending: FleetSpending = NOTHING_SPENT
    holder: MachineId | None = None
    """Another machine that has this one's instance too: whoever replaced it would stop what serves there."""


@dataclass(frozen=True, slots=True)
class Granted:
    request: FailoverRequest
    setting: Setting
    repair_first: bool
    reserved: Reservation | None = None
    """Of the budgets; written down with the failover."""


@dataclass(frozen=True, slots=True)
class Delayed:
    """Not now: look again then."""

    because: str
    look_at: datetime
    waits_for: WaitsFor | None = None
    """In the queue for this; None where the machine itself is the reason."""
    would_begin: bool = False
    """Everything allowed it, but the machine is only observed: that is told, and nothing is done."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No, with the contract's code and what mends it."""

    code: str
    because: str
    remedy: str


Admission: TypeAlias = Granted | Delayed | Denied


class Check(NamedTuple):
    """One rule of the gate as it was found: what `admit` goes by, and what people are shown. A tuple, because every
    admission makes fifteen of them."""

    rule: str
    found: str
    """A clause for people."""
    stops: Delayed | Denied | None = None
    """What the gate answers because of this rule, where no rule before it did; None where it passes."""
    value: float | str | None = None
    threshold: float | str | None = None
    settings: tuple[str, ...] = ()
    """Which would move the threshold."""


def refusal(machine: Machine, request: FailoverRequest) -> Denied | None:
    """What makes a wish senseless whatever the fleet does."""
    if machine.failover is not None:
        return Denied(
            "failover_in_progress",
            f"failover {machine.failover.id} of machine {machine.id} is running",
            f"wait for it: GET /api/v1/failovers/{machine.failover.id}",
        )
    if request.is_retry and machine.state is not State.FAILED:
        return Denied(
            "not_failed",
            f"machine {machine.id} is {machine.state.value}: there is nothing to try again",
            f"to move it all the same: failoverd failover {machine.id}, or POST /api/v1/failover/execute",
        )
    if request.gpu_instance_id is not None and request.gpu_instance_id != machine.primary:
        return Denied(
            "stale_instance",
            f"instance {request.gpu_instance_id} is not the primary of machine {machine.id}; that is {machine.primary}",
            f"send gpu_instance_id {machine.primary}, if that is the instance that you mean to replace",
        )
    if machine.primary is None:
        return Denied(
            "no_primary",
            f"machine {machine.id} has no instance that a failover could replace",
            f"register one: PUT /api/v1/machines/{machine.id} with gpu_instance_id",
        )
    if (request.setting or machine.setting) is Setting.DISABLED:
        return Denied(
            "protection_disabled",
            f"machine {machine.id} has the strategy disabled",
            "set a strategy for it, or name one with force_strategy",
        )
    return None


def admit(machine: Machine, request: FailoverRequest, facts: FleetFacts, policy: Policy, now: datetime) -> Admission:
    """The gate. A manual failover passes pause, cap and blindness: a person answers for it."""
    for check in checks(machine, request, facts, policy, now):
        if check.stops is not None:
            return check.stops
    repairable = request.is_automatic and _judged(machine, policy).repairable
    return Granted(request, request.setting or machine.setting, repairable, reservation(machine, policy))


def checks(
    machine: Machine, request: FailoverRequest, facts: FleetFacts, policy: Policy, now: datetime
) -> Iterator[Check]:
    """Every rule of the gate in its order, as found now. The first that stops is the gate's answer; those behind it are
    what would be asked next."""
    yield _makes_sense(machine, request)
    yield _is_its_own(machine, facts)
    if not request.is_automatic:
        spent = over_budget(reservation(machine, policy), machine, facts.spending, policy)
        remedy = "raise that budget, or wait until the window has passed"
        yield _budget(facts, policy, spent, Denied("budget_exceeded", spent, remedy) if spent else None)
        return
    yield _is_suspect(machine)
    yield _is_automatic(machine)
    yield _not_paused(facts, policy, now)
    yield _not_at_rest(machine, policy, now)
    yield _not_held(machine, policy, now)
    yield _not_in_quarantine(machine, facts, policy, now)
    yield _has_cooled_down(facts, policy, now)
    yield _evidence_is_fresh(machine, policy, now)
    judgement = _judged(machine, policy)
    yield _is_dead(judgement, now)
    yield _is_silent(machine, facts, policy, now)
    yield _can_see(machine, facts, policy, now)
    yield _has_a_place(machine, request, judgement, facts, policy, now)
    spent = over_budget(reservation(machine, policy), machine, facts.spending, policy)
    stops = Delayed(f"budget_exceeded: {spent}", _again(policy, now), WaitsFor.BUDGET) if spent else None
    yield _budget(facts, policy, spent, stops)
    yield _is_not_only_observed(machine, request, judgement, policy, now)


def _again(policy: Policy, now: datetime) -> datetime:
    return now + timedelta(seconds=policy.retry_admission_s)


def _makes_sense(machine: Machine, request: FailoverRequest) -> Check:
    denied = refusal(machine, request)
    setting = (request.setting or machine.setting).value
    found = f"it can begin with {setting}" if denied is None else denied.because
    return Check("possible", found, denied, setting, settings=("strategy",))


def _is_its_own(machine: Machine, facts: FleetFacts) -> Check:
    if facts.holder is None:
        return Check("own_instance", "no other machine has its instance")
    because = f"instance {machine.primary} is machine {facts.holder}'s too"
    remedy = f"name the instance that machine {machine.id} has, or remove the one of them that is none"
    return Check("own_instance", because, Denied("instance_in_use", because, remedy), facts.holder)


def _is_suspect(machine: Machine) -> Check:
    denied = Denied("not_suspect", f"machine {machine.id} is {machine.state.value}", "nothing: it is not suspect")
    is_suspect = machine.state is State.DETECTING
    found = f"it is {machine.state.value}: {machine.because}"
    return Check("suspect", found, None if is_suspect else denied, machine.state.value, State.DETECTING.value)


def _is_automatic(machine: Machine) -> Check:
    is_off = machine.mode is Mode.OFF
    because = f"automatic failover is {machine.mode.value} for machine {machine.id}"
    denied = Denied("automatic_off", because, "set auto_failover to on, or fail it over by hand")
    return Check(
        "automatic", because, denied if is_off else None, machine.mode.value, Mode.ON.value, ("auto_failover",)
    )


def _not_paused(facts: FleetFacts, policy: Policy, now: datetime) -> Check:
    again = _again(policy, now)
    if not facts.pause_is_readable:
        because = "the pause flag cannot be read, so automatic action is paused"
        return Check("not_paused", f"paused: {UNREADABLE_PAUSE}", Delayed(because, again, WaitsFor.RESUME))
    if facts.pause is not None and facts.pause.until > now:
        because = f"paused until {facts.pause.until.isoformat()}: {facts.pause.reason}"
        until = facts.pause.until.isoformat()
        return Check("not_paused", f"{because}, by {facts.pause.by}", Delayed(because, again, WaitsFor.RESUME), until)
    return Check("not_paused", "automatic action is not paused")


def _not_at_rest(machine: Machine, policy: Policy, now: datetime) -> Check:
    rest = machine.rest
    if rest is None or rest.until <= now:
        return Check("not_paused_itself", "it is not paused by itself")
    because = f"this machine is paused until {rest.until.isoformat()}: {rest.reason}"
    look_at = min(rest.until, now + timedelta(seconds=policy.watch_every_s))
    return Check("not_paused_itself", f"{because}, by {rest.by}", Delayed(because, look_at), rest.until.isoformat())


def _not_held(machine: Machine, policy: Policy, now: datetime) -> Check:
    until = held_until(machine, policy)
    if machine.hold is not None and until is not None and now < until:
        because = f"{machine.hold.because}; nothing is concluded from its silence until {until.isoformat()}"
        settings = ("boot_timeout_s",) if machine.hold.until is None else ()
        return Check("not_held", because, Delayed(machine.hold.because, until), until.isoformat(), settings=settings)
    return Check("not_held", "its silence is not our own doing")


def _not_in_quarantine(machine: Machine, facts: FleetFacts, policy: Policy, now: datetime) -> Check:
    """A machine that dies again and again is a person's to look at."""
    settings = ("flap_count", "flap_window_s", "quarantine_s")
    until = quarantined_until(machine, policy)
    if until is not None and facts.suspected is not None:
        until = now + timedelta(seconds=policy.quarantine_s) - facts.suspected
    count = len(machine.suspicions)
    if until is None or now >= until:
        found = (
            f"suspect {count} times of late; {policy.flap_count} within {policy.flap_window_s:.0f} s are a quarantine"
        )
        return Check("not_in_quarantine", found, None, count, policy.flap_count, settings)
    because = f"in quarantine until {until.isoformat()}: {flaps(machine)}"
    look_at = min(until, now + timedelta(seconds=policy.watch_every_s))
    return Check("not_in_quarantine", because, Delayed(because, look_at), count, policy.flap_count, settings)


def _has_cooled_down(facts: FleetFacts, policy: Policy, now: datetime) -> Check:
    rule, wanted, settings = "cooldown_over", policy.machine_cooldown_s, ("machine_cooldown_s",)
    if facts.rested is None:
        return Check(rule, "it has had no automatic failover yet", None, None, wanted, settings)
    rested = facts.rested.total_seconds()
    until = now + timedelta(seconds=wanted) - facts.rested
    if now < until:
        because = f"its last automatic failover has just ended; the next one not before {until.isoformat()}"
        return Check(rule, because, Delayed(because, until), rested, wanted, settings)
    return Check(rule, f"its last automatic failover ended {rested:.0f} s ago", None, rested, wanted, settings)


def _evidence_is_fresh(machine: Machine, policy: Policy, now: datetime) -> Check:
    rule, oldest, settings = "evidence_fresh", policy.evidence_max_age_s, ("evidence_max_age_s",)
    evidence = machine.evidence
    age = None if evidence is None else (now - evidence.at).total_seconds()
    if age is None or age > oldest:
        found = "no second source was asked yet" if age is None else f"the evidence is {age:.0f} s old"
        stale = Delayed("the evidence is stale; asking again", now + timedelta(seconds=1))
        return Check(rule, found, stale, age, oldest, settings)
    return Check(rule, f"the second sources answered {age:.0f} s ago", None, age, oldest, settings)


def _judged(machine: Machine, policy: Policy) -> Judgement:
    if machine.evidence is None:
        return Judgement(Verdict.UNSURE, "no second source was asked yet")
    return judge(machine.evidence, policy)


def _is_dead(judgement: Judgement, now: datetime) -> Check:
    stops = None
    if judgement.verdict is not Verdict.DEAD:
        because = f"the evidence does not suffice: {judgement.because}"
        stops = Delayed(because, now + timedelta(seconds=1))
    found, wanted = judgement.because, Verdict.DEAD.value
    return Check("confirmed_dead", found, stops, judgement.verdict.value, wanted, ("confirm_after_s",))


def _is_silent(machine: Machine, facts: FleetFacts, policy: Policy, now: datetime) -> Check:
    """An agent that reports a fault speaks all the same: what beats is failed over by itself only where the provider took
    it away. A notice makes a machine suspect before its grace is over, and nothing is heard after that."""
    rule, settings = "silent", ("grace_factor", "grace_floor_s", "grace_cap_s")
    silence = facts.silence
    if silence is None or facts.blind is not None:
        return Check(rule, "its heartbeats are not heard here", settings=settings)
    silent_s, grace_s = silence.silent_s, silence.grace_s
    said = () if machine.evidence is None else machine.evidence.testimonies
    spoke = facts.suspected is not None and silent_s + HEARD_AFTER_S < facts.suspected.total_seconds()
    spoke |= any(one.source is Source.HEARTBEAT and one.word is Word.ALIVE for one in said)
    beats = spoke and silent_s <= grace_s and not any(one.word is Word.GONE for one in said)
    if not beats:
        return Check(rule, f"last heard {silent_s:.0f} s ago", None, silent_s, grace_s, settings)
    because = f"it beats, last {silent_s:.0f} s ago: whatever else does not answer, it is alive"
    stops = Delayed(because, now + timedelta(seconds=policy.probe_every_s))
    return Check(rule, because, stops, silent_s, grace_s, settings)


def _can_see(machine: Machine, facts: FleetFacts, policy: Policy, now: datetime) -> Check:
    if facts.blind is None:
        return Check("observer_sees", "the observer can judge its silence")
    if _provider_vouches(machine):
        return Check("observer_sees", f"the observer is blind ({facts.blind}), but the provider itself calls it dead")
    because = f"the observer is blind: {facts.blind}"
    return Check("observer_sees", because, Delayed(because, _again(policy, now), WaitsFor.SIGHT))


def _has_a_place(
    machine: Machine,
    request: FailoverRequest,
    judgement: Judgement,
    facts: FleetFacts,
    policy: Policy,
    now: datetime,
) -> Check:
    setting = request.setting or machine.setting
    full = no_place(machine, ladder(setting, judgement.repairable), facts.crowd, policy)
    crowd, caps = facts.crowd, ("max_concurrent", "max_per_host", "max_per_provider", "priority")
    if full is not None:
        stops = Delayed(full.because, _again(policy, now), full.waits_for)
        return Check("has_a_place", full.because, stops, crowd.running, policy.max_concurrent, caps)
    found = f"{crowd.running} of at most {policy.max_concurrent} automatic failovers are running"
    return Check("has_a_place", found, None, crowd.running, policy.max_concurrent, caps)


def _budget(facts: FleetFacts, policy: Policy, spent: str | None, stops: Delayed | Denied | None) -> Check:
    settings = ("max_fleet_price", "max_spend", "spend_window_s", "max_failover_cost")
    if policy.max_spend <= 0 and policy.max_fleet_price <= 0:
        return Check("within_budget", "no budget is set", stops, settings=settings)
    found = spent or f"failovers cost {facts.spending.within_window:.2f} $ within the window"
    return Check("within_budget", found, stops, facts.spending.within_window, policy.max_spend, settings)


def _is_not_only_observed(
    machine: Machine, request: FailoverRequest, judgement: Judgement, policy: Policy, now: datetime
) -> Check:
    """The last rule: whoever comes so far would be failed over now."""
    if machine.mode is not Mode.OBSERVE:
        return Check("not_only_observed", "it is not only observed", None, machine.mode.value, Mode.ON.value)
    setting = (request.setting or machine.setting).value
    because = f"would have failed over by {setting}: {judgement.because}; it is only observed"
    stops = Delayed(because, now + timedelta(seconds=policy.watch_every_s), would_begin=True)
    found = "automatic failover is observe for this machine: it is told, and nothing is done"
    return Check("not_only_observed", found, stops, machine.mode.value, Mode.ON.value, ("auto_failover",))


def _provider_vouches(machine: Machine) -> bool:
    """The provider's own word on this machine lifts the observer's blindness for it. Not the echo of our own stop: no
    word is taken while the machine is held."""
    evidence = machine.evidence
    dead = (Word.DEAD, Word.GONE, Word.CRASHED)
    return evidence is not None and any(t.source is Source.PROVIDER and t.word in dead for t in evidence.testimonies)
