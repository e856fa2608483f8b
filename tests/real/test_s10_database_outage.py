"""S10: the database goes away or hangs under a beating fleet, and the pause cannot be read: nothing begins without a
journal, unreadable is paused, and everything goes on after it."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import psycopg
import pytest

from adapters.sql.tables import THE_ONE
from tests.real.scenes import Scene, scene_on
from tests.servers import databases
from tests.servers.postgres import PostgresServer
from tests.servers.stack import Stack
from tests.stories import differences, the_failover_of, wait_for_success, wait_until_healthy

MACHINES = 10
MINUTE = 60.0
REAL_OUTAGE_S = 6.0
"""A minute of the world's time; longer than a lease, and than a transaction's wait for a lock."""


@pytest.fixture(scope="module", params=databases.KINDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene_on(request.param, MACHINES, tmp_path_factory) as scene:
        yield scene


def test_a_database_that_goes_away_stops_everything_and_nothing_is_lost(scene: Scene) -> None:
    lose_the_database(scene, database_gone(scene), moving=2, dying=3)


@pytest.mark.parametrize("scene", ["postgresql"], indirect=True)
def test_a_database_that_hangs_stops_everything_and_nothing_is_lost(scene: Scene) -> None:
    """Its connections stay open, and nobody answers."""
    assert scene.server is not None
    lose_the_database(scene, database_hangs(scene.server), moving=4, dying=5)


def lose_the_database(scene: Scene, outage: AbstractContextManager[None], moving: int, dying: int) -> None:
    """One failover is under way, and another machine dies meanwhile."""
    stack = scene.stack
    for number in (moving, dying):
        wait_until_healthy(stack, number)
    untouched = {
        number: len(stack.failovers(number)) for number in range(1, MACHINES + 1) if number not in (moving, dying)
    }
    stack.kill_host_of(moving)
    failover = the_failover_of(stack, moving)["failover_id"]
    stack.until("candidates are rented", lambda: stack.has_begun(failover, "rent_candidate"))
    with outage:
        time.sleep(1.0)
        rented = {row["id"] for row in stack.world()["instances"]}
        stack.kill_host_under(first_instance(stack, dying))
        time.sleep(REAL_OUTAGE_S)
        assert {row["id"] for row in stack.world()["instances"]} <= rented, "something was rented without a journal"
    wait_for_success(stack, failover)
    wait_for_success(stack, the_failover_of(stack, dying)["failover_id"])
    for number in range(1, MACHINES + 1):
        wait_until_healthy(stack, number)
    assert {number: len(stack.failovers(number)) for number in untouched} == untouched
    stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
    stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
    assert not differences(stack)


@contextmanager
def database_hangs(server: PostgresServer) -> Iterator[None]:
    server.pause()
    try:
        yield
    finally:
        server.resume()


@contextmanager
def database_gone(scene: Scene) -> Iterator[None]:
    """PostgreSQL is stopped; SQLite's file is held by somebody else's write transaction."""
    if scene.server is not None:
        scene.server.stop()
        try:
            yield
        finally:
            scene.server.start()
        return
    connection = sqlite3.connect(sqlite_file(scene), timeout=20, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def first_instance(stack: Stack, machine: int) -> int:
    """The machine's first instance; asked of the world, for the daemon cannot answer now."""
    name = f"machine-{machine}"
    return next(int(row["id"]) for row in stack.world()["instances"] if row["label"] == name)


SPOILT = {"sqlite": "spoilt", "postgresql": "infinity"}
"""An end of the pause that no time can be read from."""


def test_a_pause_that_cannot_be_read_is_a_pause(scene: Scene) -> None:
    stack, machine = scene.stack, 6
    for number in range(1, MACHINES + 1):
        wait_until_healthy(stack, number)
    before = {number: len(stack.failovers(number)) for number in range(1, MACHINES + 1)}
    with pauses(scene) as change:
        change(f"UPDATE pauses SET until = '{SPOILT['postgresql' if scene.server else 'sqlite']}'")
        try:
            rented = {row["id"] for row in stack.world()["instances"]}
            stack.kill_host_of(machine)
            stack.until("it is told why", lambda: "pause flag cannot be read" in stack.machine(machine)["because"])
            stack.never("a rental", lambda: {row["id"] for row in stack.world()["instances"]} - rented, MINUTE / 2)
            change("DELETE FROM pauses")
            stack.never("a rental", lambda: {row["id"] for row in stack.world()["instances"]} - rented, MINUTE / 2)
            assert {number: len(stack.failovers(number)) for number in before} == before
            assert "pause flag cannot be read" in stack.machine(machine)["because"]
        finally:
            change("DELETE FROM pauses")
            change(f"INSERT INTO pauses (one) VALUES ({THE_ONE})")
    wait_for_success(stack, the_failover_of(stack, machine, before[machine] + 1)["failover_id"])
    for number in range(1, MACHINES + 1):
        wait_until_healthy(stack, number)
    assert {number: len(stack.failovers(number)) for number in before} == {**before, machine: before[machine] + 1}


@contextmanager
def pauses(scene: Scene) -> Iterator[Callable[[str], object]]:
    """To write into the table behind the daemon's back."""
    if scene.database is not None:
        with psycopg.connect(scene.database, autocommit=True) as rows:
            yield rows.execute
        return
    with closing(sqlite3.connect(sqlite_file(scene), timeout=20, isolation_level=None)) as rows:
        yield rows.execute


def sqlite_file(scene: Scene) -> Path:
    return scene.stack.replicas[0].folder / "failoverd.db"
