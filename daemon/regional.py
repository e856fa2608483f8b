"""What may be asked about regional volumes: requests as they are understood, and what is shown of a volume."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from adapters.sql.tx import Tx
from daemon.market_fields import MOST_GB, GpuName, Price, Region
from daemon.registration import Folder
from daemon.replicas import delete_debt
from daemon.volume_users import user_of
from machines.model import (
    Debt,
    DebtKind,
    InstanceId,
    Machine,
    MachineId,
    Replica,
    Volume,
    VolumeId,
    VolumeMount,
    Wishes,
)
from machines.problems import Problem, invalid, unknown_machine
from machines.volumes import RegionalVolume, VolumeStatus


class NewVolume(BaseModel):
    """The contract's request for a volume."""

    model_config = ConfigDict(strict=True, extra="forbid")

    region: Region
    size_gb: Annotated[int, Field(ge=1, le=MOST_GB)]
    name: Annotated[str, Field(min_length=1, max_length=64)] | None = None


class VolumeWishes(BaseModel):
    """What a failover by regional volume may be told, apart from the machine."""

    model_config = ConfigDict(strict=True, extra="forbid")

    volume_id: Annotated[int, Field(gt=0, le=(1 << 62) - 1)]
    region: Region | None = None
    preferred_gpus: Annotated[list[GpuName], Field(max_length=16)] = []
    max_price: Price | None = None
    use_spot: bool = False
    docker_image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    mount_path: Folder | None = None


def parse_new_volume(arguments: Mapping[str, Any]) -> NewVolume:
    """Raise Problem that names the field."""
    try:
        return NewVolume.model_validate(dict(arguments))
    except ValidationError as error:
        raise _named(error, "arguments") from None


def parse_wishes(arguments: Any) -> VolumeWishes:
    """Raise Problem that names the field."""
    try:
        return VolumeWishes.model_validate(arguments)
    except ValidationError as error:
        raise _named(error, "arguments.regional_volume") from None


def _named(error: ValidationError, where: str) -> Problem:
    first = error.errors()[0]
    field = ".".join((where, *(str(part) for part in first["loc"])))
    return invalid(field, first.get("input"), str(first["msg"]).removeprefix("Input should be "))


def begin_volume(tx: Tx, wanted: NewVolume, command_id: str, now: datetime) -> None:
    """Its row and the debt that makes it, in the transaction of the command."""
    volume = RegionalVolume(
        number=0,
        region=wanted.region,
        size_gb=wanted.size_gb,
        status=VolumeStatus.CREATING,
        created_at=now,
        name=wanted.name,
        command_id=command_id,
    )
    row = tx.insert_volume(volume).number
    debt = Debt(DebtKind.CREATE_VOLUME, MachineId(0), None, None, None, None, "a regional volume was asked for")
    tx.add_debts((replace(debt, row=row, due_at=now),))


def machine_of(tx: Tx, instance: InstanceId) -> Machine:
    """The machine that the instance embodies. Raise Problem (404)."""
    machine = tx.machine_by_primary(instance)
    if machine is None:
        problem = unknown_machine(0)
        detail = f"instance {instance} is no machine's primary"
        raise Problem(404, problem.code, detail, "register its machine: PUT /api/v1/machines/{id} with gpu_instance_id")
    return machine


def volume_named(tx: Tx, handle: int) -> RegionalVolume:
    """Raise Problem (404)."""
    row = tx.regional_volume(VolumeId(handle))
    if row is None:
        detail = f"there is no regional volume {handle}"
        remedy = "GET /api/v1/failover/regional-volume/list shows them"
        raise Problem(404, "unknown_volume", detail, remedy, {"volume_id": handle})
    return row


def wishes_of(tx: Tx, machine: Machine, wanted: VolumeWishes) -> Wishes:
    """What the failover is to do, held against the books. Raise Problem (400, 404, 409)."""
    row = volume_named(tx, wanted.volume_id)
    if wanted.region is not None and wanted.region != row.region:
        raise invalid("region", wanted.region, f"{row.region}, where volume {row.handle} lies")
    if row.status is not VolumeStatus.AVAILABLE or row.volume is None:
        detail = f"regional volume {row.handle} is {row.status.value}"
        raise Problem(409, "volume_not_available", detail, "name another volume", {"volume_id": row.handle})
    if row.machine not in (None, machine.id):
        detail = f"regional volume {row.handle} is that of machine {row.machine}"
        raise Problem(409, "volume_attached", detail, "name another volume", {"volume_id": row.handle})
    own = machine.volume
    if own is not None and own.id != row.volume:
        detail = f"machine {machine.id} lies on volume {own.id}, not on regional volume {row.handle}"
        raise Problem(409, "other_volume", detail, "name the machine's own volume", {"volume_id": row.handle})
    path = wanted.mount_path or (own.path if own is not None else machine.workspace_path)
    replica = own.replica if own is not None else _newest(tx.replicas_of(row.number))
    return Wishes(
        volume=VolumeMount(row.volume, path, replica),
        gpu_names=tuple(wanted.preferred_gpus),
        max_price=wanted.max_price,
        is_interruptible=wanted.use_spot,
        image=wanted.docker_image,
    )


