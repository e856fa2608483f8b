"""Money is reserved before the first create, and what is over the budget is refused with its remedy."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from daemon.policy_book import PolicyBook
from daemon.settings import PolicySection
from daemon.simulation.theatre import Plan
from machines.budget import FleetSpending, Reservation, over_budget, promised, reservation, spent
from machines.journal import Entry, Mark
from machines.model import InstanceId, Machine, MachineId, Queued, WaitsFor, Workload
from machines.policy import Policy
from machines.states import State
from tests import virtual_fleet
from tests.test_api_stage import BEGIN, instance, stage

STEP = "rent_candidate"
POLICY = Policy(max_failover_cost=2.0, max_fleet_price=10.0, max_spend=5.0, boot_timeout_s=360)
MACHINE = Machine(MachineId(1), "alpha", price_per_hour=0.5)


@pytest.fixture
def quiet(quiet_simulation: None) -> None: ...


def entry(mark: Mark, minutes: float, candidate: int, price: float | None = None) -> Entry:
    at = BEGIN + timedelta(minutes=minutes)
    output = {"offer": {"price_per_hour": price}} if price is not None else {}
    return Entry(STEP, mark, at, candidate, output)


RACE = (
    entry(Mark.CLAIMED, 0, 0, 0.6),
    entry(Mark.DROPPED, 0, 0),  # The offer was gone: nothing was rented.
    entry(Mark.CLAIMED, 0, 1, 0.6),
    entry(Mark.RENTED, 0, 1),
    entry(Mark.DROPPED, 10, 1),
    entry(Mark.CLAIMED, 10, 2, 1.2),
    entry(Mark.RENTED, 10, 2),
)


def later(minutes: float) -> datetime:
    return BEGIN + timedelta(minutes=minutes)


def test_a_failover_has_spent_what_its_rentals_cost_from_claim_to_end() -> None:
    assert spent(RACE, STEP, later(20)) == pytest.approx(0.1 + 0.2)


def test_a_boot_that_is_under_way_is_promised_all_of_its_time() -> None:
    assert promised(RACE, STEP, later(11), POLICY) == pytest.approx(0.1 + 1.2 / 10)
    assert promised(RACE, STEP, later(40), POLICY) == pytest.approx(0.1 + 0.6)


@pytest.mark.parametrize(
    ("fleet", "words"),
    [
        (FleetSpending(9.0, 3.0), None),
        (FleetSpending(9.6, 0.0), "the fleet would cost up to 10.10 $/h, the budget is 10.00 $/h"),
        (FleetSpending(1.0, 3.1), "failovers would cost up to 5.10 $ within 24 hours, the budget is 5.00 $"),
    ],
)
def test_the_fleets_budget_counts_what_runs_and_what_is_reserved(fleet: FleetSpending, words: str | None) -> None:
    wanted = reservation(MACHINE, POLICY)
    assert wanted == Reservation(2.0, 1.0)
    found = over_budget(wanted, MACHINE, fleet, POLICY)
    assert (found is None) if words is None else (found is not None and words in found)


def test_without_bounds_there_is_none() -> None:
    assert over_budget(Reservation(1e6, 1e6), MACHINE, FleetSpending(1e6, 1e6), Policy()) is None


async def test_a_persons_failover_over_the_fleets_budget_is_refused_with_its_remedy() -> None:
    async with stage(policies=PolicyBook(PolicySection(max_fleet_price=1.0))) as s:
        await s.machine(price_per_hour=0.4, workload=Workload(max_price=1.5))
        answer = await (await s.begin())
        body = answer.json()
        assert (answer.status_code, body["code"]) == (409, "budget_exceeded")
        assert "policy.max_fleet_price" in body["detail"]
        assert "raise that budget" in body["remedy"]


def test_a_dead_machine_waits_for_money_with_an_alert_and_goes_on_when_there_is_some(quiet: None) -> None:
    async def story(fleet: virtual_fleet.Fleet) -> None:
        books, clock = fleet.theatre.books, fleet.theatre.clock
        for machine in (1, 2):
            fleet.world.kill_host(fleet.primary(machine).host, clock.now())
        fleet.carry_out()
        await fleet.until(lambda: "budget" in books.alerts(), 300.0)
        assert "policy.max_spend" in books.alerts()["budget"]
        assert len(books.failovers()) == 1
        await fleet.until(lambda: all(row.success for row in books.failovers()) and len(books.failovers()) == 2, 1800.0)
        assert "budget" not in books.alerts()
        reserved = books._driver.execute("SELECT reserved, spent FROM failovers").fetchall()
        assert all(wanted == 6.0 and 0 < cost < 1.0 for wanted, cost in reserved)

    plan = Plan(6, 2, 1, ("cpu_standby",) * 2, "allowed")
    virtual_fleet.play(story, plan, policy={"max_failover_cost": 6.0, "max_spend": 10.0})


@pytest.mark.parametrize("by", ["removed", "named anew"])
async def test_the_alert_of_a_machine_that_waits_for_money_ends_with_its_wait(by: str) -> None:
    async with stage() as s:
        waits = Queued(BEGIN, BEGIN, WaitsFor.BUDGET)
        await s.machine(state=State.DETECTING, queued=waits)
        await s.store.transact(lambda tx: tx.raise_alert("budget", "machine-123 waits for money", BEGIN))
        if by == "removed":
            answer = await s.http.delete("/api/v1/machines/123")
        else:
            s.outside.instances[InstanceId(1007)] = instance(1007)
            answer = await s.http.put("/api/v1/machines/123", json={"gpu_instance_id": 1007})
            assert (await s.stored()).queued is None
        assert answer.status_code == 200
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


def test_a_failover_that_its_own_budget_does_not_let_rent_says_so(quiet: None) -> None:
    async def story(fleet: virtual_fleet.Fleet) -> None:
        books = fleet.theatre.books
        fleet.world.kill_host(fleet.primary().host, fleet.theatre.clock.now())
        fleet.carry_out()
        await fleet.until(lambda: any(row.ended_at for row in books.failovers()), 900.0)
        assert [row.code for row in books.failovers()] == ["budget_exceeded"]
        assert "policy.max_failover_cost" in books.alerts()["machine-1"]
        assert [one.label for one in fleet.world.instances.values()] == ["machine-1"]

    virtual_fleet.play(story, Plan(6, 1, 1, ("cpu_standby",), "allowed"), policy={"max_failover_cost": 0.01})
