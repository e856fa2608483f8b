"""A command as it came through a door: how long it may be taken, what makes two the same, and the row that stands for it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from adapters.sql.records import CommandRow, Door
from events.schema import Command
from machines import workspace
from machines.admission import Delayed, Denied, FailoverRequest
from machines.model import FailoverId, InstanceId, Machine, MachineId, Reason, Setting
from machines.problems import STATUS_OF, Problem, invalid, unfit
from machines.workspace import NoWorkspace

_DEFAULT_LIFE = timedelta(minutes=5)
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


def fingerprint(command: Command) -> str:
    """What makes two commands under one id the same, whichever doors they came through: (command, machine, strategy).

    A pause, a registration or a policy is what its arguments say, so those count there too.
    """
    resolved: tuple[object, ...] = (command.command, command.machine_id, command.strategy)
    if command.command not in _ABOUT_FAILOVERS:
        resolved += (command.gpu_instance_id, sorted(command.arguments.items(), key=lambda item: item[0]))
    return hashlib.sha256(msgspec.json.encode(resolved)).hexdigest()


def is_other_body(row: CommandRow, asked: Asked) -> bool:
    """One HTTP client under one key sends one body; between doors only the resolved command is compared."""
    if "kafka" in (row.door, asked.door):
        return False
    body = msgspec.to_builtins(asked.command)
    return any(row.body.get(name) != body.get(name) for name in ("gpu_instance_id", "arguments", "reason"))


def failover_request(asked: Asked) -> FailoverRequest:
    command = asked.command
    reason = Reason.COMMAND if asked.door == "kafka" else Reason.HTTP
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


def expiry(command: Command, issued_at: datetime) -> datetime:
    """Until when it may be taken. Raise Problem."""
    if command.expires_at is None:
        return issued_at + _DEFAULT_LIFE
    try:
        expires = datetime.fromisoformat(command.expires_at)
    except ValueError:
        raise invalid("expires_at", command.expires_at, "an ISO 8601 time, such as 2026-11-23T12:00:00Z") from None
    return expires if expires.tzinfo is not None else expires.replace(tzinfo=UTC)


def row_of(asked: Asked, failover: FailoverId | None) -> CommandRow:
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
        asked_by=asked.asked_by,
    )


def refusal_of(admission: Denied | Delayed, machine: Machine) -> Problem:
    if isinstance(admission, Delayed):
        return Problem(503, "deferred", admission.because, f"try again after {admission.look_at.isoformat()}")
    extra: dict[str, Any] = {"machine_id": machine.id}
    if admission.code == "failover_in_progress" and machine.failover is not None:
        extra["failover_id"] = machine.failover.id
    if admission.code == "not_failed":
        extra["state"] = machine.state.value
    status = STATUS_OF.get(admission.code, 409)
    return Problem(status, admission.code, admission.because, admission.remedy, extra)


def problem_of(row: CommandRow) -> Problem:
    """The refusal that a command id got before."""
    answer = dict(row.answer or {})
    code, detail, remedy = (str(answer.pop(key, "")) for key in ("code", "detail", "remedy"))
    return Problem(row.http_status or 409, code, detail, remedy, answer)
