"""Column types that hold on both databases: aware UTC times, prose from outside, big ids, nested values."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, BigInteger, DateTime, Dialect, Integer, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

from adapters.sql.errors import StoreDamaged


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time, stored in UTC. SQLite keeps no zone at all, so a naive time would change its meaning there."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Raise ValueError for a naive time."""
        if value is None:
            return None
        if value.utcoffset() is None:
            raise ValueError(f"a time without a zone cannot be stored: {value!r}")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)

    def result_processor(self, dialect: Dialect, coltype: object) -> Callable[[Any], datetime | None] | None:
        """Raise StoreDamaged for what is no time."""
        read = super().result_processor(dialect, coltype)
        if read is None:
            return None

        def checked(value: Any) -> datetime | None:
            try:
                return read(value)
            except (ValueError, TypeError) as error:
                raise StoreDamaged(f"{value!r} is stored where a time must be") from error

        return checked


class Prose(TypeDecorator[str]):
    """Text that somebody else wrote (an error, a machine's words): what a database refuses is replaced.

    PostgreSQL takes no NUL and no driver takes a lone surrogate; neither may cost a journal entry.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or (value.isascii() and "\0" not in value):
            return value
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode()


def nested() -> TypeEngine[object]:
    """A nested value as JSON. Not JSONB: nothing is searched inside, and JSONB refuses NUL."""
    return JSON(none_as_null=True)


def serial() -> TypeEngine[int]:
    """The type of a counted primary key: SQLite counts only a plain INTEGER."""
    return BigInteger().with_variant(Integer(), "sqlite")
