"""Warm pools that are rented from nothing: the whole daemon beside the simulated provider, on the virtual clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.hosts import OTHER_TENANT
from adapters.sim.settings import VolumeSharing
from daemon.asked import Asked
from daemon.simulation.ending import what_is_left
from daemon.simulation.replica import Replica
from daemon.simulation.theatre import Plan
from events.schema import Command
from machines.model import MachineId
from machines.pool import Wanted
from tests import virtual_fleet
from tests.test_api_stage import stage
from tests.virtual_fleet import Fleet

FIRST, ELSEWHERE = Wanted.FIRST, Wanted.ELSEWHERE
NO_BUDGET: dict[str, float] = {}


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def play(
    story: Callable[[Fleet], Awaitable[None]],
    *pools: Wanted,
    sharing: VolumeSharing = "allowed",
    policy: dict[str, float] = NO_BUDGET,
    cpu_vms: bool = False,
) -> None:
    plan = Plan(3, len(pools), 1, ("both",) * len(pools), sharing, pools=pools, cpu_vms=cpu_vms)
    virtual_fleet.play(story, plan, policy=policy)


def row(fleet: Fleet, machine: int = 1) -> Any:
    return fleet.theatre.books.machines()[machine - 1]


def owes_nothing(fleet: Fleet) -> bool:
    return not fleet.theatre.books.debts()


async def order(fleet: Fleet, body: dict[str, object]) -> None:
    await fleet.theatre.ask(partial(Replica.register, machine=MachineId(1), body=body))


async def whole(fleet: Fleet) -> Any:
    """The machine once its pool is there."""
    await fleet.until(lambda: owes_nothing(fleet) and bool(row(fleet).standby or row(fleet).prepared))
    return row(fleet)


async def comes_to_rest(fleet: Fleet) -> None:
    """Everything is paid, and nothing is rented that nothing claims."""
    await fleet.until(lambda: owes_nothing(fleet) and not what_is_left(fleet.theatre))
    await fleet.sleep(180.0)
    assert what_is_left(fleet.theatre) == []
    assert fleet.violations == []


def test_a_machine_that_has_nothing_gets_a_volume_an_instance_and_a_standby() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        primary, standby = fleet.world.instances[machine.primary], fleet.world.instances[machine.standby]
        assert primary.host is standby.host
        assert [mount.volume_id for one in (primary, standby) for mount in one.mounts] == [machine.volume] * 2
        assert set(fleet.world.volumes.volumes) == {machine.volume}
        assert standby.intended == "stopped"
        await comes_to_rest(fleet)
        assert row(fleet).state == "healthy"
        assert fleet.theatre.world.bodies.of[machine.primary].serves

    play(story, FIRST)


def test_what_was_rented_fails_over_like_any_warm_pool() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        await fleet.until(lambda: row(fleet).state == "healthy")
        lifecycle = fleet.world.rentals.lifecycle
        lifecycle.crash(fleet.primary(), fleet.theatre.clock.now(), reboot_helps=False)
        fleet.carry_out()
        await fleet.until(lambda: row(fleet).primary == machine.standby)
        await comes_to_rest(fleet)
        assert [one.strategy for one in fleet.theatre.books.failovers()] == ["warm_pool"]
        assert row(fleet).volume == machine.volume

    play(story, FIRST)


def test_a_living_machine_is_left_alone_and_its_pool_stands_ready_on_another_host() -> None:
    async def story(fleet: Fleet) -> None:
        (person,) = fleet.theatre.people
        machine = await whole(fleet)
        assert (machine.primary, machine.state) == (person.instance, "healthy")
        first, second = (fleet.world.instances[number] for number in machine.prepared)
        assert first.host is second.host
        assert first.host is not fleet.primary().host
        assert {first.intended, second.intended} == {"stopped"}
        assert [mount.volume_id for one in (first, second) for mount in one.mounts] == [machine.prepared_volume] * 2
        await comes_to_rest(fleet)
        assert fleet.theatre.books.failovers() == []

    play(story, ELSEWHERE)


def test_a_failover_lands_on_the_prepared_pool_without_renting_anything() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        known = set(fleet.world.instances)
        fleet.world.kill_host(fleet.primary().host, fleet.theatre.clock.now())
        fleet.carry_out()
        await fleet.until(lambda: row(fleet).primary == machine.prepared[0])
        assert set(fleet.world.instances) <= known
        assert (row(fleet).standby, row(fleet).volume) == (machine.prepared[1], machine.prepared_volume)
        assert row(fleet).prepared == ()
        await comes_to_rest(fleet)
        assert [one.strategy for one in fleet.theatre.books.failovers()] == ["cpu_standby"]

    play(story, ELSEWHERE)


def test_beside_a_cpu_vm_the_pool_is_taken_too_and_the_vms_work_is_carried_over_to_it() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        await fleet.until(lambda: bool(fleet.theatre.books.copies()))
        known = set(fleet.world.instances)
        fleet.world.kill_host(fleet.primary().host, fleet.theatre.clock.now())
        fleet.carry_out()
        await fleet.until(lambda: row(fleet).primary == machine.prepared[0])
        assert set(fleet.world.instances) <= known
        assert (row(fleet).standby, row(fleet).prepared) == (machine.prepared[1], ())
        await comes_to_rest(fleet)
        (failover,) = fleet.theatre.books.failovers()
        done = {one.step: one.output for one in fleet.theatre.books.journal(failover.id) if one.mark == "done"}
        assert done["serve_meanwhile"]["serves"] is True
        assert done["carry_over"]["from_vm"] is True
        assert "rent_candidate" not in done

    play(story, ELSEWHERE, cpu_vms=True)


def test_where_the_prepared_host_dies_too_the_market_is_tried() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        now = fleet.theatre.clock.now()
        fleet.world.kill_host(fleet.world.instances[machine.prepared[0]].host, now)
        fleet.world.kill_host(fleet.primary().host, now)
        fleet.carry_out()
        await fleet.until(lambda: any(one.success for one in fleet.theatre.books.failovers()))
        assert row(fleet).primary not in (machine.primary, *machine.prepared)
        await fleet.until(lambda: row(fleet).prepared not in ((), machine.prepared))

    play(story, ELSEWHERE)


@pytest.mark.parametrize("place", [0, 1], ids=["the first", "its standby"])
def test_what_the_provider_takes_away_of_a_prepared_pool_is_rented_anew(place: int) -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        fleet.world.rentals.destroy(fleet.theatre.clock.now(), machine.prepared[place])
        fleet.carry_out()
        await fleet.until(
            lambda: len(row(fleet).prepared) == 2 and row(fleet).prepared[place] != machine.prepared[place]
        )
        assert (row(fleet).prepared[0] == machine.prepared[0]) is (place == 1)
        await comes_to_rest(fleet)
        assert len(fleet.world.instances) == 3

    play(story, ELSEWHERE)


def test_a_standby_that_the_provider_takes_away_is_rented_anew() -> None:
    """Seen by reading: nothing replaced it, and no alert told of it."""

    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        fleet.world.rentals.destroy(fleet.theatre.clock.now(), machine.standby)
        fleet.carry_out()
        await fleet.until(lambda: row(fleet).standby not in (None, machine.standby))
        assert (row(fleet).primary, row(fleet).volume) == (machine.primary, machine.volume)
        await comes_to_rest(fleet)
        assert set(fleet.world.instances) == {machine.primary, row(fleet).standby}
        assert fleet.theatre.books.failovers() == []

    play(story, FIRST)


def test_where_no_two_instances_share_a_volume_the_pool_is_whole_without_a_standby() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        assert len(machine.prepared) == 1
        await comes_to_rest(fleet)

    play(story, ELSEWHERE, sharing="refused")


def test_what_is_rented_is_claimed_once_whatever_becomes_of_the_answers() -> None:
    async def story(fleet: Fleet) -> None:
        await whole(fleet)
        made = len(fleet.world.instances)
        await order(fleet, {"warm_pool": None})
        await fleet.until(lambda: owes_nothing(fleet) and not fleet.world.volumes.volumes)
        for endpoint in ("create_volume", "create_instance"):
            lost = Fault(FaultKind.TIMEOUT_AFTER, endpoint, seconds=20.0, count=1)
            fleet.world.faults.order(lost, fleet.theatre.clock.now(), None)
        await order(fleet, {"warm_pool": {}})
        await whole(fleet)
        assert (len(fleet.world.instances), len(fleet.world.volumes.volumes)) == (made, 1)
        await comes_to_rest(fleet)

    play(story, ELSEWHERE)


@pytest.mark.parametrize("stage_of", ["volume", "instance", "whole"])
def test_a_pool_that_nobody_wants_any_more_goes_at_any_stage(stage_of: str) -> None:
    async def story(fleet: Fleet) -> None:
        await order(fleet, {"warm_pool": None})
        await fleet.until(lambda: owes_nothing(fleet) and len(fleet.world.instances) == 1)
        await order(fleet, {"warm_pool": {}})
        reached = {
            "volume": lambda: bool(fleet.world.volumes.volumes),
            "instance": lambda: len(fleet.world.instances) > 1,
            "whole": lambda: len(row(fleet).prepared) == 2,
        }
        await fleet.until(reached[stage_of])
        await order(fleet, {"warm_pool": None})
        await fleet.until(lambda: owes_nothing(fleet) and len(fleet.world.instances) == 1)
        assert fleet.world.volumes.volumes == {}
        await comes_to_rest(fleet)

    play(story, ELSEWHERE)


def test_money_is_reserved_before_anything_is_made_so_that_two_pools_do_not_spend_it_twice() -> None:
    async def story(fleet: Fleet) -> None:
        await fleet.until(lambda: any(one.primary for one in fleet.theatre.books.machines()))
        await fleet.sleep(600.0)
        rows = fleet.theatre.books.machines()
        (poor,) = (one for one in rows if one.primary is None)
        assert len(fleet.world.volumes.volumes) == 1
        debts = "SELECT last_error, label, reserved_per_hour FROM debts WHERE closed_at IS NULL AND machine_id = ?"
        ((why, label, reserved),) = fleet.theatre.books._driver.execute(debts, (poor.id,)).fetchall()
        assert why.startswith("budget_exceeded: the fleet would cost up to")
        assert (label, reserved) == (None, None)

    play(story, FIRST, FIRST, policy={"max_fleet_price": 0.6})


def test_a_standby_waits_for_money_too_and_is_rented_once_there_is_some() -> None:
    async def story(fleet: Fleet) -> None:
        driver = fleet.theatre.books._driver
        await fleet.until(lambda: row(fleet).primary is not None)
        await fleet.sleep(600.0)
        assert (row(fleet).standby, len(fleet.world.instances)) == (None, 1)
        ((why, reserved),) = driver.execute(REARMS).fetchall()
        assert why.startswith("budget_exceeded: the fleet would cost up to")
        assert reserved is None
        await raise_budget(fleet, 10.0)
        await fleet.until(lambda: len(fleet.world.instances) == 2)
        ((_, reserved),) = driver.execute(REARMS).fetchall()
        assert reserved > 0, "while it comes up nobody else spends its money"
        await whole(fleet)
        await comes_to_rest(fleet)

    play(story, FIRST, policy={"max_fleet_price": 0.4})


REARMS = "SELECT last_error, reserved_per_hour FROM debts WHERE closed_at IS NULL AND kind = 'rearm'"


async def raise_budget(fleet: Fleet, price: float) -> None:
    """As a reload of the configuration says it."""

    async def configure(replica: Replica) -> None:
        assert replica.daemon is not None
        section = replica.daemon.settings.policy.model_copy(update={"max_fleet_price": price})
        await replica.daemon.desk.configure(section, {})

    await fleet.theatre.ask(configure)


RESERVED = "SELECT label, reserved_per_hour FROM debts WHERE closed_at IS NULL AND kind = 'provision_pool'"


def test_a_pool_that_waits_out_a_storm_holds_no_money_back_from_failovers() -> None:
    async def story(fleet: Fleet) -> None:
        driver = fleet.theatre.books._driver
        await order(fleet, {"warm_pool": None})
        await fleet.until(lambda: owes_nothing(fleet) and len(fleet.world.instances) == 1)
        await order(fleet, {"warm_pool": {}})
        while (None, 1) not in [(label, held is not None) for label, held in driver.execute(RESERVED)]:
            await fleet.sleep(0.02)
        at = fleet.theatre.clock.now().strftime("%Y-%m-%d %H:%M:%S.%f")
        driver.execute("UPDATE pauses SET storm_since = ?, storm_seen_at = ?", (at, at))
        driver.commit()
        await fleet.sleep(30.0)
        assert driver.execute(RESERVED).fetchall() == [(None, None)]
        driver.execute("UPDATE pauses SET storm_since = NULL, storm_seen_at = NULL")
        driver.commit()
        await whole(fleet)

    play(story, ELSEWHERE, policy={"max_fleet_price": 50})


def test_a_living_primary_is_left_alone_where_its_pool_has_no_gpu_and_the_market_no_offer() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        host = fleet.world.instances[machine.prepared[0]].host
        host.take(OTHER_TENANT, host.idle(), None)
        fleet.world.market.relist(host)
        fleet.world.faults.order(Fault(FaultKind.EMPTY_LIST, "search_offers"), fleet.theatre.clock.now(), None)
        command = Command("failover", 1, "op-x", strategy="cpu_standby")

        async def submit(replica: Replica) -> None:
            assert replica.daemon is not None
            now = replica.clock.now()
            await replica.daemon.commands.submit(Asked(command, "http", "ana", now, now))

        await fleet.theatre.ask(submit)
        primary = fleet.primary()
        for _ in range(240):
            assert primary.intended == "running"
            await fleet.sleep(0.5)
        assert [one.code for one in fleet.theatre.books.failovers()] == ["no_offer_matches"]
        assert (row(fleet).state, row(fleet).primary) == ("healthy", machine.primary)

    play(story, ELSEWHERE)


def test_where_the_machines_own_host_is_full_its_pool_stands_elsewhere_until_there_is_room() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        await fleet.until(lambda: row(fleet).state == "healthy")
        home = fleet.primary().host
        fleet.world.rentals.lifecycle.crash(fleet.primary(), fleet.theatre.clock.now(), reboot_helps=False)
        fleet.carry_out()
        await fleet.until(lambda: row(fleet).primary == machine.standby)

        def others_take_what_is_free() -> bool:
            home.take(OTHER_TENANT, home.idle(), None)
            fleet.world.market.relist(home)
            return len(row(fleet).prepared) == 2

        await fleet.until(others_take_what_is_free)
        assert row(fleet).standby is None
        home.give_up(OTHER_TENANT)
        fleet.world.market.relist(home)
        await fleet.until(lambda: row(fleet).standby is not None and row(fleet).prepared == ())
        await comes_to_rest(fleet)
        assert set(fleet.world.volumes.volumes) == {machine.volume}

    play(story, FIRST)


# -- what an operator says


async def test_a_wish_is_checked_kept_and_shown() -> None:
    async with stage() as s:
        url = "/api/v1/machines/9"
        made = await s.http.put(url, json={"warm_pool": {"size_gb": 40, "max_price": 0.9}})
        assert made.status_code < 300
        wish = made.json()["warm_pool"]
        assert (wish["size_gb"], wish["max_price"], wish["prepared"], made.json()["strategy"]) == (
            40,
            0.9,
            None,
            "both",
        )
        status = (await s.http.get("/api/v1/failover/status/9")).json()["warm_pool"]
        assert status["state"] == "searching"
        assert "two free GPUs" in status["next"]
        kept = (await s.http.put(url, json={"warm_pool": {"region": "US"}})).json()["warm_pool"]
        assert (kept["size_gb"], kept["region"]) == (40, "US")
        gone = await s.http.put(url, json={"warm_pool": None})
        assert gone.json()["warm_pool"] is None


@pytest.mark.parametrize(
    ("wish", "field", "words"),
    [
        ({"size_gb": 0}, "warm_pool.size_gb", "greater than or equal to 1"),
        ({"region": "usa"}, "warm_pool.region", "exact code"),
        ({"max_price": True}, "warm_pool.max_price", "number"),
        ({"size": 40}, "warm_pool.size", "there is no such field"),
        (5, "warm_pool", "dictionary"),
    ],
)
async def test_a_wish_that_is_none_is_refused_with_its_field(wish: Any, field: str, words: str) -> None:
    async with stage() as s:
        answer = await s.http.put("/api/v1/machines/9", json={"warm_pool": wish})
        assert (answer.status_code, answer.json()["field"]) == (400, field)
        assert words in answer.json()["detail"]


async def test_a_strategy_without_a_warm_pool_has_no_use_for_a_wish() -> None:
    async with stage() as s:
        answer = await s.http.put("/api/v1/machines/9", json={"strategy": "cpu_standby", "warm_pool": {}})
        assert (answer.status_code, answer.json()["field"]) == (400, "warm_pool")
        assert "uses no warm pool" in answer.json()["detail"]
