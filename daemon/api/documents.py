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
    evidence: list[dict[str, Any]]


class MachinesAnswer(Document):
    machines: list[MachineAnswer]
    next_cursor: str | None


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


class FailoverTimeline(FailoverSummary):
    attempts: list[dict[str, Any]]
    next_attempt_at: str | None


class FailoversAnswer(Document):
    failovers: list[FailoverSummary]
    next_cursor: str | None
