"""A machine with what was said of it, and with what its provider shows of its instance. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from daemon.policy_values import checked_for_machine
from daemon.registration import Registration
from machines.model import (
    Endpoint,
    Instance,
    Machine,
    MachineId,
    Mode,
    Own,
    Setting,
    Standby,
    Volume,
    VolumeId,
    VolumeMount,
    Workload,
)
from machines.policy import (
    INHERITABLE,
    OF_THE_MACHINE_ITSELF,
    Policy,
    settled,
    with_own,
    with_values,
    without_own,
)
from machines.problems import invalid, unfit
from machines.states import State
from machines.strategies.prepared_pool import prepared_of


def fresh_machine(machine_id: MachineId, now: datetime, fleet: Policy) -> Machine:
    """An operator's machine is protected from the first moment, unless it or the fleet's policy says otherwise."""
    fresh = Machine(machine_id, f"machine-{machine_id}", since=now, because="registered by an operator")
    return settled(replace(fresh, own=Own(inherits=INHERITABLE)), fleet)


def with_own_settings(machine: Machine, wanted: Registration, fleet: Policy, by_file: bool) -> Machine:
    """The machine on which is marked what was named of its own settings, and by whom. The configuration names all that it
    wants: what it said before and says no more is the fleet's again. Raise Problem."""
    given = wanted.policy or {}
    said = {name: getattr(wanted, name) for name in OF_THE_MACHINE_ITSELF if getattr(wanted, name) is not None}
    for name in given:
        if name in OF_THE_MACHINE_ITSELF:
            raise unfit(f"policy.{name}", given[name], "it stands beside `policy`", f"it as {name}; nothing")
    values = checked_for_machine(given, machine, fleet)
    dropped = [name for name, value in given.items() if value is None]
    if by_file:
        dropped += [name for name in machine.own.from_file if name not in given and name not in said]
    return with_values(without_own(with_own(machine, said, by_file), dropped, fleet), values, by_file)


def changed_machine(
    machine: Machine,
    wanted: Registration,
    setting: Setting | None,
    mode: Mode | None,
    shown: Instance | None,
    now: datetime,
    fleet: Policy,
) -> Machine:
    named = wanted.model_fields_set
    if machine.primary is None and shown is not None and mode is None and "auto_failover" not in machine.own.said:
        # One that only its own heartbeat had registered is protected once an operator names its instance.
        machine = without_own(machine, ("auto_failover",), fleet)
    changed = replace(
        machine,
        name=wanted.name or machine.name,
        setting=setting or machine.setting,
        mode=mode or machine.mode,
        priority=machine.priority if wanted.priority is None else wanted.priority,
        workspace_path=wanted.workspace_path or machine.workspace_path,
        interval_s=wanted.interval_s or machine.interval_s,
        workload=_workload(machine.workload, wanted, shown),
    )
    if mode is not None:
        changed = replace(changed, suspicions=())  # A person has looked at it: no quarantine any more.
    if shown is not None and shown.id != machine.primary:
        changed = _embodied(changed, shown, now)
    if {"ssh_host", "ssh_port"} <= named and wanted.ssh_host is not None and wanted.ssh_port is not None:
        changed = replace(changed, ssh=Endpoint(wanted.ssh_host, wanted.ssh_port))
    return changed


def with_standby(machine: Machine, wanted: Registration, standby: Instance | None) -> Machine:
    """Without its standby where that shares no volume with it any more, and the request names none. Raise Problem where the
    named one could never take over."""
    changed = machine
    if wanted.volume_id is not None or (wanted.volume_path is not None and machine.volume is not None):
        known = machine.volume
        volume_id = VolumeId(wanted.volume_id) if wanted.volume_id is not None else known.id if known else VolumeId(0)
        path = wanted.volume_path or (known.path if known else None) or machine.workspace_path
        replica = known.replica if known is not None and known.id == volume_id else None
        changed = replace(changed, volume=VolumeMount(volume_id, path, replica))
    elif "volume_id" in wanted.model_fields_set and wanted.volume_id is None:
        changed = replace(changed, volume=None)
    if standby is None:
        return changed if _shares(changed, machine.volume) else replace(changed, standby=None)
    if changed.volume is None:
        raise invalid(
            "volume_id", None, "the volume that primary and standby share, because a standby has no data else"
        )
    if standby.host != changed.host or standby.id == changed.primary:
        remedy = f"another instance on host {changed.host}, where the primary and the volume are"
        raise invalid("standby_gpu_instance_id", standby.id, remedy)
    return replace(changed, standby=Standby(standby.id, standby.host, None))


