"""The store when things break: killed processes, a held database, cancelled callers."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.exc import SQLAlchemyError

from adapters.sql import SqlStore, Store, StoreUnavailable, Tx
from events.topics import Message
from machines.errors import Stale
from machines.model import Machine, MachineId
from tests.test_sql_urls import a_machine


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    store = SqlStore(database_url)
    yield store
    store.close()


KILLED = """
import os, signal, sys
from dataclasses import replace
from adapters.sql import SqlStore
from events.topics import Message
from machines.model import Machine, MachineId

store = SqlStore(sys.argv[1])
with store.transaction() as tx:
    committed = tx.insert_machine(Machine(MachineId(1), "m1"))
    tx.post([Message("events", b"committed")])
with store.transaction() as tx:
    tx.save_machine(replace(committed, because="never"))
    tx.insert_machine(Machine(MachineId(2), "m2"))
    tx.post([Message("events", b"never")])
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_keeps_what_it_committed_and_nothing_else(database_url: str, store: SqlStore) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, database_url], cwd=Path(__file__).parent.parent, check=False)
    assert killed.returncode == -signal.SIGKILL
    with store.transaction() as tx:
        assert tx.machines() == [Machine(MachineId(1), "m1")]
        assert [message.value for _, message in tx.unsent(10)] == [b"committed"]
        # The dead process holds no lock.
        tx.save_machine(Machine(MachineId(1), "m1"))


def test_a_held_machine_is_an_outage_and_all_is_well_afterwards(database_url: str, store: SqlStore) -> None:
    impatient = SqlStore(database_url, wait_s=0.05)
    machine = store.transact(lambda tx: tx.insert_machine(a_machine(1)))

    def save_late(tx: Tx) -> Machine:
        tx.insert_machine(a_machine(2))
        return tx.save_machine(replace(machine, because="late"))

    with store.transaction() as tx:
        held = tx.save_machine(replace(machine, because="held"))
        with pytest.raises(StoreUnavailable):
            impatient.transact(save_late)
    assert impatient.transact(lambda tx: tx.machines()) == [held]
    saved = impatient.transact(lambda tx: tx.save_machine(replace(held, because="after")))
    assert store.transact(lambda tx: tx.machines()) == [saved]
    impatient.close()


def test_a_statement_that_makes_no_sense_is_no_outage(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/without-a-schema.db")
    with pytest.raises(SQLAlchemyError, match="no such table"):
        store.transact(lambda tx: tx.machines())
    store.close()


@pytest.mark.parametrize("inline", [False, True])
async def test_work_runs_in_one_transaction_and_its_errors_come_through(database_url: str, inline: bool) -> None:
    store = Store(SqlStore(database_url), inline=inline)
    machine = await store.transact(lambda tx: tx.insert_machine(a_machine(1)))

    def save_twice(tx: Tx) -> None:
        tx.save_machine(machine)
        tx.save_machine(machine)

    with pytest.raises(Stale):
        await store.transact(save_twice)
    assert await store.transact(lambda tx: tx.machines()) == [machine]
    await store.close()
    await store.close()
    with pytest.raises(StoreUnavailable):
        await store.transact(lambda tx: tx.machines())


async def test_inline_work_runs_in_the_callers_thread(database_url: str) -> None:
    inline, threaded = Store(SqlStore(database_url), inline=True), Store(SqlStore(database_url))
    assert await inline.transact(lambda tx: threading.get_ident()) == threading.get_ident()
    assert await threaded.transact(lambda tx: threading.get_ident()) != threading.get_ident()
    await inline.close()
    await threaded.close()


async def test_a_cancelled_caller_leaves_no_half_transaction(database_url: str) -> None:
    store = Store(SqlStore(database_url))
    begun, go_on = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        tx.insert_machine(a_machine(1))
        begun.set()
        assert go_on.wait(10)
        tx.post([Message("events", b"told")])

    caller = asyncio.create_task(store.transact(slow))
    assert await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    both = await store.transact(lambda tx: (len(tx.machines()), len(tx.unsent(10))))
    assert both == (1, 1)
    await store.close()


async def test_closing_waits_for_what_was_asked_before(database_url: str) -> None:
    store = Store(SqlStore(database_url))

    def insert(number: int) -> Callable[[Tx], Machine]:
        return lambda tx: tx.insert_machine(a_machine(number))

    asked = [asyncio.create_task(store.transact(insert(number))) for number in range(1, 20)]
    await asyncio.wait(asked[:1])
    await store.close()
    await asyncio.gather(*asked)
    again = SqlStore(database_url)
    assert len(again.transact(lambda tx: tx.machines())) == 19
    again.close()


def test_a_store_in_memory_is_complete_and_its_own() -> None:
    one, other = SqlStore.in_memory(), SqlStore.in_memory()
    with one.transaction() as tx:
        tx.insert_machine(a_machine(1))
        assert tx.pause() is None
    with pytest.raises(Stale):
        one.transact(lambda tx: (tx.remove_machine(MachineId(1)), tx.save_machine(a_machine(1))))
    assert one.transact(lambda tx: tx.machines()) == [a_machine(1)]
    assert other.transact(lambda tx: tx.machines()) == []
    one.close()
    other.close()
