"""The store when its ground gives way: full, read-only, damaged, without a connection, and silent after a commit."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg
import pytest
import structlog
from sqlalchemy import event, make_url, text

from adapters.sql import SqlStore, StoreUnavailable, Tx, upgrade
from adapters.sql.errors import StoreDamaged
from adapters.sql.migration import check
from daemon.store_watch import StoreWatch
from machines.errors import Stale
from machines.model import Machine, MachineId
from tests.servers import databases
from tests.servers.fault_proxy import FaultProxy
from tests.servers.small_disk import small_disk
from tests.test_api_stage import StillClock
from tests.test_sql_urls import a_machine


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    store = SqlStore(database_url, wait_s=0.5)
    yield store
    store.close()


def save(store: SqlStore, machine: Machine, because: str) -> Machine:
    return store.transact(lambda tx: tx.save_machine(replace(machine, because=because)))


def stored(store: SqlStore) -> list[str]:
    return [machine.because for machine in store.transact(lambda tx: tx.machines())]


# -- read-only


def set_read_only(store: SqlStore, url: str, is_read_only: bool) -> None:
    """Under the open connections: SQLite by a pragma, PostgreSQL as an operator or a failover to a replica does it."""
    word = "on" if is_read_only else "off"
    if not store.is_shared:
        with store._engine.connect() as connection:
            connection.connection.driver_connection.execute(f"PRAGMA query_only={word}").close()  # type: ignore[union-attr]
            return
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as operator:
        operator.execute("SET default_transaction_read_only=off")
        name = make_url(url).database
        operator.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only={word}')
        # A session takes the setting at its beginning.
        operator.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND pid <> pg_backend_pid()",
            (name,),
        )


def test_a_read_only_database_is_an_outage_and_changes_nothing(database_url: str, store: SqlStore) -> None:
    """On PostgreSQL it once passed for a bug of ours, and ended the daemon."""
    machine = store.transact(lambda tx: tx.insert_machine(a_machine(1)))
    set_read_only(store, database_url, True)
    for _ in range(3):
        with pytest.raises(StoreUnavailable, match=r"read-?only"):
            save(store, machine, "in vain")
    set_read_only(store, database_url, False)
    assert save(store, machine, "afterwards").version == machine.version + 1
    assert stored(store) == ["afterwards"]


# -- a full disk


def test_a_file_that_may_not_grow_is_an_outage_and_keeps_what_it_has(tmp_path: Path) -> None:
    store = SqlStore(databases.new_file(tmp_path))
    machine = store.transact(lambda tx: tx.insert_machine(a_machine(1)))
    driver = store.driver()
    (pages,) = driver.execute("PRAGMA page_count").fetchone()
    driver.execute(f"PRAGMA max_page_count={pages}").close()
    with pytest.raises(StoreUnavailable, match="full"):
        save(store, machine, "x" * 1_000_000)
    assert stored(store) == [machine.because]
    driver.execute(f"PRAGMA max_page_count={pages + 1000}").close()
    save(store, machine, "x" * 1_000_000)
    store.close()


def test_a_full_disk_is_an_outage_and_all_is_well_when_there_is_room(tmp_path: Path) -> None:
    with small_disk(tmp_path) as disk:
        store = SqlStore(databases.new_file(tmp_path))
        machine = store.transact(lambda tx: tx.insert_machine(a_machine(1)))
        disk.fill()
        failures = 0
        for number in range(200):
            # What still fits into the log's last page may be written: then it is written whole.
            try:
                machine = save(store, machine, f"{number} {'x' * 4000}")
            except StoreDamaged:
                raise
            except StoreUnavailable:
                failures += 1
        assert failures > 100
        assert store.transact(lambda tx: tx.machines()) == [machine]
        disk.free()
        machine = save(store, machine, "afterwards")
        store.close()
        again = SqlStore(f"sqlite:///{next(tmp_path.glob('*.db'))}")
        assert again.transact(lambda tx: tx.machines()) == [machine]
        again.close()


# -- damage


def damaged(url: str, pages: range | None = None, by: bytes = b"\xa5") -> Path:
    """Some pages of the file are overwritten, as by a disk that lies; where none are named, all but the first."""
    file = Path(make_url(url).database or "")
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    size, content = 4096, bytearray(file.read_bytes())
    for page in pages or range(1, len(content) // size):
        content[page * size : (page + 1) * size] = by * size
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("by", [b"\xa5", b"\0"], ids=["garbage", "zeros"])
def test_a_damaged_page_is_never_read_as_an_answer(tmp_path: Path, by: bytes) -> None:
    url = databases.new_file(tmp_path)
    store = SqlStore(url)
    store.transact(lambda tx: [tx.insert_machine(a_machine(number)) for number in range(1, 200)])
    store.close()
    check(url)
    damaged(url, by=by)
    with pytest.raises(StoreDamaged):
        check(url)
    store = SqlStore(url)
    with pytest.raises(StoreDamaged):
        store.transact(lambda tx: tx.machines())
    store.close()


def test_after_a_damaged_page_nothing_of_the_file_is_believed_any_more(tmp_path: Path) -> None:
    """Also what stands on pages that can be read: half of the truth is none."""
    url = databases.new_file(tmp_path)
    store = SqlStore(url)
    store.transact(lambda tx: [tx.insert_machine(a_machine(number)) for number in range(1, 200)])
    with store._engine.connect() as connection:
        root = connection.execute(text("SELECT rootpage FROM sqlite_schema WHERE name = 'machines'")).scalar_one()
    store.close()
    damaged(url, range(root - 1, root))
    store = SqlStore(url)
    assert store.transact(lambda tx: tx.open_debts()) == []
    with pytest.raises(StoreDamaged):
        store.transact(lambda tx: tx.machines())
    with pytest.raises(StoreDamaged):
        store.transact(lambda tx: tx.open_debts())
    with pytest.raises(StoreDamaged), store.transaction():
        pass
    store.close()


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("state", "'asleep'"),
        ("workload", "'{\"image'"),
        ("workload", '\'{"disk_gb": "wide"}\''),
        ("since", "'noon'"),
        ("ssh", "'7'"),
    ],
)
def test_a_row_of_which_no_machine_can_be_made_is_an_outage(tmp_path: Path, column: str, value: str) -> None:
    store = SqlStore(databases.new_file(tmp_path))
    store.transact(lambda tx: [tx.insert_machine(a_machine(number)) for number in (1, 2)])
    store.driver().execute(f"UPDATE machines SET {column} = {value} WHERE id = 2").close()
    with pytest.raises(StoreDamaged):
        store.transact(lambda tx: tx.machines())
    # The others are as they were: only what cannot be read is not judged.
    assert store.transact(lambda tx: tx.machine(MachineId(1))) == a_machine(1)
    store.close()


def test_the_daemon_refuses_to_start_on_a_damaged_database_and_names_the_remedy(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'failoverd.db'}"
    upgrade(url)
    for harm in (lambda: damaged(url), lambda: (tmp_path / "failoverd.db").write_bytes(b"no database at all" * 500)):
        harm()
        run = subprocess.run(
            [sys.executable, "-m", "daemon.cli", "run", "--http-port", "0"],
            cwd=Path(__file__).parent.parent,
            env={
                "FAILOVERD_STATE_DIR": str(tmp_path / "state"),
                "FAILOVERD_DATABASE": url,
                "FAILOVERD_VAST__API_KEY": "k",
            },
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 2, run.stderr
        assert "database: the database is damaged" in run.stderr
        assert "remedy: stop failoverd, keep a copy of the database, and restore a backup" in run.stderr
        assert "Traceback" not in run.stderr


# -- no connection, and no answer


def test_a_pool_without_a_free_connection_is_an_outage(store: SqlStore) -> None:
    taken = [store._engine.raw_connection() for _ in range(15)]
    with pytest.raises(StoreUnavailable, match="no connection"):
        store.transact(lambda tx: tx.machines())
    for connection in taken:
        connection.close()
    assert store.transact(lambda tx: tx.machines()) == []


def test_a_server_that_takes_no_more_clients_is_an_outage(postgres_server: str) -> None:
    with databases.on_server(postgres_server) as url, psycopg.connect(postgres_server, autocommit=True) as operator:
        name, role = make_url(url).database, databases.new_name()
        operator.execute(f'CREATE ROLE "{role}" LOGIN CONNECTION LIMIT 0')
        try:
            operator.execute(f'GRANT ALL ON DATABASE "{name}" TO "{role}"')
            crowded = SqlStore(make_url(url).set(username=role).render_as_string(hide_password=False))
            with pytest.raises(StoreUnavailable, match="too many connections"):
                crowded.transact(lambda tx: tx.machines())
            operator.execute(f'ALTER ROLE "{role}" CONNECTION LIMIT 5')
            with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as owner:
                owner.execute(f'GRANT ALL ON ALL TABLES IN SCHEMA public TO "{role}"')
                assert crowded.transact(lambda tx: tx.machines()) == []
                crowded.close()
                owner.execute(f'DROP OWNED BY "{role}"')
        finally:
            operator.execute(f'DROP ROLE "{role}"')


def test_a_commit_whose_answer_is_lost_has_happened_once(postgres_server: str) -> None:
    """The wire is silent from the commit on, and is cut then: whoever tries again is told that the row has changed."""
    with databases.on_server(postgres_server) as url:
        parsed = make_url(url)
        proxy = FaultProxy(parsed.port or int(str(parsed.query.get("port", 5432))))
        try:
            through = parsed.set(host="127.0.0.1", port=proxy.port, query={})
            store = SqlStore(through.render_as_string(hide_password=False), wait_s=1.0)
            direct = SqlStore(url)
            machine = store.transact(lambda tx: tx.insert_machine(a_machine(1)))

            @event.listens_for(store._engine, "commit", once=True)
            def _silent(connection: Any) -> None:
                proxy.silence(up=False, down=True)

            cut = threading.Timer(1.0, proxy.cut)
            cut.start()
            with pytest.raises(StoreUnavailable):
                save(store, machine, "once")
            cut.join()
            proxy.clear()
            assert stored(direct) == ["once"]
            with pytest.raises(Stale):
                save(store, machine, "twice")
            assert stored(store) == ["once"]
            store.close()
            direct.close()
        finally:
            proxy.close()


# -- what is told


async def test_an_outage_is_told_once_and_its_end_too() -> None:
    clock = StillClock()
    with structlog.testing.capture_logs() as lines:
        watch = StoreWatch(clock)
        for _ in range(50):
            watch.heard(StoreUnavailable("attempt to write a readonly database"))
            watch.heard(None)  # Reads are answered all the while.
            await clock.advance(2)
        assert watch.problem == "attempt to write a readonly database"
        assert watch.down_for_s == 100
        await clock.advance(9)
        watch.heard(None)
        assert watch.problem is None
        watch.heard(StoreDamaged("malformed"))
        assert "restore a backup" in str(watch.problem)
    assert [line["event"] for line in lines] == ["store_unavailable", "store_available_again", "store_unavailable"]


async def test_damage_is_told_also_in_the_middle_of_an_outage() -> None:
    watch = StoreWatch(StillClock())
    watch.heard(StoreUnavailable("locked"))
    watch.heard(StoreDamaged("malformed"))
    watch.heard(StoreUnavailable("locked"))
    assert "the database is damaged: malformed" in str(watch.problem)


def test_a_bug_is_still_no_outage(store: SqlStore) -> None:
    def wrong(tx: Tx) -> None:
        tx._connection.execute(text("SELECT nothing FROM nowhere"))

    with pytest.raises(Exception, match="nowhere") as caught:
        store.transact(wrong)
    assert not isinstance(caught.value, StoreUnavailable)
    assert store.transact(lambda tx: tx.pause()) is None
