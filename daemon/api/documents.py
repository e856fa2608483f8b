"""The shapes of the contract's answers: what /openapi.json promises, and what the tests hold the routes to.

Routes answer plain dictionaries; these models describe them and never filter them.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class Document(BaseModel):
    """An answer; more members than these may come, none is missing."""

    model_config = ConfigDict(strict=True, extra="allow")


class FailoverAnswer(Document):
    """How a failover ended. `*_attempt_ms` is 0 for a strategy that was not tried."""

    success: bool
    failover_id: str
    machine_id: int
    strategy_attempted: str
    strategy_succeeded: str | None
    new_gpu_id: int | None
    new_ssh_host: str | None
    new_ssh_port: int | None
    new_gpu_name: str | None
    warm_pool_attempt_ms: int
    cpu_standby_attempt_ms: int
    regional_volume_attempt_ms: int
    total_ms: int
    error: str | None
    warm_pool_error: str | None
    cpu_standby_error: str | None
    state: str
    data_age_seconds: float | None


class RunningAnswer(Document):
    """202: the failover runs; Location says where it is watched."""

    failover_id: str
    machine_id: int
    state: str


class WarmPoolStatus(Document):
    state: str
    next: str
    standby_gpu_id: int | None


class CpuStandbyStatus(Document):
    association_exists: bool
    cpu_vm_running: bool


class ReadinessAnswer(Document):
    machine_id: int
    effective_strategy: str
    warm_pool_ready: bool
    warm_pool_status: WarmPoolStatus
    cpu_standby_ready: bool
    cpu_standby_status: CpuStandbyStatus
    overall_ready: bool
    checked_at: str | None
    recommended_action: str | None


class WarmPoolSetting(Document):
    enabled: bool
    state: str


class CpuStandbySetting(Document):
    enabled: bool
    gcp_zone: str | None


class StatusAnswer(Document):
    machine_id: int
    effective_strategy: str
    warm_pool: WarmPoolSetting
    cpu_standby: CpuStandbySetting
    recommended_action: str | None


class TestedReadiness(Document):
    warm_pool_ready: bool
    cpu_standby_ready: bool


class DryRunAnswer(Document):
    dry_run: bool
    would_succeed: bool
    readiness: TestedReadiness
    message: str
    reason: str | None
    plan: dict[str, Any]


class StrategyText(Document):
    id: str
    name: str
    description: str
    recovery_time: str
    cost: str
    requirements: list[str]


class StrategiesAnswer(Document):
    strategies: list[StrategyText]


class MachineAnswer(Document):
    id: int
    name: str
    state: str
    because: str
    since: str | None
    strategy: str
    auto_failover: str
    priority: int
    gpu_instance_id: int | None
    ssh_host: str | None
    ssh_port: int | None
    price_per_hour: float | None
    fence: int
    version: int
    failover_id: str | None
    last_failover_id: str | None
    look_at: str | None
    queued_since: str | None
    waits_for: str | None
    boot_id: str | None
    """Of its agent; null while none was heard from its instance."""
    heartbeat_age_seconds: float | None
    """In log time; null where none was heard, or another replica judges the machine."""
    evidence: list[dict[str, Any]]
    cpu_standby: dict[str, Any] | None
    warm_pool: dict[str, Any] | None


class MachinesAnswer(Document):
    machines: list[MachineAnswer]
    next_cursor: str | None


class RuleAnswer(Document):
    """One rule of the gate as it was found."""

    rule: str
    passes: bool
    found: str
    value: float | str | None
    threshold: float | str | None
    until: str | None
    remedy: str | None
    settings: list[dict[str, Any]]
    """Those that would move the threshold: each with its value and who said it."""


class ExplainAnswer(Document):
    machine_id: int
    name: str
    state: str
    because: str
    since: str | None
    evidence: list[dict[str, Any]]
    verdict: str | None
    rules: list[RuleAnswer]
    begins_now: bool
    stopped_by: str | None
    """The first rule that keeps it from an automatic failover now."""
    blocked_until: str | None
    look_at: str | None
    next: str
    would_change_it: list[dict[str, Any]]
    ready: bool
    recommended_action: str | None


class FailoverSummary(Document):
    failover_id: str
    machine_id: int
    state: str
    trigger: str
    strategy_attempted: str
    strategy_succeeded: str | None
    started_at: str
    ended_at: str | None
    success: bool | None
    error: str | None
    cancel_asked: bool
    """By a person, or by the old instance, which speaks again: it unwinds, unless it is past its point of no return."""
    acknowledged_at: str | None
    acknowledged_by: str | None
    wants_a_look: bool
    """It failed, and nobody has said yet that they know."""


class Acknowledgement(Document):
    """Who knows of a failover's end, since when, and what they said."""

    failover_id: str
    machine_id: int
    acknowledged_at: str
    acknowledged_by: str
    comment: str | None


