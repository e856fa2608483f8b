"""Bytes <-> events: CloudEvents 1.0.2 in binary mode, kind to a bare JSON value from a hand-typed producer.

Undecodable keeps the bytes for the dead-letter topic.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeGuard, TypeVar

import msgspec

from events.schema import (
    Command,
    CommandResult,
    FailoverChanged,
    FailoverObserved,
    FromMachine,
    Heartbeat,
    MachineChanged,
    Tick,
)
from events.topics import Message

Headers = Sequence[tuple[str, bytes]]
T = TypeVar("T")

MAX_RECORD_BYTES = 64 * 1024
"""A heartbeat has 150 bytes and a command a few hundred; whatever is larger is no event of ours."""

TICK_HEADER = ("failoverd-tick", b"1")
TYPES: dict[type, str] = {
    Heartbeat: "io.failoverd.machine.heartbeat.v1",
    Command: "io.failoverd.command.v1",
    CommandResult: "io.failoverd.command.result.v1",
    MachineChanged: "io.failoverd.machine.changed.v1",
    FailoverChanged: "io.failoverd.failover.changed.v1",
    FailoverObserved: "io.failoverd.failover.observed.v1",
}
NUL = re.compile(rb"\x00|(?<!\\)(?:\\\\)*\\u0000")
"""Itself, or as JSON writes it; a backslash that is itself escaped begins no such thing. PostgreSQL keeps none in a text, so
what holds one is refused before it gets that far."""


_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def not_text(value: bytes) -> str | None:
    """What in the record, which may be JSON, no store and no other program takes for text; None where nothing is."""
    if NUL.search(value) is not None:
        return "a NUL character (\\u0000)"
    if _SURROGATE.search(value) is None:
        return None
    try:
        json.dumps(json.loads(value), ensure_ascii=False).encode()  # Reading joins what is a pair.
    except UnicodeEncodeError:
        return "half a surrogate pair (\\ud800 to \\udfff)"
    except (ValueError, RecursionError):
        return None  # It is no JSON, and refused for that.
    return None


class Undecodable(Exception):
    """The record is no event that this version knows; `cause` is short and stable, the text is for people."""

    def __init__(self, cause: str, text: str) -> None:
        super().__init__(f"{cause}: {text}")
        self.cause = cause
        self.text = text


_machine_decoder = msgspec.json.Decoder(FromMachine)
_heartbeat_decoder = msgspec.json.Decoder(Heartbeat)
_tick_decoder = msgspec.json.Decoder(Tick)
_command_decoder = msgspec.json.Decoder(Command)
_encoder = msgspec.json.Encoder()


def decode_from_machine(value: bytes | None) -> FromMachine:
    """A heartbeat or a notice; a value without `kind` is a heartbeat. Raise Undecodable."""
    if value is None or len(value) > MAX_RECORD_BYTES:
        raise _no_event(value)
    _refuse_what_is_not_text(value)
    try:
        event = _machine_decoder.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if '"kind"' in value.decode("utf-8", "replace"):
            raise Undecodable("malformed", str(error)) from error
        event = _decode(_heartbeat_decoder, value)
    return _checked(event)


def _refuse_what_is_not_text(value: bytes) -> None:
    found = not_text(value)
    if found is not None:
        raise Undecodable("invalid", f"it holds {found}, which no text may have")


def _checked(event: FromMachine) -> FromMachine:
    if event.machine_id < 0 or event.machine_id >= 1 << 62 or not 0 <= event.instance_id < 1 << 62:
        raise Undecodable("invalid", "machine_id and instance_id must be whole numbers from 0 to 2^62")
    if isinstance(event, Heartbeat) and not (0 <= event.sequence < 1 << 62 and 0.05 <= event.interval_s <= 86400):
        raise Undecodable("invalid", "sequence must not be negative, interval_s must lie between 0.05 and 86400")
    return event


def decode_tick(value: bytes | None) -> Tick:
    """Raise Undecodable."""
    if value is None:
        raise _no_event(value)
    return _decode(_tick_decoder, value)


class Envelope(msgspec.Struct, frozen=True):
    """A CloudEvent in structured mode: what the headers say otherwise stands in the value, around the data."""

    specversion: str
    id: str
    source: str
    type: str
    data: msgspec.Raw
    subject: str | None = None
    time: str | None = None


_envelope_decoder = msgspec.json.Decoder(Envelope)


def unwrapped(value: bytes | None, headers: Headers) -> tuple[bytes | None, Headers]:
    """The data and the headers of a record in structured mode as if it were in binary mode; any other as it is."""
    if value is None or len(value) > MAX_RECORD_BYTES or b'"specversion"' not in value:
        return value, headers
    try:
        found = _envelope_decoder.decode(value)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return value, headers  # Whoever decodes it says what is wrong.
    named = {"ce_id": found.id, "ce_source": found.source, "ce_type": found.type, "ce_subject": found.subject}
    own = tuple((name, text.encode("utf-8", "replace")) for name, text in named.items() if text is not None)
    return bytes(found.data), (*own, *headers)


def decode_command(value: bytes | None, headers: Headers = ()) -> Command:
    """A command by CloudEvents headers or bare; the `ce_id` header stands in for a missing command_id.

    Raise Undecodable, naming the field.
    """
    if value is None or len(value) > MAX_RECORD_BYTES:
        raise _no_event(value)
    _refuse_what_is_not_text(value)
    command = _decode(_command_decoder, value)
    if command.command_id is None:
        given = header(headers, "ce_id")
        if given:
            command = msgspec.structs.replace(command, command_id=given)
    return _checked_command(command)


def _checked_command(command: Command) -> Command:
    """Raise Undecodable where a number or an id is larger than every part of the system can hold."""
    for name in ("machine_id", "gpu_instance_id"):
        number = getattr(command, name)
        if number is not None and not 0 <= number < 1 << 62:
            raise Undecodable("invalid", f"it must be a whole number from 0 to 2^62 - at `$.{name}`")
    if command.command_id is not None and not _is_an_id(command.command_id):
        raise Undecodable("invalid", "it must be 1 to 200 printable characters - at `$.command_id`")
    return command


@dataclass(frozen=True, slots=True)
class Remains:
    """What can be read of a command that cannot be taken: enough to answer it."""

    command_id: str
    command: str
    machine_id: int | None
    field: str | None
    """Which field is at fault, where that is known."""


def remains_of(value: bytes | None, headers: Headers, cause: Undecodable) -> Remains | None:
    """None where no id can be read: then nobody can be answered. Never raises."""
    found = _object(value)
    given = found.get("command_id", header(headers, "ce_id"))
    command_id = given if _is_an_id(given) else header(headers, "ce_id")
    if not _is_an_id(command_id):
        return None
    command, machine_id = found.get("command"), found.get("machine_id")
    return Remains(
        command_id,
        command if _is_an_id(command) else "",
        machine_id if type(machine_id) is int and 0 <= machine_id < 1 << 62 else None,
        _field_named(cause.text),
    )


def _object(value: bytes | None) -> dict[str, Any]:
    """As much as Python's own parser takes: it knows numbers that ours refuses (1e400)."""
    try:
        found = json.loads(value or b"") if len(value or b"") <= MAX_RECORD_BYTES else None
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_an_id(text: object) -> TypeGuard[str]:
    """Something that every store and every log can hold."""
    return isinstance(text, str) and 0 < len(text) <= 200 and text.isprintable()


