"""How an attempt ends, and with it perhaps its failover: what the machine is then, and what is owed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from machines.hold import CANCELLED, RESTARTING
from machines.model import (
    Debt,
    DebtKind,
    FenceGrade,
    FenceProof,
    Hold,
    InstanceId,
    Machine,
    Replacement,
    Rung,
    Running,
    Standby,
    VolumeId,
    VolumeMount,
    WarmPool,
    is_served_by_vm,
)
from machines.policy import Policy
from machines.progress import enter, follow
from machines.restart import watched
from machines.signals import (
    AttemptEnded,
    BeginAttempt,
    Decision,
    EndFailover,
    Lost,
    Notify,
    Parked,
    Repaired,
    Won,
)
from machines.states import State, Trigger
from machines.strategies.prepared_pool import prepared_of
from machines.strategies.wished import may_take_replica, mount_of
from machines.volumes import KEPT_FOR, kept_alert

WORTH_REPEATING = frozenset({"restore_failed", "verify_failed", "ssh_unreachable"})
"""The candidate was at fault, not the strategy: the same rung begins again on other hosts."""
NOT_THE_POOLS = frozenset({"no_snapshot", "snapshot_too_old", "provider_unavailable", "fence_failed"})
"""What another host would not change. Anything else may be the fault of a prepared pool: the market is tried then."""
MAX_REPEATS = 2
"""With other candidates. A regional volume's rung is begun again once, with its replica."""


@dataclass(frozen=True, slots=True)
class _Scene:
    """What every ending is judged by, beside the machine."""

    now: datetime
    policy: Policy
    may_be_stopped: bool


def on_attempt_ended(machine: Machine, signal: AttemptEnded, now: datetime, policy: Policy) -> Decision:
    """An actor that is not, or no longer, the failover's changes nothing."""
    running = machine.failover
    if running is None or not running.is_worked_by(signal.failover, signal.fence):
        return Decision(machine)
    scene = _Scene(now, policy, signal.may_be_stopped)
    match signal.outcome:
        case Won(new):
            return _won(machine, running, new, now)
        case Repaired():
            return _repaired(machine, running, scene)
        case Lost() as lost:
            return _lost(machine, running, lost, scene)
        case Parked(code, why):
            return _parked(machine, running, code, why, scene)
        case _:
            assert_never(signal.outcome)


def _won(machine: Machine, running: Running, new: Replacement, now: datetime) -> Decision:
    because = f"instance {new.instance} took over from {machine.primary} by {running.rung.value}"
    recovered = follow(machine, Trigger.ATTEMPT_SUCCEEDED, now, because)
    moved = replace(
        recovered,
        primary=new.instance,
        host=new.host,
        landlord=new.landlord,
        ssh=new.ssh,
        host_key=new.host_key,
        boot_id=new.boot_id,
        last_sequence=None,
        is_interruptible=new.is_interruptible,
        price_per_hour=new.price_per_hour,
        evidence=None,
        look_at=None,
        failover=None,
        last_failover=running.id,
        volume=_volume_after(machine, new),
        standby=_standby_after(machine, new),
        warm_pool=_pool_after(machine, new),
        workspace_path=new.workspace_path or machine.workspace_path,
        cpu_standby=replace(machine.cpu_standby, serving=None) if machine.cpu_standby is not None else None,
    )
    ended = EndFailover(running, True, None, None, new, _debts_of_the_old(machine, running, new, now))
    told = _told_of_what_is_kept(machine, running, new, now)
    return Decision(moved, (ended, Notify(f"machine-{machine.id}", because, resolves=True), *told))


def _told_of_what_is_kept(machine: Machine, running: Running, new: Replacement, now: datetime) -> tuple[Notify, ...]:
    """Newer work that lies somewhere and is billed is a person's to take or to give up."""
    if (kept := _newer_than_the_copy(machine, running, new)) is not None:
        return (Notify(kept_alert(kept), _kept_text(machine, running, kept)),)
    if (kept := _newer_than_the_snapshot(machine, running, new)) is not None:
        return (Notify(kept_alert(kept), _kept_until_text(machine, running, kept, now + KEPT_FOR)),)
    return ()


