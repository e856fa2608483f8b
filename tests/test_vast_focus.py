"""An account with thousands of rentals: only what somebody asks about is read, and what is not shown is proved gone."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx

from adapters.vast import VastCloud, VastSettings, vast_client
from machines.model import InstanceId
from tests.test_vast_provider import PREFIX, EvenRandom, VirtualClock, row, virtual

FLEET = 3000


class Market:
    """A provider with many rentals that filters its list as facts/vast-api.md, 4.2, says, or not at all."""

    def __init__(self, filters: bool = True) -> None:
        self.rentals = {number: row(number, label=f"label-{number}") for number in range(1, FLEET + 1)}
        self.filters = filters
        self.asked: list[dict[str, Any]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/v1/instances/":
            return httpx.Response(200, json={"instances": self.rentals.get(int(request.url.path.split("/")[-2]))})
        query = dict(request.url.params)
        wanted = json.loads(query["select_filters"])
        self.asked.append(wanted)
        found = list(self.rentals.values())
        for column, condition in wanted.items() if self.filters else ():
            found = [one for one in found if one[column] in condition["in"]]
        start = int(query.get("after_token") or 0)
        shown = found[start : start + 25]
        more = str(start + 25) if start + 25 < len(found) else None
        body = {"success": True, "instances": shown, "instances_found": len(shown)}
        return httpx.Response(200, json={**body, "total_instances": len(found), "next_token": more})

    def cloud(self) -> VastCloud:
        client = vast_client("k", "http://vast.test", transport=httpx.MockTransport(self.answer))
        return VastCloud(client, VirtualClock(), PREFIX, VastSettings(), EvenRandom())


@virtual
async def test_of_a_large_account_only_the_rentals_in_question_are_read() -> None:
    market = Market()
    listing = await market.cloud().list(about=[InstanceId(2900)])
    assert listing.complete
    assert 2900 in listing.instances
    assert len(market.asked) == 2, "the first page says how many there are; the second call asks"


@virtual
async def test_those_who_ask_at_one_time_share_a_call() -> None:
    market, loop = Market(), asyncio.get_running_loop()
    cloud = market.cloud()
    await cloud.list(about=[InstanceId(1)])
    began, asked = loop.time(), len(market.asked)
    listings = await asyncio.gather(*(cloud.list(about=[InstanceId(number)]) for number in range(100, 120)))
    assert all(100 + index in listing.instances for index, listing in enumerate(listings))
    assert len(market.asked) == asked + 1
    assert loop.time() - began < 1.2


@virtual
async def test_a_crowd_that_does_not_know_the_size_yet_finds_it_out_once() -> None:
    market = Market()
    cloud = market.cloud()
    await asyncio.gather(*(cloud.list(about=[InstanceId(number)]) for number in range(100, 120)))
    assert len(market.asked) == 2


@virtual
async def test_a_rental_that_is_not_shown_beside_one_that_lives_is_gone() -> None:
    market = Market()
    del market.rentals[2900]
    listing = await market.cloud().list(about=[InstanceId(2900)])
    assert listing.complete
    assert 2900 not in listing.instances
    assert listing.instances, "the controls are shown"


@virtual
async def test_an_answer_that_shows_nothing_at_all_proves_nothing() -> None:
    market = Market()
    cloud = market.cloud()
    assert (await cloud.list(about=[InstanceId(1)])).complete
    market.rentals.clear()
    listing = await cloud.list(about=[InstanceId(2900)])
    assert not listing.complete


@virtual
async def test_a_provider_that_does_not_filter_is_read_page_by_page() -> None:
    market = Market(filters=False)
    listing = await market.cloud().list(about=[InstanceId(2900)])
    assert listing.complete
    assert len(listing.instances) == FLEET


@virtual
async def test_a_long_question_lets_short_ones_pass_between_its_pages() -> None:
    market, loop = Market(), asyncio.get_running_loop()
    cloud = market.cloud()
    long = asyncio.create_task(cloud.list(about=[InstanceId(number) for number in range(1, 1001)]))
    await asyncio.sleep(5)
    began = loop.time()
    await cloud.list(about=[InstanceId(2000)])
    assert loop.time() - began < 3.5
    listing = await long
    assert listing.complete
    assert set(range(1, 1001)) <= set(listing.instances)


@virtual
async def test_an_answer_that_is_young_enough_is_taken_again() -> None:
    market = Market()
    cloud = market.cloud()
    first = await cloud.list(3.0, about=[InstanceId(7)])
    asked = len(market.asked)
    assert (await cloud.list(3.0, about=[InstanceId(7)])).at == first.at
    assert len(market.asked) == asked
    assert (await cloud.list(about=[InstanceId(7)])).at > first.at


@virtual
async def test_whoever_asks_may_go_away_without_spoiling_the_others_answer() -> None:
    cloud = Market().cloud()
    await cloud.list(about=[InstanceId(1)])
    one, other = (asyncio.create_task(cloud.list(about=[InstanceId(number)])) for number in (5, 6))
    await asyncio.sleep(0.1)
    one.cancel()
    assert 6 in (await other).instances
