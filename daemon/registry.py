"""Which machines there are: registered by API, command or configuration. Only an operator names what may be destroyed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

import structlog
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.loop import Loop
from daemon.rearm import needs_standby, rearm_debt
from machines import workspace
from machines.errors import StepError
from machines.model import (
    Endpoint,
    Instance,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Setting,
    Standby,
    VolumeId,
    VolumeMount,
    Workload,
)
from machines.ports import Clock, GpuCloud
from machines.problems import Problem, invalid, unfit, unknown_machine
from machines.states import State

log = structlog.get_logger(__name__)


_SHARED_LISTING_S = 10.0


Folder = Annotated[str, AfterValidator(workspace.normalised), Field(max_length=workspace.LONGEST)]
"""An absolute path that is not the system's own, in its shortest form."""


class Registration(BaseModel):
    """What an operator may say of a machine. A field that is not named keeps its value."""

    model_config = ConfigDict(strict=True, extra="forbid")

    name: str | None = Field(None, min_length=1, max_length=64)
    gpu_instance_id: int | None = Field(None, gt=0)
    strategy: str | None = None
    auto_failover: str | None = None
    priority: int | None = Field(None, ge=-1000, le=1000)
    ssh_host: str | None = Field(None, min_length=1, max_length=255)
    ssh_port: int | None = Field(None, ge=1, le=65535)
    workspace_path: Folder | None = None
    interval_s: float | None = Field(None, ge=0.05, le=86400)
    image: str | None = Field(None, min_length=1, max_length=1024)
    disk_gb: float | None = Field(None, ge=8, le=100000)
    gpu_name: str | None = Field(None, min_length=1, max_length=64)
    num_gpus: int | None = Field(None, ge=1, le=64)
    max_price: float | None = Field(None, gt=0, le=1000)
    region: str | None = Field(None, pattern=r"^[A-Z]{2}$")
    env: dict[str, str] | None = None
    onstart: str | None = Field(None, max_length=4096)
    volume_id: int | None = Field(None, gt=0)
    """The volume on which the workspace lies; a warm pool needs one."""
    volume_path: Folder | None = None
    """Where the volume is mounted; the workspace path where it is not named."""
    standby_gpu_instance_id: int | None = Field(None, gt=0)
    """A rental on the primary's host with the same volume, stopped: the warm pool's standby. It may be destroyed."""


def parse(body: Mapping[str, Any]) -> Registration:
    """Strict. Raise Problem that names the field."""
    try:
        return Registration.model_validate(dict(body))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "body"
        if first["type"] == "value_error":
            raise unfit(where, first.get("input"), str(first["ctx"]["error"]), workspace.WANTED) from None
        if first["type"] == "extra_forbidden":
            known = ", ".join(sorted(Registration.model_fields))
            problem = Problem(400, "invalid_parameter", f"{where}: there is no such field", f"known are {known}")
            problem.extra["field"] = where
            raise problem from None
        raise invalid(where, first.get("input"), first["msg"].removeprefix("Input should be ")) from None


