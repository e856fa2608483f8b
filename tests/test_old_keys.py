"""An instance that is older than our key on the account lets us in all the same, once the provider has put it there."""

from __future__ import annotations

import pytest

from daemon.simulation.theatre import PUBLIC_KEY, Plan
from tests.virtual_fleet import Fleet, play


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def test_a_standby_that_was_made_without_our_key_takes_over_and_gets_a_standby_of_its_own() -> None:
    async def story(fleet: Fleet) -> None:
        books, clock = fleet.theatre.books, fleet.theatre.clock
        row = books.machines()[0]
        assert row.standby is not None
        standby = fleet.world.instances[row.standby]
        standby.authorized_keys.clear()
        fleet.world.rentals.lifecycle.crash(fleet.primary(), clock.now(), reboot_helps=False)
        fleet.carry_out()
        await fleet.until(lambda: books.machines()[0].primary == standby.id, 600.0)
        assert [one.strategy for one in books.failovers()] == ["warm_pool"]
        assert standby.authorized_keys == [PUBLIC_KEY]
        standby.authorized_keys.clear()
        await fleet.until(lambda: books.machines()[0].standby is not None, 900.0)
        assert standby.authorized_keys == [PUBLIC_KEY]
        assert fleet.violations == []

    play(story, Plan(2, 1, 1, ("warm_pool",), "allowed"))
