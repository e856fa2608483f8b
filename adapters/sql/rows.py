"""From the model to rows and back, in one place: what the model gains, this file stores.

A value with a column of its own is converted by hand (a fleet is loaded row by row, so microseconds count); a nested
value is JSON by msgspec, enums by their value.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from datetime import datetime
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import msgspec
from sqlalchemy import Row

from adapters.sql.errors import StoreDamaged
from adapters.sql.records import AlertRecord, AttemptRecord, AuditRecord, CommandRow, FailoverRecord, TokenRecord
from events.topics import Message
from machines.access import Scope
from machines.cpu_vm import CpuStandby, VmPlace
from machines.journal import Entry, Mark
from machines.model import (
    Debt,
    DebtKind,
    Endpoint,
    Evidence,
    Hold,
    Machine,
    Mode,
    Own,
    Queued,
    Reason,
    Registered,
    Replacement,
    Rest,
    Rung,
    Running,
    Setting,
    Standby,
    VolumeMount,
    WaitsFor,
    WarmPool,
    Workload,
)
from machines.states import State
from machines.volumes import RegionalVolume, VolumeStatus

T = TypeVar("T")
P = ParamSpec("P")
Values = dict[str, Any]


def _readable(read: Callable[P, T]) -> Callable[P, T]:
    """Raise StoreDamaged for a row from which no such record can be made: it is judged by nobody."""

    @wraps(read)
    def checked(*args: P.args, **named: P.kwargs) -> T:
        try:
            return read(*args, **named)
        except (ValueError, TypeError, msgspec.MsgspecError) as error:
            row: Any = args[0]
            which = getattr(row, "id", None)
            where = "a row" if which is None else f"the row with the id {which!r}"
            raise StoreDamaged(f"{read.__name__.removesuffix('_from')}: {where} cannot be read: {error}") from error

    return checked


def plain(value: object) -> Any:
    """A nested value as JSON's types."""
    return None if value is None else msgspec.to_builtins(value)


def _nested(value: object, kind: type[T]) -> T | None:
    return None if value is None else _required(value, kind)


def _required(value: object, kind: type[T]) -> T:
    return msgspec.convert(value, kind, strict=False)


_NOTHING_OWN = Own()


def machine_values(machine: Machine) -> Values:
    """Every column of `machines`; of the failover only its id, the rest is the failover's own row."""
    return {
        "id": machine.id,
        "name": machine.name,
        "state": machine.state.value,
        "version": machine.version,
        "fence": machine.fence,
        "setting": machine.setting.value,
        "mode": machine.mode.value,
        "priority": machine.priority,
        "primary_instance": machine.primary,
        "host": machine.host,
        "landlord": machine.landlord,
        "is_interruptible": machine.is_interruptible,
        "ssh": plain(machine.ssh),
        "host_key": machine.host_key,
        "workspace_path": machine.workspace_path,
        "workload": plain(machine.workload),
        "heartbeat_partition": machine.partition,
        "interval_s": machine.interval_s,
        "boot_id": machine.boot_id,
        "last_sequence": machine.last_sequence,
        "because": machine.because,
        "since": machine.since,
        "evidence": plain(machine.evidence),
        "look_at": machine.look_at,
        "failover_id": None if machine.failover is None else machine.failover.id,
        "last_failover": machine.last_failover,
        "price_per_hour": machine.price_per_hour,
        "volume": plain(machine.volume),
        "standby": plain(machine.standby),
        "cpu_standby": plain(machine.cpu_standby),
        "warm_pool": plain(machine.warm_pool),
        "hold": plain(machine.hold),
        "queued_at": machine.queued.since if machine.queued else None,
        "queue_asked_at": machine.queued.asked_at if machine.queued else None,
        "waits_for": machine.queued.waits_for.value if machine.queued else None,
        "suspicions": plain(machine.suspicions) or None,
        "registered": plain(machine.registered),
        "beat_generation": machine.beat_generation,
        "own": None if machine.own == _NOTHING_OWN else plain(machine.own),
        "rest": plain(machine.rest),
        "observed_at": machine.observed_at,
    }


