"""The one command plane behind every door: the same rules, the same journal, the same answers.

A command is a row with a unique id. Whichever door it came through, it is validated, admitted and bound to its
failover in one transaction, and answered when that failover ends.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, assert_never

import msgspec
import structlog

from adapters.sql.executor import Store
from adapters.sql.records import CommandRow, Door, FailoverRecord
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import SUSPENDED
from daemon.loop import Loop
from daemon.registry import Registry
from events.schema import Command, CommandResult
from machines import workspace
from machines.admission import Admission, Delayed, Denied, FailoverRequest, Granted, Pause
from machines.failover import CancelAsked
from machines.model import FailoverId, InstanceId, Machine, MachineId, Reason, Setting
from machines.ports import Clock, Random
from machines.problems import STATUS_OF, Problem, invalid, unfit, unknown_machine
from machines.strategies.ladder import is_too_late
from machines.workspace import NoWorkspace

log = structlog.get_logger(__name__)

_DEFAULT_LIFE = timedelta(minutes=5)
KINDS = ("failover", "drill", "cancel", "retry", "pause", "resume", "register_machine", "remove_machine", "set_policy")
_ABOUT_FAILOVERS = ("failover", "drill", "cancel", "retry")


@dataclass(frozen=True, slots=True)
class Asked:
    """A command as it came through a door."""

    command: Command
    door: Door
    asked_by: str
    received_at: datetime
    issued_at: datetime
    """The record's own time; for HTTP the same as `received_at`."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """What became of a command so far. `answer` is there once it has ended."""

    command_id: str
    failover_id: FailoverId | None
    answer: Mapping[str, Any] | None
    http_status: int


class _TakenBefore(Exception):
    """Another request under the same id was faster."""


