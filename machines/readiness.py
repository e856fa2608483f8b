"""Ready or not, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from machines.model import InstanceId, Listing, Machine, Rung, Setting, Snapshot, Status, Volume, VolumeId
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
    warm_pool_fault: str | None = "it was not checked yet"
    """Why the warm pool could not take over now; None where it could."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Verified at `checked_at`; each strategy with the reason why it is not ready."""

    machine_id: int
    setting: Setting
    checked_at: datetime | None
    warm_pool_ready: bool
    warm_pool_why: str | None
    standby: InstanceId | None
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
    warm = _warm_pool_fault(machine, findings)
    return Readiness(
        machine_id=machine.id,
        setting=machine.setting,
        checked_at=findings.checked_at if findings else None,
        warm_pool_ready=warm is None,
        warm_pool_why=warm,
        standby=machine.standby.instance if machine.standby else None,
        cpu_standby_ready=why is None,
        cpu_standby_why=why,
        snapshot_age_s=age,
        recommended_action=_recommended(machine, warm, why),
    )


def _warm_pool_fault(machine: Machine, findings: Findings | None) -> str | None:
    if machine.primary is None:
        return "the machine has no instance"
    if machine.volume is None:
        return "no standby is provisioned for this machine"
    if findings is None:
        return "it was not checked yet"
    if not findings.provider_answers:
        return f"the provider did not answer: {findings.problem}"
    return findings.warm_pool_fault


def judge_warm_pool(
    machine: Machine, listing: Listing, volumes: Mapping[VolumeId, Volume], has_free_gpu: bool | None
) -> str | None:
    """Why the warm pool could not take over by what the provider shows; None where it could.

    `has_free_gpu` is whether the host offers one now, None where that is not known. A running standby has its own.
    """
    if machine.primary is None or machine.volume is None:
        return "no standby is provisioned for this machine"
    volume = volumes.get(machine.volume.id)
    if volume is None:
        return f"volume {machine.volume.id} does not exist any more"
    if volume.host != machine.host:
        return f"volume {volume.id} is on host {volume.host}, the primary on host {machine.host}"
    if machine.standby is None:
        return None if has_free_gpu else f"host {machine.host} has no free GPU that could be rented with the volume"
    row = listing.instances.get(machine.standby.instance)
    if row is None:
        return f"standby {machine.standby.instance} is in no listing"
    if row.host != machine.host:
        return f"standby {row.id} is on host {row.host}, the primary on host {machine.host}"
    if row.status not in (Status.EXITED, Status.RUNNING):
        return f"standby {row.id} reads {row.status.value}"
    if has_free_gpu is False and not row.holds_gpu:
        return f"another tenant has the GPU of standby {row.id}"
    return None


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


def _recommended(machine: Machine, warm_pool_fault: str | None, cpu_standby_fault: str | None) -> str | None:
    """One sentence with the command that mends it; None where nothing is to be done."""
    if machine.setting is Setting.DISABLED:
        return (
            f"Machine {machine.id} is unprotected: choose a strategy with "
            f'PUT /api/v1/machines/{machine.id} {{"strategy": "cpu_standby"}}.'
        )
    if machine.primary is None:
        return f"Name its instance: PUT /api/v1/machines/{machine.id} with gpu_instance_id."
    rungs = ladder(machine.setting)
    if Rung.WARM_POOL in rungs and warm_pool_fault is not None:
        if machine.volume is None:
            return (
                f"The warm pool of machine {machine.id} has no volume: name it with PUT /api/v1/machines/{machine.id} "
                "and volume_id (volume_path, standby_gpu_instance_id)."
            )
        return (
            f"The warm pool of machine {machine.id} is not ready: {warm_pool_fault}; look again with "
            f"GET /api/v1/failover/readiness/{machine.id}?refresh=true."
        )
    if Rung.CPU_STANDBY in rungs:
        if cpu_standby_fault is None:
            return None
        return f"CPU standby is not ready: {cpu_standby_fault}; look again with GET /api/v1/failover/readiness/{machine.id}?refresh=true."
    if rungs == (Rung.WARM_POOL,):
        return None
    return (
        f"{machine.setting.value} is not ready: no standby or volume is provisioned; until then protect it with "
        f'PUT /api/v1/machines/{machine.id} {{"strategy": "cpu_standby"}}.'
    )
