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
from tests.stories import wait_for_success, wait_until_healthy

WORLD_SPEED = 10.0
HOUR = 3600
FORWARDS, BACK, CRASHED, BESIDE = MACHINES = (1, 2, 3, 4)


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
            len(MACHINES),
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


def test_failovers_end_well_under_clocks_that_are_stepped_in_their_midst(scene: Scene) -> None:
    stack = scene.stack
    old = {number: wait_until_healthy(stack, number)["gpu_instance_id"] for number in MACHINES}
    with books(scene.database) as rows, watching(stack) as truth:
        # This one lasts longest: its container is rebooted in vain before its standby is started.
        stack.sim("POST", f"/instances/{old[CRASHED]}/crash", {"reboot_helps": False})
        for number, step_s in ((FORWARDS, HOUR), (BACK, -HOUR)):
            stack.kill_host_under(old[number])
            failover = until("a failover", lambda number=number: rows.failover_of(number))
            until("candidates are rented", lambda failover=failover: rows.has_started(failover, "rent_candidate"))
            holder = until("its lease", lambda failover=failover: rows.holder(stack, failover))
            scene.clocks[stack.replicas.index(holder)].step(step_s)
            wait_for_success(stack, failover)
            assert rows.widest_gap_s(failover) > HOUR / 2, "the step missed the failover"
        for number in (FORWARDS, BACK, CRASHED):
            stack.until(f"machine {number} is recovered", lambda number=number: recovered(stack, number))
            assert wait_until_healthy(stack, number)["gpu_instance_id"] != old[number]
        assert stack.failovers(BESIDE) == []
    assert not truth.wrongs


def recovered(stack: Stack, machine: int) -> bool:
    """By one failover, that succeeded."""
    found = stack.failovers(machine)
    assert len(found) == 1
    assert found[0]["state"] == "running" or found[0]["success"], found[0]
    return bool(found[0]["state"] != "running")
