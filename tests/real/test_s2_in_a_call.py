"""S2: a daemon is paused inside a call that rents, before it arrives at the provider or before its answer comes back.

The other adopts what was rented, or abandons the claim and rents anew; what the late call still rents never serves and is
destroyed within two minutes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import pytest

from tests.real.books import Books, books, until
from tests.real.scenes import SPEED, two_daemons
from tests.real.truth import Truth, rented_for, rented_now, surplus_after, watching
from tests.servers.fault_proxy import FaultProxy
from tests.servers.replica import Replica
from tests.servers.stack import Stack
from tests.stories import differences, wait_for_success, wait_until_healthy

PAUSE_S = 60.0
SLOW_S = 30.0
"""Of the world's time: how long a create is on its way, so that its answer can be caught."""
CREATE = b"PUT /api/v0/asks/"


@dataclass(frozen=True)
class Scene:
    stack: Stack
    database: str
    ways: Mapping[Replica, FaultProxy]
    """Each daemon's way to the provider."""


@pytest.fixture(scope="module")
def scene(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with two_daemons(postgres_server, 4, tmp_path_factory) as (stack, url, wires):
        ways = zip(stack.replicas, (one.provider for one in wires), strict=True)
        yield Scene(stack, url, dict(ways))


def before_it_arrives(scene: Scene, rows: Books, truth: Truth, machine: int) -> Replica:
    """Whose create waits on its way to the provider; the other daemon's way is free."""
    for way in scene.ways.values():
        way.hold(CREATE)
    scene.stack.kill_host_of(machine)
    caller = until("a create is on its way", lambda: next((one for one, way in scene.ways.items() if way.holds), None))
    for replica, way in scene.ways.items():
        if replica is not caller:
            way.clear()
    return caller


def before_it_is_answered(scene: Scene, rows: Books, truth: Truth, machine: int) -> Replica:
    """Whose create has had its effect, and its answer waits on its way back."""
    fault = {"endpoint": "/api/v0/asks/*", "method": "PUT", "count": 1, "kind": "latency", "seconds": SLOW_S}
    scene.stack.sim("POST", "/faults", fault)
    asked = time.monotonic()
    scene.stack.kill_host_of(machine)

    def find() -> Replica | None:
        sent = {one: [head for at, head in way.went_up if at > asked] for one, way in scene.ways.items()}
        return next((one for one, heads in sent.items() if any(head.startswith(CREATE) for head in heads)), None)

    caller = until("a create is on its way", find)
    scene.ways[caller].silence(up=False)
    until("it has its effect", lambda: rented_for(truth, rows.failover_of(machine) or "none"))
    return caller


@pytest.mark.parametrize(
    ("machine", "hold", "late"), [(1, before_it_arrives, 1), (2, before_it_is_answered, 0)], ids=["request", "answer"]
)
def test_a_daemon_that_is_paused_inside_a_create_leaves_one_replacement(
    scene: Scene, machine: int, hold: Callable[[Scene, Books, Truth, int], Replica], late: int
) -> None:
    """`late`: how many rentals the call still makes after everything is over."""
    stack = scene.stack
    wait_until_healthy(stack, machine)
    with books(scene.database) as rows, watching(stack) as truth:
        paused = hold(scene, rows, truth, machine)
        paused.process.pause()
        stack.voice = next(replica for replica in stack.replicas if replica is not paused)
        failover = rows.failover_of(machine)
        assert failover is not None
        try:
            paused_at = time.monotonic()
            assert rows.holder(stack, failover) is paused
            wait_for_success(stack, failover)
            wait_until_healthy(stack, machine)
            time.sleep(max(0.0, PAUSE_S / SPEED - (time.monotonic() - paused_at)))
            history, labels = stack.timeline(failover), rows.labels(failover)
            before = rented_now(stack, [failover])
        finally:
            # The network first: what was on its way arrives, whoever sent it.
            scene.ways[paused].clear()
            paused.process.resume()
        surplus = surplus_after(stack, [failover], before)
        assert len(surplus) == late
        assert stack.timeline(failover) == history, "the one that was paused wrote into it"
        assert rows.labels(failover) == labels
        stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
        stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
        rented = rented_for(truth, failover)
        assert len(rented) == len(set(rented)), "rented twice under one label"
        assert set(rented) <= labels, "rented without a journal"
    assert not truth.wrongs
