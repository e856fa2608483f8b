"""What the rows tell that is no noun of the domain: failovers with their attempts, commands, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, TypeAlias

from machines.access import Scope
from machines.model import (
    Evidence,
    FailoverId,
    FenceProof,
    InstanceId,
    MachineId,
    Reason,
    Replacement,
    Rung,
    Running,
    Setting,
)

Door: TypeAlias = Literal["http", "kafka", "cli"]
CommandStatus: TypeAlias = Literal["accepted", "succeeded", "failed", "refused"]


@dataclass(frozen=True, slots=True)
class AttemptRecord:
    """One try of one strategy; `code` and `why` say how it failed, where it did."""

    number: int
    rung: Rung
    started_at: datetime
    ended_at: datetime | None
    code: str | None
    why: str | None


@dataclass(frozen=True, slots=True)
class FailoverRecord:
    """All that is known of one failover, running or ended."""

    id: FailoverId
    machine: MachineId
    reason: Reason
    setting: Setting
    because: str
    """Why it was begun."""
    asked_by: str
    command_id: str | None
    evidence: Evidence | None
    """What the sources said when it was admitted."""
    old_instance: InstanceId | None
    running: Running
    """As last saved; of an ended failover, its last moment."""
    started_at: datetime
    ended_at: datetime | None
    success: bool | None
    strategy_succeeded: Rung | None
    code: str | None
    why: str | None
    """Why it ended as it did."""
    new: Replacement | None
    attempts: tuple[AttemptRecord, ...]
    reserved: float | None = None
    """$ that it may come to."""
    spent: float | None = None
    """$ that its rentals have cost by our records; None while it runs."""
    acked_at: datetime | None = None
    """When somebody said that they know of its end."""
    acked_by: str | None = None
    ack_comment: str | None = None

    @property
    def wants_a_look(self) -> bool:
        """It failed, nobody cancelled it, and nobody has said yet that they know."""
        return self.ended_at is not None and not self.success and self.code != "cancelled" and self.acked_at is None

    @property
    def is_running(self) -> bool:
        return self.ended_at is None

    @property
    def proof(self) -> FenceProof | None:
        return self.running.proof

    @property
    def data_age_s(self) -> float | None:
        """How old the replacement's data was, as people are told: in seconds, never negative; None where nothing was
        restored."""
        age = self.new.data_age_s if self.new is not None else None
        return None if age is None else max(0.0, age)

    @property
    def price_per_hour(self) -> float | None:
        """$/h of the replacement."""
        return self.new.price_per_hour if self.new is not None else None


@dataclass(frozen=True, slots=True)
class CommandRow:
    """A command as it came through a door, and its answer. Open until `answered_at`."""

    command_id: str
    door: Door
    command: str
    machine_id: MachineId | None
    fingerprint: str
    """A hash of the command as understood: the same id with another fingerprint is a conflict, not a repetition."""
    body: Mapping[str, Any]
    received_at: datetime
    expires_at: datetime | None = None
    failover_id: FailoverId | None = None
    status: CommandStatus = "accepted"
    answer: Mapping[str, Any] | None = None
    http_status: int | None = None
    answered_at: datetime | None = None
    asked_by: str | None = None
    """Whose token, or the source of a record of the log; None of one that was taken before this was kept."""


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """A stored token. Its secret was shown once and is nowhere."""

    name: str
    digest: str
    scope: Scope
    created_at: datetime
    created_by: str
    machine_id: MachineId | None = None
    """The one machine that a token of scope `beat` speaks for."""
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    """Coarse: noted once in some minutes."""
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    number: int | None = field(default=None, compare=False)
    """Its place among the stored ones."""

    def opens_at(self, now: datetime) -> bool:
        """Neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """One change, as it is kept for ever: who made it, through which door, and why."""

    at: datetime
    asked_by: str
    door: str
    what: str
    """A command's name, or as it is called here: register_machine, create_token, ..."""
    machine_id: MachineId | None = None
    subject: str | None = None
    """What else it was about: a failover, a token, a volume."""
    reason: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    """Never a value that a customer gave: those may be secrets."""
    number: int = 0
    """Its place among all; 0 before it is stored."""


@dataclass(frozen=True, slots=True)
class SnapshotGrant:
    """Which instance was last told to take a machine's snapshots, under which fence, and with which key of its own."""

    machine: MachineId
    instance: InstanceId
    fence: int
    digest: str
    granted_at: datetime
    key: str | None = None
    removed_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """Something that a person should know, until it is resolved."""

    key: str
    text: str
    """As last repeated."""
    opened_at: datetime
    repeated_at: datetime
    count: int