@_readable
def machine_from(row: Row[Any]) -> Machine:
    """A row of `machines` with the failover's `running` joined in."""
    return Machine(
        id=row.id,
        name=row.name,
        state=State(row.state),
        version=row.version,
        fence=row.fence,
        setting=Setting(row.setting),
        mode=Mode(row.mode),
        priority=row.priority,
        primary=row.primary_instance,
        host=row.host,
        landlord=row.landlord,
        is_interruptible=row.is_interruptible,
        ssh=_nested(row.ssh, Endpoint),
        host_key=row.host_key,
        workspace_path=row.workspace_path,
        workload=_required(row.workload, Workload),
        partition=row.heartbeat_partition,
        interval_s=row.interval_s,
        boot_id=row.boot_id,
        last_sequence=row.last_sequence,
        because=row.because,
        since=row.since,
        evidence=_nested(row.evidence, Evidence),
        look_at=row.look_at,
        failover=_nested(row.running, Running),
        last_failover=row.last_failover,
        price_per_hour=row.price_per_hour,
        volume=_nested(row.volume, VolumeMount),
        standby=_nested(row.standby, Standby),
        cpu_standby=_nested(row.cpu_standby, CpuStandby),
        warm_pool=_nested(row.warm_pool, WarmPool),
        hold=_nested(row.hold, Hold),
        queued=None if row.waits_for is None else Queued(row.queued_at, row.queue_asked_at, WaitsFor(row.waits_for)),
        registered=_nested(row.registered, Registered),
        beat_generation=row.beat_generation or 0,
        suspicions=() if row.suspicions is None else _required(row.suspicions, tuple[datetime, ...]),
        own=_nested(row.own, Own) or _NOTHING_OWN,
        rest=_nested(row.rest, Rest),
        observed_at=row.observed_at,
    )


@_readable
def failover_from(row: Row[Any], attempts: tuple[AttemptRecord, ...]) -> FailoverRecord:
    return FailoverRecord(
        id=row.id,
        machine=row.machine_id,
        reason=Reason(row.reason),
        setting=Setting(row.setting),
        because=row.because,
        asked_by=row.asked_by,
        command_id=row.command_id,
        evidence=_nested(row.evidence, Evidence),
        old_instance=row.old_instance,
        running=_required(row.running, Running),
        started_at=row.started_at,
        ended_at=row.ended_at,
        success=row.success,
        strategy_succeeded=None if row.strategy_succeeded is None else Rung(row.strategy_succeeded),
        code=row.code,
        why=row.why,
        new=_nested(row.new, Replacement),
        attempts=attempts,
        reserved=row.reserved,
        spent=row.spent,
        acked_at=row.acked_at,
        acked_by=row.acked_by,
        ack_comment=row.ack_comment,
    )


@_readable
def attempt_from(row: Row[Any]) -> AttemptRecord:
    return AttemptRecord(row.number, Rung(row.rung), row.started_at, row.ended_at, row.code, row.why)


def entry_values(entry: Entry) -> Values:
    return {
        "step": entry.step,
        "mark": entry.mark.value,
        "at": entry.at,
        "candidate": entry.candidate,
        "output": plain(entry.output),
        "code": entry.code,
        "why": entry.why,
        "until": entry.until,
    }


@_readable
def entry_from(row: Row[Any]) -> Entry:
    return Entry(
        step=row.step,
        mark=Mark(row.mark),
        at=row.at,
        candidate=row.candidate,
        output=row.output,
        code=row.code,
        why=row.why,
        until=row.until,
    )


def debt_values(debt: Debt) -> Values:
    """All but the id, which the database gives."""
    return {
        "kind": debt.kind.value,
        "machine_id": debt.machine,
        "failover_id": debt.failover,
        "instance": debt.instance,
        "label": debt.label,
        "claimed_at": debt.claimed_at,
        "because": debt.because,
        "tries": debt.tries,
        "due_at": debt.due_at,
        "last_error": debt.last_error,
        "volume": debt.volume,
        "vm": plain(debt.vm),
        "key_id": debt.key,
        "volume_row": debt.row,
    }


