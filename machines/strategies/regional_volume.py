"""A GPU that can have the machine's volume, where the machine has no standby: on the volume's own host, else with a replica.

find_place -> fence_primary (destroys: the point of no return) -> await_release -> rent_candidate -> verify_workspace ->
start_agent -> await_heartbeat -> hand_over; and where that is not to be had, once again with the replica:
find_replica -> fence_primary -> rent_candidate -> verify_workspace -> start_agent -> await_heartbeat -> hand_over.
A volume that somebody names and that the old instance never had begins with find_volume, and is not released by anybody.

The provider's volumes are bound to one host, and nothing can be pulled from a dead one (facts/vast-api.md, section 6): a
replica was cloned beforehand, and what was written since is lost. So it is never taken while the primary lives.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import TypeVar

from machines.errors import NotYet, Refused
from machines.journal import waits
from machines.model import (
    HostId,
    Instance,
    InstanceId,
    Reason,
    Rung,
    Status,
    Volume,
    VolumeId,
    VolumeMount,
)
from machines.saga import Step, StepContext, Strategy
from machines.strategies import candidates, serving
from machines.strategies.candidates import Winner, Wish
from machines.strategies.fencing import FENCE_BY_DESTROYING, FENCE_PRIMARY
from machines.strategies.repair_primary import primary_of
from machines.strategies.serving import Moved
from machines.strategies.warm_pool import Released, verify_workspace
from machines.strategies.wished import (
    is_same_gpu,
    may_take_replica,
    mount_of,
    wanted_gpus,
    wished_context,
    wished_step,
    wishes_of,
    with_gpu,
    workspace_under,
)

F = TypeVar("F", bound="Found")

_RELEASE_AGAIN = timedelta(seconds=4)
_LIST_AGAIN = timedelta(seconds=4)
_LISTS = 8
_LOOK_AGAIN = timedelta(seconds=5)
_LOOKS = 3
_LAST_LOOK_AGAIN = timedelta(seconds=20)
_LAST_LOOKS = 30
"""Of a dead machine that has no other way: as long as a market is waited for."""


@dataclass(frozen=True, slots=True)
class Found:
    """A place that can have the volume."""

    volume: VolumeId
    host: HostId
    gpu_name: str


@dataclass(frozen=True, slots=True)
class FoundReplica(Found):
    copied_at: datetime


async def find_place(ctx: StepContext) -> Found:
    """The old instance is destroyed first, so a place for the new one must be there."""
    serving.refuse_newer_work(ctx, "no_offer_matches")
    mount = _mount(ctx)
    if ctx.failover.reason is Reason.DRILL:
        raise Refused("no_offer_matches", "this strategy destroys the old instance, which a drill never does")
    own = primary_of(ctx.machine)
    primary = (await ctx.cloud.list(3.0, about=(own,))).instances.get(own)
    if primary is not None and primary.status is Status.OFFLINE:
        raise Refused("host_offline", f"the provider says that host {primary.host} is offline")
    volume = await _shown(ctx, mount.id)
    others = sorted(set(volume.holders) - {own, _standby(ctx)})
    if others:
        raise Refused("no_offer_matches", f"instances {others}, which are not the machine's, have volume {mount.id}")
    gpu_name = await _gpu_on(ctx, volume.host)
    if gpu_name is None and primary is not None and _sets_free(ctx, primary):
        gpu_name = primary.gpu_name
    return Found(mount.id, volume.host, _named(ctx, volume.host, gpu_name, FIND_PLACE))


async def find_replica(ctx: StepContext) -> FoundReplica:
    """A dead host's volume cannot be copied any more: only a replica that was made beforehand helps."""
    serving.refuse_newer_work(ctx, "no_offer_matches")
    replica = _mount(ctx).replica
    if replica is None:
        raise Refused("host_offline", "there is no replica of the volume")
    if not may_take_replica(ctx.machine, ctx.failover):
        raise Refused("host_offline", f"replica {replica.id} is older than what the primary has: it is left alone")
    volume = await _shown(ctx, replica.id)
    if volume.holders:
        raise Refused("no_offer_matches", f"instances {list(volume.holders)} have replica {replica.id}")
    gpu_name = _named(ctx, volume.host, await _gpu_on(ctx, volume.host), FIND_REPLICA)
    return FoundReplica(replica.id, volume.host, gpu_name, replica.copied_at)


