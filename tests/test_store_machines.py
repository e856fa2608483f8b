"""Machines in the store: loaded as they were saved, and saved only by who has seen the newest version."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta, timezone

import pytest
from sqlalchemy.exc import StatementError

from adapters.sql import SqlStore, Tx
from machines.errors import Stale
from machines.model import HostId, InstanceId, MachineId, Setting, Standby
from machines.states import State
from tests.test_sql_urls import NOW, a_machine, a_running, at


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def test_a_machine_comes_back_as_it_was_inserted(store: SqlStore) -> None:
    with store.transaction() as tx:
        assert tx.insert_machine(a_machine(1)) == a_machine(1)
    with store.transaction() as tx:
        assert tx.machine(MachineId(1)) == a_machine(1)
        assert tx.machine(MachineId(2)) is None


def test_an_existing_machine_is_not_inserted_again(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.insert_machine(a_machine(1))
        with pytest.raises(Stale):
            tx.insert_machine(a_machine(1, priority=9))
        # The refusal does not spoil the transaction.
        tx.insert_machine(a_machine(2))
    with store.transaction() as tx:
        assert tx.machines() == [a_machine(1), a_machine(2)]


def test_of_two_who_saw_the_same_version_one_saves(database_url: str) -> None:
    with closing(SqlStore(database_url)) as one, closing(SqlStore(database_url)) as other:
        seen = one.transact(lambda tx: tx.insert_machine(a_machine(1)))
        also_seen = other.transact(lambda tx: tx.machine(MachineId(1)))
        assert seen == also_seen
        saved = one.transact(lambda tx: tx.save_machine(replace(seen, because="first")))
        with pytest.raises(Stale):
            other.transact(lambda tx: tx.save_machine(replace(seen, because="second")))
        assert other.transact(lambda tx: tx.machine(MachineId(1))) == saved
        assert (saved.version, saved.because) == (1, "first")


def test_saving_a_machine_that_is_not_there_is_stale(store: SqlStore) -> None:
    with pytest.raises(Stale), store.transaction() as tx:
        tx.save_machine(a_machine(1))


def test_a_failed_transaction_leaves_nothing(store: SqlStore) -> None:
    def work(tx: Tx) -> None:
        tx.insert_machine(a_machine(1))
        tx.save_machine(a_machine(2))

    with pytest.raises(Stale):
        store.transact(work)
    assert store.transact(lambda tx: tx.machines()) == []


def test_a_machine_bears_the_failover_that_it_is_in(store: SqlStore) -> None:
    running = a_running("fo_1")
    with store.transaction() as tx:
        machine = tx.insert_machine(a_machine(1))
        tx.begin_failover(machine, running, Setting.BOTH, "silent", "failoverd", None, None)
        machine = tx.save_machine(replace(machine, failover=running, fence=1))
    moved = replace(running, position=1, attempt=2)
    with store.transaction() as tx:
        assert tx.machine(MachineId(1)) == machine
        machine = tx.save_machine(replace(machine, failover=moved))
    with store.transaction() as tx:
        assert tx.machines() == [machine]
        record = tx.failover(running.id)
        assert record is not None
        assert record.running == moved
        machine = tx.save_machine(replace(machine, failover=None, last_failover=running.id))
    assert store.transact(lambda tx: tx.machine(MachineId(1))) == machine


def test_a_failover_may_be_begun_after_its_machine_is_saved(store: SqlStore) -> None:
    running = a_running("fo_1")
    with store.transaction() as tx:
        machine = tx.insert_machine(a_machine(1))
        machine = tx.save_machine(replace(machine, failover=running))
        tx.begin_failover(machine, running, Setting.BOTH, "silent", "failoverd", None, None)
    assert store.transact(lambda tx: tx.machine(MachineId(1))) == machine


def test_a_machine_in_a_failover_that_was_never_begun_is_not_committed(store: SqlStore) -> None:
    with pytest.raises(LookupError, match="fo_1"), store.transaction() as tx:
        tx.insert_machine(a_machine(1, failover=a_running("fo_1")))
    assert store.transact(lambda tx: tx.machines()) == []


def test_pages_go_on_after_the_last_machine_of_the_page_before(store: SqlStore) -> None:
    with store.transaction() as tx:
        for number in range(1, 6):
            tx.insert_machine(a_machine(number, state=State.FAILED if number % 2 else State.HEALTHY))
        assert [m.id for m in tx.page(None, 2)] == [1, 2]
        assert [m.id for m in tx.page(MachineId(2), 10)] == [3, 4, 5]
        assert [m.id for m in tx.page(MachineId(1), 10, State.FAILED)] == [3, 5]


def test_a_machine_is_found_by_its_primary(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.insert_machine(a_machine(1))
        assert tx.machine_by_primary(InstanceId(1001)) == a_machine(1)
        assert tx.machine_by_primary(InstanceId(1002)) is None


def test_a_machine_is_found_by_its_standby(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.insert_machine(replace(a_machine(1), standby=None))
        named = tx.insert_machine(replace(a_machine(2), standby=Standby(InstanceId(77), HostId(5))))
        assert tx.machine_by_standby(InstanceId(77)) == named
        assert tx.machine_by_standby(InstanceId(1001)) is None


def test_a_machine_in_a_failover_is_not_removed(store: SqlStore) -> None:
    running = a_running()
    with store.transaction() as tx:
        machine = tx.insert_machine(a_machine(1))
        tx.begin_failover(machine, running, Setting.BOTH, "silent", "failoverd", None, None)
        machine = tx.save_machine(replace(machine, failover=running))
        with pytest.raises(Stale):
            tx.remove_machine(MachineId(1))
        tx.end_failover(running.id, True, None, None, None, None, at(60))
        tx.save_machine(replace(machine, failover=None))
        assert tx.remove_machine(MachineId(1))
        assert not tx.remove_machine(MachineId(1))
        assert tx.failover(running.id) is not None


def test_times_come_back_in_utc_from_whatever_zone(store: SqlStore) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=5, minutes=30)))
    with store.transaction() as tx:
        tx.insert_machine(a_machine(1, look_at=there))
    found = store.transact(lambda tx: tx.machine(MachineId(1)))
    assert found is not None
    assert found.look_at == NOW
    assert found.look_at is not None
    assert found.look_at.utcoffset() == timedelta(0)


def test_a_time_without_a_zone_is_refused(store: SqlStore) -> None:
    with pytest.raises(StatementError, match="without a zone"), store.transaction() as tx:
        tx.insert_machine(a_machine(1, look_at=NOW.replace(tzinfo=None)))


def test_text_from_outside_never_costs_a_save(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.insert_machine(a_machine(1, because="a\0b \ud800 ü"))
    found = store.transact(lambda tx: tx.machine(MachineId(1)))
    assert found is not None
    assert found.because == "a\N{REPLACEMENT CHARACTER}b ? ü"