class Commands:
    """Validates, admits, binds and answers."""

    def __init__(
        self, store: Store, loop: Loop, registry: Registry, announcer: Announcer, clock: Clock, random: Random
    ) -> None:
        self._store = store
        self._loop = loop
        self._registry = registry
        self._announcer = announcer
        self._clock = clock
        self._random = random

    async def submit(self, asked: Asked) -> Accepted:
        """Take the command once. Raise Problem where it is refused; the refusal is stored as its answer."""
        command = asked.command
        if command.command_id is None:
            command = msgspec.structs.replace(command, command_id=f"c_{self._random.token(16)}")
            asked = replace(asked, command=command)
        known = await self._known(asked)
        if known is not None:
            return known
        try:
            self._check(asked)
            return await self._execute(asked)
        except Problem as problem:
            await self.refuse(asked, problem)
            raise

    async def _known(self, asked: Asked) -> Accepted | None:
        """A command id that was taken before has its old answer; another body under it is refused."""
        command_id = asked.command.command_id or ""
        row = await self._store.transact(lambda tx: tx.command(command_id))
        if row is None:
            return None
        if row.fingerprint != fingerprint(asked.command) or _is_other_body(row, asked):
            raise Problem(
                422,
                "idempotency_key_reused",
                f"the id {command_id} was used for another command",
                "use a new id for a new command",
            )
        if row.status == "refused":
            raise problem_of(row)
        return Accepted(command_id, row.failover_id, row.answer, row.http_status or 200)

    def _check(self, asked: Asked) -> None:
        command = asked.command
        if command.command not in KINDS:
            raise invalid("command", command.command, "one of " + ", ".join(KINDS))
        expires = _expiry(command, asked.issued_at)
        if expires < self._clock.now():
            raise Problem(
                409,
                "expired",
                f"the command expired at {expires.isoformat()}",
                "send it again if it is still wanted; expires_at sets its life",
            )
        if command.command not in ("pause", "resume") and command.machine_id is None:
            raise invalid("machine_id", None, "the machine's number")

    async def _execute(self, asked: Asked) -> Accepted:
        match asked.command.command:
            case "failover" | "drill" | "retry":
                return await self._failover(asked)
            case "cancel":
                return await self._cancel(asked)
            case "pause" | "resume":
                return await self._pause(asked)
            case _:
                return await self._registration(asked)

    # -- failovers

    async def _failover(self, asked: Asked) -> Accepted:
        machine_id = MachineId(asked.command.machine_id or 0)
        request = _request(asked)
        bound: list[FailoverId] = []

        def also(tx: Tx, admission: Admission, machine: Machine | None) -> None:
            bound.clear()
            assert machine is not None
            twin = tx.command(asked.command.command_id or "")
            if twin is not None:
                raise _TakenBefore  # It came through twice at once; whatever this transaction did is rolled back.
            match admission:
                case Granted():
                    assert machine.failover is not None
                    bound.append(machine.failover.id)
                case Denied(code="failover_in_progress") if self._is_answered_by(machine, asked):
                    assert machine.failover is not None
                    bound.append(machine.failover.id)
                case Denied() | Delayed():
                    raise _problem(admission, machine)
                case _:
                    assert_never(admission)
            tx.insert_command(_row(asked, bound[0]))

        try:
            admission = await self._loop.request_admission(machine_id, request, also)
        except _TakenBefore:
            known = await self._known(asked)
            assert known is not None
            return known
        if admission is None:
            raise unknown_machine(machine_id)
        log.info(
            "command_accepted", command=asked.command.command, machine=machine_id, door=asked.door, by=asked.asked_by
        )
        return Accepted(asked.command.command_id or "", bound[0], None, 202)

    @staticmethod
    def _is_answered_by(machine: Machine, asked: Asked) -> bool:
        """A record from the log may be late: a failover that began after it was written is its answer."""
        running = machine.failover
        return asked.door == "kafka" and running is not None and running.started_at >= asked.issued_at

    async def wait(self, failover: FailoverId, seconds: float | None = None) -> FailoverRecord | None:
        """Until the failover has ended, or the (scaled) seconds are over; None for an unknown one.

        A client that goes away changes nothing: the failover runs in the runner.
        """
        deadline = None if seconds is None else self._clock.monotonic() + seconds
        ended = self._loop.ended(failover)
        while True:
            record = await self._store.transact(lambda tx: tx.failover(failover))
            if record is None or record.ended_at is not None:
                return record
            left = self._clock.real(1.0) if deadline is None else deadline - self._clock.monotonic()
            if left <= 0:
                return record
            try:
                await self._clock.wait_for(ended.wait(), min(left, self._clock.real(1.0)))
            except TimeoutError:
                continue

    async def _cancel(self, asked: Asked) -> Accepted:
        """Ask the running failover to unwind; the failover's own end is the answer."""
        machine = await self._machine(asked)
        if machine.failover is None:
            raise Problem(
                409, "no_failover", f"no failover of machine {machine.id} is running", "there is nothing to cancel"
            )
        failover = machine.failover.id
        wanted = asked.command.arguments.get("failover_id")
        if wanted is not None and wanted != failover:
            raise Problem(
                409,
                "no_failover",
                f"failover {wanted} of machine {machine.id} has ended; {failover} is running now",
                f"cancel {failover} by its own id, if that is what you mean",
            )
        if await self._store.transact(lambda tx: is_too_late(tx.timeline(failover))):
            raise Problem(
                409,
                "too_late",
                f"failover {failover} of machine {machine.id} is past its point of no return",
                f"wait for its end: GET /api/v1/failovers/{failover}",
                {"failover_id": failover},
            )
        await self._store.transact(lambda tx: tx.insert_command(_row(asked, failover)))
        await self._loop.apply(machine.id, CancelAsked(failover))
        return Accepted(asked.command.command_id or "", failover, None, 202)

    async def _machine(self, asked: Asked) -> Machine:
        machine_id = MachineId(asked.command.machine_id or 0)
        machine = await self._store.transact(lambda tx: tx.machine(machine_id))
        if machine is None:
            raise unknown_machine(machine_id)
        return machine

    # -- pause, registration

    async def _pause(self, asked: Asked) -> Accepted:
        pause = None
        if asked.command.command == "pause":
            minutes = asked.command.arguments.get("minutes")
            if not isinstance(minutes, int | float) or isinstance(minutes, bool) or not 0 < minutes <= 7 * 24 * 60:
                raise invalid("arguments.minutes", minutes, "a number of minutes from 1 to 10080 (a week)")
            if not asked.command.reason:
                raise invalid("reason", asked.command.reason, "a sentence that says why automatic failover is paused")
            until = self._clock.now() + timedelta(minutes=minutes)
            pause = Pause(asked.command.reason, until, asked.asked_by)
        answer = {"paused_until": pause.until.isoformat() if pause else None}
        now = self._clock.now()

        def work(tx: Tx) -> None:
            if pause is not None:
                tx.set_pause(pause)
                return
            tx.lift_pause(now)
            tx.resolve_alert(SUSPENDED, now)

        return await self._finish(asked, answer, work)

    async def _registration(self, asked: Asked) -> Accepted:
        command = asked.command
        machine_id = MachineId(command.machine_id or 0)
        match command.command:
            case "remove_machine":
                await self._registry.remove(machine_id)
                return await self._finish(asked, {"machine_id": machine_id, "removed": True}, lambda tx: None)
            case _:
                body = dict(command.arguments)
                if command.gpu_instance_id is not None:
                    body.setdefault("gpu_instance_id", command.gpu_instance_id)
                if command.strategy is not None:
                    body.setdefault("strategy", command.strategy)
                must_exist = command.command == "set_policy"
                machine = await self._registry.put(machine_id, body, asked.asked_by, must_exist=must_exist)
                return await self._finish(
                    asked, {"machine_id": machine.id, "version": machine.version}, lambda tx: None
                )

    async def _finish(self, asked: Asked, answer: dict[str, Any], work: Callable[[Tx], object]) -> Accepted:
        """Effect and answer in one transaction."""
        now = self._clock.now()
        row = _row(asked, None)

        def save(tx: Tx) -> None:
            work(tx)
            tx.insert_command(row)
            tx.answer_command(row.command_id, "succeeded", answer, 200, now)
            result = CommandResult(row.command_id, row.command, row.machine_id, "succeeded", result=answer)
            tx.post((self._announcer.result(result, now),))

        await self._store.transact(save)
        return Accepted(row.command_id, None, answer, 200)

    async def refuse(self, asked: Asked, problem: Problem) -> None:
        """A refusal is an answer too: stored under the id, and told on the results topic. An id that was taken before
        keeps its answer, and nothing is told again."""
        now = self._clock.now()
        row = _row(asked, None)
        answer = {"code": problem.code, "detail": problem.detail, "remedy": problem.remedy, **problem.extra}
        result = CommandResult(
            row.command_id,
            row.command,
            row.machine_id,
            "refused",
            code=problem.code,
            detail=problem.detail,
            remedy=problem.remedy,
        )

        def save(tx: Tx) -> None:
            _, is_new = tx.insert_command(row)
            if is_new:
                tx.answer_command(row.command_id, "refused", answer, problem.status, now)
                tx.post((self._announcer.result(result, now),))

        await self._store.transact(save)
        log.info("command_refused", command=row.command, machine=row.machine_id, code=problem.code, door=asked.door)


