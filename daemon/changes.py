"""Writes a decision down: the machine, its failover, debts, alerts, answers and announcements in one transaction."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from adapters.sql.records import CommandStatus
from adapters.sql.tx import Tx
from daemon.announce import Announcer, failover_changed, setting_of
from daemon.answers import answer_of
from events.schema import CommandResult
from machines.admission import AUTOMATIC, Pause
from machines.brake import overspent
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
    Parked,
    Probe,
    RequestAdmission,
    Signal,
)
from machines.model import DebtKind, FailoverId, Machine, Rung
from machines.policy import Policy

OURSELVES = "failoverd"
SUSPENDED = "automatic-action-suspended"
"""The key of the alert that stands while we paused ourselves."""


def debt_alert(number: int) -> str:
    """The key of the alert that a debt stays open; it is resolved where the debt is closed."""
    return f"debt-{number}"


def pay_debt(tx: Tx, number: int, now: datetime) -> None:
    """In the transaction of what paid it, where that is one."""
    tx.pay_debt(number, now)
    tx.resolve_alert(debt_alert(number), now)


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
    text = f"automatic failover is suspended until {until.isoformat()}: {because}; look at them, then resume"
    tx.raise_alert(SUSPENDED, text, now)


class Recorder:
    """The only writer of machines that already exist."""

    def __init__(self, announcer: Announcer, policy: Policy) -> None:
        self._announcer = announcer
        self._policy = policy

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
            self._tell(tx, machine, "began", "0", now)
        if machine != before:
            machine = tx.save_machine(machine)
            tx.post(self._announcer.machine(machine, before, now))
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
            case Probe() | RequestAdmission():
                pass
            case _:
                assert_never(effect)

    def _end(self, tx: Tx, machine: Machine, effect: EndFailover, now: datetime) -> None:
        running = effect.failover
        won = running.rung if effect.success and running.rung is not Rung.REPAIR_PRIMARY else None
        tx.end_failover(running.id, effect.success, won, effect.code, effect.why, effect.new, now)
        tx.drop_lease(running.id)
        tx.forget_first_beats(machine.id)
        if effect.new is None:
            for number in tx.drop_debts(running.id, (DebtKind.STOP_INSTANCE,), now):
                tx.resolve_alert(debt_alert(number), now)
        tx.add_debts([replace(debt, due_at=now) for debt in effect.debts])
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
            suspend_if_overspent(tx, self._policy, now)

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
