"""S1: the broker goes away under a beating fleet, and comes back: one alert, no failover, and the dead are found after it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.real.scenes import Scene, scene_on
from tests.servers import databases
from tests.servers.stack import Stack
from tests.stories import the_failover_of, wait_for_success, wait_until_healthy

MACHINES = 7
REAL_OUTAGE_S = 7.0
"""More than a minute of the world's time; longer than the broker's patience and a lease."""


@pytest.fixture(scope="module", params=databases.KINDS)
def scene(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with scene_on(request.param, MACHINES, tmp_path_factory) as scene:
        yield scene


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


def failing_over(stack: Stack) -> list[Any]:
    return [row for row in stack.get("/failovers")["failovers"] if row["state"] == "running"]


def told(stack: Stack) -> list[str]:
    return stack.replicas[0].said("observer_blind")
