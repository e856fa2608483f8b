"""Ready or not, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from machines.cpu_vm import CpuVm, VmStatus, WorkspaceCopy
from machines.model import HostId, InstanceId, Listing, Machine, Rung, Setting, Snapshot, Status, Volume, VolumeId
from machines.policy import Policy
from machines.strategies.ladder import ladder
from machines.volumes import mount_fault


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
    regional_volume_fault: str | None = "it was not checked yet"
    """The same of the regional volume."""
    has_replica: bool = False
    """The provider lists the copy on another host."""
    needs_vm: bool = False
    """Is a provider of CPU VMs configured? Without one the CPU standby is the snapshot alone."""
    vm: CpuVm | None = None
    vm_problem: str | None = None
    """Why the provider of CPU VMs could not be asked."""
    copy: WorkspaceCopy | None = None
    """Of its workspace, on its CPU VM; by our records."""


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
    has_association: bool = False
    """A VM, where one is needed, else a verified copy of the workspace."""
    cpu_vm_running: bool = False
    gcp_zone: str | None = None
    regional_volume_ready: bool = False
    regional_volume_why: str | None = None
    copy_age_s: float | None = None
    """Of the copy of its workspace that its CPU VM has."""
    replica_age_s: float | None = None
    """How old the data would be, should the host die; None where there is no copy to go on with."""

    @property
    def overall_ready(self) -> bool:
        """Follows the effective strategy: one ready rung of its ladder is enough."""
        ready = {
            Rung.WARM_POOL: self.warm_pool_ready,
            Rung.CPU_STANDBY: self.cpu_standby_ready,
            Rung.REGIONAL_VOLUME: self.regional_volume_ready,
        }
        return any(ready.get(rung, False) for rung in ladder(self.setting))


def judge_readiness(machine: Machine, findings: Findings | None, policy: Policy, now: datetime) -> Readiness:
    """Never ready on what was not verified."""
    age, copy_age = _age(findings, now), _copy_age(findings, now)
    why = _cpu_standby_fault(machine, findings, (age, copy_age), policy)
    warm = _warm_pool_fault(machine, findings)
    regional = _regional_fault(machine, findings)
    replica = machine.volume.replica if machine.volume is not None else None
    has_replica = replica is not None and findings is not None and findings.has_replica
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
        recommended_action=_recommended(machine, findings, warm, why, regional),
        has_association=_has_association(machine, findings, age),
        cpu_vm_running=findings is not None and findings.vm is not None and findings.vm.status is VmStatus.RUNNING,
        gcp_zone=_zone_of(machine),
        regional_volume_ready=regional is None,
        regional_volume_why=regional,
        copy_age_s=copy_age,
        replica_age_s=(now - replica.copied_at).total_seconds() if replica is not None and has_replica else None,
    )


def _has_association(machine: Machine, findings: Findings | None, age: float | None) -> bool:
    if findings is not None and findings.needs_vm:
        return machine.cpu_standby is not None and machine.cpu_standby.vm is not None
    return age is not None


def _zone_of(machine: Machine) -> str | None:
    """Of its VM; of one that is still to be made, the zone that was wished for."""
    standby = machine.cpu_standby
    if standby is None:
        return None
    return standby.vm.zone if standby.vm is not None else standby.zone


def cpu_vm_fault(machine: Machine, findings: Findings) -> str | None:
    """Why its VM could not stand in; None where it could, or where there is to be none."""
    if not findings.needs_vm:
        return None
    if machine.cpu_standby is None:
        return "it has no CPU VM"
    if machine.cpu_standby.vm is None:
        return "its CPU VM is being made"
    if findings.vm_problem is not None:
        return f"the provider of CPU VMs did not answer: {findings.vm_problem}"
    if findings.vm is None:
        return f"its CPU VM {machine.cpu_standby.vm.name} does not exist any more"
    if not findings.vm.is_startable:
        return f"its CPU VM {findings.vm.name} reads {findings.vm.word}"
    return None


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


def _regional_fault(machine: Machine, findings: Findings | None) -> str | None:
    if machine.primary is None:
        return "the machine has no instance"
    if machine.volume is None:
        return "no regional volume is registered for this machine"
    if findings is None:
        return "it was not checked yet"
    if not findings.provider_answers:
        return f"the provider did not answer: {findings.problem}"
    return findings.regional_volume_fault


def judge_regional(
    machine: Machine, volumes: Mapping[VolumeId, Volume], free: Mapping[HostId, bool]
) -> tuple[str | None, bool]:
    """Why the machine could go on neither on its volume's host nor on that of the copy, by what the provider shows; and
    whether the copy is listed. `free` is which hosts offer a GPU now, as far as that is known."""
    if machine.volume is None:
        return "no regional volume is registered for this machine", False
    volume, replica = volumes.get(machine.volume.id), machine.volume.replica
    copy = volumes.get(replica.id) if replica is not None else None
    faults = []
    if volume is None:
        faults.append(f"volume {machine.volume.id} is in no list")
    elif not free.get(volume.host):
        faults.append(f"host {volume.host} of volume {volume.id} offers no GPU to rent with it")
    if copy is None:
        faults.append("there is no copy of it on another host" if replica is None else "its copy is in no list")
    elif not free.get(copy.host):
        faults.append(f"host {copy.host} of copy {copy.id} offers no GPU to rent with it")
    return ("; ".join(faults) if len(faults) == _WAYS else None), copy is not None


_WAYS = 2
"""On the volume's host, and with the copy."""


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
    return mount_fault(volume.id, row, volumes, listing)