def _newer_than_the_copy(machine: Machine, running: Running, new: Replacement) -> VolumeId | None:
    """The volume that a machine which went on with its copy leaves behind, unless its host is known to be offline."""
    mount = mount_of(machine, running)
    if mount is None or mount.replica is None or new.volume is None or new.volume.id != mount.replica.id:
        return None
    is_own = machine.volume is not None and machine.volume.id == mount.id
    return None if is_own and _is_graded(running.proof, FenceGrade.SEVERED) else mount.id


def _newer_than_the_snapshot(machine: Machine, running: Running, new: Replacement) -> VolumeId | None:
    """The volume of a machine that went on elsewhere with its snapshot, or a VM's copy: what was written since is there alone.
    None where its host is known to be offline, from which nothing can be pulled."""
    own = machine.volume
    if own is None or running.rung is not Rung.CPU_STANDBY or _is_graded(running.proof, FenceGrade.SEVERED):
        return None
    return None if own.id in _volumes_of(_volume_after(machine, new)) else own.id


def _kept_until_text(machine: Machine, running: Running, kept: VolumeId, until: datetime) -> str:
    went_on = f"{machine.name} went on elsewhere with a copy of its work"
    newer = f"what was written since is only on volume {kept} of host {machine.host}"
    remedy = "take from it what is needed, or name it as a machine's volume, or delete it"
    return f"{went_on}; {newer}, which is kept, and billed, until {until:%Y-%m-%d %H:%M} UTC (failover {running.id}); {remedy}"


def _kept_text(machine: Machine, running: Running, kept: VolumeId) -> str:
    went_on = f"{machine.name} went on with the copy of volume {kept}, which is older than the volume"
    remedy = (
        "take from it what is needed, or name it as the machine's volume, or delete it: "
        "GET /api/v1/failover/regional-volume/list shows its volume_id"
    )
    return f"{went_on}: it is kept, and billed (failover {running.id}); {remedy}"


def _volume_after(machine: Machine, new: Replacement) -> VolumeMount | None:
    return new.volume or (machine.volume if new.has_volume else None)


def _is_prepared(machine: Machine, new: Replacement) -> bool:
    prepared = prepared_of(machine)
    return prepared is not None and prepared.first.instance == new.instance


def _standby_after(machine: Machine, new: Replacement) -> Standby | None:
    prepared = prepared_of(machine)
    return prepared.second if prepared is not None and _is_prepared(machine, new) else None


def _pool_after(machine: Machine, new: Replacement) -> WarmPool | None:
    """What was prepared is the machine's own from now on."""
    if machine.warm_pool is None:
        return None
    prepared = None if _is_prepared(machine, new) else machine.warm_pool.prepared
    return replace(machine.warm_pool, prepared=prepared, home_is_full=False)


def _debts_of_the_old(machine: Machine, running: Running, new: Replacement, now: datetime) -> tuple[Debt, ...]:
    """What the machine leaves behind is given up, and what it needs for the next time is owed."""
    debts: list[Debt] = []
    if machine.primary is not None:
        debts.append(_debt(machine, running, DebtKind.DESTROY_INSTANCE, machine.primary, "replaced"))
    standby = machine.standby.instance if machine.standby else None
    if standby is not None and standby != new.instance:
        debts.append(_debt(machine, running, DebtKind.DESTROY_INSTANCE, standby, "its primary was replaced elsewhere"))
    debts.extend(_debts_of_the_volumes(machine, running, new, now))
    vm = machine.cpu_standby.vm if machine.cpu_standby is not None else None
    if vm is not None and (running.rung is Rung.CPU_STANDBY or is_served_by_vm(machine)):
        # Also where we do not know that it serves: an answer may have been lost.
        demoted = _debt(machine, running, DebtKind.DEMOTE_VM, None, "its machine has a GPU again")
        debts.append(replace(demoted, vm=vm))
    lacks_standby = _is_prepared(machine, new) and _standby_after(machine, new) is None
    if lacks_standby or (machine.volume is not None and new.has_volume):
        debts.append(_debt(machine, running, DebtKind.REARM, None, "its standby became the machine"))
    return tuple(debts)