def _field_named(text: str) -> str | None:
    """As msgspec names it: "… - at `$.machine_id`", or "… unknown field `foo`"."""
    found = re.search(r"unknown field `([^`]+)`|at `\$\.([\w.\[\]]+)`", text)
    return None if found is None else found[1] or found[2]


def _decode(decoder: msgspec.json.Decoder[T], value: bytes) -> T:
    try:
        return decoder.decode(value)
    except msgspec.ValidationError as error:
        raise Undecodable("invalid", str(error)) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Undecodable("malformed", str(error)) from error


def _no_event(value: bytes | None) -> Undecodable:
    if value is None:
        return Undecodable("empty", "the record has no value")
    return Undecodable("too_large", f"{len(value)} bytes; at most {MAX_RECORD_BYTES} are read")


def header(headers: Headers, name: str) -> str | None:
    """The first header of that name, as text."""
    for key, value in headers:
        if key == name:
            return value.decode("utf-8", "replace")
    return None


def is_tick(key: bytes | None, headers: Headers) -> bool:
    """Ticks are known before decoding: no key, and our header."""
    return key is None and any(name == TICK_HEADER[0] for name, _ in headers)


def encode(event: object) -> bytes:
    """The event's JSON value."""
    return _encoder.encode(event)


def message(topic: str, event: msgspec.Struct, *, key: int | None, event_id: str, source: str, time: str) -> Message:
    """An event as a CloudEvents record. `event_id` is unique within the source; `time` is ISO 8601."""
    kind = TYPES.get(type(event), "io.failoverd.event.v1")
    headers = [
        ("content-type", b"application/json"),
        ("ce_specversion", b"1.0"),
        ("ce_id", event_id.encode()),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        ("ce_time", time.encode()),
    ]
    if key is not None:
        headers.append(("ce_subject", str(key).encode()))
    return Message(topic, encode(event), str(key).encode() if key is not None else None, tuple(headers))


def tick_message(topic: str, partition: int, tick: Tick) -> Message:
    """Null key, explicit partition: a tick belongs to a partition and not to a machine."""
    return Message(topic, encode(tick), None, (TICK_HEADER,), partition)


def record_id(topic: str, partition: int, offset: int, timestamp: int) -> str:
    """Without an id of its own, an event is known by its place in the log."""
    return f"{topic}-{partition}-{offset}-{timestamp}"
