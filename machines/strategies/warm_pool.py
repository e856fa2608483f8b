"""A GPU on the same host, with the volume that the dead instance had: nothing is copied.

check_standby -> fence_primary -> start_standby -> await_running -> verify_workspace -> start_agent -> await_heartbeat
-> hand_over; and where the provider lets no two instances share a volume:
check_place -> fence_primary (destroys: the point of no return) -> await_release -> rent_candidate -> verify_workspace
-> start_agent -> await_heartbeat -> hand_over.

Both write the volume that the old instance wrote, so it must be stopped or destroyed: `severed` is no fence here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from machines.errors import KeyNotAccepted, NotYet, Refused, StepError, Unknown
from machines.journal import Entry, Mark, waits
from machines.model import (
    Instance,
    InstanceId,
    Listing,
    Reason,
    Rung,
    Standby,
    Status,
    Volume,
    VolumeId,
    VolumeMount,
)
from machines.saga import Step, StepContext, Strategy
from machines.shell_lines import ListGpus, ReadMarker
from machines.strategies import candidates, serving
from machines.strategies.candidates import Wish
from machines.strategies.digests import digests
from machines.strategies.fencing import FENCE_BESIDE_VOLUME, FENCE_BY_DESTROYING
from machines.strategies.repair_primary import primary_of
from machines.strategies.serving import Place
from machines.volumes import mount_fault

_LOOK_AGAIN = timedelta(seconds=1)
_NEXT_LISTING = timedelta(seconds=0.05)
"""The shared listing sets the pace, once a second."""
_SSH_AGAIN = timedelta(seconds=0.25)
_BOOT = timedelta(seconds=240)
_RELEASE_AGAIN = timedelta(seconds=4)
_LETS_GO = timedelta(seconds=40)
"""A volume is released about 30 s after its instance was destroyed (facts/vast-api.md, section 6)."""
_TOLD, _NOT_STOPPED = "the standby was told to stop", "the standby does not read as stopped yet"
"""What only an accepted stop lets its undo say."""
_UNDO_TRIED = (Mark.UNDO_WAITING, Mark.UNDO_FAILED)
_ARRIVES = timedelta(minutes=1)
"""No start of ours is on its way for longer. Where our stops are not answered either, what is read is believed then."""
MARKER = ".failoverd-machine"
"""A file on the volume that names its machine, written when a standby is armed beside a living primary."""


@dataclass(frozen=True, slots=True)
class Checked:
    standby: InstanceId | None
    volume: VolumeId


@dataclass(frozen=True, slots=True)
class Started:
    instance: InstanceId


@dataclass(frozen=True, slots=True)
class Released:
    volume: VolumeId


@dataclass(frozen=True, slots=True)
class Workspace:
    path: str
    marked: bool


_LOOKS_FOR_A_VOLUME, _VOLUME_AGAIN = 2, timedelta(seconds=2)
_SEEMS = "it seems that"


async def check_standby(ctx: StepContext) -> Checked:
    """Both rentals stand on a host that lives, and the volume is there, mounted by the standby. Nothing is touched before
    that is known."""
    serving.refuse_newer_work(ctx, "warm_pool_not_ready")
    standby, volume = _standby_of(ctx), _volume_of(ctx)
    primary = primary_of(ctx.machine)
    listing = await ctx.cloud.list(max_age_s=3.0, about=(primary, standby.instance))
    _check_host(listing.instances.get(primary))
    row = listing.instances.get(standby.instance) or await ctx.cloud.show(standby.instance)
    if row is None:
        raise Refused("warm_pool_not_ready", f"standby {standby.instance} does not exist any more")
    _check_host(row)
    if row.host != ctx.machine.host:
        raise Refused(
            "warm_pool_not_ready", f"standby {row.id} is on host {row.host}, the primary on {ctx.machine.host}"
        )
    await _check_volume(ctx, volume)
    await _check_mount(ctx, volume, row, listing)
    return Checked(standby.instance, volume.id)


async def check_place(ctx: StepContext) -> Checked:
    """The form without a standby destroys the old instance first, so a place for the new one must be there."""
    serving.refuse_newer_work(ctx, "warm_pool_not_ready")
    volume = _volume_of(ctx)
    if ctx.failover.reason is Reason.DRILL:
        raise Refused("warm_pool_not_ready", "this form destroys the old instance, which a drill never does")
    own = primary_of(ctx.machine)
    primary = (await ctx.cloud.list(max_age_s=3.0, about=(own,))).instances.get(own)
    _check_host(primary)
    shown = await _check_volume(ctx, volume)
    _refuse_others(ctx, shown, own)
    if ctx.machine.host is None or not await ctx.cloud.search(candidates.query_for_host(ctx), ctx.machine.host):
        raise Refused("standby_gpu_taken", f"host {ctx.machine.host} has no free GPU to rent with the volume")
    return Checked(None, volume.id)


def _standby_of(ctx: StepContext) -> Standby:
    if ctx.machine.standby is None:
        raise Refused("warm_pool_not_ready", f"machine {ctx.machine.id} has no standby")
    return ctx.machine.standby


def _volume_of(ctx: StepContext) -> VolumeMount:
    if ctx.machine.volume is None:
        raise Refused("warm_pool_not_ready", f"machine {ctx.machine.id} has no volume that a standby could share")
    return ctx.machine.volume


def _check_host(row: Instance | None) -> None:
    if row is not None and row.status is Status.OFFLINE:
        raise Refused("host_offline", f"the provider says that host {row.host} is offline")


async def _check_volume(ctx: StepContext, volume: VolumeMount) -> Volume:
    missing = f"volume {volume.id} does not exist any more"
    found = (await _volumes(ctx)).get(volume.id)
    if found is None:
        raise _doubt(ctx, missing)
    if found.host != ctx.machine.host:
        raise Refused("warm_pool_not_ready", f"volume {volume.id} is on host {found.host}, not on {ctx.machine.host}")
    return found


def _refuse_others(ctx: StepContext, volume: Volume, own: InstanceId) -> None:
    """Whoever else has the volume would keep it after the old instance was destroyed for its sake: perhaps a standby that is
    being armed, which nobody takes away while a failover runs. What we destroyed a moment ago only lets go of it late."""
    others = sorted(set(volume.holders) - {own})
    if not others:
        return
    held = f"have volume {volume.id} beside the primary"
    before = _that_said(ctx, held)
    why = f"instances {others} {held}"
    if not before or ctx.clock.since(before[0].at, unseen_at_most=_LETS_GO / 2) < _LETS_GO:
        raise NotYet(why, _RELEASE_AGAIN)
    raise Refused("warm_pool_not_ready", why)


def _that_said(ctx: StepContext, why: str) -> list[Entry]:
    """Those of this attempt that ended with these words."""
    return [entry for entry in ctx.entries if entry.mark is Mark.WAITING and (entry.why or "").endswith(why)]


async def _check_mount(ctx: StepContext, volume: VolumeMount, row: Instance, listing: Listing) -> None:
    """The marker says whose a volume is, and not which of its machine's volumes: a former one has its old work."""
    fault = mount_fault(volume.id, row, await _volumes(ctx), listing)
    if fault is not None:
        raise _doubt(ctx, fault)