@_readable
def debt_from(row: Row[Any]) -> Debt:
    return Debt(
        kind=DebtKind(row.kind),
        machine=row.machine_id,
        failover=row.failover_id,
        instance=row.instance,
        label=row.label,
        claimed_at=row.claimed_at,
        because=row.because,
        id=row.id,
        tries=row.tries,
        due_at=row.due_at,
        last_error=row.last_error,
        volume=row.volume,
        vm=_nested(row.vm, VmPlace),
        key=row.key_id,
        row=row.volume_row,
    )


def volume_values(volume: RegionalVolume) -> Values:
    """All but the number, which the database gives."""
    return {
        "region": volume.region,
        "size_gb": volume.size_gb,
        "status": volume.status.value,
        "created_at": volume.created_at,
        "handle": volume.handle,
        "volume": volume.volume,
        "name": volume.name,
        "machine_id": volume.machine,
        "host": volume.host,
        "label": volume.label,
        "price_per_month": volume.price_per_month,
        "replica_of": volume.replica_of,
        "copied_from": volume.copied_from,
        "copied_at": volume.copied_at,
        "seen": list(volume.seen),
        "command_id": volume.command_id,
    }


@_readable
def volume_from(row: Row[Any]) -> RegionalVolume:
    return RegionalVolume(
        number=row.number,
        region=row.region,
        size_gb=row.size_gb,
        status=VolumeStatus(row.status),
        created_at=row.created_at,
        handle=row.handle,
        volume=row.volume,
        name=row.name,
        machine=row.machine_id,
        host=row.host,
        label=row.label,
        price_per_month=row.price_per_month,
        replica_of=row.replica_of,
        copied_from=row.copied_from,
        copied_at=row.copied_at,
        seen=tuple(row.seen),
        command_id=row.command_id,
    )


def message_values(message: Message) -> Values:
    return {
        "topic": message.topic,
        "key": message.key,
        "value": message.value,
        "headers": plain(message.headers),
        "log_partition": message.partition,
    }


@_readable
def message_from(row: Row[Any]) -> Message:
    headers = msgspec.convert(row.headers, tuple[tuple[str, bytes], ...])
    return Message(row.topic, row.value, row.key, headers, row.log_partition)


_COMMAND_FIELDS = tuple(field.name for field in fields(CommandRow))


def command_values(command: CommandRow) -> Values:
    values = {name: getattr(command, name) for name in _COMMAND_FIELDS}
    return {**values, "body": plain(command.body), "answer": plain(command.answer)}


@_readable
def command_from(row: Row[Any]) -> CommandRow:
    return CommandRow(**{name: getattr(row, name) for name in _COMMAND_FIELDS})


@_readable
def alert_from(row: Row[Any]) -> AlertRecord:
    # `count` is also a method of every row, which is a tuple.
    return AlertRecord(row.key, row.text, row.opened_at, row.repeated_at, row._mapping["count"])


def audit_values(record: AuditRecord) -> Values:
    values = {name: getattr(record, name) for name in _AUDIT_FIELDS}
    return {**values, "detail": plain(record.detail)}


@_readable
def audit_from(row: Row[Any]) -> AuditRecord:
    return AuditRecord(**{name: getattr(row, name) for name in _AUDIT_FIELDS}, number=row.number)


_AUDIT_FIELDS = tuple(field.name for field in fields(AuditRecord) if field.name != "number")


def token_values(record: TokenRecord) -> Values:
    """Its number is the store's to give."""
    values = {name: getattr(record, name) for name in _TOKEN_FIELDS if name != "number"}
    return {**values, "scope": record.scope.value}


@_readable
def token_from(row: Row[Any]) -> TokenRecord:
    return TokenRecord(**{**{name: getattr(row, name) for name in _TOKEN_FIELDS}, "scope": Scope(row.scope)})


_TOKEN_FIELDS = tuple(field.name for field in fields(TokenRecord))