def _debts_of_the_volumes(machine: Machine, running: Running, new: Replacement, now: datetime) -> Iterator[Debt]:
    newer = _newer_than_the_snapshot(machine, running, new)
    kept = _volumes_of(_volume_after(machine, new)) | {newer, _newer_than_the_copy(machine, running, new)}
    for left in sorted(_volumes_of(machine.volume) - kept):
        gone = _debt(machine, running, DebtKind.DELETE_VOLUME, None, "its machine was moved to another host")
        yield replace(gone, volume=left)
    if newer is not None:
        kept_a_while = _debt(machine, running, DebtKind.KEEP_VOLUME, None, "its machine was given an older copy")
        yield replace(kept_a_while, volume=newer, due_at=now + KEPT_FOR)


def _volumes_of(mount: VolumeMount | None) -> frozenset[VolumeId]:
    """The volume, and the replica that is kept of it."""
    if mount is None:
        return frozenset()
    return frozenset({mount.id} | ({mount.replica.id} if mount.replica is not None else set()))


def _debt(machine: Machine, running: Running, kind: DebtKind, instance: InstanceId | None, because: str) -> Debt:
    return Debt(kind, machine.id, running.id, instance, None, None, f"{because} by failover {running.id}")


def _repaired(machine: Machine, running: Running, scene: _Scene) -> Decision:
    back = follow(machine, Trigger.HEARTBEAT_RESUMED, scene.now, "rebooted once; the primary speaks again")
    return _close(back, running, Lost("primary_repaired", back.because), success=True)


def _lost(machine: Machine, running: Running, lost: Lost, scene: _Scene) -> Decision:
    cancelled = lost.code == "cancelled"
    if not cancelled and _is_worth_repeating(machine, running, lost):
        again = replace(running, attempt=running.attempt + 1, repeats=running.repeats + 1)
        return Decision(replace(machine, failover=again), (BeginAttempt(again),))
    if running.position + 1 < len(running.ladder) and not cancelled:
        onward = replace(running, position=running.position + 1, attempt=running.attempt + 1, repeats=0)
        return Decision(enter(replace(machine, failover=onward), onward, scene.now), (BeginAttempt(onward),))
    return _close_without_hand_over(_left(machine, running, lost, scene), running, lost, scene)


def _is_worth_repeating(machine: Machine, running: Running, lost: Lost) -> bool:
    if running.rung is Rung.REGIONAL_VOLUME:
        return running.repeats == 0 and may_take_replica(machine, running)
    if running.rung is Rung.CPU_STANDBY and running.repeats == 0 and prepared_of(machine) is not None:
        return lost.code not in NOT_THE_POOLS
    return running.rung is Rung.CPU_STANDBY and lost.code in WORTH_REPEATING and running.repeats < MAX_REPEATS


def _left(machine: Machine, running: Running, lost: Lost, scene: _Scene) -> Machine:
    """The machine as a failover leaves it that replaced nothing."""
    cancelled = lost.code == "cancelled"
    is_alive = running.primary_was_alive or (running.primary_spoke and cancelled)
    if is_alive and running.proof is None:
        serves = "" if scene.may_be_stopped else "; the primary serves on"
        return follow(machine, Trigger.PRIMARY_KEPT, scene.now, f"{lost.why}{serves}")
    if not cancelled:
        return follow(machine, Trigger.ATTEMPTS_EXHAUSTED, scene.now, f"{lost.code}: {lost.why}")
    if machine.state is State.DETECTING:  # Its repair was cancelled.
        return replace(machine, because=lost.why)
    return follow(machine, Trigger.ATTEMPT_CANCELLED, scene.now, lost.why)


