"""Two daemons on one broker and one database: whichever stands still, the other finishes, and late writes are refused."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest

from tests.servers import databases, ladder
from tests.servers.kafka import KafkaBroker
from tests.servers.postgres import PostgresServer
from tests.servers.stack import Replica, Stack
from tests.stories import differences, wait_for_success, wait_until_healthy

SPEED = 10.0
PAUSE_S = 60.0
"""Of the world's time: longer than a lease and than the broker's patience with a member."""
WARM_POOL = ("check_standby", "fence_primary", "start_standby", "await_running", "verify_workspace", "start_agent")
CPU_STANDBY = ("choose_snapshot", "fence_primary", "rent_candidate", "restore", "verify", "start_agent")
STEPS = [("warm_pool", step) for step in WARM_POOL] + [("cpu_standby", step) for step in CPU_STANDBY]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[PostgresServer]:
    with ladder.local_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def database(own_postgres: PostgresServer) -> Iterator[str]:
    with databases.on_server(own_postgres.dsn, migrated=False) as url:
        yield url


@pytest.fixture(scope="module")
def stack(own_kafka_broker: KafkaBroker, database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    everything = Stack(
        tmp_path_factory.mktemp("two-daemons"),
        own_kafka_broker.bootstrap,
        len(STEPS),
        SPEED,
        replicas=2,
        database=database,
        warm_pool=True,
    )
    try:
        everything.start()
        yield everything
    finally:
        everything.stop()


@pytest.mark.parametrize(("strategy", "step"), STEPS, ids=[f"{strategy}-{step}" for strategy, step in STEPS])
def test_a_daemon_that_is_paused_at_a_step_is_replaced_and_changes_nothing_afterwards(
    stack: Stack, database: str, strategy: str, step: str
) -> None:
    machine = 1 + STEPS.index((strategy, step))
    before = wait_until_healthy(stack, machine)
    old = before["gpu_instance_id"]
    if strategy == "warm_pool":
        stack.sim("POST", f"/instances/{old}/crash", {"reboot_helps": False})
    else:
        stack.sim("POST", f"/hosts/{stack.instance(old)['host']}/kill")
    with psycopg.connect(database, autocommit=True) as rows:
        failover = until(lambda: scalar(rows, "SELECT failover_id FROM machines WHERE id = %s", machine))
        until(lambda: has_started(rows, failover, step))
        paused = holder(stack, rows, failover)
    other = next(replica for replica in stack.replicas if replica is not paused)
    stack.voice = other
    paused.process.pause()
    try:
        paused_at = time.monotonic()
        wait_for_success(stack, failover)
        wait_until_healthy(stack, machine)
        time.sleep(max(0.0, PAUSE_S / SPEED - (time.monotonic() - paused_at)))
        history = stack.timeline(failover)
    finally:
        paused.process.resume()
    time.sleep(PAUSE_S / SPEED / 2)
    assert stack.timeline(failover) == history, "the one that was paused wrote into a failover that is not its own"
    assert history["strategy_succeeded"] == strategy, [
        (one["strategy"], one["code"], one["why"]) for one in history["attempts"]
    ]
    assert [row["failover_id"] for row in stack.failovers(machine)] == [failover]
    stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
    stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
    assert not differences(stack)


def until(look: Callable[[], Any], limit_s: float = 90.0) -> Any:
    """Looks every few milliseconds: a step of the warm pool is over in a tenth of a second here."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.005)
    raise AssertionError(f"not within {limit_s:.0f} s")


def scalar(rows: psycopg.Connection[Any], query: str, *values: object) -> Any:
    row = rows.execute(query, values).fetchone()
    return row[0] if row else None


def has_started(rows: psycopg.Connection[Any], failover: str, step: str) -> bool:
    query = "SELECT 1 FROM journal WHERE failover_id = %s AND step = %s AND mark = 'started'"
    return scalar(rows, query, failover, step) is not None


def holder(stack: Stack, rows: psycopg.Connection[Any], failover: str) -> Replica:
    """Who works on the failover now."""
    replica = scalar(rows, "SELECT holder FROM leases WHERE name = %s", failover)
    return next(one for one in stack.replicas if (one.folder / "replica").read_text().split()[0] == replica)
