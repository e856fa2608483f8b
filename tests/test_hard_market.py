"""A small one of `python -m tests.hard_market`."""

from __future__ import annotations

import pytest

from tests.hard_market import PHASES, Story, run, table


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def test_where_most_boots_are_dead_and_most_offers_gone_every_failover_ends_in_a_machine_that_serves() -> None:
    played = run(Story(machines=8, at_once=4))
    assert played.faults == []
    assert len(played.recoveries) == 8
    told = "\n".join(table(played.recoveries))
    assert all(phase in told for phase in PHASES)
    assert sum(one.limits_s for one in played.recoveries) > 0
    assert all(0 < one.spent < 10 and one.rentals >= 1 for one in played.recoveries)
    assert 0 < played.billed == pytest.approx(played.recorded, abs=0.005)


def test_machines_that_die_again_and_again_in_every_way_leave_nothing_rented_that_none_of_them_claims() -> None:
    played = run(Story(machines=4, at_once=3, rounds=2, deaths=("host", "crash", "bid")))
    assert played.faults == []
    assert len(played.recoveries) == 8
    assert 0 < played.billed == pytest.approx(played.recorded, abs=0.005)
