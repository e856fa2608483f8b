"""What a database URL means; and the nouns that the tests of the store put into one."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.sql import SqlStore, StoreUnavailable, current, upgrade
from adapters.sql.engine import make_engine
from adapters.sql.migration import HEAD
from machines.model import Endpoint, FailoverId, InstanceId, Machine, MachineId, Reason, Rung, Running

NOW = datetime(2026, 3, 1, 12, 0, 0, 123456, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def a_machine(number: int = 1, **changes: Any) -> Machine:
    values: dict[str, Any] = {"primary": InstanceId(1000 + number), "ssh": Endpoint("h", 22), "since": NOW, **changes}
    return Machine(MachineId(number), f"m{number}", **values)


def a_running(name: str = "fo_1", reason: Reason = Reason.HEARTBEAT_LOST, fence: int = 1) -> Running:
    return Running(FailoverId(name), reason, (Rung.WARM_POOL, Rung.CPU_STANDBY), 0, NOW, fence)


def test_a_new_database_is_at_the_newest_schema(database_url: str) -> None:
    assert current(database_url) == HEAD


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
