"""How an attempt ends, and with it perhaps its failover: what the machine is then, and what is owed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import assert_never

from machines.model import Debt, DebtKind, FenceGrade, FenceProof, InstanceId, Machine, Replacement, Rung, Running
from machines.progress import enter, follow
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
from machines.strategies.ladder import ATTEMPT_STATE

WORTH_REPEATING = frozenset({"restore_failed", "verify_failed", "ssh_unreachable"})
"""The candidate was at fault, not the strategy: the same rung begins again on other hosts."""
MAX_REPEATS = 2


def on_attempt_ended(machine: Machine, signal: AttemptEnded, now: datetime) -> Decision:
    """An actor that is not, or no longer, the failover's changes nothing."""
    running = machine.failover
    if running is None or not running.is_worked_by(signal.failover, signal.fence):
        return Decision(machine)
    match signal.outcome:
        case Won(new):
            return _won(machine, running, new, now)
        case Repaired():
            back = follow(machine, Trigger.HEARTBEAT_RESUMED, now, "rebooted once; the primary speaks again")
            return _close(back, running, now, Lost("primary_repaired", back.because), success=True)
        case Lost(code, why):
            return _lost(machine, running, Lost(code, why), now)
        case Parked(code, why):
            return _parked(machine, running, code, why, now)
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
        is_interruptible=new.is_interruptible,
        price_per_hour=new.price_per_hour,
        evidence=None,
        look_at=None,
        failover=None,
        last_failover=running.id,
        volume=machine.volume if new.has_volume else None,
        standby=None,
    )
    debts = _debts_of_the_old(machine, running, new)
    ended = EndFailover(running, True, None, None, new, debts)
    return Decision(moved, (ended, Notify(f"machine-{machine.id}", because, resolves=True)))


def _debts_of_the_old(machine: Machine, running: Running, new: Replacement) -> tuple[Debt, ...]:
    """What the machine leaves behind is given up, and what it needs for the next time is owed."""
    debts: list[Debt] = []
    if machine.primary is not None:
        debts.append(_debt(machine, running, DebtKind.DESTROY_INSTANCE, machine.primary, "replaced"))
    standby = machine.standby.instance if machine.standby else None
    if standby is not None and standby != new.instance:
        debts.append(_debt(machine, running, DebtKind.DESTROY_INSTANCE, standby, "its primary was replaced elsewhere"))
    if machine.volume is not None and not new.has_volume:
        volume = _debt(machine, running, DebtKind.DELETE_VOLUME, None, "its machine was moved to another host")
        debts.append(replace(volume, volume=machine.volume.id))
    if machine.volume is not None and new.has_volume:
        debts.append(_debt(machine, running, DebtKind.REARM, None, "its standby became the machine"))
    return tuple(debts)


def _debt(machine: Machine, running: Running, kind: DebtKind, instance: InstanceId | None, because: str) -> Debt:
    return Debt(kind, machine.id, running.id, instance, None, None, f"{because} by failover {running.id}")


def _lost(machine: Machine, running: Running, lost: Lost, now: datetime) -> Decision:
    cancelled = lost.code == "cancelled"
    is_repeatable = running.rung is Rung.CPU_STANDBY and lost.code in WORTH_REPEATING
    if is_repeatable and running.repeats < MAX_REPEATS:
        again = replace(running, attempt=running.attempt + 1, repeats=running.repeats + 1)
        return Decision(replace(machine, failover=again), (BeginAttempt(again),))
    if running.position + 1 < len(running.ladder) and not cancelled:
        onward = replace(running, position=running.position + 1, attempt=running.attempt + 1, repeats=0)
        return Decision(enter(replace(machine, failover=onward), onward, now), (BeginAttempt(onward),))
    is_alive = running.primary_was_alive or (running.primary_spoke and cancelled)
    if is_alive and running.proof is None:
        kept = follow(machine, Trigger.PRIMARY_KEPT, now, f"{lost.why}; the primary serves on")
        return _close(kept, running, now, lost, success=False)
    if cancelled:
        return _cancelled(machine, running, lost, now)
    failed = follow(machine, Trigger.ATTEMPTS_EXHAUSTED, now, f"{lost.code}: {lost.why}")
    return _close(failed, running, now, lost, success=False)


def _cancelled(machine: Machine, running: Running, lost: Lost, now: datetime) -> Decision:
    if machine.state is ATTEMPT_STATE.get(running.rung) and machine.state is not State.DETECTING:
        machine = follow(machine, Trigger.ATTEMPT_CANCELLED, now, lost.why)
    return _close(replace(machine, look_at=now), running, now, lost, success=False)


def _close(machine: Machine, running: Running, now: datetime, lost: Lost, success: bool) -> Decision:
    """End a failover without a hand-over. A primary that was alive when it was fenced is started again."""
    debts: tuple[Debt, ...] = ()
    # Also without a proof: our stop may have been accepted before its effect was seen. A start of what runs is nothing.
    is_living = running.primary_was_alive or running.primary_spoke
    if is_living and not success and machine.primary is not None and not _is_destroyed(running.proof):
        debts = (_debt(machine, running, DebtKind.START_INSTANCE, machine.primary, "perhaps fenced, and not replaced"),)
    closed = replace(machine, failover=None, last_failover=running.id, evidence=None)
    if machine.state is not State.DETECTING:
        closed = replace(closed, look_at=None)
    ended = EndFailover(running, success, None if success else lost.code, lost.why, None, debts)
    text = f"{machine.name}: {machine.because}"
    return Decision(closed, (ended, Notify(f"machine-{machine.id}", text, resolves=machine.state is State.HEALTHY)))


def _is_destroyed(proof: FenceProof | None) -> bool:
    return proof is not None and proof.grade is FenceGrade.DESTROYED


def _parked(machine: Machine, running: Running, code: str, why: str, now: datetime) -> Decision:
    text = f"parked: {code}: {why}"
    if machine.state is State.DETECTING:
        # A repair leaves nothing behind, so it is only lost, never parked.
        return _lost(machine, running, Lost(code, why), now)
    parked = follow(machine, Trigger.ATTEMPT_PARKED, now, text)
    closed = replace(parked, failover=None, last_failover=running.id, look_at=None)
    ended = EndFailover(running, False, code, why, None)
    return Decision(closed, (ended, Notify(f"machine-{machine.id}", f"{machine.name}: {text}")))
