"""An empty account, an owner's stop and a contract that ends: each is told for what it is, and none of it is a false death."""

from __future__ import annotations

from datetime import timedelta

import pytest

from daemon.simulation.theatre import Plan
from tests.frozen.play import still_open
from tests.virtual_fleet import Fleet, play

THREE = Plan(5, 3, 1, ("cpu_standby",) * 3, "allowed")


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def test_an_account_that_runs_empty_is_one_alert_and_no_failover_and_is_over_when_it_is_paid() -> None:
    async def story(fleet: Fleet) -> None:
        books, clock = fleet.theatre.books, fleet.theatre.clock
        for machine in (1, 2):
            fleet.primary(machine).bid = fleet.primary(
                machine
            ).gpu_cost  # Interruptible ones look as if they were outbid.
        fleet.world.set_credit(0, clock.now())
        fleet.carry_out()
        await fleet.until(lambda: "account-credit" in books.alerts(), 120.0)
        await fleet.sleep(900.0)
        assert books.failovers() == []
        assert [machine.state for machine in books.machines()] == ["detecting"] * 3
        assert list(books.alerts()) == ["account-credit"]
        assert "no credit" in books.alerts()["account-credit"]
        fleet.world.set_credit(500, clock.now())
        for machine in (1, 2, 3):
            fleet.world.rentals.change(clock.now(), fleet.primary(machine).id, {"state": "running"})
        fleet.carry_out()
        await fleet.until(lambda: [machine.state for machine in books.machines()] == ["healthy"] * 3, 600.0)
        await fleet.until(lambda: not books.alerts(), 400.0)
        assert fleet.violations == []

    play(story, THREE)


def test_a_balance_that_does_not_pay_the_present_bill_for_long_is_one_alert() -> None:
    async def story(fleet: Fleet) -> None:
        books = fleet.theatre.books
        fleet.world.set_credit(1.0, fleet.theatre.clock.now())
        await fleet.until(lambda: "account-credit" in books.alerts(), 400.0)
        assert "the policy wants 6" in books.alerts()["account-credit"]
        fleet.world.set_credit(1000.0, fleet.theatre.clock.now())
        await fleet.until(lambda: not books.alerts(), 400.0)

    play(story, THREE)


def test_a_machine_that_its_owner_stopped_is_told_and_left_alone() -> None:
    async def story(fleet: Fleet) -> None:
        books = fleet.theatre.books
        fleet.world.rentals.change(fleet.theatre.clock.now(), fleet.primary().id, {"state": "stopped"})
        fleet.carry_out()
        await fleet.until(lambda: "machine-1" in books.alerts(), 300.0)
        await fleet.sleep(600.0)
        assert "stopped by its owner" in books.alerts()["machine-1"]
        assert books.failovers() == []

    play(story, THREE)


def test_a_contract_that_ends_soon_is_told_and_once_it_has_ended_the_machine_is_moved() -> None:
    async def story(fleet: Fleet) -> None:
        books, clock = fleet.theatre.books, fleet.theatre.clock
        instance = fleet.primary()
        instance.end_date = clock.now() + timedelta(minutes=30)
        fleet.world.core.agenda.at(instance.end_date, lambda when: fleet.world.rentals.lifecycle.expire(instance, when))
        await fleet.until(lambda: "machine-1-contract" in books.alerts(), 120.0)
        assert "failoverd failover 1" in books.alerts()["machine-1-contract"]
        await fleet.until(lambda: bool(books.failovers()), 1900.0)
        await fleet.until(lambda: books.machines()[0].state == "healthy" and not still_open(fleet.theatre))
        await fleet.sleep(90.0)
        assert [row.strategy for row in books.failovers()] == ["cpu_standby"]
        assert books.alerts() == {}

    play(story, THREE)
