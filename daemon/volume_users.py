"""Who goes on with one of the provider's volumes: what nobody may delete, whoever owes it."""

from __future__ import annotations

from adapters.sql.tx import Tx
from machines.model import DebtKind, Machine, VolumeId, VolumeMount


def user_of(tx: Tx, volume: VolumeId) -> Machine | None:
    """A machine that lies on it, keeps it as its copy or for its prepared pool, or is being moved to it; None where there is none."""
    return next((machine for machine in tx.machines() if volume in volumes_of(machine)), None)


def volumes_of(machine: Machine) -> frozenset[VolumeId]:
    wishes = machine.failover.wishes if machine.failover is not None else None
    prepared = machine.warm_pool.prepared if machine.warm_pool is not None else None
    return (
        _ids(machine.volume)
        | _ids(wishes.volume if wishes is not None else None)
        | _ids(prepared.volume if prepared is not None else None)
    )


def is_owed_its_deletion(tx: Tx, volume: VolumeId) -> bool:
    return any(debt.kind is DebtKind.DELETE_VOLUME and debt.volume == volume for debt in tx.open_debts())


def _ids(mount: VolumeMount | None) -> frozenset[VolumeId]:
    """The volume, and the copy that is kept of it."""
    if mount is None:
        return frozenset()
    return frozenset({mount.id} if mount.replica is None else {mount.id, mount.replica.id})
