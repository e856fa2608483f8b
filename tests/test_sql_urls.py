"""Databases for the tests of the store, each empty and at the newest schema; and what a URL means.

PostgreSQL joins where FAILOVERD_TEST_POSTGRES names a server on which databases may be made:
`postgresql://user@host:port/database`.
"""

from __future__ import annotations

import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import make_url, text

from adapters.sql import SqlStore, StoreUnavailable, current, upgrade
from adapters.sql.engine import make_engine
from adapters.sql.migration import HEAD
from machines.model import Endpoint, FailoverId, InstanceId, Machine, MachineId, Reason, Rung, Running

POSTGRES_VARIABLE = "FAILOVERD_TEST_POSTGRES"
DATABASES = ("sqlite", "postgresql") if os.environ.get(POSTGRES_VARIABLE) else ("sqlite",)

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_machine(number: int = 1, **changes: Any) -> Machine:
    values: dict[str, Any] = {"primary": InstanceId(1000 + number), "ssh": Endpoint("h", 22), "since": NOW, **changes}
    return Machine(MachineId(number), f"m{number}", **values)


def a_running(name: str = "fo_1", reason: Reason = Reason.HEARTBEAT_LOST, fence: int = 1) -> Running:
    return Running(FailoverId(name), reason, (Rung.WARM_POOL, Rung.CPU_STANDBY), 0, NOW, fence)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """The URL of a new database at the newest schema; removed at the end."""
    if kind == "sqlite":
        path = folder / f"store-{secrets.token_hex(4)}.db"
        path.write_bytes(_migrated_file())
        yield f"sqlite:///{path}"
        return
    name = f"failoverd_test_{secrets.token_hex(4)}"
    server = os.environ[POSTGRES_VARIABLE]
    url = make_url(server).set(database=name).render_as_string(hide_password=False)
    _on_server(server, f'CREATE DATABASE "{name}"')
    try:
        upgrade(url)
        yield url
    finally:
        _on_server(server, f'DROP DATABASE "{name}" WITH (FORCE)')


@contextmanager
def opened(kind: str, folder: Path, wait_s: float = 5.0) -> Iterator[SqlStore]:
    with database(kind, folder) as url:
        store = SqlStore(url, wait_s)
        try:
            yield store
        finally:
            store.close()


@cache
def _migrated_file() -> bytes:
    """Migrated once per run: the same bytes are every test's empty database."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()


def _on_server(server: str, statement: str) -> None:
    engine = make_engine(server)
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(statement))
    engine.dispose()


@pytest.mark.parametrize("kind", DATABASES)
def test_a_new_database_is_at_the_newest_schema(kind: str, tmp_path: Path) -> None:
    with database(kind, tmp_path) as url:
        assert current(url) == HEAD


def test_a_sqlite_file_is_durable_at_every_commit(tmp_path: Path) -> None:
    engine = make_engine(f"sqlite:///{tmp_path}/store.db", wait_s=1.5)
    with engine.connect() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    engine.dispose()
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 1500}


def test_a_file_that_cannot_be_opened_is_an_outage(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/no-such-folder/store.db"
    store = SqlStore(url)
    with pytest.raises(StoreUnavailable, match="unable to open"), store.transaction() as tx:
        tx.machines()
    store.close()
    with pytest.raises(StoreUnavailable):
        upgrade(url)


def test_a_file_that_is_no_database_is_an_outage(tmp_path: Path) -> None:
    (tmp_path / "store.db").write_bytes(b"certainly not a database" * 100)
    store = SqlStore(f"sqlite:///{tmp_path}/store.db")
    with pytest.raises(StoreUnavailable, match="not a database"), store.transaction() as tx:
        tx.machines()
    store.close()