class FleetSettings(Document):
    """What counts for every machine that has nothing of its own, and who said each: default, file or fleet."""

    settings: dict[str, Any]
    origins: dict[str, str]
    of_machines: list[str]
    """Those that a machine may have of its own."""


class MachineSettings(Document):
    """What counts for the machine, and who said each: default, file, fleet, machine_file or machine."""

    machine_id: int
    settings: dict[str, Any]
    origins: dict[str, str]
    own: list[str]
    of_the_fleet: dict[str, Any]
    """Of those that are its own, what it would have without them."""


class FailoverTimeline(FailoverSummary):
    attempts: list[dict[str, Any]]
    next_attempt_at: str | None


class FailoversAnswer(Document):
    failovers: list[FailoverSummary]
    next_cursor: str | None


class Phase(Document):
    phase: str
    count: int
    p50_seconds: float
    p95_seconds: float
    longest_seconds: float


class ReportMoney(Document):
    """In $. `failovers` by our records, `billed` by the provider's own bill from a month on."""

    failovers: float
    fleet_per_hour: float
    billed_since: str
    billed: float


class ReportAnswer(Document):
    """`is_cut`: there were more failovers than are counted."""

    since: str
    until: str
    failovers: int
    running: int
    succeeded: int
    failed: int
    cancelled: int
    success_rate: float | None
    mttr_seconds: float | None
    recovery_p95_seconds: float | None
    by_strategy: dict[str, int]
    by_trigger: dict[str, int]
    by_error: dict[str, int]
    phases: list[Phase]
    is_cut: bool
    money: ReportMoney


class DeadLetter(Document):
    """A record that could not be read. `value` is its text, or null and `value_base64` where it is none."""

    id: str
    topic: str
    partition: int
    offset: int
    key: str | None
    value: str | None
    value_base64: str | None
    headers: dict[str, str]
    code: str
    error: str
    at: str | None
    age_seconds: float | None
    command_id: str | None
    can_replay: bool
    why_not: str | None


class DeadLettersAnswer(Document):
    dead_letters: list[DeadLetter]
    count: int
    next_cursor: str | None


class ReplayAnswer(Document):
    """The record was appended to its topic once more; `command_id` is the id under which it will be answered."""

    id: str
    topic: str
    command_id: str | None


class SnapshotAnswer(Document):
    snapshot_id: str
    machine_id: int
    taken_at: str
    age_seconds: float
    size_bytes: int


class SnapshotsAnswer(Document):
    snapshots: list[SnapshotAnswer]
    count: int
    next_cursor: str | None


class LogsAnswer(Document):
    machine_id: int
    gpu_instance_id: int
    lines: list[str]


class VolumeMade(Document):
    success: bool
    volume_id: int
    region: str
    size_gb: int


class VolumeBeingMade(Document):
    """202: it is being made; Location says where it is listed."""

    success: bool
    state: str


class VolumeAnswer(Document):
    volume_id: int | None
    region: str
    size_gb: int
    name: str | None
    status: str
    machine_id: int | None
    attached_instance_id: int | None
    price_per_month: float | None
    created_at: str
    replicas: list[dict[str, Any]]


class VolumesAnswer(Document):
    volumes: list[VolumeAnswer]
    count: int


class VolumeDeleted(Document):
    success: bool
    volume_id: int
    status: str


class VolumeFailoverAnswer(Document):
    """How a failover by regional volume ended. `new_*` are null where nothing was replaced."""

    success: bool
    volume_id: int
    old_instance_id: int
    new_instance_id: int | None
    new_gpu_name: str | None
    region: str
    failover_time_seconds: float
    message: str
    ssh_host: str | None
    ssh_port: int | None
    failover_id: str
    machine_id: int
    error: str | None
    data_age_seconds: float | None


class OfferDocument(Document):
    offer_id: int
    gpu_name: str
    num_gpus: int
    price_per_hour: float
    reliability: float
    geolocation: str


class OfferSearchAnswer(Document):
    found: bool
    offer: OfferDocument | None


class TokenView(Document):
    name: str
    scope: str
    machine_id: int | None
    state: str
    """valid, expired or revoked."""
    created_at: str
    created_by: str
    expires_at: str | None
    last_used_at: str | None
    """Noted once in five minutes."""
    revoked_at: str | None
    revoked_by: str | None


class NewTokenAnswer(TokenView):
    token: str
    """The secret, this once."""


class TokensAnswer(Document):
    tokens: list[TokenView]
    count: int
    next_cursor: str | None


class TokenRevoked(Document):
    name: str
    revoked: bool


class BeatTokenAnswer(Document):
    machine_id: int
    revoked: bool
    beat_token: str


class AuditedChange(Document):
    number: int
    at: str
    by: str
    """A token's name, `admin` for the static one, or the source of a record of the log."""
    door: str
    """http, cli, kafka or daemon."""
    what: str
    machine_id: int | None
    subject: str | None
    reason: str | None
    detail: dict[str, Any]


class AuditAnswer(Document):
    audit: list[AuditedChange]
    next_cursor: str | None
