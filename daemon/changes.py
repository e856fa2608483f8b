"""Writes a decision down: the machine, its failover, debts, alerts, answers and announcements in one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from adapters.sql.records import AuditRecord, CommandStatus
from adapters.sql.tx import Tx
from daemon.announce import Announcer, failover_changed, setting_of
from daemon.answers import answer_of
from daemon.snapshot_grants import take_back
from events.schema import CommandResult
from machines.admission import AUTOMATIC, Pause
from machines.brake import overspent
from machines.budget import spent
from machines.failover import (
    Admitted,
    AttemptEnded,
    BeginAttempt,
    Decision,
    Effect,
    EndFailover,
    Fenced,
    Lost,
    Notify,
    Observed,
    Parked,
    Probe,
    RequestAdmission,
    Signal,
)
from machines.journal import Entry
from machines.model import Debt, DebtKind, FailoverId, InstanceId, Machine, Rung, VolumeId, WaitsFor, is_served_by_vm
from machines.policy import Policies, Policy
from machines.strategies.candidates import STEP
from machines.volumes import kept_alert

OURSELVES = "failoverd"
BUDGET_ALERT = "budget"
"""The key of the alert that stands while a dead machine waits for money."""
SUSPENDED = "automatic-action-suspended"
"""The key of the alert that stands while we paused ourselves."""


def debt_alert(number: int) -> str:
    """The key of the alert that a debt stays open; it is resolved where the debt is closed."""
    return f"debt-{number}"


def pay_debt(tx: Tx, number: int, now: datetime) -> None:
    """In the transaction of what paid it, where that is one."""
    tx.pay_debt(number, now)
    tx.resolve_alert(debt_alert(number), now)


def drop_stops(tx: Tx, instance: InstanceId, now: datetime) -> None:
    """No stop of the instance is owed any more: it is gone, or a machine's to run on."""
    for number in tx.drop_debts_of(instance, (DebtKind.STOP_INSTANCE,), now):
        tx.resolve_alert(debt_alert(number), now)


def follow_volume(
    tx: Tx, before: Machine | None, machine: Machine, now: datetime, given_up: Collection[VolumeId] = ()
) -> None:
    """Where a machine lies on another volume than before, the rows of the volumes say so too. The deletion of those of
    `given_up` is owed in the same transaction."""
    known = before.volume if before is not None else None
    if given_up or (known.id if known else None) != (machine.volume.id if machine.volume else None):
        tx.follow_volume(machine.id, known, machine.volume, given_up)
        if machine.volume is not None:
            end_keeping(tx, machine.volume.id, now)


def end_keeping(tx: Tx, volume: VolumeId, now: datetime) -> None:
    """A volume that was kept for what is newer on it is a machine's again, or is gone."""
    for debt in tx.open_debts():
        if debt.kind is DebtKind.KEEP_VOLUME and debt.volume == volume:
            pay_debt(tx, debt.id, now)
    tx.resolve_alert(kept_alert(volume), now)


def follow_budget(tx: Tx, before: Machine | None, machine: Machine | None, now: datetime) -> None:
    """Where a machine waits for money no more; None: it is none any more. Another one that waits raises the alert again when
    it asks."""
    if _waits_for_money(before) and not _waits_for_money(machine):
        tx.resolve_alert(BUDGET_ALERT, now)


def _waits_for_money(machine: Machine | None) -> bool:
    if machine is None:
        return False
    return machine.queued is not None and machine.queued.waits_for is WaitsFor.BUDGET


def suspend_if_overspent(tx: Tx, policy: Policy, now: datetime) -> None:
    """Automatic action that does harm, or no good, pauses itself until a person has looked, or for its time."""
    because = overspent(tx.spent(policy, now), policy)
    if because is None:
        return
    pause, is_readable = tx.readable_pause()
    if not is_readable:
        return  # That is a pause already.
    until = now + timedelta(seconds=policy.suspension_s)
    if pause is None or pause.until < until:
        tx.set_pause(Pause(because, until, OURSELVES))
        tx.audit(AuditRecord(now, OURSELVES, "daemon", "pause", reason=because))
    text = f"automatic failover is suspended until {until.isoformat()}: {because}; look at them, then resume"
    tx.raise_alert(SUSPENDED, text, now)


def _given_up(effects: Iterable[Effect]) -> frozenset[VolumeId]:
    owed = [debt for effect in effects if isinstance(effect, EndFailover) for debt in effect.debts]
    return frozenset(one.volume for one in owed if one.kind is DebtKind.DELETE_VOLUME and one.volume is not None)


def _spent(tx: Tx, failover: FailoverId, now: datetime) -> float:
    """$ that the rentals of all of its attempts have cost by our records; the winner's until the hand-over."""
    attempts: defaultdict[int, list[Entry]] = defaultdict(list)
    for number, entry in tx.timeline(failover):
        attempts[number].append(entry)
    return sum(spent(entries, STEP, now) for entries in attempts.values())