async def _volumes(ctx: StepContext) -> Mapping[VolumeId, Volume]:
    """One list serves a whole check; what it made doubtful is looked for in a new one."""
    doubted = any(entry.mark is Mark.WAITING and _SEEMS in (entry.why or "") for entry in ctx.entries)
    return await ctx.volumes.volumes(max_age_s=1.0 if doubted else 10.0)


def _doubt(ctx: StepContext, why: str) -> NotYet | Refused:
    """Once, it may be the list's own fault."""
    if len(_that_said(ctx, why)) < _LOOKS_FOR_A_VOLUME:
        return NotYet(f"{_SEEMS} {why}", _VOLUME_AGAIN)
    return Refused("warm_pool_not_ready", why)


async def start_standby(ctx: StepContext) -> Started:
    """A start that the provider would queue is cancelled and is a refusal (the adapter sees to that)."""
    standby = _standby_of(ctx).instance
    await ctx.cloud.start(standby)
    return Started(standby)


async def stop_standby(ctx: StepContext) -> None:
    """It was ours before and stays ours: stopped, and read back as stopped or gone.

    Stopped before it is looked at: a start of ours may still be on its way, and reads as stopped until it arrives.
    """
    standby = _standby_of(ctx).instance
    tries = [entry for entry in ctx.entries if entry.step == START_STANDBY.name and entry.mark in _UNDO_TRIED]
    if not any(entry.why in (_TOLD, _NOT_STOPPED) for entry in tries):
        try:
            await ctx.cloud.stop(standby)
        except (Unknown, NotYet):
            if not tries or ctx.clock.since(tries[0].at) < _ARRIVES:
                raise
        else:
            raise NotYet(_TOLD, _LOOK_AGAIN)
    shown = (await ctx.cloud.list(about=(standby,))).instances.get(standby) or await ctx.cloud.show(standby)
    if shown is None or (not shown.wants_running and shown.status in (Status.EXITED, Status.OFFLINE)):
        return
    if shown.wants_running:
        await ctx.cloud.stop(standby)
    raise NotYet(_NOT_STOPPED, _LOOK_AGAIN)


