"""What whoever asked for a failover wants of its replacement, put into the context of the steps; and what may be taken."""

from __future__ import annotations

from dataclasses import replace
from typing import TypeVar

from machines.model import FenceGrade, Machine, Reason, Running, VolumeMount, Wishes
from machines.saga import Step, StepContext

T = TypeVar("T")

_NOTHING_WISHED = Wishes()


def mount_of(machine: Machine, running: Running | None) -> VolumeMount | None:
    """The volume to go on with: the one that was wished for, else the machine's own."""
    wished = running.wishes.volume if running is not None and running.wishes is not None else None
    return wished or machine.volume


def may_take_replica(machine: Machine, running: Running) -> bool:
    """Is there one, and nothing newer to be lost by it? A living primary has newer work, and a drill is no need."""
    mount = mount_of(machine, running)
    if mount is None or mount.replica is None or running.reason is Reason.DRILL:
        return False
    is_destroyed = running.proof is not None and running.proof.grade is FenceGrade.DESTROYED
    return is_destroyed or not (running.primary_was_alive or running.primary_spoke)


def workspace_under(machine: Machine, mount: VolumeMount) -> str:
    """Where the work lies once the volume is mounted there: it keeps its place on the volume."""
    old = machine.volume.path.rstrip("/") if machine.volume is not None else None
    new, path = mount.path.rstrip("/"), machine.workspace_path
    if old is None or old == new:
        return path if path == new or path.startswith(f"{new}/") else new
    return new + path[len(old) :] if path == old or path.startswith(f"{old}/") else new


def wishes_of(ctx: StepContext) -> Wishes:
    return ctx.failover.wishes or _NOTHING_WISHED


def wished_context(ctx: StepContext) -> StepContext:
    """The machine as this failover is to leave it."""
    wishes, machine = wishes_of(ctx), ctx.machine
    mount = mount_of(machine, ctx.failover)
    workload = replace(
        machine.workload,
        image=wishes.image or machine.workload.image,
        max_price=wishes.max_price if wishes.max_price is not None else machine.workload.max_price,
    )
    wished = replace(machine, workload=workload)
    if mount is not None:
        wished = replace(wished, volume=mount, workspace_path=workspace_under(machine, mount))
    return replace(ctx, machine=wished)


def with_gpu(ctx: StepContext, gpu_name: str | None) -> StepContext:
    """Wherever: the volume says where."""
    workload = replace(ctx.machine.workload, gpu_name=gpu_name, region=None)
    return replace(ctx, machine=replace(ctx.machine, workload=workload))


def wished_step(step: Step[T]) -> Step[T]:
    """The step on the machine as it is to be."""
    run = step.run

    async def run_wished(ctx: StepContext) -> T:
        return await run(wished_context(ctx))

    return replace(step, run=run_wished)


def wanted_gpus(ctx: StepContext) -> tuple[str | None, ...]:
    return wishes_of(ctx).gpu_names or (ctx.machine.workload.gpu_name,)


def is_same_gpu(one: str, other: str) -> bool:
    """ "RTX_4090" is "RTX 4090"."""
    return one.replace("_", " ").split() == other.replace("_", " ").split()