class Recorder:
    """The only writer of machines that already exist."""

    def __init__(self, announcer: Announcer, policies: Policies, has_hook: bool = False) -> None:
        """`has_hook`: an operator's program wants to hear of hand-overs."""
        self._announcer = announcer
        self._policies = policies
        self._has_hook = has_hook

    def record(self, tx: Tx, before: Machine, signal: Signal, decision: Decision, now: datetime) -> Machine:
        """Save, in the caller's transaction; give back the machine with its new version. Raise Stale."""
        machine = decision.machine
        if isinstance(signal, Admitted) and machine.failover is not None:
            request = signal.granted.request
            tx.begin_failover(
                machine,
                machine.failover,
                signal.granted.setting,
                request.why or before.because,
                request.asked_by,
                request.command_id,
                before.evidence,
            )
            if request.command_id is None:  # Nobody asked; a command's own row audits it.
                why = request.why or before.because
                tx.audit(AuditRecord(now, request.asked_by, "daemon", "failover", machine.id, machine.failover.id, why))
            if signal.granted.reserved is not None:
                tx.reserve(machine.failover.id, signal.granted.reserved)
            self._tell(tx, machine, "began", "0", now)
        if machine != before:
            machine = tx.save_machine(machine)
            follow_volume(tx, before, machine, now, _given_up(decision.effects))
            tx.post(self._announcer.machine(machine, before, now))
        follow_budget(tx, before, machine, now)
        if machine.fence > before.fence:
            take_back(tx, machine.id)
        self._record_signal(tx, before, machine, signal, now)
        for effect in decision.effects:
            self._record_effect(tx, machine, effect, now)
        return machine

    def _record_signal(self, tx: Tx, before: Machine, machine: Machine, signal: Signal, now: datetime) -> None:
        running = before.failover
        if isinstance(signal, AttemptEnded) and running is not None and running.id == signal.failover:
            outcome = signal.outcome
            lost = outcome if isinstance(outcome, Lost | Parked) else None
            tx.end_attempt(running.id, running.attempt, now, lost.code if lost else None, lost.why if lost else None)
            event = failover_changed(
                before, running, "attempt_ended", success=lost is None, error=lost.code if lost else None
            )
            tx.post((self._announcer.failover(event, str(running.attempt), now),))
        if isinstance(signal, Fenced) and machine.failover is not None and before != machine:
            detail = {"grade": signal.proof.grade.value, "proof": signal.proof.proof}
            event = failover_changed(machine, machine.failover, "fenced", detail=detail)
            tx.post((self._announcer.failover(event, "0", now),))

    def _record_effect(self, tx: Tx, machine: Machine, effect: Effect, now: datetime) -> None:
        match effect:
            case BeginAttempt(running):
                tx.begin_attempt(running.id, running.attempt, running.rung, now)
                self._tell(tx, machine, "attempt_began", str(running.attempt), now)
            case EndFailover():
                self._end(tx, machine, effect, now)
            case Notify(key, text, resolves):
                _ = tx.resolve_alert(key, now) if resolves else tx.raise_alert(key, text, now)
            case Observed(because):
                tx.post((self._announcer.observed(machine, because, now),))
            case Probe() | RequestAdmission():
                pass
            case _:
                assert_never(effect)

    def _end(self, tx: Tx, machine: Machine, effect: EndFailover, now: datetime) -> None:
        running = effect.failover
        won = running.rung if effect.success and running.rung is not Rung.REPAIR_PRIMARY else None
        tx.end_failover(running.id, effect.success, won, effect.code, effect.why, effect.new, now)
        tx.settle_spending(running.id, _spent(tx, running.id, now))
        tx.drop_lease(running.id)
        tx.forget_first_beats(machine.id)
        if effect.new is not None:
            tx.note_primary(effect.new.instance, machine.id, now)
            drop_stops(tx, effect.new.instance, now)  # Of an earlier failover, which may have started it in vain.
        elif not is_served_by_vm(machine):
            for number in tx.drop_debts(running.id, (DebtKind.STOP_INSTANCE,), now):
                tx.resolve_alert(debt_alert(number), now)
        tx.add_debts(
            [replace(debt, due_at=debt.due_at or now) for debt in (*effect.debts, *self._hook_debts(machine, effect))]
        )
        event = failover_changed(
            machine,
            running,
            "ended",
            success=effect.success,
            error=effect.code,
            new_gpu_instance_id=effect.new.instance if effect.new else None,
            detail={"why": effect.why, "setting": setting_of(running, machine).value},
        )
        tx.post((self._announcer.failover(event, "0", now),))
        self._answer(tx, running.id, now)
        if running.reason in AUTOMATIC:
            suspend_if_overspent(tx, self._policies.fleet, now)

    def _hook_debts(self, machine: Machine, effect: EndFailover) -> tuple[Debt, ...]:
        if effect.new is None or not self._has_hook:
            return ()
        why = f"the operator's program hears of failover {effect.failover.id}"
        return (Debt(DebtKind.RUN_HOOK, machine.id, effect.failover.id, None, None, None, why),)

    def _answer(self, tx: Tx, failover_id: FailoverId, now: datetime) -> None:
        """Every command that waits for this failover gets its one answer."""
        record = tx.failover(failover_id)
        if record is None:
            return
        answer = answer_of(record)
        for row in tx.commands_of(failover_id):
            status: CommandStatus = "succeeded" if record.success else "failed"
            tx.answer_command(row.command_id, status, answer, 200, now)
            result = CommandResult(
                command_id=row.command_id,
                command=row.command,
                machine_id=row.machine_id,
                status=status,
                code=record.code,
                detail=record.why,
                failover_id=failover_id,
                result=answer,
            )
            tx.post((self._announcer.result(result, now),))

    def _tell(self, tx: Tx, machine: Machine, what: str, nonce: str, now: datetime) -> None:
        assert machine.failover is not None
        event = failover_changed(machine, machine.failover, what)
        tx.post((self._announcer.failover(event, nonce, now),))