async def await_running(ctx: StepContext) -> Place:
    """Running by the provider's word, and a shell with a GPU by its own. A stale `exited` means nothing here."""
    standby = _standby_of(ctx)
    before = waits(ctx.entries, "await_running")
    was_running = bool(before) and (before[-1].why or "").startswith(_RUNS)
    listing = await ctx.cloud.list(3.0 if was_running else 0.0, about=(standby.instance,))
    row = listing.instances.get(standby.instance)
    _check_host(row)
    if row is None:
        if listing.complete and listing.instances:
            raise Refused("warm_pool_not_ready", f"standby {standby.instance} has disappeared")
        raise _not_up(ctx, before, "the listing does not show the standby", _NEXT_LISTING)
    if row.status is not Status.RUNNING or row.ssh is None:
        raise _not_up(ctx, before, f"the standby reads {row.status.value}", _NEXT_LISTING)
    try:
        result = await ctx.shell.run(row.ssh, ListGpus().line(), timeout_s=30.0)
    except KeyNotAccepted as error:
        await ctx.cloud.attach_key(row.id)  # One that an operator named may be older than our key.
        raise _not_up(ctx, before, f"{_RUNS}: {error.why}", _SSH_AGAIN) from error
    except NotYet as error:
        # The port opens some seconds after the container; each of them is the customer's.
        raise _not_up(ctx, before, f"{_RUNS}: {error.why}", _SSH_AGAIN) from error
    if result.exit_status != 0:
        raise Refused(
            "verify_failed", f"the standby's GPU does not answer: {result.stderr[:200] or result.stdout[:200]}"
        )
    return Place(
        instance=row.id,
        label=row.label,
        host=row.host,
        landlord=row.landlord,
        ssh=row.ssh,
        host_key=result.host_key,
        gpu_name=row.gpu_name,
        price_per_hour=row.price_per_hour,
        is_interruptible=row.is_interruptible,
    )


def _not_up(ctx: StepContext, waits: Sequence[Entry], why: str, again: timedelta) -> NotYet | Refused:
    """Given up by what was seen now: while the daemon was away for long, the standby may have come up all the same."""
    if waits and ctx.clock.since(waits[0].at, unseen_at_most=_BOOT / 2) > _BOOT:
        return Refused("boot_timeout", f"the standby is not usable after {_BOOT.total_seconds():.0f} s: {why}")
    return NotYet(why, again)


_RUNS = "the standby runs"


async def await_release(ctx: StepContext) -> Released:
    """About 30 s after its last instance was destroyed (facts/vast-api.md, section 6).

    The old instance is gone already, so no list that lacks the volume is a reason to give it up: the rental finds out.
    """
    volume = _volume_of(ctx)
    missing = f"the provider does not list volume {volume.id}"
    found = (await ctx.volumes.volumes()).get(volume.id)
    if found is None and len(_that_said(ctx, missing)) < _LOOKS_FOR_A_VOLUME:
        raise NotYet(missing, _VOLUME_AGAIN)
    if found is not None and found.holders:
        raise NotYet(f"instances {list(found.holders)} still hold volume {volume.id}", _RELEASE_AGAIN)
    return Released(volume.id)


async def rent_on_host(ctx: StepContext) -> candidates.Winner:
    return await candidates.rent_candidate(ctx, Wish(host=ctx.machine.host, volume=_volume_of(ctx)))


