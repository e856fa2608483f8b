"""Broker and database go away under a beating fleet and come back: nothing is judged by it, and everything goes on after."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.servers import databases, ladder
from tests.servers.kafka import KafkaBroker
from tests.servers.postgres import PostgresServer
from tests.servers.stack import Stack
from tests.stories import differences, the_failover_of, wait_for_success, wait_until_healthy

SPEED = 10.0
MACHINES = 20
REAL_OUTAGE_S = 9.0
"""Longer than the broker's patience, a lease, and a transaction's wait for a lock."""


@dataclass(frozen=True)
class Scene:
    stack: Stack
    broker: KafkaBroker
    server: PostgresServer | None
    """None where the store is SQLite."""


@pytest.fixture(scope="module", params=databases.KINDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ladder.local_broker(tmp_path_factory.mktemp("kafka")) as broker, _store(request.param) as (server, url):
        stack = Stack(tmp_path_factory.mktemp("outages"), broker.bootstrap, MACHINES, SPEED, database=url)
        try:
            stack.start()
            for machine in range(1, MACHINES + 1):
                wait_until_healthy(stack, machine)
            yield Scene(stack, broker, server)
        finally:
            stack.stop()


@contextmanager
def _store(kind: str) -> Iterator[tuple[PostgresServer | None, str | None]]:
    if kind == "sqlite":
        yield None, None
        return
    with ladder.local_postgres() as server, databases.on_server(server.dsn, migrated=False) as url:
        yield server, url


def test_a_broker_that_goes_away_is_one_alert_and_no_failover(scene: Scene) -> None:
    stack = scene.stack
    dead = 1
    before = told(stack)
    scene.broker.stop()
    try:
        old = stack.kill_host_of(dead)
        deadline = time.monotonic() + REAL_OUTAGE_S
        stack.until("it is told", lambda: "observer-blind" in stack.alerts())
        while time.monotonic() < deadline:
            assert not failing_over(stack)
            time.sleep(0.5)
        assert list(stack.alerts()) == ["observer-blind"], "one alert, and not one a machine"
    finally:
        scene.broker.start()
    stack.until("the observer sees again", lambda: not stack.alerts().get("observer-blind"))
    assert len(told(stack)) == len(before) + 1, told(stack)
    failover = the_failover_of(stack, dead)
    wait_for_success(stack, failover["failover_id"])
    assert wait_until_healthy(stack, dead)["gpu_instance_id"] != old
    assert [number for number in range(2, MACHINES + 1) if stack.failovers(number)] == []


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
    connection = sqlite3.connect(scene.stack.replicas[0].folder / "failoverd.db", timeout=20, isolation_level=None)
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


def failing_over(stack: Stack) -> list[Any]:
    return [row for row in stack.get("/failovers")["failovers"] if row["state"] == "running"]


def told(stack: Stack) -> list[str]:
    return stack.replicas[0].said("observer_blind")
