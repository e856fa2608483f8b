"""The shapes of what operators and monitors are answered, beside those of the contract (documents.py)."""

from __future__ import annotations

from typing import Any

from daemon.api.documents import Document


class PageOfRows(Document):
    count: int
    """Of all rows, not of the page alone."""
    next_cursor: str | None


class PauseAnswer(Document):
    paused_until: str | None


class StandingPause(Document):
    reason: str
    until: str | None
    by: str | None


class StandingStorm(Document):
    since: str | None
    seen_at: str | None


class Caps(Document):
    fleet: int
    host: int
    provider: int


class QueuedMachine(Document):
    position: int
    machine_id: int
    name: str
    priority: int
    since: str | None
    since_seconds: float | None
    waits_for: str
    because: str


class PausedMachine(Document):
    machine_id: int
    name: str
    reason: str
    until: str
    by: str


class FleetAnswer(Document):
    automatic_failover: str
    pause: StandingPause | None
    storm: StandingStorm | None
    automatic_running: int
    caps: Caps
    auto_failover: str
    paused_machines: list[PausedMachine]
    would_fail_over: list[int]
    """Machines that would be failed over now, were they not only observed."""
    unacknowledged: int
    """Failovers that failed, and nobody has said that they know."""
    queue: list[QueuedMachine]
    count: int


class Alert(Document):
    key: str
    text: str
    opened_at: str | None
    age_seconds: float | None
    repeated_at: str | None
    count: int


class AlertsAnswer(PageOfRows):
    """`incomplete` says why stored alerts are missing, where they cannot be read."""

    alerts: list[Alert]


class OwedThing(Document):
    id: int | None
    kind: str
    machine_id: int | None
    failover_id: str | None
    gpu_instance_id: int | None
    label: str | None
    claimed_at: str | None
    because: str
    tries: int
    due_at: str | None
    last_error: str | None


class DebtsAnswer(PageOfRows):
    debts: list[OwedThing]


class Orphan(Document):
    kind: str
    id: str
    standing: str
    label: str
    machine_id: int | None
    cost_per_day: float | None
    size_gb: float | None
    detail: str
    first_seen_at: str | None
    age_seconds: float | None


class OrphansAnswer(PageOfRows):
    orphans: list[Orphan]
    cost_per_day: float
    without_price: int


class MachineCost(Document):
    machine_id: int
    cost: float
    things: Any


class CostsAnswer(Document):
    since: str
    machines: list[MachineCost]
    unexplained: float
    total: float
    read_at: str | None
    age_seconds: float | None
    next_cursor: str | None


class BeatTaken(Document):
    accepted: bool
    machine_id: int


class MachineRemoved(Document):
    machine_id: int
    removed: bool


class ActiveAnswer(Document):
    active: bool
    machine_id: int
    state: str
    gpu_instance_id: int | None


class LetterTaken(Document):
    accepted: bool
    is_new: bool


class TriedChannel(Document):
    channel: str
    kind: str
    ok: bool
    error: str | None
    seconds: float


class TrialAnswer(Document):
    """`ok` where every channel took its message."""

    ok: bool
    channels: list[TriedChannel]
    count: int


class HealthAnswer(Document):
    """`checks` by name, where they are asked for."""

    status: str
    version: str
