"""S2: a daemon is paused for a minute of the world's time while it works, and goes on.

The other finishes what it held, at whichever boundary of the strategy each machine stood; every late write of the first
is refused, and what a call that was in flight still rents never serves and is destroyed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg
import pytest

from tests.real.books import Books, books, until
from tests.real.truth import rented_for, rented_now, surplus_after, watching
from tests.servers import databases
from tests.servers.kafka import KafkaBroker
from tests.servers.stack import Stack
from tests.stories import differences, wait_for_success, wait_until_healthy

SPEED = 10.0
PAUSE_S = 60.0
"""Of the world's time: longer than a lease and than the broker's patience with a member."""
WARM_POOL = (
    *("check_standby", "fence_primary", "start_standby", "await_running"),
    *("verify_workspace", "start_agent", "await_heartbeat", "hand_over"),
)
CPU_STANDBY = (
    *("choose_snapshot", "fence_primary", "rent_candidate", "restore"),
    *("verify", "start_agent", "await_heartbeat", "hand_over"),
)
EARLY, LATE = ("choose_snapshot", "fence_primary", "rent_candidate"), ("restore", "verify", "start_agent")
"""Three at a time: the market of the simulated world has no GPUs for more."""
BYSTANDERS = 3
"""So that never more than half of the fleet falls silent at once."""
HOLD = """
CREATE TABLE held (machine_id bigint, step text);
CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    IF NEW.mark = 'started' AND NEW.attempt = 2 AND EXISTS (
        SELECT 1 FROM held JOIN failovers ON failovers.machine_id = held.machine_id
        WHERE failovers.id = NEW.failover_id AND held.step = NEW.step
    ) THEN RAISE EXCEPTION 'held' USING ERRCODE = '57014'; END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER hold BEFORE INSERT ON journal FOR EACH ROW EXECUTE FUNCTION hold();
"""
"""A step of a machine that is held cannot be begun: the daemon asks again and again, as when the database is away.
The second attempt is the strategy's: before it the primary is rebooted, or its warm pool found on a dead host."""


@dataclass(frozen=True)
class Scene:
    stack: Stack
    database: str


@pytest.fixture(scope="module")
def scene(
    own_kafka_broker: KafkaBroker, postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    """Only the first daemon works at the beginning: so everything is its own."""
    with databases.on_server(postgres_server, migrated=False) as url:
        count = len(WARM_POOL) + len(EARLY) + len(LATE) + BYSTANDERS
        folder = tmp_path_factory.mktemp("s2")
        stack = Stack(folder, own_kafka_broker.bootstrap, count, SPEED, replicas=2, database=url, warm_pool=True)
        try:
            stack.start(stack.replicas[:1])
            with psycopg.connect(url, autocommit=True) as rows:
                rows.execute(HOLD)
            yield Scene(stack, url)
        finally:
            stack.stop()


@pytest.mark.parametrize(
    ("first", "steps", "boundaries"),
    [
        (1, WARM_POOL, WARM_POOL),
        (1 + len(WARM_POOL), CPU_STANDBY, EARLY),
        (1 + len(WARM_POOL) + len(EARLY), CPU_STANDBY, LATE),
    ],
    ids=["warm_pool", "cpu_standby-early", "cpu_standby-late"],
)
def test_what_a_paused_daemon_held_at_each_boundary_is_finished_by_the_other(
    scene: Scene, first: int, steps: tuple[str, ...], boundaries: tuple[str, ...]
) -> None:
    stack, strategy = scene.stack, "warm_pool" if steps is WARM_POOL else "cpu_standby"
    machines = {first + index: step for index, step in enumerate(boundaries)}
    paused = next(replica for replica in stack.replicas if replica is stack.voice)
    other = next(replica for replica in stack.replicas if replica is not paused)
    other.stop()
    old = {number: wait_until_healthy(stack, number)["gpu_instance_id"] for number in machines}
    with books(scene.database) as rows, watching(stack) as truth:
        with held(scene.database, machines):
            for instance in old.values():
                if strategy == "warm_pool":
                    stack.sim("POST", f"/instances/{instance}/crash", {"reboot_helps": False})
                else:
                    stack.kill_host_under(instance)
            failovers = {number: until("a failover", lambda number=number: rows.failover_of(number)) for number in old}
            for number, step in machines.items():
                until(
                    f"{number} stands before {step}",
                    lambda number=number, step=step: stands_before(rows, failovers[number], steps, step),
                )
            stack.start_daemon(other)
            assert all(rows.holder(stack, failover) is paused for failover in failovers.values())
            paused.process.pause()
        stack.voice = other
        try:
            paused_at = time.monotonic()
            for failover in failovers.values():
                wait_for_success(stack, failover)
            for number in machines:
                wait_until_healthy(stack, number)
            time.sleep(max(0.0, PAUSE_S / SPEED - (time.monotonic() - paused_at)))
            histories = {failover: stack.timeline(failover) for failover in failovers.values()}
            before = rented_now(stack, failovers.values())
        finally:
            paused.process.resume()
        surplus = surplus_after(stack, failovers.values(), before)
        racing = sum(step in ("rent_candidate", "restore") for step in machines.values())
        assert len(surplus) <= racing, "more than one for each call that may have been in flight"
        for number, failover in failovers.items():
            assert stack.timeline(failover) == histories[failover], "the one that was paused wrote into it"
            assert histories[failover]["strategy_succeeded"] == strategy, histories[failover]["attempts"]
            assert [row["failover_id"] for row in stack.failovers(number)] == [failover]
        stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
        stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
        for failover in failovers.values():
            rented = rented_for(truth, failover)
            assert len(rented) == len(set(rented)), "rented twice under one label"
            assert set(rented) <= rows.labels(failover), "rented without a journal"
    assert not truth.wrongs


@contextmanager
def held(database: str, machines: dict[int, str]) -> Iterator[None]:
    with psycopg.connect(database, autocommit=True) as rows:
        for number, step in machines.items():
            rows.execute("INSERT INTO held VALUES (%s, %s)", (number, step))
        try:
            yield
        finally:
            rows.execute("DELETE FROM held")


def stands_before(rows: Books, failover: str, steps: tuple[str, ...], step: str) -> bool:
    """The step before it is done, in the second attempt, and it has not begun."""
    index = steps.index(step)
    return rows.attempt_of(failover) == 2 and (index == 0 or rows.is_done(failover, 2, steps[index - 1]))
