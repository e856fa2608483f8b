"""S7: the provider's answer to a create, a start or a destroy is lost after the effect, by a time-out or by a reset.

What happened is read back, never repeated blindly: nothing is rented that was not intended, and nothing is forgotten.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.real.books import Books, books, until
from tests.real.truth import Truth, rented_for, watching
from tests.servers import databases
from tests.servers.fault_proxy import FaultProxy
from tests.servers.stack import Stack
from tests.servers.wires import wired_broker
from tests.stories import differences, the_failover_of, wait_for_success, wait_until_healthy

SPEED = 10.0
SLOW_S = 30.0
"""Of the world's time: how long a call is on its way, so that its answer can be caught."""


@dataclass(frozen=True)
class Scene:
    stack: Stack
    database: str
    providers: tuple[FaultProxy, ...]
    """Each daemon's way to the provider."""


@dataclass(frozen=True)
class Lost:
    """One call whose answer is lost."""

    name: str
    method: str
    endpoint: Callable[[Any], str]
    """Of the machine as it was before."""
    die: Callable[[Stack, int], object]
    """How its primary dies, so that the call is made."""


def kill_host(stack: Stack, instance: int) -> None:
    stack.kill_host_under(instance)


def crash(stack: Stack, instance: int) -> None:
    stack.sim("POST", f"/instances/{instance}/crash", {"reboot_helps": False})


CALLS = (
    Lost("create", "PUT", lambda machine: "/api/v0/asks/*", kill_host),
    Lost("start", "PUT", lambda machine: f"/api/v0/instances/{machine['standby_gpu_instance_id']}/", crash),
    Lost("destroy", "DELETE", lambda machine: f"/api/v0/instances/{machine['gpu_instance_id']}/", crash),
)


@pytest.fixture(scope="module")
def scene(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with (
        wired_broker(tmp_path_factory.mktemp("kafka"), 2) as (broker, wires),
        databases.on_server(postgres_server, migrated=False) as url,
    ):
        folder = tmp_path_factory.mktemp("s7")
        stack = Stack(
            folder, broker.bootstrap, 2 * len(CALLS), SPEED, replicas=2, database=url, warm_pool=True, wires=wires
        )
        try:
            stack.start()
            yield Scene(stack, url, tuple(one.provider for one in wires))
        finally:
            stack.stop()


def test_a_time_out_after_the_effect_is_read_back(scene: Scene) -> None:
    """The three at once: each waits as long as a client waits for an answer, half a real minute."""
    stack = scene.stack
    machines = range(1, 1 + len(CALLS))
    before = [wait_until_healthy(stack, machine) for machine in machines]
    starts = starts_of_standbys(stack, before)
    with books(scene.database) as rows, watching(stack) as truth:
        for call, machine in zip(CALLS, before, strict=True):
            endpoint = call.endpoint(machine)
            order_fault(stack, call, endpoint, kind="timeout_after")
            call.die(stack, machine["gpu_instance_id"])
            if call.name == "create":
                # The creates that follow from the others' recoveries must not be met instead.
                stack.until("the create is met", lambda: not stack.sim("GET", "/faults")["faults"])
        for machine in machines:
            wait_for_success(stack, the_failover_of(stack, machine)["failover_id"])
        stack.until("each was met", lambda: not stack.sim("GET", "/faults")["faults"])
        settle(stack, rows, truth, before)
    assert starts_of_standbys(stack, before) == {number: times + 1 for number, times in starts.items()}


@pytest.mark.parametrize("call", CALLS, ids=[call.name for call in CALLS])
def test_an_answer_that_is_lost_by_a_reset_is_read_back(scene: Scene, call: Lost) -> None:
    stack, number = scene.stack, 1 + len(CALLS) + CALLS.index(call)
    before = wait_until_healthy(stack, number)
    with books(scene.database) as rows, watching(stack) as truth:
        endpoint = call.endpoint(before)
        order_fault(stack, call, endpoint, kind="latency", seconds=SLOW_S)
        line = f"{call.method} {endpoint.rstrip('*')}".encode()
        asked = time.monotonic()
        call.die(stack, before["gpu_instance_id"])
        (wire,) = until(
            "the call is on its way",
            lambda: [one for one in scene.providers if any(at > asked and line in head for at, head in one.went_up)],
        )
        wire.silence(up=False)
        try:
            until("it has its effect", lambda: has_happened(stack, rows, truth, call, before))
        finally:
            wire.reset()
            wire.clear()
        wait_for_success(stack, the_failover_of(stack, number)["failover_id"])
        settle(stack, rows, truth, [before])


def order_fault(stack: Stack, call: Lost, endpoint: str, **fault: Any) -> None:
    """Once."""
    stack.sim("POST", "/faults", {"endpoint": endpoint, "method": call.method, "count": 1, **fault})


def has_happened(stack: Stack, rows: Books, truth: Truth, call: Lost, before: Any) -> bool:
    """By the provider's truth."""
    if call.name == "create":
        failover = rows.failover_of(before["id"])
        return failover is not None and bool(rented_for(truth, failover))
    if call.name == "start":
        return bool(stack.instance(before["standby_gpu_instance_id"])["intended_status"] == "running")
    return stack.instance(before["gpu_instance_id"]) is None


def starts_of_standbys(stack: Stack, machines: list[Any]) -> dict[int, int]:
    """How often the standbys that were started here were started; those of a dead host are not."""
    started = [machine for call, machine in zip(CALLS, machines, strict=True) if call.die is crash]
    standbys = [machine["standby_gpu_instance_id"] for machine in started]
    return {number: stack.instance(number)["starts"] for number in standbys}


def settle(stack: Stack, rows: Books, truth: Truth, before: list[Any]) -> None:
    """Everything is told, paid and claimed, and there was never more than was meant."""
    for machine in before:
        after = wait_until_healthy(stack, machine["id"])
        assert after["gpu_instance_id"] != machine["gpu_instance_id"]
    stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
    stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
    for machine in before:
        (failover,) = stack.failovers(machine["id"])
        rented = rented_for(truth, failover["failover_id"])
        assert len(rented) == len(set(rented)), "rented twice under one label"
        assert set(rented) <= rows.labels(failover["failover_id"]), "rented without a journal"
        assert stack.instance(machine["gpu_instance_id"]) is None, "the old one is destroyed"
    assert stack.alerts() == {}
    assert not truth.wrongs