def fingerprint(command: Command) -> str:
    """What makes two commands under one id the same, whichever doors they came through: (command, machine, strategy).

    A pause, a registration or a policy is what its arguments say, so those count there too.
    """
    resolved: tuple[object, ...] = (command.command, command.machine_id, command.strategy)
    if command.command not in _ABOUT_FAILOVERS:
        resolved += (command.gpu_instance_id, sorted(command.arguments.items(), key=lambda item: item[0]))
    return hashlib.sha256(msgspec.json.encode(resolved)).hexdigest()


def _is_other_body(row: CommandRow, asked: Asked) -> bool:
    """One HTTP client under one key sends one body; between doors only the resolved command is compared."""
    if not (row.door == asked.door == "http"):
        return False
    body = msgspec.to_builtins(asked.command)
    return any(row.body.get(name) != body.get(name) for name in ("gpu_instance_id", "arguments"))


def _request(asked: Asked) -> FailoverRequest:
    command = asked.command
    reason = Reason.HTTP if asked.door == "http" else Reason.COMMAND
    return FailoverRequest(
        Reason.DRILL if command.command == "drill" else reason,
        setting_named(command.strategy, "strategy"),
        InstanceId(command.gpu_instance_id) if command.gpu_instance_id is not None else None,
        command.command_id,
        asked.asked_by,
        command.reason or f"asked for by {asked.asked_by} over {asked.door}",
        _workspace_path(command),
    )


def _workspace_path(command: Command) -> str | None:
    path = command.arguments.get("workspace_path")
    try:
        return None if path is None else workspace.normalised(path)
    except NoWorkspace as error:
        raise unfit("arguments.workspace_path", path, str(error), workspace.WANTED) from None


def setting_named(name: str | None, field_name: str) -> Setting | None:
    """The strategy of that name; `disabled` cannot be forced. Raise Problem."""
    allowed = [setting for setting in Setting if setting is not Setting.DISABLED]
    if name is None:
        return None
    for setting in allowed:
        if setting.value == name:
            return setting
    raise invalid(field_name, name, "null or one of " + ", ".join(setting.value for setting in allowed))


def _expiry(command: Command, issued_at: datetime) -> datetime:
    if command.expires_at is None:
        return issued_at + _DEFAULT_LIFE
    try:
        expires = datetime.fromisoformat(command.expires_at)
    except ValueError:
        raise invalid("expires_at", command.expires_at, "an ISO 8601 time, such as 2026-11-23T12:00:00Z") from None
    return expires if expires.tzinfo is not None else expires.replace(tzinfo=UTC)


def _row(asked: Asked, failover: FailoverId | None) -> CommandRow:
    command = asked.command
    return CommandRow(
        command_id=command.command_id or "",
        door=asked.door,
        command=command.command,
        machine_id=MachineId(command.machine_id) if command.machine_id is not None else None,
        fingerprint=fingerprint(command),
        body=msgspec.to_builtins(command),
        received_at=asked.received_at,
        expires_at=None,
        failover_id=failover,
        status="accepted",
        answer=None,
        http_status=None,
        answered_at=None,
    )


def _problem(admission: Denied | Delayed, machine: Machine) -> Problem:
    if isinstance(admission, Delayed):
        return Problem(503, "deferred", admission.because, f"try again after {admission.look_at.isoformat()}")
    extra: dict[str, Any] = {"machine_id": machine.id}
    if admission.code == "failover_in_progress" and machine.failover is not None:
        extra["failover_id"] = machine.failover.id
    status = STATUS_OF.get(admission.code, 409)
    return Problem(status, admission.code, admission.because, admission.remedy, extra)


def problem_of(row: CommandRow) -> Problem:
    """The refusal that a command id got before."""
    answer = dict(row.answer or {})
    code, detail, remedy = (str(answer.pop(key, "")) for key in ("code", "detail", "remedy"))
    return Problem(row.http_status or 409, code, detail, remedy, answer)
