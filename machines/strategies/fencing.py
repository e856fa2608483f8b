"""To make the old instance harmless before anything else serves, and to keep the proof (architecture, section 4.5)."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta

from machines.errors import NotYet, Refused
from machines.journal import Entry, Mark, waits
from machines.model import Debt, DebtKind, FenceGrade, FenceProof, Instance, InstanceId, Status
from machines.saga import Step, StepContext
from machines.strategies.repair_primary import primary_of

_LOOK_AGAIN = timedelta(seconds=0.05)
"""The shared listing sets the pace: one a second serves all fences under way (facts/vast-api.md, section 8)."""
_ASKED = "our stop was accepted"
"""So begins what only an accepted stop lets us say: a call that never left, or an outage, makes the step wait too."""
_NOTHING_AGAIN = timedelta(seconds=5)
_NOTHING_LISTED = "the provider lists no rental at all; that is asked again before it is believed"


async def fence_primary(ctx: StepContext) -> FenceProof:
    """Stop the old instance and read it back. `severed` is enough here: the replacement shares no volume with it.

    The fence belongs to the failover: an attempt that finds it raised inherits it.
    """
    return ctx.failover.proof or await _stop_and_prove(ctx)


async def fence_beside_volume(ctx: StepContext) -> FenceProof:
    """As `fence_primary`, for a replacement that writes the same volume: an old instance that is only out of reach may
    still write, so `severed` is a refusal here."""
    proof = ctx.failover.proof or await _stop_and_prove(ctx)
    if proof.grade is FenceGrade.SEVERED:
        raise Refused("host_offline", f"the old instance may still write the volume: {proof.proof}")
    return proof


async def fence_by_destroying(ctx: StepContext) -> FenceProof:
    """Destroy the old instance: the way to get its volume where the provider lets no two instances share one.

    Destroying is accepted for an offline host too, but then proves nothing, so the host is looked at first.
    """
    proof = ctx.failover.proof
    if proof is not None and proof.grade is FenceGrade.DESTROYED:
        return proof
    primary = primary_of(ctx.machine)
    shown = (await ctx.cloud.list(3.0, about=(primary,))).instances.get(primary) or await ctx.cloud.show(primary)
    if shown is not None and shown.status is Status.OFFLINE:
        raise Refused("host_offline", f"the provider says that host {shown.host} is offline")
    await ctx.cloud.destroy(primary)
    destroyed = FenceProof(
        FenceGrade.DESTROYED, "our destroy was accepted; a complete listing lacks it", ctx.clock.now()
    )
    await ctx.fleet.save_proof(ctx.machine.id, ctx.failover, destroyed, ())
    return destroyed


async def _stop_and_prove(ctx: StepContext) -> FenceProof:
    primary = primary_of(ctx.machine)
    asked_before = any((entry.why or "").startswith(_ASKED) for entry in waits(ctx.entries, FENCE_PRIMARY.name))
    if not asked_before:
        await ctx.cloud.stop(primary)
    if asked_before:
        shown = (await ctx.cloud.list(about=(primary,))).instances.get(primary) or await ctx.cloud.show(primary)
    else:
        shown = await ctx.cloud.look(primary)
    if shown is None:
        return await _fence_gone(ctx, primary)
    if shown.wants_running and asked_before:
        await ctx.cloud.stop(primary)
    grade = _grade(shown)
    if grade is None:
        raise NotYet(f"{_ASKED}; it still reads {shown.status.value}", _LOOK_AGAIN)
    proof = FenceProof(grade, _proof_text(shown, grade), ctx.clock.now())
    owed = () if grade is FenceGrade.STOPPED and not shown.is_interruptible else (_stop_debt(ctx, primary),)
    await ctx.fleet.save_proof(ctx.machine.id, ctx.failover, proof, owed)
    return proof


async def _fence_gone(ctx: StepContext, primary: InstanceId) -> FenceProof:
    """An empty single read counts only beside a complete listing that does show other rentals, or none at all at two looks."""
    listing = await ctx.cloud.list(about=(primary,))
    if not listing.complete or primary in listing.instances:
        raise NotYet("the provider's answers about the old instance disagree", _LOOK_AGAIN)
    if not listing.instances and not any(entry.why == _NOTHING_LISTED for entry in ctx.entries):
        raise NotYet(_NOTHING_LISTED, _NOTHING_AGAIN)
    proof = FenceProof(FenceGrade.DESTROYED, "no such rental: single read and complete listing", ctx.clock.now())
    await ctx.fleet.save_proof(ctx.machine.id, ctx.failover, proof, ())
    return proof


def _grade(shown: Instance) -> FenceGrade | None:
    if shown.wants_running:
        return None
    if shown.status is Status.EXITED:
        return FenceGrade.STOPPED
    if shown.status is Status.OFFLINE:
        return FenceGrade.SEVERED
    return None


def _proof_text(shown: Instance, grade: FenceGrade) -> str:
    if grade is FenceGrade.STOPPED:
        return f"{_ASKED}; read back: exited, intended stopped"
    return f"{_ASKED}; the provider says that host {shown.host} is offline"


def _stop_debt(ctx: StepContext, primary: InstanceId) -> Debt:
    because = "fenced while its host was silent: it must still be stopped when the host returns"
    return Debt(DebtKind.STOP_INSTANCE, ctx.machine.id, ctx.failover_id, primary, None, None, because)


def may_be_stopped(entries: Iterable[Entry]) -> bool:
    """Begun, not done: our stop may have been accepted although its answer was lost."""
    return any(entry.step == FENCE_PRIMARY.name and entry.mark is Mark.STARTED for entry in entries)


FENCE_PRIMARY = Step("fence_primary", fence_primary, FenceProof, waits=360, tries=20, late="fence_failed")
"""No undo: the fence belongs to the failover, not to the attempt."""

FENCE_BESIDE_VOLUME = Step("fence_primary", fence_beside_volume, FenceProof, waits=90, tries=20, late="host_offline")
"""A host that neither stops the instance nor is called offline within 90 s is given up as offline."""

FENCE_BY_DESTROYING = Step(
    "fence_primary", fence_by_destroying, FenceProof, waits=30, tries=20, late="fence_failed", irreversible=True
)
