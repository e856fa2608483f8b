"""An account with thousands of rentals: only what somebody asks about is read, and what is not shown is proved gone."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import httpx
import pytest

from adapters.vast import VastApi, VastCloud, VastSettings, vast_client
from machines.errors import NotYet
from machines.model import InstanceId, Label
from tests.test_vast_provider import PREFIX, EvenRandom, VirtualClock, claim, row, virtual

FLEET = 3000


class Market:
    """A provider with many rentals that filters its list as facts/vast-api.md, 4.2, says, or not at all."""

    def __init__(self, filters: bool = True, labels: Mapping[int, str] | None = None) -> None:
        """`labels` of those that bear any; without it each rental bears one of its own."""
        self.rentals = {
            number: row(number, label=f"label-{number}" if labels is None else labels.get(number))
            for number in range(1, FLEET + 1)
        }
        self.filters = filters
        self.refuses = 0
        """So many more filtered calls are answered with 400."""
        self.is_mute = False
        """Every filtered call is answered with nothing."""
        self.counts_labels = False
        self.asked: list[dict[str, Any]] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        if request.url.path != "/api/v1/instances/":
            return httpx.Response(200, json={"instances": self.rentals.get(int(request.url.path.split("/")[-2]))})
        query = dict(request.url.params)
        wanted = json.loads(query["select_filters"])
        self.asked.append(wanted)
        if wanted and self.refuses:
            self.refuses -= 1
            return httpx.Response(400, json={"success": False, "error": "invalid_request", "msg": "not a search key"})
        found = list(self.rentals.values()) if not (wanted and self.is_mute) else []
        for column, condition in wanted.items() if self.filters else ():
            found = [one for one in found if one[column] in condition["in"]]
        start = int(query.get("after_token") or 0)
        shown = found[start : start + 25]
        more = str(start + 25) if start + 25 < len(found) else None
        body = {"success": True, "instances": shown, "instances_found": len(shown)}
        if self.counts_labels:
            body["label_counts"] = Counter(one["label"] for one in found if one["label"] is not None)
        return httpx.Response(200, json={**body, "total_instances": len(found), "next_token": more})

    def whole_readings(self) -> int:
        """Of the list without a filter; what only finds out how many there are is none."""
        return sum(1 for wanted in self.asked if not wanted) // (FLEET // 25)

    def cloud(self) -> VastCloud:
        client = vast_client("k", "http://vast.test", transport=httpx.MockTransport(self.answer))
        clock, settings = VirtualClock(), VastSettings()
        return VastCloud(VastApi(client, clock, EvenRandom(), settings), clock, PREFIX, settings)


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


CROWD = dict.fromkeys(range(1, FLEET + 1), "prod")


@virtual
async def test_a_label_that_thousands_share_hides_no_rental_of_ours() -> None:
    market = Market(labels=CROWD)
    cloud = market.cloud()
    await asyncio.sleep(100)
    assert await cloud.adopt(claim()) is None
    mine = claim("fo-dep1-mine")
    market.rentals[FLEET + 1] = row(FLEET + 1, label=mine.label)
    assert await cloud.adopt(mine) == FLEET + 1
    market.rentals[FLEET + 2] = row(FLEET + 2, label="fo-dep1-later")
    asked = len(market.asked)
    assert await cloud.adopt(claim("fo-dep1-later")) == FLEET + 2
    assert len(market.asked) == asked + 1, "our own label is the control now"


@virtual
async def test_a_crowd_that_is_known_by_the_providers_counts_is_no_control() -> None:
    labels = {**dict.fromkeys(range(20, FLEET + 1), "prod"), 2: "alone"}
    market = Market(labels=labels)
    market.counts_labels = True
    cloud = market.cloud()
    market.rentals[FLEET + 1] = row(FLEET + 1, label="fo-dep1-mine")
    assert await cloud.adopt(claim("fo-dep1-mine")) == FLEET + 1
    assert market.asked[1:] == [{"label": {"in": ["alone", "fo-dep1-mine"]}}]


@virtual
async def test_a_crowd_that_was_seen_once_only_is_found_out_and_the_whole_list_is_read() -> None:
    labels = {**dict.fromkeys(range(1000, FLEET + 1), "prod"), 3: "prod"}
    market = Market(labels=labels)
    cloud = market.cloud()
    market.rentals[FLEET + 1] = row(FLEET + 1, label="fo-dep1-mine")
    assert await cloud.adopt(claim("fo-dep1-mine")) == FLEET + 1
    assert market.whole_readings() == 1


@virtual
async def test_a_rental_whose_label_is_the_only_one_is_proved_gone_by_the_whole_list() -> None:
    market = Market(labels={2: "fo-dep1-mine"})
    cloud = market.cloud()
    await asyncio.sleep(100)  # Nothing of a former process may still come.
    assert await cloud.adopt(claim("fo-dep1-mine")) == 2
    assert (await cloud._listing.read_label(Label("fo-dep1-mine"))).complete
    del market.rentals[2]
    listing = await cloud._listing.read_label(Label("fo-dep1-mine"))
    assert listing.complete
    assert not listing.with_label(Label("fo-dep1-mine"))
    assert len(listing.instances) == FLEET - 1, "no filter proves that"


@virtual
async def test_one_refused_question_is_answered_by_the_whole_list_and_the_next_by_its_rows() -> None:
    market = Market()
    cloud = market.cloud()
    await cloud.list(about=[InstanceId(1)])
    market.refuses = 1
    assert len((await cloud.list(about=[InstanceId(2900)])).instances) == FLEET
    assert len((await cloud.list(about=[InstanceId(2900)])).instances) < 25


@virtual
async def test_a_filter_that_is_refused_again_and_again_is_tried_again_after_some_minutes() -> None:
    market = Market()
    cloud = market.cloud()
    await cloud.list(about=[InstanceId(1)])
    market.refuses = 3
    for _ in range(3):
        assert (await cloud.list(about=[InstanceId(2900)])).complete
    asked = len(market.asked)
    assert len((await cloud.list(about=[InstanceId(2900)])).instances) == FLEET
    assert all(not wanted for wanted in market.asked[asked:]), "the filter is left alone"
    assert (await cloud._listing.read_label(Label("label-7"))).complete
    assert market.asked[-1], "the other column has done nothing"
    await asyncio.sleep(301)
    assert len((await cloud.list(about=[InstanceId(2900)])).instances) < 25


@virtual
async def test_a_missing_control_of_labels_says_nothing_about_the_other_column() -> None:
    market = Market(labels={})
    cloud = market.cloud()
    await cloud.list(about=[InstanceId(1)])
    assert len((await cloud._listing.read_label(Label("fo-dep1-mine"))).instances) == FLEET
    assert len((await cloud.list(about=[InstanceId(2900)])).instances) < 25


@pytest.mark.parametrize("column", ["id", "label"])
def test_a_filter_that_answers_with_nothing_is_found_out_and_nothing_is_ever_gone(column: str) -> None:
    @virtual
    async def story() -> None:
        market = Market()
        cloud = market.cloud()
        await cloud.list(about=[InstanceId(1)])
        market.is_mute = True

        async def gone() -> bool:
            if column == "id":
                listing = await cloud.list(about=[InstanceId(2900)])
            else:
                listing = await cloud._listing.read_label(Label("label-2900"))
            return listing.complete and 2900 not in listing.instances

        for _ in range(2):
            assert not await gone()
            assert market.whole_readings() == 0, "the controls may have gone at that time"
        for _ in range(3):
            assert not await gone()
        assert market.whole_readings() == 3
        await asyncio.sleep(301)
        assert not await gone()
        market.is_mute = False
        await asyncio.sleep(301)
        asked = len(market.asked)
        assert not await gone()
        assert len(market.asked) == asked + 1

    story()


@virtual
async def test_a_rental_that_lives_is_not_proved_gone_while_filters_come_and_go() -> None:
    market = Market(labels={**CROWD, 2900: "fo-dep1-mine"})
    cloud = market.cloud()
    await asyncio.sleep(100)
    for market.is_mute, market.refuses, market.filters in [
        (True, 0, True),
        (False, 1, True),
        (False, 0, False),
        (True, 2, True),
        (False, 0, True),
        (True, 0, True),
    ] * 4:
        try:
            assert await cloud.adopt(claim("fo-dep1-mine")) == 2900
        except NotYet:
            pass
        await asyncio.sleep(100)


@virtual
async def test_rentals_that_went_one_by_one_are_no_controls_for_those_that_go_after_them() -> None:
    market = Market(labels={number: f"fo-dep1-{number}" for number in range(1, 9)})
    cloud = market.cloud()
    await cloud.list(about=[InstanceId(2900)])
    asked = len(market.asked)
    for number in range(8, 1, -1):
        del market.rentals[number]
        listing = await cloud._listing.read_label(Label(f"fo-dep1-{number}"))
        assert listing.complete
        assert number not in listing.instances
    assert len(market.asked) == asked + 7, "a call each"
