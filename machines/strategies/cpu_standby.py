"""A new GPU anywhere, with the last verified snapshot.

choose_snapshot -> fence_primary -> rent_candidate -> restore -> verify -> start_agent -> await_heartbeat -> hand_over

The snapshot is never taken from the dead machine; the replacement shares no volume with it, so `severed` is fence
enough.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from datetime import datetime, timedelta

import msgspec

from machines.errors import NotYet, Refused
from machines.model import MachineId, Replacement, Rung, Snapshot
from machines.ports import RestoreReport
from machines.saga import Step, StepContext, Strategy
from machines.strategies import candidates
from machines.strategies.candidates import Winner
from machines.strategies.fencing import FENCE_PRIMARY

_SSH_AGAIN = timedelta(seconds=5)


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


@dataclass(frozen=True, slots=True)
class AgentStarted:
    command: str


@dataclass(frozen=True, slots=True)
class FirstBeat:
    boot_id: str
    heard_over: str


@dataclass(frozen=True, slots=True)
class HandedOver:
    instance: int


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
    return await candidates.rent_candidate(ctx, ctx.output(CHOOSE_SNAPSHOT).snapshot)


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


async def start_agent(ctx: StepContext) -> AgentStarted:
    """Start the machine's heartbeat agent; a second start replaces the first."""
    winner = ctx.output(RENT_CANDIDATE)
    command = ctx.fleet.agent_command(ctx.machine, winner.instance)
    result = await ctx.shell.run(winner.ssh, command, winner.host_key, timeout_s=60.0)
    if result.exit_status != 0:
        raise NotYet(f"the agent did not start (status {result.exit_status}): {result.stderr[:200]}", _SSH_AGAIN)
    return AgentStarted("failoverd agent")


async def await_heartbeat(ctx: StepContext) -> FirstBeat:
    """A replacement serves when it speaks. While the heartbeat path is blind, its local status stands in."""
    winner = ctx.output(RENT_CANDIDATE)
    heard = ctx.fleet.heard(winner.instance)
    if heard is not None:
        return FirstBeat(heard.boot_id, "heartbeat")
    if ctx.fleet.is_blind(ctx.machine.id):
        local = await _local_status(ctx, winner)
        await ctx.clock.sleep(2 * ctx.machine.interval_s)
        later = await _local_status(ctx, winner)
        if local is not None and later is not None and local[0] == later[0] and later[1] > local[1]:
            return FirstBeat(later[0], "agent's local status over SSH; the heartbeat path is blind")
    raise NotYet("the new agent has not been heard yet", timedelta(seconds=2))


async def _local_status(ctx: StepContext, winner: Winner) -> tuple[str, int] | None:
    """(boot id, sequence) that the agent wrote down on its own machine."""
    result = await ctx.shell.run(winner.ssh, 'cat "$HOME/.failoverd/agent.json"', winner.host_key, timeout_s=30.0)
    try:
        status = msgspec.json.decode(result.stdout.encode(), type=_LocalStatus)
    except msgspec.DecodeError:
        return None
    return status.boot_id, status.sequence


class _LocalStatus(msgspec.Struct):
    boot_id: str
    sequence: int


async def hand_over(ctx: StepContext) -> HandedOver:
    """The point of no return: in one transaction the replacement becomes the machine."""
    winner = ctx.output(RENT_CANDIDATE)
    chosen = ctx.output(CHOOSE_SNAPSHOT)
    new = Replacement(
        instance=winner.instance,
        label=winner.label,
        host=winner.host,
        landlord=winner.landlord,
        ssh=winner.ssh,
        host_key=winner.host_key,
        gpu_name=winner.gpu_name,
        price_per_hour=winner.price_per_hour,
        boot_id=ctx.output(AWAIT_HEARTBEAT).boot_id,
        data_age_s=(ctx.failover.started_at - chosen.taken_at).total_seconds(),
        is_interruptible=winner.is_interruptible,
    )
    await ctx.fleet.hand_over(ctx.machine.id, ctx.failover_id, new)
    return HandedOver(winner.instance)


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
START_AGENT = Step("start_agent", start_agent, AgentStarted, tries=6, waits=10, late="ssh_unreachable")
AWAIT_HEARTBEAT = Step("await_heartbeat", await_heartbeat, FirstBeat, tries=6, waits=60, late="verify_failed")
HAND_OVER = Step("hand_over", hand_over, HandedOver)

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
