"""A new GPU anywhere, with the last verified snapshot.

choose_snapshot -> fence_primary -> rent_candidate -> restore -> verify -> start_agent -> await_heartbeat -> hand_over

The snapshot is never taken from the dead machine; the replacement shares no volume with it, so `severed` is fence
enough.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from machines.errors import Refused
from machines.model import MachineId, Rung, Snapshot
from machines.ports import RestoreReport
from machines.saga import Step, StepContext, Strategy
from machines.strategies import candidates, serving
from machines.strategies.candidates import Winner
from machines.strategies.digests import digests
from machines.strategies.fencing import FENCE_PRIMARY
from machines.strategies.serving import P


@dataclass(frozen=True, slots=True)
class Chosen:
    id: str
    machine: MachineId
    taken_at: datetime
    size_bytes: int
    age_s: float

    @property
    def snapshot(self) -> Snapshot:
        return Snapshot(self.id, self.machine, self.taken_at, self.size_bytes)


@dataclass(frozen=True, slots=True)
class Verified:
    files: int


async def choose_snapshot(ctx: StepContext) -> Chosen:
    """The newest verified one; before a living primary is fenced, also a look whether anything could be rented."""
    chosen = await newest_snapshot(ctx)
    await spare_the_living(ctx)
    return chosen


async def spare_the_living(ctx: StepContext) -> None:
    """Raise Refused where the primary lives and nothing can be rented in its place."""
    if ctx.failover.primary_was_alive and not await ctx.cloud.search(candidates.query_for(ctx)):
        raise Refused("no_offer_matches", "nothing could replace the primary now, so it is left alone")


async def newest_snapshot(ctx: StepContext) -> Chosen:
    """Verified, and young enough."""
    now = ctx.clock.now()
    snapshot = await ctx.snapshots.newest(ctx.machine.id, now)
    if snapshot is None:
        raise Refused("no_snapshot", f"machine {ctx.machine.id} has no verified snapshot")
    age = (now - snapshot.taken_at).total_seconds()
    if age > ctx.policy.max_snapshot_age_s:
        why = f"snapshot {snapshot.id} is {age:.0f} s old, the policy allows {ctx.policy.max_snapshot_age_s:.0f} s"
        raise Refused("snapshot_too_old", why)
    return Chosen(snapshot.id, snapshot.machine, snapshot.taken_at, snapshot.size_bytes, age)


async def rent_candidate(ctx: StepContext) -> Winner:
    return await candidates.rent_candidate(ctx, candidates.Wish(snapshot=ctx.output(CHOOSE_SNAPSHOT).snapshot))


def restore(found: Step[P]) -> Step[RestoreReport]:
    """The chosen snapshot, to where the step found its place."""

    async def run(ctx: StepContext) -> RestoreReport:
        place = ctx.output(found)
        snapshot = ctx.output(CHOOSE_SNAPSHOT).snapshot
        path = ctx.machine.workspace_path
        return await ctx.snapshots.restore(snapshot, place.instance, place.ssh, path, place.host_key)

    return Step("restore", run, RestoreReport, tries=20, waits=2000, late="restore_failed")


def verify(found: Step[P]) -> Step[Verified]:
    """Hash the files that the manifest names, which was written last of all, and hold them against it."""

    async def run(ctx: StepContext) -> Verified:
        return await verify_against(ctx, ctx.output(CHOOSE_SNAPSHOT).snapshot, ctx.output(found))

    return Step("verify", run, Verified, tries=6, waits=10, late="verify_failed")


async def verify_against(ctx: StepContext, snapshot: Snapshot, place: serving.Place) -> Verified:
    wanted = await ctx.snapshots.manifest(snapshot)
    found = await digests(ctx, place, sorted(wanted))
    missing = [path for path, digest in found.items() if digest is None]
    differing = [path for path, digest in found.items() if digest is not None and digest != wanted[path]]
    if missing or differing:
        faults = [f"{len(paths)} {what}, the first is {paths[0]!r}" for what, paths in _named(missing, differing)]
        raise Refused("verify_failed", f"of {len(wanted)} files " + "; ".join(faults))
    return Verified(len(wanted))


def _named(missing: list[str], differing: list[str]) -> list[tuple[str, list[str]]]:
    return [(what, paths) for what, paths in (("are missing", missing), ("differ", differing)) if paths]


def data_age_s(ctx: StepContext) -> float:
    """Negative where the clock of the snapshot's instance was ahead: the snapshot's own time is found again by it."""
    return (ctx.failover.started_at - ctx.output(CHOOSE_SNAPSHOT).taken_at).total_seconds()


CHOOSE_SNAPSHOT = Step("choose_snapshot", choose_snapshot, Chosen, tries=20, waits=20, late="provider_unavailable")
RENT_CANDIDATE = Step(
    candidates.STEP,
    rent_candidate,
    Winner,
    undo=candidates.destroy_candidates,
    tries=20,
    waits=400,
    late="boot_timeout",
)
RESTORE = restore(RENT_CANDIDATE)
VERIFY = verify(RENT_CANDIDATE)
START_AGENT = serving.start_agent(RENT_CANDIDATE)
AWAIT_HEARTBEAT = serving.await_heartbeat(RENT_CANDIDATE, START_AGENT)
HAND_OVER = serving.hand_over(RENT_CANDIDATE, AWAIT_HEARTBEAT, data_age_s, has_volume=False)

CPU_STANDBY = Strategy(
    Rung.CPU_STANDBY,
    (
        CHOOSE_SNAPSHOT,
        FENCE_PRIMARY,
        RENT_CANDIDATE,
        RESTORE,
        VERIFY,
        START_AGENT,
        AWAIT_HEARTBEAT,
        HAND_OVER,  # the point of no return; what is left to do becomes debts
    ),
)