async def find_volume(ctx: StepContext) -> Found:
    """One that the old instance does not have: it may be fenced however its host is, and nothing is released."""
    serving.refuse_newer_work(ctx, "no_offer_matches")
    mount = _mount(ctx)
    volume = await _shown(ctx, mount.id)
    if volume.holders:
        raise Refused("no_offer_matches", f"instances {list(volume.holders)} have volume {mount.id}")
    return Found(mount.id, volume.host, _named(ctx, volume.host, await _gpu_on(ctx, volume.host), FIND_VOLUME))


async def _shown(ctx: StepContext, volume: VolumeId) -> Volume:
    """A list may come in part, so what it lacks is asked for again before anybody gives it up."""
    found = (await ctx.volumes.volumes(max_age_s=10.0)).get(volume)
    found = found or (await ctx.volumes.volumes()).get(volume)
    if found is not None:
        return found
    why = f"the provider does not list volume {volume}"
    if sum(entry.why == why for entry in ctx.entries) >= _LISTS:
        raise Refused("no_offer_matches", why)
    raise NotYet(why, _LIST_AGAIN)


async def _gpu_on(ctx: StepContext, host: HostId) -> str | None:
    """The first GPU, in the order of preference, that the host offers now; None where it offers none of them."""
    is_interruptible = wishes_of(ctx).is_interruptible
    for name in wanted_gpus(ctx):
        query = candidates.query_for_host(with_gpu(wished_context(ctx), name))
        offers = await ctx.cloud.search(replace(query, is_interruptible=is_interruptible), host)
        if offers:
            return offers[0].gpu_name
    return None


def _sets_free(ctx: StepContext, primary: Instance) -> bool:
    """A dead primary's own GPU is to be had once it is destroyed."""
    is_wanted = any(name is None or is_same_gpu(name, primary.gpu_name) for name in wanted_gpus(ctx))
    return primary.holds_gpu and is_wanted and not ctx.failover.primary_was_alive


def _named(ctx: StepContext, host: HostId, gpu_name: str | None, step: Step[F]) -> str:
    """One empty search is no verdict on a host, least of all where the other way is older data, or there is none."""
    if gpu_name is not None:
        return gpu_name
    why = f"host {host} has no {' or '.join(name or 'GPU' for name in wanted_gpus(ctx))} to rent with the volume"
    looks = len(waits(ctx.entries, step.name))
    is_last_way = step is FIND_REPLICA or not may_take_replica(ctx.machine, ctx.failover)
    if is_last_way and not ctx.failover.primary_was_alive:
        most, again = _LAST_LOOKS, _LAST_LOOK_AGAIN
    else:
        most, again = _LOOKS, _LOOK_AGAIN
    if looks < most:
        raise NotYet(why, again)
    raise Refused("no_offer_matches", why)


def _standby(ctx: StepContext) -> InstanceId | None:
    """The machine's own, which has the volume beside it and is stopped; where there is one the provider lets them share."""
    return ctx.machine.standby.instance if ctx.machine.standby is not None else None


def _mount(ctx: StepContext) -> VolumeMount:
    mount = mount_of(ctx.machine, ctx.failover)
    if mount is None:
        raise Refused("no_offer_matches", f"no regional volume is registered for machine {ctx.machine.id}")
    return mount


def _rent(found: Step[F]) -> Callable[[StepContext], Awaitable[Winner]]:
    async def rent(ctx: StepContext) -> Winner:
        place, mount = ctx.output(found), _mount(ctx)
        wish = Wish(
            host=place.host,
            volume=VolumeMount(place.volume, mount.path),
            is_interruptible=wishes_of(ctx).is_interruptible,
        )
        return await candidates.rent_candidate(with_gpu(wished_context(ctx), place.gpu_name), wish)

    return rent


async def await_release(ctx: StepContext) -> Released:
    """About 30 s after its last instance was destroyed (facts/vast-api.md, section 6)."""
    volume = ctx.output(FIND_PLACE).volume
    found = (await ctx.volumes.volumes()).get(volume)
    if found is None:
        # The list tells nobody whether it is whole; the rental finds out.
        return Released(volume)
    holders = sorted(set(found.holders) - {_standby(ctx)})
    if holders:
        raise NotYet(f"instances {holders} still hold volume {volume}", _RELEASE_AGAIN)
    return Released(volume)