def _age(findings: Findings | None, now: datetime) -> float | None:
    """Never negative: the clock of the snapshot's instance may be ahead."""
    if findings is None or findings.snapshot is None:
        return None
    return max(0.0, (now - findings.snapshot.taken_at).total_seconds())


def _copy_age(findings: Findings | None, now: datetime) -> float | None:
    if findings is None or findings.copy is None:
        return None
    return (now - findings.copy.taken_at).total_seconds()


def _cpu_standby_fault(
    machine: Machine, findings: Findings | None, ages: tuple[float | None, float | None], policy: Policy
) -> str | None:
    """`ages`: of the snapshot, and of the copy on the CPU VM. Either is enough where it is young."""
    if machine.primary is None:
        return "the machine has no instance"
    if findings is None:
        return "it was not checked yet"
    if not findings.provider_answers:
        return f"the provider did not answer: {findings.problem}"
    if not findings.store_answers:
        return f"the snapshot store did not answer: {findings.problem}"
    age, copy_age = ages
    if copy_age is not None and copy_age <= policy.max_snapshot_age_s:
        return cpu_vm_fault(machine, findings)
    if age is None:
        return "there is no verified snapshot"
    if age > policy.max_snapshot_age_s:
        return f"the newest verified snapshot is {age:.0f} s old, the policy allows {policy.max_snapshot_age_s:.0f} s"
    return cpu_vm_fault(machine, findings)


def _recommended(
    machine: Machine,
    findings: Findings | None,
    warm_pool_fault: str | None,
    cpu_standby_fault: str | None,
    regional_fault: str | None,
) -> str | None:
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
                "and volume_id (volume_path, standby_gpu_instance_id), or have a whole pool rented on another host with "
                '{"warm_pool": {}}.'
            )
        return (
            f"The warm pool of machine {machine.id} is not ready: {warm_pool_fault}; look again with "
            f"GET /api/v1/failover/readiness/{machine.id}?refresh=true."
        )
    if Rung.CPU_STANDBY in rungs:
        if cpu_standby_fault is None:
            return None
        if findings is not None and findings.needs_vm and machine.cpu_standby is None:
            return (
                f"Machine {machine.id} has no CPU VM: have one made with PUT /api/v1/machines/{machine.id} "
                '{"cpu_standby": {}}.'
            )
        return f"CPU standby is not ready: {cpu_standby_fault}; look again with GET /api/v1/failover/readiness/{machine.id}?refresh=true."
    if rungs == (Rung.WARM_POOL,):
        return None
    if regional_fault is None:
        return None
    if machine.volume is None:
        return (
            f"Machine {machine.id} has no regional volume: rent its instance with one and name it with "
            f"PUT /api/v1/machines/{machine.id} and volume_id (POST /api/v1/failover/regional-volume/create makes one)."
        )
    return (
        f"The regional volume of machine {machine.id} is not ready: {regional_fault}; look again with "
        f"GET /api/v1/failover/readiness/{machine.id}?refresh=true."
    )
