"""Several replicas on one database at the same time: each test is a race that only one may win."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from typing import TypeVar

import pytest

from adapters.sql import CommandRow, SqlStore, Tx
from machines.errors import Fenced, Stale
from machines.journal import Entry, Mark
from machines.model import FailoverId, MachineId, Setting
from tests.test_sql_urls import NOW, a_machine, a_running, at

T = TypeVar("T")
REPLICAS = 6


@pytest.fixture
def store_url(database_url: str) -> str:
    with closing(SqlStore(database_url)) as store, store.transaction() as tx:
        for number in range(REPLICAS):
            tx.insert_machine(a_machine(number))
    return database_url


def race(url: str, work: Callable[[Tx, int], T]) -> list[T]:
    """What the work gave each replica, all begun at once on connections of their own."""
    start = threading.Barrier(REPLICAS)

    def run(number: int) -> T:
        with closing(SqlStore(url, wait_s=30)) as store:
            store.transact(lambda tx: tx.pause())
            start.wait(30)
            return store.transact(lambda tx: work(tx, number))

    with ThreadPoolExecutor(REPLICAS) as replicas:
        return list(replicas.map(run, range(REPLICAS)))


def test_the_cap_holds_when_all_ask_at_once(store_url: str) -> None:
    def admit(tx: Tx, number: int) -> bool:
        tx.lock_admission()
        if tx.count_running_automatic() >= 2:
            return False
        running = a_running(f"fo_{number}")
        machine = tx.machine(MachineId(number))
        assert machine is not None
        tx.begin_failover(machine, running, Setting.BOTH, "silent", "failoverd", None, None)
        tx.save_machine(replace(machine, failover=running))
        return True

    assert sorted(race(store_url, admit)) == [False] * (REPLICAS - 2) + [True] * 2


def test_a_machine_gets_one_failover_when_all_begin_one(store_url: str) -> None:
    def begin(tx: Tx, number: int) -> bool:
        try:
            tx.begin_failover(a_machine(0), a_running(f"fo_{number}"), Setting.BOTH, "", "", None, None)
        except Stale:
            return False
        return True

    assert sorted(race(store_url, begin)) == [False] * (REPLICAS - 1) + [True]


def test_a_command_id_is_one_command_when_it_comes_by_all_doors(store_url: str) -> None:
    def insert(tx: Tx, number: int) -> tuple[CommandRow, bool]:
        return tx.insert_command(CommandRow("cmd-1", "http", "execute", MachineId(0), str(number), {}, NOW))

    answers = race(store_url, insert)
    assert sum(is_new for _, is_new in answers) == 1
    assert len({row.fingerprint for row, _ in answers}) == 1


def test_an_alert_is_news_to_one_replica(store_url: str) -> None:
    assert sorted(race(store_url, lambda tx, number: tx.raise_alert("blind", str(number), at(number)))) == (
        [False] * (REPLICAS - 1) + [True]
    )
    with closing(SqlStore(store_url)) as store:
        assert [alert.count for alert in store.transact(lambda tx: tx.open_alerts())] == [REPLICAS]


def test_no_entry_of_an_older_fence_follows_the_newer_one(store_url: str) -> None:
    running = a_running("fo_1")
    with closing(SqlStore(store_url)) as store, store.transaction() as tx:
        tx.begin_failover(a_machine(0), running, Setting.BOTH, "", "", None, None)
        tx.save_machine(a_machine(0, failover=running, fence=1))

    def write(tx: Tx, number: int) -> str:
        if number == 0:
            machine = tx.machine(MachineId(0))
            assert machine is not None
            tx.save_machine(replace(machine, fence=2))
            tx.append_entry(MachineId(0), FailoverId("fo_1"), 1, 2, Entry("raised", Mark.DONE, NOW))
            return "raised"
        try:
            tx.append_entry(MachineId(0), FailoverId("fo_1"), 1, 1, Entry("older", Mark.DONE, NOW))
        except Fenced:
            return "fenced"
        return "older"

    told = race(store_url, write)
    with closing(SqlStore(store_url)) as store:
        steps = [entry.step for entry in store.transact(lambda tx: tx.entries(FailoverId("fo_1")))]
    assert steps == ["older"] * told.count("older") + ["raised"]


def test_the_deployment_has_one_id_when_all_make_one(store_url: str) -> None:
    assert len(set(race(store_url, lambda tx, number: tx.deployment(lambda: f"dep-{number}")))) == 1
