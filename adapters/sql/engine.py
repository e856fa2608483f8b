"""The engine of a database URL, and everything that differs between SQLite and PostgreSQL.

SQLite: WAL with synchronous=FULL, because a decision must survive a power cut (facts/performance.md, section 7), and
BEGIN IMMEDIATE, because a transaction that reads before it writes cannot take the write lock later without failing.
PostgreSQL: bounded waits; a lost server is noticed when a connection is taken, not in the middle of a decision.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from sqlalchemy import URL, Connection, Engine, QueuePool, StaticPool, create_engine, event, make_url
from sqlalchemy import exc as sa_exc

from adapters.sql.errors import StoreDamaged, StoreUnavailable

_BEGIN = "BEGIN IMMEDIATE"
_SCHEMA_LOCK = 0x6661696C6F766572
"""An arbitrary number, the same in every replica: who upgrades the schema holds PostgreSQL's advisory lock on it."""

_NOTICE_A_DEAD_SERVER = {
    "keepalives_idle": 5,
    "keepalives_interval": 3,
    "keepalives_count": 3,
    "tcp_user_timeout": 14_000,
}
"""A server whose machine has gone says nothing: without these a statement would wait for it for hours."""


def make_engine(url: str, wait_s: float = 5.0, foreign_keys: bool = True) -> Engine:
    """`wait_s` bounds the wait for another writer. Migrations that rebuild a table need `foreign_keys` off."""
    parsed = _with_driver(make_url(url))
    if parsed.get_backend_name() == "sqlite":
        return _sqlite(parsed, wait_s, foreign_keys)
    return _postgresql(parsed, wait_s)


def is_in_memory(url: str) -> bool:
    parsed = make_url(url)
    return parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:")


def lock_schema(connection: Connection) -> None:
    """One upgrade at a time; SQLite's write transaction is such a lock already."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_SCHEMA_LOCK})")


DATABASE_ERRORS = (sa_exc.TimeoutError, sa_exc.DBAPIError)
"""What SQLAlchemy makes of a failed statement, whosever fault it is."""


def named(error: Exception) -> StoreUnavailable | None:
    """What an outage, a lock or a full disk has made of a statement; None for a bug."""
    if isinstance(error, sa_exc.TimeoutError):
        return StoreUnavailable(f"no connection to the database became free: {error}")
    if isinstance(error, sa_exc.DBAPIError) and _is_damage(error):
        return StoreDamaged(str(error.orig))
    if isinstance(error, sa_exc.DBAPIError) and _is_outage(error):
        return StoreUnavailable(f"the database is not available: {error.orig}")
    return None


@contextmanager
def outages_named() -> Iterator[None]:
    """Raise StoreUnavailable for an outage."""
    try:
        yield
    except DATABASE_ERRORS as error:
        outage = named(error)
        if outage is None:
            raise
        raise outage from error


def _is_outage(error: sa_exc.DBAPIError) -> bool:
    if error.connection_invalidated:
        return True
    if isinstance(error.orig, sqlite3.Error):
        # SQLITE_ERROR is a statement that makes no sense here.
        code = getattr(error.orig, "sqlite_errorcode", sqlite3.SQLITE_CANTOPEN) & 0xFF
        never = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_MISUSE, sqlite3.SQLITE_MISMATCH)
        return not isinstance(error, sa_exc.IntegrityError | sa_exc.ProgrammingError) and code not in never
    # A server that is read-only (a replica, or a disk that its operator protects) is no operational error for the driver.
    return isinstance(error, sa_exc.OperationalError) or getattr(error.orig, "sqlstate", None) == _READ_ONLY


def _is_damage(error: sa_exc.DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", 0) & 0xFF
    return code in _SQLITE_DAMAGE or getattr(error.orig, "sqlstate", None) in _POSTGRES_DAMAGE


_SQLITE_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_POSTGRES_DAMAGE = ("XX001", "XX002")
_READ_ONLY = "25006"


def _with_driver(url: URL) -> URL:
    """`postgres://` and `postgresql://` mean the driver that we ship."""
    if url.drivername in ("postgres", "postgresql"):
        return url.set(drivername="postgresql+psycopg")
    return url


def _to_json(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _from_json(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise StoreDamaged(f"a stored value is no JSON: {error}") from error


def _sqlite(url: URL, wait_s: float, foreign_keys: bool) -> Engine:
    in_memory = is_in_memory(url.render_as_string(hide_password=False))
    engine = create_engine(
        url,
        # A database in memory lives as long as its one connection.
        poolclass=StaticPool if in_memory else QueuePool,
        connect_args={"timeout": wait_s, "check_same_thread": False},
        **({} if in_memory else {"pool_timeout": wait_s}),
        json_serializer=_to_json,
        json_deserializer=_from_json,
    )

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by its own rules; we begin them (SQLAlchemy's documentation, pysqlite).
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", f"foreign_keys={'ON' if foreign_keys else 'OFF'}"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        # Without SQLAlchemy's own execution, which would cost more than the statement.
        try:
            connection.connection.driver_connection.execute(_BEGIN).close()  # type: ignore[union-attr]
        except sqlite3.OperationalError as error:
            raise sa_exc.OperationalError(_BEGIN, None, error) from error

    return engine


def _postgresql(url: URL, wait_s: float) -> Engine:
    milliseconds = int(wait_s * 1000)
    bounds = f"-c lock_timeout={milliseconds} -c idle_in_transaction_session_timeout=5000 -c timezone=UTC"
    return create_engine(
        url,
        pool_pre_ping=True,
        pool_timeout=wait_s,
        connect_args={
            "connect_timeout": max(2, round(wait_s)),
            "options": bounds,
            "application_name": "failoverd",
            **_NOTICE_A_DEAD_SERVER,
        },
        json_serializer=_to_json,
        json_deserializer=_from_json,
    )