def _close_without_hand_over(machine: Machine, running: Running, lost: Lost, scene: _Scene) -> Decision:
    """A primary that we may have stopped is started again, and not judged until it had the time to come up."""
    debts: tuple[Debt, ...] = ()
    if machine.primary is not None and _is_started_again(machine, running, lost, scene):
        debts = (_debt(machine, running, DebtKind.START_INSTANCE, machine.primary, "perhaps fenced, and not replaced"),)
    hold = _hold(machine, running, lost, bool(debts), scene.now)
    if hold is not None:
        machine = watched(replace(machine, hold=hold, because=f"{machine.because}; {hold.because}"), scene.policy)
    return _close(machine, running, lost, success=False, debts=debts)


def _is_started_again(machine: Machine, running: Running, lost: Lost, scene: _Scene) -> bool:
    """A cancellation lifts the fence, and so does exhaustion with a primary that was alive (architecture, 4.6).

    Without a proof too: our stop may have been accepted before its effect was seen. A start of what runs is nothing.
    """
    if is_served_by_vm(machine):
        return False  # What was written there would be given up.
    is_lifted = running.primary_was_alive or running.primary_spoke or lost.code == "cancelled"
    return is_lifted and scene.may_be_stopped and not _is_graded(running.proof, FenceGrade.DESTROYED)


def _hold(machine: Machine, running: Running, lost: Lost, is_started_again: bool, now: datetime) -> Hold | None:
    """Nor does a suspect whose failover an operator cancelled get another one in the next moment."""
    if is_started_again:
        return Hold(RESTARTING, now, machine.boot_id, is_stopped=_is_graded(running.proof, FenceGrade.STOPPED))
    if lost.code == "cancelled" and machine.state is State.DETECTING:
        return Hold(CANCELLED, now, "")
    return None


def _is_graded(proof: FenceProof | None, grade: FenceGrade) -> bool:
    return proof is not None and proof.grade is grade


def _close(machine: Machine, running: Running, lost: Lost, success: bool, debts: tuple[Debt, ...] = ()) -> Decision:
    """End the failover, in whatever state it leaves the machine."""
    closed = replace(machine, failover=None, last_failover=running.id, evidence=None)
    if machine.state is not State.DETECTING:
        closed = replace(closed, look_at=None)
    ended = EndFailover(running, success, None if success else lost.code, lost.why, None, debts)
    text = f"{machine.name}: {machine.because}"
    return Decision(closed, (ended, Notify(f"machine-{machine.id}", text, resolves=machine.state is State.HEALTHY)))


def _parked(machine: Machine, running: Running, code: str, why: str, scene: _Scene) -> Decision:
    text = f"parked: {code}: {why}"
    if machine.state is State.DETECTING:
        # A repair leaves nothing behind, so it is only lost, never parked.
        return _lost(machine, running, Lost(code, why), scene)
    parked = follow(machine, Trigger.ATTEMPT_PARKED, scene.now, text)
    closed = replace(parked, failover=None, last_failover=running.id, look_at=None)
    debts: tuple[Debt, ...] = ()
    if running.rung is Rung.WARM_POOL and machine.standby is not None:
        # Perhaps it runs: its undo is what did not come to an end.
        debts = (_debt(machine, running, DebtKind.STOP_INSTANCE, machine.standby.instance, "perhaps started"),)
    prepared = prepared_of(machine)
    if running.rung is Rung.CPU_STANDBY and running.repeats == 0 and prepared is not None:
        first = prepared.first.instance
        debts = (*debts, _debt(machine, running, DebtKind.STOP_INSTANCE, first, "perhaps started"))
    ended = EndFailover(running, False, code, why, None, debts)
    return Decision(closed, (ended, Notify(f"machine-{machine.id}", f"{machine.name}: {text}")))