class Registry:
    """Puts machines into the store and tells the loop."""

    def __init__(self, store: Store, loop: Loop, cloud: GpuCloud, announcer: Announcer, clock: Clock) -> None:
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._announcer = announcer
        self._clock = clock

    async def put(
        self, machine_id: MachineId, body: Mapping[str, Any], by: str, *, must_exist: bool = False
    ) -> Machine:
        """Register or change; what is not named stays. Raise Problem (400, 404, 409, 503)."""
        wanted = parse(body)
        setting = _enum(Setting, wanted.strategy, "strategy")
        mode = _enum(Mode, wanted.auto_failover, "auto_failover")
        shown = await self._look_up(wanted.gpu_instance_id, "gpu_instance_id")
        standby = await self._look_up(wanted.standby_gpu_instance_id, "standby_gpu_instance_id")

        def work(tx: Tx) -> Machine:
            now = self._clock.now()
            before = tx.machine(machine_id)
            if before is None and must_exist:
                raise unknown_machine(machine_id)
            machine = before or _fresh(machine_id, now)
            machine = _changed(machine, wanted, setting, mode, shown, now)
            machine = _with_standby(machine, wanted, standby)
            if before is not None and before.failover is not None and _rentals(machine) != _rentals(before):
                raise Problem(
                    409,
                    "failover_in_progress",
                    f"failover {before.failover.id} decides which instance machine {machine_id} has",
                    "wait until it has ended",
                    {"failover_id": before.failover.id},
                )
            if before == machine:
                return machine
            machine = tx.insert_machine(machine) if before is None else tx.save_machine(machine)
            tx.post(self._announcer.machine(machine, before, now))
            if needs_standby(machine) and (before is None or not needs_standby(before)):
                tx.add_debts((replace(rearm_debt(machine, "it has a volume and no standby"), due_at=now),))
            return machine

        machine = await self._store.transact(work)
        self._loop.follow(machine)
        log.info("machine_registered", machine=machine.id, instance=machine.primary, mode=machine.mode.value, by=by)
        return machine

    async def _look_up(self, named: int | None, field_name: str) -> Instance | None:
        """What the provider says of the instance; without an answer nothing is registered under its name."""
        if named is None:
            return None
        instance = InstanceId(named)
        try:
            # One listing serves a whole fleet; a single read each would take two seconds a machine.
            listing = await self._cloud.list(_SHARED_LISTING_S, about=(instance,))
            shown = listing.instances.get(instance) or await self._cloud.show(instance)
        except StepError as error:
            raise Problem(
                503, "provider_unavailable", f"the provider gave no answer on instance {instance}: {error}", "try again"
            ) from error
        if shown is None:
            raise invalid(field_name, instance, "an instance that the provider knows")
        return shown

    async def remove(self, machine_id: MachineId) -> None:
        """Forget the machine; its instance is left running. Raise Problem (404, 409)."""

        def work(tx: Tx) -> None:
            machine = tx.machine(machine_id)
            if machine is None:
                raise unknown_machine(machine_id)
            if machine.failover is not None:
                raise Problem(
                    409,
                    "failover_in_progress",
                    f"failover {machine.failover.id} of machine {machine_id} is running",
                    "wait until it has ended, or cancel it",
                    {"failover_id": machine.failover.id},
                )
            tx.remove_machine(machine_id)
            tx.resolve_alert(f"machine-{machine_id}", self._clock.now())
            tx.post((self._announcer.removed(machine),))

        await self._store.transact(work)
        self._loop.forget(machine_id)


def _enum(kind: type[Setting] | type[Mode], value: str | None, name: str) -> Any:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        raise invalid(name, value, "one of " + ", ".join(member.value for member in kind)) from None


def _fresh(machine_id: MachineId, now: datetime) -> Machine:
    """An operator's machine is protected from the first moment, unless it says otherwise."""
    return Machine(machine_id, f"machine-{machine_id}", mode=Mode.ON, since=now, because="registered by an operator")


def _changed(
    machine: Machine,
    wanted: Registration,
    setting: Setting | None,
    mode: Mode | None,
    shown: Instance | None,
    now: datetime,
) -> Machine:
    named = wanted.model_fields_set
    changed = replace(
        machine,
        name=wanted.name or machine.name,
        setting=setting or machine.setting,
        mode=mode or _default_mode(machine, shown),
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


def _with_standby(machine: Machine, wanted: Registration, standby: Instance | None) -> Machine:
    """Raise Problem where the standby could never take over."""
    changed = machine
    if wanted.volume_id is not None or (wanted.volume_path is not None and machine.volume is not None):
        known = machine.volume
        volume_id = VolumeId(wanted.volume_id) if wanted.volume_id is not None else known.id if known else VolumeId(0)
        path = wanted.volume_path or (known.path if known else None) or machine.workspace_path
        changed = replace(changed, volume=VolumeMount(volume_id, path))
    if standby is None:
        return changed
    if changed.volume is None:
        raise invalid(
            "volume_id", None, "the volume that primary and standby share, because a standby has no data else"
        )
    if standby.host != changed.host or standby.id == changed.primary:
        remedy = f"another instance on host {changed.host}, where the primary and the volume are"
        raise invalid("standby_gpu_instance_id", standby.id, remedy)
    return replace(changed, standby=Standby(standby.id, standby.host, None))


def _rentals(machine: Machine) -> tuple[object, ...]:
    """What a running failover decides about, and what the form of its steps depends on."""
    return machine.primary, machine.volume, machine.standby


def _default_mode(machine: Machine, shown: Instance | None) -> Mode:
    """A machine that only its own heartbeat had registered is protected once an operator names its instance."""
    return Mode.ON if machine.primary is None and shown is not None else machine.mode


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
    )
