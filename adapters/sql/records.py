"""What the rows tell that is no noun of the domain: failovers with their attempts, commands, alerts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypeAlias

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

    @property
    def is_running(self) -> bool:
        return self.ended_at is None

    @property
    def proof(self) -> FenceProof | None:
        return self.running.proof

    @property
    def data_age_s(self) -> float | None:
        """How old the replacement's data was at the hand-over, in seconds; None where nothing was restored."""
        return self.new.data_age_s if self.new is not None else None

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


@dataclass(frozen=True, slots=True)
class AlertRecord:
    """Something that a person should know, until it is resolved."""

    key: str
    text: str
    """As last repeated."""
    opened_at: datetime
    repeated_at: datetime
    count: int