def _stays(ctx: StepContext) -> Moved:
    mount = _mount(ctx)
    return Moved(mount, workspace_under(ctx.machine, mount))


def _moves(ctx: StepContext) -> Moved:
    """The replica is the volume from now on, and nothing is a replica of it yet."""
    mount = _mount(ctx)
    return Moved(VolumeMount(ctx.output(FIND_REPLICA).volume, mount.path), workspace_under(ctx.machine, mount))


def _unknown_age(ctx: StepContext) -> None:
    """What lies on it was never this machine's to know."""
    return


def _no_age(ctx: StepContext) -> float:
    return 0.0


def _age_of_replica(ctx: StepContext) -> float:
    return max(0.0, (ctx.failover.started_at - ctx.output(FIND_REPLICA).copied_at).total_seconds())


def _rental(found: Step[F]) -> Step[Winner]:
    return Step(
        candidates.STEP,
        _rent(found),
        Winner,
        undo=candidates.destroy_candidates,
        tries=20,
        waits=200,
        late="boot_timeout",
    )


FIND_PLACE = Step("find_place", find_place, Found, tries=10, waits=40, late="provider_unavailable")
_RENT = _rental(FIND_PLACE)
_START_AGENT = wished_step(serving.start_agent(_RENT))
_AWAIT_HEARTBEAT = serving.await_heartbeat(_RENT, _START_AGENT)

REGIONAL_VOLUME = Strategy(
    Rung.REGIONAL_VOLUME,
    (
        FIND_PLACE,
        FENCE_BY_DESTROYING,  # from here on cancel answers too late; a failure goes on with the replica
        Step("await_release", await_release, Released, tries=10, waits=45, late="verify_failed"),
        _RENT,
        wished_step(verify_workspace(_RENT)),
        _START_AGENT,
        _AWAIT_HEARTBEAT,
        serving.hand_over(_RENT, _AWAIT_HEARTBEAT, _no_age, has_volume=True, moved=_stays),
    ),
)
"""On the volume's own host."""

FIND_REPLICA = Step("find_replica", find_replica, FoundReplica, tries=10, waits=40, late="provider_unavailable")
_RENT_BESIDE_REPLICA = _rental(FIND_REPLICA)
_START_AGENT_THERE = wished_step(serving.start_agent(_RENT_BESIDE_REPLICA))
_AWAIT_HEARTBEAT_THERE = serving.await_heartbeat(_RENT_BESIDE_REPLICA, _START_AGENT_THERE)

REGIONAL_REPLICA = Strategy(
    Rung.REGIONAL_VOLUME,
    (
        FIND_REPLICA,
        FENCE_PRIMARY,  # another volume than the old instance's: `severed` is enough
        _RENT_BESIDE_REPLICA,
        wished_step(verify_workspace(_RENT_BESIDE_REPLICA)),
        _START_AGENT_THERE,
        _AWAIT_HEARTBEAT_THERE,
        serving.hand_over(
            _RENT_BESIDE_REPLICA, _AWAIT_HEARTBEAT_THERE, _age_of_replica, has_volume=False, moved=_moves
        ),
    ),
)
"""On another host of the region, with the copy that was made there beforehand."""

FIND_VOLUME = Step("find_volume", find_volume, Found, tries=10, waits=40, late="provider_unavailable")
_RENT_WITH_IT = _rental(FIND_VOLUME)
_START_AGENT_WITH_IT = wished_step(serving.start_agent(_RENT_WITH_IT))
_AWAIT_HEARTBEAT_WITH_IT = serving.await_heartbeat(_RENT_WITH_IT, _START_AGENT_WITH_IT)

REGIONAL_NAMED = Strategy(
    Rung.REGIONAL_VOLUME,
    (
        FIND_VOLUME,
        FENCE_PRIMARY,
        _RENT_WITH_IT,
        wished_step(verify_workspace(_RENT_WITH_IT)),
        _START_AGENT_WITH_IT,
        _AWAIT_HEARTBEAT_WITH_IT,
        serving.hand_over(_RENT_WITH_IT, _AWAIT_HEARTBEAT_WITH_IT, _unknown_age, has_volume=False, moved=_stays),
    ),
)
"""With a volume that was named for a machine that lies on none."""
