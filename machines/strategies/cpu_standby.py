"""A new GPU anywhere, with the last verified snapshot.

choose_snapshot -> fence_primary -> rent_candidate -> restore -> verify -> start_agent -> await_heartbeat -> hand_over

The snapshot is never taken from the dead machine; the replacement shares no volume with it, so `severed` is fence
enough.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime

from machines.errors import Refused
from machines.model import MachineId, Rung, Snapshot
from machines.ports import RestoreReport
from machines.saga import Step, StepContext, Strategy
from machines.strategies import candidates, serving
from machines.strategies.candidates import Winner
from machines.strategies.fencing import FENCE_PRIMARY


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
    now = ctx.clock.now()
    snapshot = await ctx.snapshots.newest(ctx.machine.id, now)
    if snapshot is None:
        raise Refused("no_snapshot", f"machine {ctx.machine.id} has no verified snapshot")
    age = (now - snapshot.taken_at).total_seconds()
    if age > ctx.policy.max_snapshot_age_s:
        why = f"snapshot {snapshot.id} is {age:.0f} s old, the policy allows {ctx.policy.max_snapshot_age_s:.0f} s"
        raise Refused("snapshot_too_old", why)
    if ctx.failover.primary_was_alive and not await ctx.cloud.search(candidates.query_for(ctx)):
        raise Refused("no_offer_matches", "nothing could replace the primary now, so it is left alone")
    return Chosen(snapshot.id, snapshot.machine, snapshot.taken_at, snapshot.size_bytes, age)


async def rent_candidate(ctx: StepContext) -> Winner:
    return await candidates.rent_candidate(ctx, candidates.Wish(snapshot=ctx.output(CHOOSE_SNAPSHOT).snapshot))


async def restore(ctx: StepContext) -> RestoreReport:
    winner = ctx.output(RENT_CANDIDATE)
    snapshot = ctx.output(CHOOSE_SNAPSHOT).snapshot
    return await ctx.snapshots.restore(snapshot, winner.instance, winner.ssh, ctx.machine.workspace_path)


async def verify(ctx: StepContext) -> Verified:
    """Hash what arrived and hold it against the manifest, which was written last of all."""
    winner = ctx.output(RENT_CANDIDATE)
    wanted = await ctx.snapshots.manifest(ctx.output(CHOOSE_SNAPSHOT).snapshot)
    place = shlex.quote(ctx.machine.workspace_path)
    command = f"cd {place} && find . -type f -exec sha256sum {{}} +"
    result = await ctx.shell.run(winner.ssh, command, winner.host_key, timeout_s=600.0)
    if result.exit_status != 0:
        raise Refused("verify_failed", f"hashing failed with status {result.exit_status}: {result.stderr[:200]}")
    found = _hashes(result.stdout)
    wrong = sorted(path for path, digest in wanted.items() if found.get(path) != digest)
    if wrong:
        raise Refused("verify_failed", f"{len(wrong)} of {len(wanted)} files differ, the first is {wrong[0]}")
    return Verified(len(wanted))


def _hashes(text: str) -> dict[str, str]:
    """`sha256sum`'s lines as path -> digest, the paths without their leading ./"""
    pairs = (line.split(maxsplit=1) for line in text.splitlines() if line.strip())
    return {pair[1].strip().removeprefix("./"): pair[0] for pair in pairs if len(pair) == 2}


def _data_age_s(ctx: StepContext) -> float:
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
RESTORE = Step("restore", restore, RestoreReport, tries=20, waits=2000, late="restore_failed")
VERIFY = Step("verify", verify, Verified, tries=6, waits=10, late="verify_failed")
START_AGENT = serving.start_agent(RENT_CANDIDATE)
AWAIT_HEARTBEAT = serving.await_heartbeat(RENT_CANDIDATE, START_AGENT)
HAND_OVER = serving.hand_over(RENT_CANDIDATE, AWAIT_HEARTBEAT, _data_age_s, has_volume=False)

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
