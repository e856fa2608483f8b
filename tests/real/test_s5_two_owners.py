"""S5: two replicas own one machine. The lease goes to B while A is cut off from the database, but not from the provider.

A stops by its own clock before B may begin; what it still writes when it hears the database again is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from tests.real.books import Books, books, until
from tests.real.scenes import two_daemons
from tests.real.truth import rented_for, watching
from tests.servers.fault_proxy import FaultProxy
from tests.servers.replica import Replica
from tests.servers.stack import Stack
from tests.stories import differences, wait_for_success, wait_until_healthy

LEASE_REAL_S = 4.0
"""As daemon/compose.py has it at this speed."""
AWAY_REAL_S = 6.0
CHANGES = (b"PUT ", b"DELETE ")
"""The beginnings of the provider's calls that change something."""


def silent(wire: FaultProxy) -> None:
    wire.silence()


def deaf(wire: FaultProxy) -> None:
    """What it sends arrives and has its effect; no answer comes back."""
    wire.silence(up=False)


def mute(wire: FaultProxy) -> None:
    """What it sends waits on the way, and arrives when the lease has long gone to another."""
    wire.silence(down=False)


def cut(wire: FaultProxy) -> None:
    wire.cut()


CASES: list[tuple[Callable[[FaultProxy], None], str, str]] = [
    (silent, "cpu_standby", "rent_candidate"),
    (deaf, "cpu_standby", "rent_candidate"),
    (mute, "warm_pool", "start_standby"),
    (cut, "warm_pool", "fence_primary"),
]


@dataclass(frozen=True)
class Scene:
    stack: Stack
    database: str


@pytest.fixture(scope="module")
def scene(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with two_daemons(postgres_server, len(CASES), tmp_path_factory, warm_pool=True) as (stack, url, _):
        yield Scene(stack, url)


@pytest.mark.parametrize(
    ("lose", "strategy", "step"), CASES, ids=[f"{lose.__name__}-{strategy}-{step}" for lose, strategy, step in CASES]
)
def test_whoever_loses_the_database_stops_and_the_other_finishes_alone(
    scene: Scene, lose: Callable[[FaultProxy], None], strategy: str, step: str
) -> None:
    stack, machine = scene.stack, 1 + CASES.index((lose, strategy, step))
    old = wait_until_healthy(stack, machine)["gpu_instance_id"]
    with books(scene.database) as rows, watching(stack) as truth:
        if strategy == "warm_pool":
            stack.sim("POST", f"/instances/{old}/crash", {"reboot_helps": False})
        else:
            stack.kill_host_under(old)
        failover = until("a failover", lambda: rows.failover_of(machine))
        until(f"{step} has begun", lambda: rows.has_started(failover, step))
        loser = until("its lease", lambda: rows.holder(stack, failover))
        fence = rows.fence_of(machine)
        history = without_the_database(stack, rows, loser, failover, lose)
        assert rows.fence_of(machine) == fence + 1, "it was taken over once, and not back"
        time.sleep(AWAY_REAL_S / 2)
        assert stack.timeline(failover) == history, "the loser wrote into a failover that is not its own"
        assert history["strategy_succeeded"] == strategy, history["attempts"]
        assert [row["failover_id"] for row in stack.failovers(machine)] == [failover]
        stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
        stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
        stack.until("the loser is well again", lambda: stack._is_ok(f"{loser.url}/readyz"))
        rented = rented_for(truth, failover)
        assert len(rented) == len(set(rented)), "a label was rented under twice"
        assert set(rented) <= rows.labels(failover), "something was rented without a journal"
    assert not truth.wrongs
    assert not differences(stack)


def without_the_database(
    stack: Stack, rows: Books, loser: Replica, failover: str, lose: Callable[[FaultProxy], None]
) -> object:
    """What the other made of the failover while the loser heard nothing of the database."""
    assert loser.wires is not None
    stack.voice = next(replica for replica in stack.replicas if replica is not loser)
    lost_at = time.monotonic()
    lose(loser.wires.database)
    try:
        until("the other takes over", lambda: rows.holder(stack, failover) is stack.voice)
        wait_for_success(stack, failover)
        time.sleep(max(0.0, lost_at + AWAY_REAL_S - time.monotonic()))
        history = stack.timeline(failover)
        late = [
            head
            for at, head in loser.wires.provider.went_up
            if at > lost_at + LEASE_REAL_S and head.startswith(CHANGES)
        ]
        assert late == [], "it acted without a lease"
    finally:
        loser.wires.clear()
    return history
