"""May this failover begin now? The one gate that every failover passes: pause, blindness, age of the evidence, brakes.

The gate is asked, and its answer saved, in one transaction; what was true before the lock may be history.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeAlias

from machines.brake import Crowd, flaps, no_place, quarantined_until
from machines.evidence import Verdict, judge
from machines.hold import held_until
from machines.model import InstanceId, Machine, Mode, Reason, Setting, Source, WaitsFor, Word
from machines.policy import Policy
from machines.states import State
from machines.strategies.ladder import ladder

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
    last_automatic_end: datetime | None = None
    """When the machine's last automatic failover ended."""


@dataclass(frozen=True, slots=True)
class Granted:
    request: FailoverRequest
    setting: Setting
    repair_first: bool


@dataclass(frozen=True, slots=True)
class Delayed:
    """Not now: look again then."""

    because: str
    look_at: datetime
    waits_for: WaitsFor | None = None
    """In the queue for this; None where the machine itself is the reason."""


@dataclass(frozen=True, slots=True)
class Denied:
    """No, with the contract's code and what mends it."""

    code: str
    because: str
    remedy: str


Admission: TypeAlias = Granted | Delayed | Denied


def refusal(machine: Machine, request: FailoverRequest) -> Denied | None:
    """What makes a wish senseless whatever the fleet does."""
    if machine.failover is not None:
        return Denied(
            "failover_in_progress",
            f"failover {machine.failover.id} of machine {machine.id} is running",
            f"wait for it: GET /api/v1/failovers/{machine.failover.id}",
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
    denied = refusal(machine, request)
    if denied is not None:
        return denied
    setting = request.setting or machine.setting
    if not request.is_automatic:
        return Granted(request, setting, repair_first=False)
    return _admit_automatic(machine, request, facts, policy, now, setting)


def _admit_automatic(
    machine: Machine, request: FailoverRequest, facts: FleetFacts, policy: Policy, now: datetime, setting: Setting
) -> Admission:
    again = now + timedelta(seconds=policy.retry_admission_s)
    probe_again = now + timedelta(seconds=1)
    if machine.state is not State.DETECTING or machine.mode is not Mode.ON:
        return Denied("not_suspect", f"machine {machine.id} is {machine.state.value}", "nothing: it is not suspect")
    if not facts.pause_is_readable:
        return Delayed("the pause flag cannot be read, so automatic action is paused", again, WaitsFor.RESUME)
    if facts.pause is not None and facts.pause.until > now:
        because = f"paused until {facts.pause.until.isoformat()}: {facts.pause.reason}"
        return Delayed(because, again, WaitsFor.RESUME)
    until = held_until(machine, policy)
    if machine.hold is not None and until is not None and now < until:
        return Delayed(machine.hold.because, until)
    calmed = _calmed_down(machine, facts, policy, now)
    if calmed is not None:
        return calmed
    evidence = machine.evidence
    if evidence is None or now - evidence.at > timedelta(seconds=policy.evidence_max_age_s):
        return Delayed("the evidence is stale; asking again", probe_again)
    judgement = judge(evidence, policy)
    if judgement.verdict is not Verdict.DEAD:
        return Delayed(f"the evidence does not suffice: {judgement.because}", probe_again)
    if facts.blind is not None and not _provider_vouches(machine):
        return Delayed(f"the observer is blind: {facts.blind}", again, WaitsFor.SIGHT)
    full = no_place(machine, ladder(setting, judgement.repairable), facts.crowd, policy)
    if full is not None:
        return Delayed(full.because, again, full.waits_for)
    return Granted(request, setting, judgement.repairable)


def _calmed_down(machine: Machine, facts: FleetFacts, policy: Policy, now: datetime) -> Delayed | None:
    """Cooldown and quarantine: a machine that dies again and again is a person's to look at."""
    until = quarantined_until(machine, policy)
    if until is not None and now < until:
        why = f"in quarantine until {until.isoformat()}: {flaps(machine)}"
        return Delayed(why, min(until, now + timedelta(seconds=policy.watch_every_s)))
    if facts.last_automatic_end is not None:
        until = facts.last_automatic_end + timedelta(seconds=policy.machine_cooldown_s)
        if now < until:
            return Delayed(
                f"its last automatic failover has just ended; the next one not before {until.isoformat()}", until
            )
    return None


def _provider_vouches(machine: Machine) -> bool:
    """The provider's own word on this machine lifts the observer's blindness for it. Not the echo of our own stop: no
    word is taken while the machine is held."""
    evidence = machine.evidence
    dead = (Word.DEAD, Word.GONE, Word.CRASHED)
    return evidence is not None and any(t.source is Source.PROVIDER and t.word in dead for t in evidence.testimonies)
