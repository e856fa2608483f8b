"""The end of every strategy: the agent is started on the replacement, it speaks, and it becomes the machine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import msgspec

from machines.errors import NotYet, Refused
from machines.model import Endpoint, HostId, InstanceId, Label, LandlordId, Replacement, VolumeMount, is_served_by_vm
from machines.saga import Step, StepContext
from machines.shell_lines import ShowAgentStatus, StartServing

_SSH_AGAIN = timedelta(seconds=5)
_HEARD_AGAIN = timedelta(seconds=0.2)
"""It costs nothing: the answer is in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The replacement as it was found running, with the host key that every later call pins."""

    instance: InstanceId
    label: Label | None
    host: HostId
    landlord: LandlordId
    ssh: Endpoint
    host_key: str
    gpu_name: str
    price_per_hour: float
    is_interruptible: bool


P = TypeVar("P", bound=Place)


@dataclass(frozen=True, slots=True)
class AgentStarted:
    command: str
    boot_id_before: str
    """Of an agent that spoke from there before, "" for none: its late beats are no sign of life."""


@dataclass(frozen=True, slots=True)
class FirstBeat:
    boot_id: str
    heard_over: str


@dataclass(frozen=True, slots=True)
class Moved:
    """Where the work lies from now on; None is where it lay."""

    volume: VolumeMount | None = None
    workspace_path: str | None = None


@dataclass(frozen=True, slots=True)
class HandedOver:
    instance: int


def refuse_newer_work(ctx: StepContext, code: str) -> None:
    """A strategy that does not take the work of the CPU VM, which serves now, would give it up."""
    if is_served_by_vm(ctx.machine):
        raise Refused(code, "the CPU VM serves in the machine's place and has the newest work; use cpu_standby")


def start_agent(found: Step[P]) -> Step[AgentStarted]:
    """Let the customer's onstart go, and start the machine's heartbeat agent, where the step found its place. A second
    start of the agent replaces the first."""

    async def run(ctx: StepContext) -> AgentStarted:
        place = ctx.output(found)
        heard = await ctx.fleet.heard(place.instance)
        agent = ctx.fleet.agent_command(ctx.machine, place.instance)
        workload = ctx.machine.workload
        command = StartServing(workload.onstart, agent, workload.ssh_keys).line()
        result = await ctx.shell.run(place.ssh, command, place.host_key, timeout_s=60.0)
        if result.exit_status != 0:
            raise NotYet(f"the agent did not start (status {result.exit_status}): {result.stderr[:200]}", _SSH_AGAIN)
        return AgentStarted("failoverd agent", heard.boot_id if heard else "")

    return Step("start_agent", run, AgentStarted, tries=6, waits=10, late="ssh_unreachable")


def await_heartbeat(found: Step[P], started: Step[AgentStarted]) -> Step[FirstBeat]:
    """A replacement serves when it speaks. While the heartbeat path is blind, its local status stands in."""

    async def run(ctx: StepContext) -> FirstBeat:
        place, before = ctx.output(found), ctx.output(started).boot_id_before
        heard = await ctx.fleet.heard(place.instance)
        if heard is not None and heard.boot_id != before:
            return FirstBeat(heard.boot_id, "heartbeat")
        if ctx.fleet.is_blind(ctx.machine.id):
            return await _watch_locally(ctx, place, before)
        raise NotYet("the new agent has not been heard yet", _HEARD_AGAIN)

    return Step("await_heartbeat", run, FirstBeat, tries=6, waits=600, late="verify_failed")


async def _watch_locally(ctx: StepContext, place: Place, before: str) -> FirstBeat:
    """Two looks at what the agent wrote down, two intervals apart; a beat that comes through meanwhile is better."""
    local = await _local_status(ctx, place)
    until = ctx.clock.monotonic() + 2 * ctx.machine.interval_s
    while ctx.clock.monotonic() < until:
        await ctx.clock.sleep(_HEARD_AGAIN.total_seconds())
        heard = await ctx.fleet.heard(place.instance)
        if heard is not None and heard.boot_id != before:
            return FirstBeat(heard.boot_id, "heartbeat")
    later = await _local_status(ctx, place)
    if local is not None and later is not None and local[0] == later[0] and later[1] > local[1]:
        return FirstBeat(later[0], "agent's local status over SSH; the heartbeat path is blind")
    raise NotYet("the new agent has not been heard yet", _HEARD_AGAIN)


async def _local_status(ctx: StepContext, place: Place) -> tuple[str, int] | None:
    """(boot id, sequence) that the agent wrote down on its own machine."""
    result = await ctx.shell.run(place.ssh, ShowAgentStatus().line(), place.host_key, timeout_s=30.0)
    try:
        status = msgspec.json.decode(result.stdout.encode(), type=_LocalStatus)
    except msgspec.DecodeError:
        return None
    return status.boot_id, status.sequence


class _LocalStatus(msgspec.Struct):
    boot_id: str
    sequence: int


def hand_over(
    found: Step[P],
    heard: Step[FirstBeat],
    data_age_s: Callable[[StepContext], float | None],
    has_volume: bool,
    moved: Callable[[StepContext], Moved] = lambda ctx: Moved(),
) -> Step[HandedOver]:
    """The point of no return: in one transaction the replacement becomes the machine."""

    async def run(ctx: StepContext) -> HandedOver:
        place = ctx.output(found)
        new = Replacement(
            instance=place.instance,
            label=place.label,
            host=place.host,
            landlord=place.landlord,
            ssh=place.ssh,
            host_key=place.host_key,
            gpu_name=place.gpu_name,
            price_per_hour=place.price_per_hour,
            boot_id=ctx.output(heard).boot_id,
            data_age_s=data_age_s(ctx),
            is_interruptible=place.is_interruptible,
            has_volume=has_volume,
            volume=moved(ctx).volume,
            workspace_path=moved(ctx).workspace_path,
        )
        await ctx.fleet.hand_over(ctx.machine.id, ctx.failover, new)
        return HandedOver(place.instance)

    return Step("hand_over", run, HandedOver)