def _newest(rows: Sequence[RegionalVolume]) -> Replica | None:
    found = [
        Replica(row.volume, row.host, row.copied_at)
        for row in rows
        if row.status is VolumeStatus.AVAILABLE and row.volume and row.host and row.copied_at
    ]
    return max(found, key=lambda replica: replica.copied_at, default=None)


def begin_deletion(tx: Tx, handle: int, listed: Mapping[VolumeId, Volume], gone: VolumeId | None, now: datetime) -> int:
    """The row's number; the volume and its copies are owed their deletion. `gone` is one that is proved not to be there.
    Raise Problem (404, 409, 503)."""
    row = volume_named(tx, handle)
    shown = listed.get(row.volume) if row.volume is not None else None
    if row.status is VolumeStatus.DELETING:
        return row.number
    if row.volume is not None and shown is None and row.volume != gone:
        detail = f"the provider does not list volume {row.volume}, so what has it mounted is not known"
        raise Problem(503, "provider_unavailable", detail, "try again", {"volume_id": handle})
    meant = [one for one in (row, *tx.replicas_of(row.number)) if one.volume and one.status is VolumeStatus.AVAILABLE]
    user = next((user for one in meant if one.volume and (user := user_of(tx, one.volume)) is not None), None)
    if user is not None or (shown is not None and shown.holders):
        by = f"machine {user.id}" if user is not None else f"instances {list(shown.holders if shown else ())}"
        raise Problem(
            409,
            "volume_attached",
            f"{by} has regional volume {handle}",
            "destroy what has it mounted, or remove it from its machine, first",
            {"volume_id": handle},
        )
    owner = row.machine or MachineId(0)
    for one in meant:
        if one.volume is not None:
            tx.save_volume(replace(one, status=VolumeStatus.DELETING))
            tx.add_debts((replace(delete_debt(owner, one.volume, "its deletion was asked for"), due_at=now),))
    return row.number


def volume_view(
    row: RegionalVolume, listed: Mapping[VolumeId, Volume], replicas: Sequence[RegionalVolume], now: datetime
) -> dict[str, Any]:
    """The contract's fields, the present volume of the provider's, and the copies with their age."""
    shown = listed.get(row.volume) if row.volume is not None else None
    return {
        "volume_id": row.handle,
        "region": row.region,
        "size_gb": row.size_gb,
        "name": row.name,
        "status": _status(row, shown),
        "machine_id": row.machine,
        "attached_instance_id": shown.holders[0] if shown is not None and shown.holders else None,
        "price_per_month": shown.price_per_month if shown is not None else row.price_per_month,
        "created_at": row.created_at.isoformat(),
        "host": row.host,
        "provider_volume_id": row.volume,
        "replicas": [_replica_view(one, listed, now) for one in replicas if one.volume is not None],
    }


def _replica_view(row: RegionalVolume, listed: Mapping[VolumeId, Volume], now: datetime) -> dict[str, Any]:
    shown = listed.get(row.volume) if row.volume is not None else None
    return {
        "provider_volume_id": row.volume,
        "host": row.host,
        "status": _status(row, shown),
        "copied_from": row.copied_from,
        "copied_at": row.copied_at.isoformat() if row.copied_at is not None else None,
        "age_seconds": round((now - row.copied_at).total_seconds(), 3) if row.copied_at is not None else None,
        "price_per_month": shown.price_per_month if shown is not None else row.price_per_month,
    }


def _status(row: RegionalVolume, shown: Volume | None) -> str:
    """`missing`: the books have it and the provider does not list it."""
    if row.status is not VolumeStatus.AVAILABLE:
        return str(row.status.value)
    if shown is None:
        return "missing"
    return "in_use" if shown.holders else "available"
