"""What an operator says of a machine's warm pool, and what is owed where that changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from adapters.sql.tx import Tx
from daemon.market_fields import MOST_GB, GpuName, Price, Region
from daemon.prepared_pools import drop_prepared, owe_pool
from machines.model import DebtKind, Machine, Rung, Setting, WarmPool
from machines.pool import lacks_pool, mount_path, prepared_instances
from machines.problems import Problem, unfit
from machines.strategies.ladder import ladder


class WarmPoolWish(BaseModel):
    """What is to be rented ahead for a machine. A field that is not named keeps its value; {} is the machine's own."""

    model_config = ConfigDict(strict=True, extra="forbid")

    size_gb: Annotated[int, Field(ge=1, le=MOST_GB)] | None = None
    """Of the volume; that of the instance's disk where it is not named."""
    gpu_name: GpuName | None = None
    region: Region | None = None
    max_price: Price | None = None
    """$/h of one instance."""
    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None


def setting_for(machine: Machine, setting: Setting | None, is_new: bool) -> Setting | None:
    """A machine that begins with its warm pool has a strategy that uses it. Raise Problem where the named one does not."""
    if setting is None and is_new:
        return Setting.BOTH
    if Rung.WARM_POOL not in ladder(setting or machine.setting):
        why = f"strategy {(setting or machine.setting).value} uses no warm pool"
        raise unfit("warm_pool", {}, why, 'strategy "both" or "warm_pool" beside it, or null')
    return setting


def with_pool(machine: Machine, wish: WarmPoolWish | None) -> Machine:
    """None: nothing is to be rented ahead any more. What was prepared otherwise than is wished now is given up."""
    if wish is None:
        return replace(machine, warm_pool=None)
    known = machine.warm_pool or WarmPool()
    changed = replace(
        known,
        size_gb=wish.size_gb or known.size_gb,
        gpu_name=wish.gpu_name or known.gpu_name,
        region=wish.region or known.region,
        max_price=wish.max_price or known.max_price,
        image=wish.image or known.image,
    )
    if _form(changed) != _form(known):
        changed = replace(changed, prepared=None)
    return replace(machine, warm_pool=changed)


def refuse_stranger(machine: Machine) -> None:
    """Raise Problem where an instance beats for the machine that nobody has named: a second one would beat beside it."""
    if machine.primary is None and machine.partition is not None:
        raise Problem(
            409,
            "instance_not_named",
            f"an instance beats for machine {machine.id} already, and nobody has named it",
            "name it with gpu_instance_id, or remove the machine and let the instance end",
            {"machine_id": machine.id},
        )


def follow_wish(tx: Tx, machine: Machine, before: Machine | None, now: datetime) -> None:
    """In the transaction that saves the machine. Raise Problem where its work would come to lie beside what is being rented."""
    wish, former = machine.warm_pool, before.warm_pool if before is not None else None
    prepared = former.prepared if former is not None else None
    if before is not None and prepared is not None and (wish is None or wish.prepared != prepared):
        drop_prepared(tx, before, "its machine has another wish now", now)
    if before is not None and wish is not None and _is_other(machine, before):
        _refuse_in_progress(tx, before)
    if lacks_pool(machine):
        owe_pool(tx, machine, now)


def _form(wish: WarmPool | None) -> WarmPool | None:
    """What is rented follows it; what it may cost, and what has become of it, does not."""
    return None if wish is None else replace(wish, max_price=None, home_is_full=False, prepared=None)


def _is_other(machine: Machine, before: Machine) -> bool:
    return mount_path(machine) != mount_path(before) or _form(machine.warm_pool) != _form(before.warm_pool)


def _refuse_in_progress(tx: Tx, before: Machine) -> None:
    """What is being rented would be another thing than what is wished now. A pool that only lacks its standby is given up."""
    owed = next((debt for debt in tx.open_debts(before.id) if debt.kind is DebtKind.PROVISION_POOL), None)
    if owed is None or owed.row is None or (owed.label is None and prepared_instances(before)):
        return
    raise Problem(
        409,
        "warm_pool_in_progress",
        f"the warm pool of machine {before.id} is being rented as it was wished, with its volume at {mount_path(before)}",
        'wait until it is there, or give it up first: {"warm_pool": null}',
        {"machine_id": before.id},
    )
