"""Ready or not, why, and what to do about it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from machines.model import Machine, Rung, Setting, Snapshot
from machines.policy import Policy
from machines.strategies.ladder import ladder


@dataclass(frozen=True, slots=True)
class Findings:
    """What one poll of the providers found out about one machine. None: it could not be asked."""

    checked_at: datetime
    snapshot: Snapshot | None
    store_answers: bool
    provider_answers: bool
    problem: str | None = None


@dataclass(frozen=True, slots=True)
class Readiness:
    """Verified at `checked_at`; each strategy with the reason why it is not ready."""

    machine_id: int
    setting: Setting
    checked_at: datetime | None
    warm_pool_ready: bool
    warm_pool_why: str | None
    cpu_standby_ready: bool
    cpu_standby_why: str | None
    snapshot_age_s: float | None
    recommended_action: str | None

    @property
    def overall_ready(self) -> bool:
        """Follows the effective strategy: one ready rung of its ladder is enough."""
        ready = {Rung.WARM_POOL: self.warm_pool_ready, Rung.CPU_STANDBY: self.cpu_standby_ready}
        return any(ready.get(rung, False) for rung in ladder(self.setting))


def judge_readiness(machine: Machine, findings: Findings | None, policy: Policy, now: datetime) -> Readiness:
    """Never ready on what was not verified."""
    age = _age(findings, now)
    why = _cpu_standby_fault(machine, findings, age, policy)
    warm = "no standby is provisioned for this machine"
    return Readiness(
        machine_id=machine.id,
        setting=machine.setting,
        checked_at=findings.checked_at if findings else None,
        warm_pool_ready=False,
        warm_pool_why=warm,
        cpu_standby_ready=why is None,
        cpu_standby_why=why,
        snapshot_age_s=age,
        recommended_action=_recommended(machine, why),
    )


def _age(findings: Findings | None, now: datetime) -> float | None:
    if findings is None or findings.snapshot is None:
        return None
    return (now - findings.snapshot.taken_at).total_seconds()


def _cpu_standby_fault(machine: Machine, findings: Findings | None, age: float | None, policy: Policy) -> str | None:
    if machine.primary is None:
        return "the machine has no instance"
    if findings is None:
        return "it was not checked yet"
    if not findings.provider_answers:
        return f"the provider did not answer: {findings.problem}"
    if not findings.store_answers:
        return f"the snapshot store did not answer: {findings.problem}"
    if age is None:
        return "there is no verified snapshot"
    if age > policy.max_snapshot_age_s:
        return f"the newest verified snapshot is {age:.0f} s old, the policy allows {policy.max_snapshot_age_s:.0f} s"
    return None


def _recommended(machine: Machine, cpu_standby_fault: str | None) -> str | None:
    """One sentence with the command that mends it; None where nothing is to be done."""
    if machine.setting is Setting.DISABLED:
        return (
            f"Machine {machine.id} is unprotected: choose a strategy with "
            f'PUT /api/v1/machines/{machine.id} {{"strategy": "cpu_standby"}}.'
        )
    if machine.primary is None:
        return f"Name its instance: PUT /api/v1/machines/{machine.id} with gpu_instance_id."
    if Rung.CPU_STANDBY in ladder(machine.setting):
        if cpu_standby_fault is None:
            return None
        return f"CPU standby is not ready: {cpu_standby_fault}; look again with GET /api/v1/failover/readiness/{machine.id}?refresh=true."
    return (
        f"{machine.setting.value} is not ready: no standby or volume is provisioned; until then protect it with "
        f'PUT /api/v1/machines/{machine.id} {{"strategy": "cpu_standby"}}.'
    )
