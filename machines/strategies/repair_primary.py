"""Before the ladder: a container that has exited although running is intended is rebooted, once.

A reboot keeps the GPU and the disk (facts/vast-api.md, section 5); it is the cheapest way back, and leaves no trace.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta

from machines.errors import NotYet, Refused
from machines.journal import Mark
from machines.model import InstanceId, Machine, Rung, Status
from machines.saga import Step, StepContext, Strategy


@dataclass(frozen=True, slots=True)
class Noted:
    boot_ids: tuple[str, ...]
    """Every life of the agent that anybody had heard of."""


@dataclass(frozen=True, slots=True)
class Rebooted:
    instance: InstanceId
    boot_id_before: str


@dataclass(frozen=True, slots=True)
class SpokeAgain:
    boot_id: str


def primary_of(machine: Machine) -> InstanceId:
    """The machine's primary. Raise Refused where it has none."""
    if machine.primary is None:
        raise Refused("primary_not_restartable", f"machine {machine.id} has no instance")
    return machine.primary


async def note_boot(ctx: StepContext) -> Noted:
    """Whose beats are old, written down before anything is rebooted: afterwards nobody could tell."""
    begun = [entry for entry in ctx.entries if entry.step == REBOOT.name]
    if any(entry.mark is Mark.DONE for entry in begun):  # A journal of the version that had no such step.
        return Noted((ctx.output(REBOOT).boot_id_before,))
    if begun:
        raise Refused("primary_not_restartable", "it was rebooted before anybody had noted which beats are old")
    return Noted(tuple(sorted({*await ctx.fleet.boots(primary_of(ctx.machine)), ctx.machine.boot_id})))


async def reboot(ctx: StepContext) -> Rebooted:
    """One whose answer was lost, in a crash or on the wire, is read back, and repeated only where it had no effect."""
    primary, before = primary_of(ctx.machine), ctx.output(NOTE_BOOT).boot_ids
    tried = [entry.at for entry in ctx.entries if entry.step == REBOOT.name and entry.mark is Mark.STARTED]
    if not tried or not await _has_come_back(ctx, primary, before, tried[0]):
        await ctx.cloud.reboot(primary)
    return Rebooted(primary, ctx.machine.boot_id)


async def _has_come_back(ctx: StepContext, primary: InstanceId, before: Collection[str], tried_at: datetime) -> bool:
    """Raise NotYet while it may still come."""
    if await _new_boot(ctx, primary, before) is not None:
        return True
    shown = (await ctx.cloud.list(about=(primary,))).instances.get(primary)
    if shown is None:
        raise NotYet("the listing does not show the primary", _READ_BACK_AGAIN)
    if shown.status is not Status.EXITED:
        return True
    if ctx.clock.since(tried_at) < _EXITED_IS_STALE:
        raise NotYet("the reboot's answer was lost, and it still reads exited", _READ_BACK_AGAIN)
    return False


async def await_heartbeat(ctx: StepContext) -> SpokeAgain:
    """A new boot of the agent is the proof: an old beat that arrives late must not pass for it."""
    rebooted = ctx.output(REBOOT)
    new = await _new_boot(ctx, rebooted.instance, ctx.output(NOTE_BOOT).boot_ids)
    if new is not None:
        return SpokeAgain(new)
    shown = (await ctx.cloud.list(about=(rebooted.instance,))).instances.get(rebooted.instance)
    waits = [entry for entry in ctx.entries if entry.step == "await_heartbeat" and entry.until is not None]
    if shown is not None and shown.status is Status.EXITED:
        came_up = any((entry.why or "").endswith(_CAME_UP) for entry in waits)
        if came_up or (len(waits) >= _FEWEST_LOOKS and _since_reboot(ctx, _EXITED_IS_FINAL) >= _EXITED_IS_FINAL):
            raise Refused("primary_not_restartable", "the container exited again after its reboot")
        raise NotYet("the rebooted primary has not spoken yet", _LOOK_AGAIN)
    if len(waits) >= _FEWEST_LOOKS:
        _give_up_if_late(ctx)
    raise NotYet(f"the rebooted primary has not spoken yet{_CAME_UP}", _LOOK_AGAIN)


def _give_up_if_late(ctx: StepContext) -> None:
    patience = max(_SPEAKS_WITHIN, timedelta(seconds=ctx.clock.real(_STARTS_WITHIN_REAL_S)))
    if _since_reboot(ctx, patience) >= patience:
        told = f"it did not speak within {patience.total_seconds():.0f} s of its reboot"
        raise Refused("primary_not_restartable", told)


def _since_reboot(ctx: StepContext, patience: timedelta) -> timedelta:
    """By the clock, not by the number of looks: of a large account each takes seconds. Of a time in which nobody of us was
    there half the patience counts at most."""
    done = [entry.at for entry in ctx.entries if entry.step == REBOOT.name and entry.mark is Mark.DONE]
    return ctx.clock.since(done[-1], unseen_at_most=patience / 2)


async def _new_boot(ctx: StepContext, primary: InstanceId, before: Collection[str]) -> str | None:
    """A life of the agent that nobody had heard of. Its partition may be another replica's, which saves what it hears of
    a machine."""
    heard = {*await ctx.fleet.boots(primary, only_live=True), ctx.machine.boot_id} - {*before, ""}
    return min(heard, default=None)


_READ_BACK_AGAIN = timedelta(seconds=5)
_EXITED_IS_STALE = timedelta(seconds=20)
"""So long `exited` may be what was so before the reboot."""
_LOOK_AGAIN = timedelta(seconds=0.05)
"""The shared listing sets the pace, once a second."""
_CAME_UP = "; it does not read exited any more"
_EXITED_IS_FINAL = timedelta(seconds=40)
"""So long after the reboot `exited` may still be a stale word (facts/vast-api.md, section 9.2)."""
_SPEAKS_WITHIN = timedelta(minutes=2)
_STARTS_WITHIN_REAL_S = 20.0
"""No agent starts faster at a higher speed."""
_FEWEST_LOOKS = 3

NOTE_BOOT = Step("note_boot", note_boot, Noted, late="primary_not_restartable")
REBOOT = Step("reboot", reboot, Rebooted, tries=3, waits=12, late="primary_not_restartable")
AWAIT_HEARTBEAT = Step("await_heartbeat", await_heartbeat, SpokeAgain, waits=120, late="primary_not_restartable")

REPAIR_PRIMARY = Strategy(Rung.REPAIR_PRIMARY, (NOTE_BOOT, REBOOT, AWAIT_HEARTBEAT))
