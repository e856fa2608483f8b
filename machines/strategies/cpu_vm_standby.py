"""The CPU standby of a machine that has a VM: it serves while a GPU is found, and what was written there is carried over.

choose_snapshot -> fence_primary -> serve_meanwhile -> rent_candidate -> restore -> verify -> carry_over -> start_agent
-> await_heartbeat -> hand_over

The VM serves only where its copy of the workspace is the newest verified data; then the replacement's workspace is made
what the VM's is. From the moment at which it serves, a cancel is too late: it may have taken writes.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from machines.cpu_vm import WorkspaceCopy
from machines.errors import NotYet, Refused, StepError
from machines.journal import waits
from machines.model import MachineId, Rung, Snapshot
from machines.ports import RestoreReport, VmWorkspaces
from machines.saga import Step, StepContext, Strategy
from machines.strategies import candidates, cpu_standby, serving
from machines.strategies.candidates import Winner
from machines.strategies.cpu_standby import AWAIT_HEARTBEAT, START_AGENT, Verified
from machines.strategies.fencing import FENCE_PRIMARY
from machines.strategies.serving import P

_SERVE_AGAIN = timedelta(seconds=5)
_UNREACHABLE = timedelta(seconds=30)
_LOOKS_FOR_SERVICE = 15
"""A VM that has not begun to serve by then does not keep the search for a GPU waiting."""
_CARRY_OVER = "carry_over"
_NO_DATA = ("no_snapshot", "snapshot_too_old")


@dataclass(frozen=True, slots=True)
class ChosenWork:
    """The snapshot to begin with (None: there is none), and the VM's copy where that is newer."""

    id: str | None
    machine: MachineId
    taken_at: datetime
    """Of what is newer."""
    size_bytes: int
    age_s: float
    snapshot_taken_at: datetime | None = None
    copy: WorkspaceCopy | None = None

    @property
    def snapshot(self) -> Snapshot | None:
        if self.id is None:
            return None
        return Snapshot(self.id, self.machine, self.snapshot_taken_at or self.taken_at, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Meanwhile:
    serves: bool
    why: str


@dataclass(frozen=True, slots=True)
class CarriedOver:
    files: int
    size_bytes: int
    from_vm: bool
    why: str = ""


async def choose_work(ctx: StepContext) -> ChosenWork:
    """The newest verified data; before a living primary is fenced, also a look whether anything could be rented."""
    chosen = await newest_work(ctx)
    await cpu_standby.spare_the_living(ctx)
    return chosen


async def newest_work(ctx: StepContext) -> ChosenWork:
    """Of snapshot and copy; a VM that serves has it, whatever else there is."""
    copy = await _usable_copy(ctx)
    if copy is None and _serves(ctx):
        raise Refused("provider_unavailable", f"the CPU VM has the newest work, and {_why_unusable(ctx)}")
    try:
        snapshot = await cpu_standby.newest_snapshot(ctx)
    except Refused as refused:
        if copy is None or refused.code not in _NO_DATA:
            raise
        return ChosenWork(None, ctx.machine.id, copy.taken_at, copy.size_bytes, _age(ctx, copy.taken_at), None, copy)
    at, found = snapshot.taken_at, snapshot
    if copy is None or (copy.taken_at < at and not _serves(ctx)):
        return ChosenWork(found.id, found.machine, at, found.size_bytes, found.age_s, at)
    return ChosenWork(
        found.id, found.machine, copy.taken_at, found.size_bytes, _age(ctx, copy.taken_at), found.taken_at, copy
    )


def _age(ctx: StepContext, at: datetime) -> float:
    return (ctx.clock.now() - at).total_seconds()


def _why_unusable(ctx: StepContext) -> str:
    if ctx.vms is None:
        return "this daemon cannot reach it: no provider of CPU VMs is configured; remedy: give the section gce"
    return "no copy of it is known; remedy: fetch that work by hand, then give it up (cpu_standby.give_up_work)"


def _serves(ctx: StepContext) -> bool:
    return ctx.machine.cpu_standby is not None and ctx.machine.cpu_standby.serving is not None


async def _usable_copy(ctx: StepContext) -> WorkspaceCopy | None:
    found = await ctx.vms.newest(ctx.machine) if ctx.vms is not None else None
    if found is None or (_age(ctx, found.taken_at) > ctx.policy.max_snapshot_age_s and not _serves(ctx)):
        return None
    return found


async def serve_meanwhile(ctx: StepContext) -> Meanwhile:
    """The VM serves as soon as it can, and is no reason to wait for long: what it lacks is found elsewhere."""
    if ctx.vms is None or ctx.output(CHOOSE_WORK).copy is None:
        return Meanwhile(False, "its VM has no copy that is the newest verified data")
    try:
        found = await ctx.vms.serve(ctx.machine)
    except Refused as refused:
        return Meanwhile(False, refused.why)
    except StepError as error:
        if len(waits(ctx.entries, SERVE_MEANWHILE.name)) >= _LOOKS_FOR_SERVICE:
            return Meanwhile(False, f"given up: {error}")
        raise NotYet(f"the VM does not serve yet: {error}", _SERVE_AGAIN) from error
    await ctx.fleet.point_at_vm(ctx.machine.id, ctx.failover, found)
    return Meanwhile(True, f"at {found.host}:{found.port}")


async def end_service(ctx: StepContext) -> None:
    """A primary that lives is started again, unless the VM has taken writes: those are never given up. One that is dead
    serves less than the VM does."""
    standby = ctx.machine.cpu_standby
    if standby is None or standby.vm is None:
        return
    if ctx.vms is None:
        # One that is pointed at goes on serving; of another that was asked nobody knows whether it does.
        if standby.serving is None and ctx.output(CHOOSE_WORK).copy is not None:
            raise NotYet(f"the CPU VM may serve, and {_why_unusable(ctx)}", _UNREACHABLE)
        return
    lives = ctx.failover.primary_was_alive or ctx.failover.primary_spoke
    is_pointed_at = standby.serving is not None
    if is_pointed_at and not lives:
        await _go_on_serving(ctx, ctx.vms)
    elif await ctx.vms.end(ctx.machine, standby.vm, unless_written=is_pointed_at):
        await ctx.fleet.point_at_vm(ctx.machine.id, ctx.failover, None)
    else:
        await _go_on_serving(ctx, ctx.vms)


async def _go_on_serving(ctx: StepContext, vms: VmWorkspaces) -> None:
    """The work that was stopped to be carried over runs again. Whoever looks after VMs tries again where it does not."""
    try:
        await ctx.fleet.point_at_vm(ctx.machine.id, ctx.failover, await vms.serve(ctx.machine))
    except StepError:
        return


async def rent_candidate(ctx: StepContext) -> Winner:
    return await candidates.rent_candidate(ctx, candidates.Wish(snapshot=ctx.output(CHOOSE_WORK).snapshot))


def restore(found: Step[P]) -> Step[RestoreReport]:
    """The chosen snapshot, if there is one, to where the step found its place."""

    async def run(ctx: StepContext) -> RestoreReport:
        snapshot, place = ctx.output(CHOOSE_WORK).snapshot, ctx.output(found)
        if snapshot is None:
            return RestoreReport(0, 0.0, "no snapshot; all of it comes from the CPU VM")
        path = ctx.machine.workspace_path
        return await ctx.snapshots.restore(snapshot, place.instance, place.ssh, path, place.host_key)

    return replace(cpu_standby.RESTORE, run=run)


def verify(found: Step[P]) -> Step[Verified]:
    """What the VM brings is compared where it is carried over."""

    async def run(ctx: StepContext) -> Verified:
        snapshot = ctx.output(CHOOSE_WORK).snapshot
        return Verified(0) if snapshot is None else await cpu_standby.verify_against(ctx, snapshot, ctx.output(found))

    return replace(cpu_standby.VERIFY, run=run)


def carry_over(found: Step[P]) -> Step[CarriedOver]:
    """The VM's work is the newest, so the replacement gets it whole."""

    async def run(ctx: StepContext) -> CarriedOver:
        return await _carry_over(ctx, found)

    return Step(_CARRY_OVER, run, CarriedOver, tries=20, waits=2000, late="restore_failed")


async def _carry_over(ctx: StepContext, found: Step[P]) -> CarriedOver:
    """Where the VM is gone for good, the snapshot is what is left; where it only does not answer, it may still have what
    was written there."""
    chosen = ctx.output(CHOOSE_WORK)
    if chosen.copy is None and not _serves(ctx):
        return CarriedOver(0, 0, False, "the snapshot is the newest")
    if ctx.vms is None or chosen.copy is None:
        raise NotYet(f"the newest work is on the CPU VM, and {_why_unusable(ctx)}", _UNREACHABLE)
    place = ctx.output(found)
    job = f"carry-{ctx.failover_id}-{ctx.attempt}-{place.instance}"
    try:
        done = await ctx.vms.carry_over(ctx.machine, job, place.instance, place.ssh, place.host_key)
    except Refused as refused:
        if refused.code not in _LOST:
            raise NotYet(f"its VM cannot be reached: {refused.why}", _SERVE_AGAIN) from refused
        if chosen.snapshot is None:
            raise Refused("restore_failed", f"the work of its CPU VM is lost: {refused.why}") from refused
        return CarriedOver(0, 0, False, f"the VM's work is lost: {refused.why}")
    except StepError as error:
        looks = len(waits(ctx.entries, _CARRY_OVER))
        if looks >= _LOOKS_FOR_SERVICE and chosen.snapshot is not None and not _serves(ctx):
            return CarriedOver(0, 0, False, f"the VM, which never served, does not answer: {error}")
        if isinstance(error, NotYet):
            raise
        raise NotYet(str(error), _SERVE_AGAIN) from error
    return CarriedOver(done.files, done.size_bytes, True)


_LOST = ("vm_gone", "no_copy")


def data_age_s(ctx: StepContext) -> float:
    """What the machine wrote after the copy, or the snapshot, is lost. A snapshot's is negative where the clock of its
    instance was ahead: its time is found again by it. A copy that was made since the failover began lost nothing."""
    chosen = ctx.output(CHOOSE_WORK)
    if not ctx.output(CARRY_OVER).from_vm and chosen.snapshot_taken_at is not None:
        return (ctx.failover.started_at - chosen.snapshot_taken_at).total_seconds()
    return max(0.0, (ctx.failover.started_at - chosen.taken_at).total_seconds())


CHOOSE_WORK = Step("choose_snapshot", choose_work, ChosenWork, tries=20, waits=20, late="provider_unavailable")
SERVE_MEANWHILE = Step(
    "serve_meanwhile",
    serve_meanwhile,
    Meanwhile,
    undo=end_service,
    tries=20,
    waits=60,
    late="provider_unavailable",
    breaks_off=False,
)
RENT_CANDIDATE = replace(cpu_standby.RENT_CANDIDATE, run=rent_candidate)
RESTORE = restore(RENT_CANDIDATE)
VERIFY = verify(RENT_CANDIDATE)
CARRY_OVER = carry_over(RENT_CANDIDATE)
HAND_OVER = serving.hand_over(RENT_CANDIDATE, AWAIT_HEARTBEAT, data_age_s, has_volume=False)

CPU_VM_STANDBY = Strategy(
    Rung.CPU_STANDBY,
    (
        CHOOSE_WORK,
        FENCE_PRIMARY,
        SERVE_MEANWHILE,  # once it serves, a cancel is too late
        RENT_CANDIDATE,
        RESTORE,
        VERIFY,
        CARRY_OVER,
        START_AGENT,
        AWAIT_HEARTBEAT,
        HAND_OVER,
    ),
)
