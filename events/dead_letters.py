"""Records that could not be read: kept with their bytes, where they came from and why, and made into messages once more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from events import codec
from events.codec import MAX_RECORD_BYTES, Headers, Undecodable
from events.topics import Message

_OURS = "x-dlq-"
_FIRST_AT = "x-failoverd-first-at"
"""Of a replayed record: when its original was written, in milliseconds."""
_MOST_HEADERS = 32 * 1024
"""Bytes of the original's headers that are kept."""


class Original(Protocol):
    """The parts of a log record that a dead letter keeps."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A letter, read back from the topic."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    """Of the original, in milliseconds; -1 where it was not kept."""
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    """The original's own."""
    code: str
    error: str
    at: str | None
    is_whole: bool
    """False where the record was larger than what is kept of one."""

    @property
    def first_at(self) -> int:
        """When it was first written, in milliseconds, however often it was replayed since; -1 where nobody knows."""
        return first_at(self.timestamp, self.headers)

    @property
    def event_id(self) -> str:
        """The id under which the record would have been known."""
        given = codec.header(self.headers, "ce_id")
        return given or codec.record_id(self.topic, self.partition, self.offset, self.timestamp)


def bury(topic: str, record: Original, cause: Undecodable, at: str) -> Message:
    """The letter for the topic of dead letters: the original's bytes, key and headers, and why they were refused."""
    value = record.value
    is_whole = value is None or len(value) <= MAX_RECORD_BYTES
    facts = {
        "topic": record.topic,
        "partition": str(record.partition),
        "offset": str(record.offset),
        "timestamp": str(record.timestamp),
        "error-code": cause.cause,
        "error": cause.text[:500],
        "attempts": str(1 + _attempts(record.headers)),
        "at": at,
        "whole": "true" if is_whole else "false",
    }
    ours = tuple((_OURS + name, text.encode()) for name, text in facts.items())
    kept = value if value is None or is_whole else value[:MAX_RECORD_BYTES]
    # A record without key and value can be appended nowhere.
    return Message(
        topic, b"" if kept is None and record.key is None else kept, record.key, ours + _kept(record.headers)
    )


def _attempts(headers: Headers) -> int:
    found = codec.header(headers, _OURS + "attempts") or "0"
    return int(found) if found.isascii() and found.isdigit() and len(found) < 6 else 0


def _kept(headers: Headers) -> tuple[tuple[str, bytes], ...]:
    """The original's headers, without those of an earlier burial, as far as they have a sane size."""
    own = tuple((name, value) for name, value in headers if not name.startswith(_OURS) and value is not None)
    return own if sum(len(name) + len(value) for name, value in own) <= _MOST_HEADERS else ()


def read(record: Original) -> DeadLetter:
    """A record of the topic of dead letters; one that another program wrote there lacks what it lacks."""
    facts = {name.removeprefix(_OURS): value for name, value in record.headers if name.startswith(_OURS)}

    def text(name: str) -> str | None:
        found = facts.get(name)
        return None if found is None else found.decode("utf-8", "replace")

    return DeadLetter(
        topic=text("topic") or "",
        partition=_number(text("partition")),
        offset=_number(text("offset")),
        timestamp=_number(text("timestamp")),
        key=record.key,
        value=record.value,
        headers=tuple((name, value) for name, value in record.headers if not name.startswith(_OURS)),
        code=text("error-code") or "unknown",
        error=text("error") or "",
        at=text("at"),
        is_whole=text("whole") != "false" and len(record.value or b"") <= MAX_RECORD_BYTES,
    )


def _number(text: str | None) -> int:
    is_number = text is not None and text.isascii() and text.isdigit() and len(text) < 19
    return int(text) if is_number and text is not None else -1


def first_at(timestamp: int, headers: Headers) -> int:
    """When a record was first written, in milliseconds: a replay makes nothing younger."""
    original = _number(codec.header(headers, _FIRST_AT))
    return original if 0 <= original < timestamp else timestamp


def once_more(letter: DeadLetter) -> Message:
    """The original value for its original topic, under its original id, so that it has one effect however often it comes,
    and with its original time, so that it lives no longer."""
    headers = tuple((name, value) for name, value in letter.headers if name != _FIRST_AT)
    headers = (*headers, (_FIRST_AT, str(letter.first_at).encode()))
    if codec.header(headers, "ce_id") is None:
        headers = (*headers, ("ce_id", letter.event_id.encode()))
    return Message(letter.topic, letter.value, letter.key, headers)
