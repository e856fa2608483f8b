"""A step that kills the daemon each time runs out of its tries, and the failover comes to its end (scenario S6)."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from machines.strategies.cpu_standby import VERIFY
from machines.strategies.warm_pool import VERIFY_WORKSPACE
from tests.crash.theatre import Ending, play
from tests.crash.tripwire import Tripwire

SPARE = 3
"""So many daemons more than may be killed."""


@dataclass(frozen=True)
class Case:
    story: str
    point: str
    deaths: int
    end: Ending


def ending(strategy: str | None, code: str | None, state: str, instances: int, **more: object) -> Ending:
    rest = {"has_standby": False, "has_volume": False, "volumes": 0, "alerts": (), **more}
    return Ending(strategy, code, state, 1, failovers=1, instances=instances, leases=(), faults=(), **rest)  # type: ignore[arg-type]


CASES = {
    "the warm pool gives its standby back and the next rung serves": Case(
        "warm_pool",
        "before commit: warm_pool.verify_workspace done",
        VERIFY_WORKSPACE.tries,
        ending("cpu_standby", None, "serving", 1, volumes=1, alerts=("volume-881-kept",)),
    ),
    "past the point of no return the next rung serves all the same": Case(
        "warm_pool_alone",
        "after warm_pool.verify_workspace: ssh",
        VERIFY_WORKSPACE.tries,
        ending("cpu_standby", None, "serving", 1, volumes=1, alerts=("volume-881-kept",)),
    ),
    "the last rung tries three places and then the machine has failed": Case(
        "cpu_standby",
        "before commit: cpu_standby.verify done",
        3 * VERIFY.tries,
        ending(None, "verify_failed", "failed", 2, has_standby=True, has_volume=True, volumes=1, alerts=("machine-1",)),
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_step_that_kills_each_time_ends_the_attempt(case: Case, database_url: str) -> None:
    wires = [Tripwire(case.point), *(Tripwire(case.point, is_armed=True) for _ in range(case.deaths + SPARE))]
    assert await play(case.story, wires, database_url) == case.end
    assert sum(wire.is_dead for wire in wires) == case.deaths
