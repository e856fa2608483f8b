"""What is told to `decide` about one machine, and what it answers: signals, effects, the decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from math import inf
from typing import TypeAlias

from machines.admission import FailoverRequest, Granted
from machines.model import (
    Debt,
    FailoverId,
    FenceProof,
    InstanceId,
    Machine,
    Replacement,
    Running,
    Source,
    Testimony,
    WaitsFor,
)


@dataclass(frozen=True, slots=True)
class Silenced:
    """Silence outlasted the grace period, in log time."""

    silent_s: float
    grace_s: float
    sequence: int | None = None
    """Of its last beat."""


@dataclass(frozen=True, slots=True)
class Heard:
    """An instance spoke, and something about it is news."""

    instance: InstanceId
    boot_id: str
    interval_s: float
    partition: int | None
    is_live: bool = True
    """False for a beat that is read back from before we judged its partition: no sign of life."""
    trusted_for_s: float = inf
    """For how long the observer has trusted what it hears; 0 while it is blind."""


@dataclass(frozen=True, slots=True)
class Noticed:
    """Somebody announced an end: the machine itself, or the provider."""

    instance: InstanceId
    source: Source
    what: str
    sequence: int | None = None
    """Of the last beat before it, where that is known."""


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
    waits_for: WaitsFor | None = None
    would_begin: bool = False
    """It would have begun, were the machine not only observed."""


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
class StartAsked:
    """A primary that our failover may have stopped is about to be started again: the provider is asked next."""

    instance: InstanceId


@dataclass(frozen=True, slots=True)
class StartFailed:
    """The start was surely not accepted."""

    instance: InstanceId
    why: str
    is_final: bool
    """The provider said no, and not only: later."""


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
    may_be_stopped: bool = True
    """Was a fence begun in any attempt of the failover, by the journal? Then our stop may have been sent, whatever
    became of it."""


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
    | StartAsked
    | StartFailed
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


@dataclass(frozen=True, slots=True)
class Observed:
    """Tell that a failover would have begun now, of a machine that is only observed."""

    because: str


Effect: TypeAlias = Probe | RequestAdmission | BeginAttempt | EndFailover | Notify | Observed


@dataclass(frozen=True, slots=True)
class Decision:
    """The machine as it is to be saved, and what to do once it is."""

    machine: Machine
    effects: tuple[Effect, ...] = ()
