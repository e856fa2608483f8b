"""The state of a machine's warm pool in the contract's words, and what happens next; no state is a dead end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import assert_never

from machines.model import Debt, DebtKind, Machine, Prepared, Rung, Standby
from machines.readiness import Readiness
from machines.states import State
from machines.strategies.ladder import ladder


class PoolState(Enum):
    DISABLED = "disabled"
    SEARCHING = "searching"
    """For a free GPU on the primary's host, or for another host that has two."""
    PROVISIONING = "provisioning"
    """What it lacks is coming up, for the first time."""
    ACTIVE = "active"
    FAILING_OVER = "failing_over"
    RECOVERING = "recovering"
    """It has been used, and gets a new standby."""
    DEGRADED = "degraded"
    """It could not take over now, and is looked at again by itself."""
    ERROR = "error"
    """Only an operator can mend it."""


@dataclass(frozen=True, slots=True)
class Pool:
    state: PoolState
    next: str
    """What happens next by itself, or what the operator does."""


class Wanted(Enum):
    """What is to be rented ahead for a machine, as an operator has asked for it."""

    NOTHING = "nothing"
    FIRST = "first"
    """It has no instance: a volume, and the instance that becomes the machine. Its standby is a re-arm then."""
    ELSEWHERE = "elsewhere"
    """It cannot have its pool where it is: a whole one on another host, stopped. Nothing is moved."""


def wanted_pool(machine: Machine) -> Wanted:
    """A volume is attached only when an instance is created (facts/vast-api.md, section 6), so a living primary without one,
    or on a host without a second GPU, has its pool elsewhere."""
    wish = machine.warm_pool
    if wish is None or Rung.WARM_POOL not in ladder(machine.setting):
        return Wanted.NOTHING
    if machine.primary is None:
        return Wanted.FIRST
    if machine.standby is not None or (machine.volume is not None and not wish.home_is_full):
        return Wanted.NOTHING
    return Wanted.ELSEWHERE


def is_of_use(machine: Machine, prepared: Prepared) -> bool:
    """Could a failover of the machine, as it is now, land there?"""
    is_apart = prepared.host != machine.host
    return wanted_pool(machine) is Wanted.ELSEWHERE and is_apart and prepared.volume.path == mount_path(machine)


def lacks_pool(machine: Machine) -> bool:
    """Is there still something to be rented?"""
    match wanted_pool(machine):
        case Wanted.NOTHING:
            return False
        case Wanted.FIRST:
            return True
        case Wanted.ELSEWHERE:
            prepared = machine.warm_pool.prepared if machine.warm_pool is not None else None
            return prepared is None or not prepared.is_complete
        case never:
            assert_never(never)


def prepared_instances(machine: Machine) -> tuple[Standby, ...]:
    """What stands ready for it on another host."""
    prepared = machine.warm_pool.prepared if machine.warm_pool is not None else None
    if prepared is None:
        return ()
    return (prepared.first,) if prepared.second is None else (prepared.first, prepared.second)


def mount_path(machine: Machine) -> str:
    """Where a volume of it is mounted: the work keeps its path."""
    return machine.volume.path if machine.volume is not None else machine.workspace_path


def pool_of(machine: Machine, found: Readiness, debts: Sequence[Debt]) -> Pool:
    """`debts` are the machine's open ones."""
    if Rung.WARM_POOL not in ladder(found.setting):
        put = f'PUT /api/v1/machines/{machine.id} with {{"strategy": "both"}}'
        return Pool(PoolState.DISABLED, f"nothing: strategy {found.setting.value} has no warm pool; {put} gives it one")
    if machine.failover is not None:
        return Pool(PoolState.FAILING_OVER, f"failover {machine.failover.id} decides which instance the machine has")
    if machine.warm_pool is not None and (pool := _wished(machine, debts)) is not None:
        return pool
    if machine.primary is None or machine.volume is None:
        return Pool(PoolState.ERROR, _what_is_missing(machine))
    owed = next((debt for debt in debts if debt.kind is DebtKind.REARM), None)
    if owed is not None:
        return _owed(machine, owed)
    if found.warm_pool_ready:
        return Pool(PoolState.ACTIVE, "it is watched; a death that is confirmed begins it")
    return Pool(PoolState.DEGRADED, f"it is looked at again by itself: {found.warm_pool_why}")


