"""The list of all rentals: complete only when it adds up, and read once for everybody who asks at the same time."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from adapters.vast import KeyDead
from machines.errors import Unknown
from tests.test_vast_provider import DEAD_KEY, LIST, Provider, page, row, virtual


@virtual
async def test_all_pages_are_read_and_add_up() -> None:
    provider = Provider()
    rows = [row(number) for number in range(60)]
    provider.on(
        LIST, page(*rows[:25], total=60, token="a"), page(*rows[25:50], total=60, token="b"), page(*rows[50:], total=60)
    )
    listing = await provider.cloud().list()
    assert listing.complete
    assert list(listing.instances) == list(range(60))
    assert [request.url.params.get("after_token") for request in provider.requests] == [None, "a", "b"]
    assert {request.url.params["limit"] for request in provider.requests} == {"25"}


NOT_ADDING_UP: list[tuple[str, tuple[Any, ...]]] = [
    ("fewer rows than counted", (page(row(1), total=2),)),
    ("more rows than counted", (page(row(1), row(2), total=1),)),
    ("the page's own count is wrong", (page(row(1), instances_found=2),)),
    ("not called a success", (page(row(1), success=None),)),
    ("no count", (page(row(1), total_instances=None),)),
    ("a row twice", (page(row(1), row(1)),)),
    ("a row that cannot be read", (page(row(1), {"id": "x"}),)),
    ("a row without its host", (page(row(1), row(2, machine_id=None)),)),
    ("the second page is lost", (page(row(1), total=2, token="a"), (502, ""))),
    ("the second page is no page", (page(row(1), total=2, token="a"), (200, {"success": True}))),
    ("a token that leads in a circle", (page(row(1), total=2, token="a"), page(row(2), total=2, token="a"))),
]


@pytest.mark.parametrize(("_what", "answers"), NOT_ADDING_UP, ids=[what for what, _ in NOT_ADDING_UP])
def test_a_list_that_does_not_add_up_is_not_complete_but_shows_what_it_has(
    _what: str, answers: tuple[Any, ...]
) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(LIST, *answers)
        listing = await provider.cloud().list()
        assert not listing.complete
        assert 1 in listing.instances

    story()


NO_LIST: list[Any] = [
    (200, {"success": False, "error": "x"}),
    (200, {"success": True}),
    (200, {"success": True, "instances": None}),
    (200, "plain text"),
    (410, {"success": False, "error": "deprecated_endpoint", "msg": "deprecated"}),
    (500, ""),
    httpx.ReadTimeout("no answer"),
]


@pytest.mark.parametrize("answer", NO_LIST)
def test_what_is_no_list_is_unknown_and_never_an_empty_list(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(LIST, answer)
        with pytest.raises(Unknown):
            await provider.cloud().list()

    story()


@virtual
async def test_a_key_that_dies_between_two_pages_is_told() -> None:
    provider = Provider()
    provider.on(LIST, page(row(1), total=2, token="a"), DEAD_KEY)
    with pytest.raises(KeyDead):
        await provider.cloud().list()


@virtual
async def test_rentals_that_come_and_go_while_the_pages_are_turned_leave_the_list_complete() -> None:
    provider = Provider()
    provider.on(LIST, page(row(1), total=2, token="a"), page(row(2), row(3), total=3))
    assert (await provider.cloud().list()).complete
    provider.on(LIST, page(row(1), row(2), total=3, token="a"), page(row(3), total=2))
    assert (await provider.cloud().list()).complete


@virtual
async def test_callers_that_wait_share_one_reading_and_its_failure() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(LIST, page(row(1)))
    listings = await asyncio.gather(*(cloud.list() for _ in range(20)))
    assert len({id(listing) for listing in listings}) == 2  # The first began before the others asked.
    provider.on(LIST, (500, ""))
    failures = await asyncio.gather(
        *(cloud.list(60.0) for _ in range(3)), *(cloud.list() for _ in range(20)), return_exceptions=True
    )
    assert [isinstance(failure, Unknown) for failure in failures] == [False] * 3 + [True] * 20
    assert len(provider.requests) == 2 + 3  # They all asked while it waited for its turn.
    provider.on(LIST, page(row(1)))
    assert (await cloud.list(60.0)).complete  # A failure is not shared with those who ask later.


@virtual
async def test_a_cancelled_reading_leaves_the_others_to_read_for_themselves() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(LIST, (503, ""), page(row(1)))
    first = asyncio.create_task(cloud.list())
    second = asyncio.create_task(cloud.list())
    await asyncio.sleep(0.1)
    first.cancel()
    assert (await second).complete
    assert first.cancelled()


@virtual
async def test_a_reading_that_began_before_the_question_is_too_old_for_it() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(LIST, page(row(1)))
    first = asyncio.create_task(cloud.list())
    await asyncio.sleep(0.5)
    assert await first is not await cloud.list()
    assert await cloud.list(max_age_s=5) is await cloud.list(max_age_s=5)
    assert len(provider.requests) == 2
    await asyncio.sleep(6)
    await cloud.list(max_age_s=5)
    assert len(provider.requests) == 3