def lies_elsewhere(before: Machine, machine: Machine) -> bool:
    """Is it another volume, or another instance that is said to have it?"""
    had = None if before.volume is None else before.volume.id
    has = None if machine.volume is None else machine.volume.id
    return (had, before.primary) != (has, machine.primary)


def refuse_elsewhere(machine: Machine, volume: VolumeId, shelf: Mapping[VolumeId, Volume]) -> None:
    """What a failover leaves behind is deleted, so a volume is the machine's only where its instance has it mounted. Raise
    Problem (400)."""
    shown = shelf.get(volume)
    if shown is None:
        raise invalid("volume_id", volume, "a volume that the provider knows")
    if machine.host is not None and shown.host != machine.host:
        raise invalid("volume_id", volume, f"a volume on host {machine.host}, where the machine's instance is")
    if machine.primary is not None and machine.primary not in shown.holders:
        mounted = [one.id for one in shelf.values() if machine.primary in one.holders]
        having = (
            f" ({', '.join(map(str, mounted))})" if mounted else "; it has none, so rent one with the volume mounted"
        )
        raise invalid("volume_id", volume, f"a volume that instance {machine.primary} has mounted{having}")


def _shares(changed: Machine, former: VolumeMount | None) -> bool:
    """Does its standby, if it has one, still stand beside it with its volume? That with a former one has old work."""
    standby, volume = changed.standby, changed.volume
    if standby is None:
        return True
    is_beside = standby.host == changed.host and standby.instance != changed.primary
    return is_beside and (volume.id if volume else None) == (former.id if former else None)


def rentals(machine: Machine) -> tuple[object, ...]:
    """What a running failover decides about, and what the form of its steps depends on."""
    standby = machine.cpu_standby
    of_vm = (standby.vm, standby.serving) if standby is not None else None
    return machine.primary, machine.volume, machine.standby, of_vm, prepared_of(machine)


def _embodied(machine: Machine, shown: Instance, now: datetime) -> Machine:
    """The machine on an instance that an operator named: judged from now on, whatever was before."""
    return replace(
        machine,
        primary=shown.id,
        host=shown.host,
        landlord=shown.landlord,
        ssh=shown.ssh,
        host_key=None,
        boot_id="",
        last_sequence=None,
        is_interruptible=shown.is_interruptible,
        price_per_hour=shown.price_per_hour,
        state=State.HEALTHY,
        because="an operator named its instance",
        since=now,
        evidence=None,
        look_at=None,
        hold=None,
        queued=None,
        observed_at=None,
    )


def _workload(workload: Workload, wanted: Registration, shown: Instance | None) -> Workload:
    """The customer's world: what the operator says, else what the instance has."""
    seen = workload
    if shown is not None:
        seen = replace(
            workload,
            image=shown.image or workload.image,
            disk_gb=max(8.0, shown.disk_gb) if shown.disk_gb else workload.disk_gb,
            gpu_name=shown.gpu_name or workload.gpu_name,
            num_gpus=shown.num_gpus or workload.num_gpus,
            env=shown.env or workload.env,
            onstart=shown.onstart or workload.onstart,
            runtype=shown.runtype if "ssh" in shown.runtype else workload.runtype,
        )
    return replace(
        seen,
        image=wanted.image or seen.image,
        disk_gb=wanted.disk_gb or seen.disk_gb,
        gpu_name=wanted.gpu_name or seen.gpu_name,
        num_gpus=wanted.num_gpus or seen.num_gpus,
        max_price=wanted.max_price or seen.max_price,
        region=wanted.region or seen.region,
        env=seen.env if wanted.env is None else wanted.env,
        onstart=wanted.onstart or seen.onstart,
        image_login=wanted.image_login or seen.image_login,
        ssh_keys=seen.ssh_keys if wanted.ssh_keys is None else tuple(wanted.ssh_keys),
    )