def _wished(machine: Machine, debts: Sequence[Debt]) -> Pool | None:
    """Of a machine that is to have a pool which it cannot have where it is, or that is yet to be; None where its own host
    is the place."""
    if wanted_pool(machine) is Wanted.NOTHING:
        return None
    owed = next((debt for debt in debts if debt.kind is DebtKind.PROVISION_POOL), None)
    prepared = machine.warm_pool.prepared if machine.warm_pool is not None else None
    if owed is None and lacks_pool(machine):
        return Pool(
            PoolState.SEARCHING, "its turn comes: a host with two free GPUs and room for a volume is looked for"
        )
    if owed is not None and (prepared is None or owed.label is not None):
        return _provisioning(machine, owed)
    assert prepared is not None
    return Pool(PoolState.DEGRADED, move_there(machine, prepared, owed))


def move_there(machine: Machine, prepared: Prepared, owed: Debt | None = None) -> str:
    """A sentence for the operator: nothing is moved by itself while the machine lives."""
    if machine.volume is None:
        why = "no volume can be attached to a running instance"
    else:
        why = f"host {machine.host} has no second GPU"
    lacks = f"; its standby is looked for: {owed.last_error}" if owed is not None and owed.last_error else ""
    lands = "the next failover by cpu_standby lands there"
    if Rung.CPU_STANDBY not in ladder(machine.setting):
        lands = f'no failover lands there by itself with strategy {machine.setting.value} ("both" has one)'
    return (
        f"{why}, so its pool stands ready on host {prepared.host}{lacks}: {lands}; to move "
        f'it now: POST /api/v1/failover/execute with {{"machine_id": {machine.id}, "force_strategy": "cpu_standby"}}'
    )


def recommended(machine: Machine, found: Readiness, pool: Pool) -> str | None:
    """What an operator should do; of a pool that was asked for, what its state says, and nothing while it comes up."""
    if machine.failover is not None or wanted_pool(machine) is Wanted.NOTHING:
        return found.recommended_action
    return pool.next if pool.state in (PoolState.DEGRADED, PoolState.ERROR) else None


def _provisioning(machine: Machine, debt: Debt) -> Pool:
    again = f"; again at {debt.due_at.isoformat()}" if debt.due_at is not None else ""
    told = f"{debt.last_error}{again}" if debt.last_error else f"its turn comes{again}"
    if (debt.last_error or "").startswith(OVER_BUDGET):
        remedy = "raise that budget, or give the pool up with PUT"
        return Pool(PoolState.ERROR, f'{told}; {remedy} /api/v1/machines/{machine.id} {{"warm_pool": null}}')
    if machine.last_failover is not None:
        return Pool(PoolState.RECOVERING, f"it gets a new pool: {told}")
    if debt.row is not None or debt.label is not None:
        return Pool(PoolState.PROVISIONING, f"its pool is coming up: {told}")
    return Pool(PoolState.SEARCHING, f"a host with two free GPUs and room for a volume is looked for: {told}")


OVER_BUDGET = "budget_exceeded"
"""How the reason of a debt begins that waits for money."""


def _what_is_missing(machine: Machine) -> str:
    if machine.primary is None:
        return (
            f"name the machine's instance: PUT /api/v1/machines/{machine.id} with gpu_instance_id; or have one rented "
            f"with its pool: {_ASK}"
        )
    return (
        "a volume can be attached only when an instance is created: rent one with a volume, and name both with "
        f"PUT /api/v1/machines/{machine.id} (gpu_instance_id, volume_id); or have a whole pool rented on another host: {_ASK}"
    )


_ASK = 'PUT with {"warm_pool": {}}'


def _owed(machine: Machine, debt: Debt) -> Pool:
    again = f"; again at {debt.due_at.isoformat()}" if debt.due_at is not None else ""
    told = f"{debt.last_error}{again}" if debt.last_error else f"its turn comes{again}"
    if (debt.last_error or "").startswith(OVER_BUDGET):
        remedy = "raise that budget, or choose a strategy without a warm pool with PUT"
        return Pool(PoolState.ERROR, f'{told}; {remedy} /api/v1/machines/{machine.id} {{"strategy": "cpu_standby"}}')
    if machine.state is State.RECOVERED or machine.last_failover is not None:
        return Pool(PoolState.RECOVERING, f"it gets a new standby: {told}")
    if debt.label is not None:
        return Pool(PoolState.PROVISIONING, f"its standby is coming up: {told}")
    return Pool(PoolState.SEARCHING, f"a free GPU is looked for on host {machine.host}: {told}")