def verify_workspace(found: Step[serving.P]) -> Step[Workspace]:
    """Is the workspace there, and is it this machine's? A marker of another machine is a refusal."""

    async def run(ctx: StepContext) -> Workspace:
        place, volume = ctx.output(found), _volume_of(ctx)
        command = ReadMarker(ctx.machine.workspace_path, f"{volume.path.rstrip('/')}/{MARKER}").line()
        result = await ctx.shell.run(place.ssh, command, place.host_key, timeout_s=30.0)
        says = result.stdout.strip()
        if result.exit_status != 0:
            raise Refused("verify_failed", f"{ctx.machine.workspace_path} is not there: {result.stderr[:200]}")
        if says not in ("unmarked", str(ctx.machine.id)):
            raise Refused("verify_failed", f"the volume is marked for machine {says[:40]}")
        if says == "unmarked":
            await _refuse_emptiness(ctx, place)
        return Workspace(ctx.machine.workspace_path, says != "unmarked")

    return Step("verify_workspace", run, Workspace, tries=6, waits=10, late="verify_failed")


_SAMPLE = 50
"""Files of the newest snapshot that are looked for."""


async def _refuse_emptiness(ctx: StepContext, place: Place) -> None:
    """An attach may succeed and the mount be empty. A volume that nobody marked, or whose marker is gone, must hold something
    that the newest snapshot names: files change and go, but not all of them. What cannot be asked for says nothing."""
    try:
        snapshot = await ctx.snapshots.newest(ctx.machine.id, ctx.clock.now())
        wanted = sorted(await ctx.snapshots.manifest(snapshot))[:_SAMPLE] if snapshot is not None else []
    except StepError:
        return
    if wanted and not any((await digests(ctx, place, wanted)).values()):
        where = f"{ctx.machine.workspace_path} holds none of the {len(wanted)} files that were looked for"
        raise Refused("verify_failed", f"the volume bears no marker, and {where}: it was emptied, or is another one")


def _no_age(ctx: StepContext) -> float:
    return 0.0


CHECK_STANDBY = Step("check_standby", check_standby, Checked, tries=10, waits=10, late="provider_unavailable")
START_STANDBY = Step("start_standby", start_standby, Started, undo=stop_standby, tries=10, late="provider_unavailable")
AWAIT_RUNNING = Step("await_running", await_running, Place, tries=10, waits=2000, late="boot_timeout")
VERIFY_WORKSPACE = verify_workspace(AWAIT_RUNNING)
START_AGENT = serving.start_agent(AWAIT_RUNNING)
AWAIT_HEARTBEAT = serving.await_heartbeat(AWAIT_RUNNING, START_AGENT)

WARM_POOL = Strategy(
    Rung.WARM_POOL,
    (
        CHECK_STANDBY,
        FENCE_BESIDE_VOLUME,  # no undo: the fence belongs to the failover
        START_STANDBY,
        AWAIT_RUNNING,
        VERIFY_WORKSPACE,
        START_AGENT,
        AWAIT_HEARTBEAT,
        serving.hand_over(AWAIT_RUNNING, AWAIT_HEARTBEAT, _no_age, has_volume=True),
    ),
)

CHECK_PLACE = Step("check_place", check_place, Checked, tries=10, waits=20, late="provider_unavailable")
AWAIT_RELEASE = Step("await_release", await_release, Released, tries=10, waits=45, late="verify_failed")
RENT_ON_HOST = Step(
    candidates.STEP,
    rent_on_host,
    candidates.Winner,
    undo=candidates.destroy_candidates,
    tries=20,
    waits=100,
    late="boot_timeout",
)
_START_AGENT = serving.start_agent(RENT_ON_HOST)
_AWAIT_HEARTBEAT = serving.await_heartbeat(RENT_ON_HOST, _START_AGENT)

WARM_POOL_ALONE = Strategy(
    Rung.WARM_POOL,
    (
        CHECK_PLACE,
        FENCE_BY_DESTROYING,  # from here on cancel answers too late, and a failure goes on down the ladder
        AWAIT_RELEASE,
        RENT_ON_HOST,
        verify_workspace(RENT_ON_HOST),
        _START_AGENT,
        _AWAIT_HEARTBEAT,
        serving.hand_over(RENT_ON_HOST, _AWAIT_HEARTBEAT, _no_age, has_volume=True),
    ),
)
"""For a provider that refuses to share a volume between two instances."""
