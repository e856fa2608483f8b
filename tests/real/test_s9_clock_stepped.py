"""S9: a daemon's time of day is stepped by an hour in the middle of failovers, forwards and back.

The daemons run at the speed of the real clock here, beside a provider that is ten times as fast: only there does the
system's time of day reach them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.real.books import books, until
from tests.real.truth import watching
from tests.servers import databases
from tests.servers.kafka import KafkaBroker
from tests.servers.stack import Stack
from tests.servers.stepped_clock import SteppedClock
from tests.stories import differences, wait_for_success, wait_until_healthy

WORLD_SPEED = 10.0
HOUR = 3600
MACHINES = 6
BYSTANDERS = (5, 6)
STEPS = ((HOUR, 1, 2), (-HOUR, 3, 4))
"""How far, the machine whose host dies, and the one that crashes."""


@dataclass(frozen=True)
class Scene:
    stack: Stack
    database: str
    clocks: tuple[SteppedClock, ...]


@pytest.fixture(scope="module")
def scene(
    own_kafka_broker: KafkaBroker, postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    with databases.on_server(postgres_server, migrated=False) as url:
        stack = Stack(
            tmp_path_factory.mktemp("s9-clock"),
            own_kafka_broker.bootstrap,
            MACHINES,
            WORLD_SPEED,
            replicas=2,
            database=url,
            warm_pool=True,
            settings={"speed": 1.0, "policy": {"confirm_after_s": 5.0}},
        )
        stack.patience_s = 120.0
        clocks = tuple(SteppedClock(tmp_path_factory.mktemp("clock")) for _ in stack.replicas)
        for replica, clock in zip(stack.replicas, clocks, strict=True):
            replica.environment = clock.environment
        try:
            stack.start()
            yield Scene(stack, url, clocks)
        finally:
            stack.stop()


@pytest.mark.parametrize(("step_s", "hostless", "crashed"), STEPS, ids=["forwards", "back"])
def test_failovers_end_well_under_a_clock_that_is_stepped(
    scene: Scene, step_s: int, hostless: int, crashed: int
) -> None:
    stack = scene.stack
    moving = (hostless, crashed)
    old = {number: wait_until_healthy(stack, number)["gpu_instance_id"] for number in (*moving, *BYSTANDERS)}
    with books(scene.database) as rows, watching(stack) as truth:
        stack.kill_host_under(old[hostless])
        stack.sim("POST", f"/instances/{old[crashed]}/crash", {"reboot_helps": False})
        failovers = [until("a failover", lambda number=number: rows.failover_of(number)) for number in moving]
        for failover, step in zip(failovers, ("rent_candidate", "fence_primary"), strict=True):
            until(f"{step} has begun", lambda failover=failover, step=step: rows.has_started(failover, step))
        holders = [until("its lease", lambda failover=failover: rows.holder(stack, failover)) for failover in failovers]
        for replica, clock in zip(stack.replicas, scene.clocks, strict=True):
            if replica in holders:
                clock.step(step_s)
        for number, failover in zip(moving, failovers, strict=True):
            wait_for_success(stack, failover)
            assert wait_until_healthy(stack, number)["gpu_instance_id"] != old[number]
            assert [row["failover_id"] for row in stack.failovers(number)] == [failover]
            assert rows.widest_gap_s(failover) > HOUR / 2, "the step missed the failover"
        assert [number for number in BYSTANDERS if stack.failovers(number)] == []
        stack.until("nothing is left that bills", lambda: not differences(stack))
    assert not truth.wrongs
