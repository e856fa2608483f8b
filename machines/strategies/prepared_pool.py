"""`cpu_standby` onto the warm pool that stands ready on another host: nothing is searched for, and nothing rented.

choose_snapshot -> fence_primary -> start_standby -> await_running -> restore -> verify -> start_agent -> await_heartbeat
-> hand_over, and beside a CPU VM: choose_snapshot -> fence_primary -> serve_meanwhile -> start_standby -> await_running ->
restore -> verify -> carry_over -> start_agent -> await_heartbeat -> hand_over

Where the pool cannot be had, the rung begins again in its usual form, on the market.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TypeVar

from machines.errors import Refused
from machines.model import Machine, OfferQuery, Prepared, Rung, Status
from machines.saga import Step, StepContext, Strategy
from machines.strategies import cpu_vm_standby, serving
from machines.strategies.cpu_standby import CHOOSE_SNAPSHOT, Chosen, data_age_s, newest_snapshot, restore, verify
from machines.strategies.cpu_vm_standby import (
    CHOOSE_WORK,
    SERVE_MEANWHILE,
    ChosenWork,
    carry_over,
    newest_work,
)
from machines.strategies.fencing import FENCE_PRIMARY
from machines.strategies.serving import Moved
from machines.strategies.warm_pool import AWAIT_RUNNING, START_STANDBY

T = TypeVar("T")


async def choose_snapshot(ctx: StepContext) -> Chosen:
    """The newest verified one; and the pool is looked at before anything is touched."""
    _prepared_of(ctx)
    chosen = await newest_snapshot(ctx)
    await _look_at_pool(ctx)
    return chosen


async def choose_work(ctx: StepContext) -> ChosenWork:
    """As beside a CPU VM, and the pool is looked at before anything is touched."""
    _prepared_of(ctx)
    chosen = await newest_work(ctx)
    await _look_at_pool(ctx)
    return chosen


async def _look_at_pool(ctx: StepContext) -> None:
    """Raise Refused where it could not be started."""
    prepared = _prepared_of(ctx)
    first = prepared.first.instance
    row = (await ctx.cloud.list(max_age_s=3.0, about=(first,))).instances.get(first) or await ctx.cloud.show(first)
    if row is None:
        raise Refused("warm_pool_not_ready", f"instance {first} of the prepared pool does not exist any more")
    if row.status is Status.OFFLINE:
        raise Refused("host_offline", f"the provider says that host {row.host} of the prepared pool is offline")
    if ctx.failover.primary_was_alive and not await ctx.cloud.search(_free_gpu(ctx), prepared.host):
        # A refusal before the fence: the market's form begins, which looks before it touches anything, too.
        raise Refused("standby_gpu_taken", f"host {prepared.host} of the prepared pool has no free GPU now")


def _free_gpu(ctx: StepContext) -> OfferQuery:
    """Whatever it is and costs there: the pool's instance has its disk and its price already."""
    return OfferQuery(None, ctx.machine.workload.num_gpus, 0.0, math.inf, 0.0)


def prepared_of(machine: Machine) -> Prepared | None:
    """Where a failover by `cpu_standby` lands first."""
    return machine.warm_pool.prepared if machine.warm_pool is not None else None


def _prepared_of(ctx: StepContext) -> Prepared:
    prepared = prepared_of(ctx.machine)
    if prepared is None:
        raise Refused("warm_pool_not_ready", f"machine {ctx.machine.id} has no pool prepared on another host")
    return prepared


def _there(step: Step[T]) -> Step[T]:
    """The step on the machine as though the prepared instance were its standby."""
    run, undo = step.run, step.undo

    def moved(ctx: StepContext) -> StepContext:
        return replace(ctx, machine=replace(ctx.machine, standby=_prepared_of(ctx).first))

    async def run_there(ctx: StepContext) -> T:
        return await run(moved(ctx))

    async def undo_there(ctx: StepContext) -> None:
        if undo is not None:
            await undo(moved(ctx))

    return replace(step, run=run_there, undo=undo_there if undo is not None else None)


def _to_its_volume(ctx: StepContext) -> Moved:
    return Moved(volume=_prepared_of(ctx).volume)


_CHOOSE = replace(CHOOSE_SNAPSHOT, run=choose_snapshot)
_START = _there(START_STANDBY)
_AWAIT_RUNNING = _there(AWAIT_RUNNING)
_START_AGENT = serving.start_agent(_AWAIT_RUNNING)
_AWAIT_HEARTBEAT = serving.await_heartbeat(_AWAIT_RUNNING, _START_AGENT)

CPU_STANDBY_PREPARED = Strategy(
    Rung.CPU_STANDBY,
    (
        _CHOOSE,
        FENCE_PRIMARY,
        _START,
        _AWAIT_RUNNING,
        restore(_AWAIT_RUNNING),
        verify(_AWAIT_RUNNING),
        _START_AGENT,
        _AWAIT_HEARTBEAT,
        serving.hand_over(_AWAIT_RUNNING, _AWAIT_HEARTBEAT, data_age_s, has_volume=False, moved=_to_its_volume),
    ),
)

CPU_VM_STANDBY_PREPARED = Strategy(
    Rung.CPU_STANDBY,
    (
        replace(CHOOSE_WORK, run=choose_work),
        FENCE_PRIMARY,
        SERVE_MEANWHILE,
        _START,
        _AWAIT_RUNNING,
        cpu_vm_standby.restore(_AWAIT_RUNNING),
        cpu_vm_standby.verify(_AWAIT_RUNNING),
        carry_over(_AWAIT_RUNNING),
        _START_AGENT,
        _AWAIT_HEARTBEAT,
        serving.hand_over(
            _AWAIT_RUNNING, _AWAIT_HEARTBEAT, cpu_vm_standby.data_age_s, has_volume=False, moved=_to_its_volume
        ),
    ),
)
