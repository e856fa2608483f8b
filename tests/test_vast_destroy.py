"""Destroying: what counts as gone, and what only looks like it."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from adapters.vast import KeyDead
from machines.errors import NotYet, Refused, Unknown
from machines.model import Claim, InstanceId
from tests.test_vast_provider import (
    ACCOUNT,
    CREATE,
    DEAD_KEY,
    DONE,
    LIST,
    NO_COSTS,
    OWNER,
    PREFIX,
    SPEND,
    Answer,
    Provider,
    absent,
    claim,
    page,
    row,
    virtual,
)

DELETE_7 = "DELETE /api/v0/instances/7/"
CREATED: Answer = (200, {"success": True, "new_contract": 7})
LABEL = PREFIX + "1"
OTHER = row(99, label="somebody else")


async def settled(provider: Provider, target: Claim | InstanceId, seconds: float = 20.0) -> None:
    cloud = provider.cloud()
    await asyncio.sleep(seconds)
    await cloud.destroy(target)


@virtual
async def test_destroying_a_claim_deletes_everything_under_its_label_and_nothing_else() -> None:
    provider = Provider()
    provider.on(LIST, page(OTHER, row(7, label=LABEL), row(8, label=LABEL)), page(OTHER))
    provider.on(DELETE_7, DONE)
    provider.on("DELETE /api/v0/instances/8/", DONE)
    await settled(provider, claim())
    assert len(provider.requests) == 4


@virtual
async def test_one_rental_that_cannot_be_deleted_leaves_no_other_one_alive() -> None:
    provider = Provider()
    provider.on(LIST, page(row(7, label=LABEL), row(8, label=LABEL)))
    provider.on(DELETE_7, (500, ""))
    provider.on("DELETE /api/v0/instances/8/", DONE)
    with pytest.raises(Unknown):
        await settled(provider, claim())
    assert len(provider.calls("DELETE /api/v0/instances/8/")) == 1


@virtual
async def test_a_rental_that_is_still_listed_is_not_gone_yet() -> None:
    provider = Provider()
    provider.on(LIST, page(row(7, label=LABEL)))
    provider.on(DELETE_7, DONE)
    for target in (claim(), InstanceId(7)):
        with pytest.raises(NotYet, match="still listed"):
            await settled(provider, target)


@virtual
async def test_a_list_that_is_not_complete_proves_no_absence() -> None:
    provider = Provider()
    provider.on(LIST, page(OTHER, total=2))
    provider.on(DELETE_7, DONE)
    for target in (claim(), InstanceId(7)):
        with pytest.raises(NotYet, match="not complete"):
            await settled(provider, target)


@virtual
async def test_an_empty_list_proves_absence_only_while_the_account_answers_and_pays_for_nothing() -> None:
    provider = Provider()
    provider.on(LIST, page())
    provider.on(DELETE_7, DONE)
    provider.on(SPEND, NO_COSTS)
    for target in (claim(), InstanceId(7)):
        provider.on(ACCOUNT, DEAD_KEY)
        with pytest.raises(KeyDead):
            await settled(provider, target)
        provider.on(ACCOUNT, (500, ""))
        with pytest.raises(Unknown):
            await settled(provider, target)
        provider.on(ACCOUNT, OWNER)
        provider.on(SPEND, (200, {"gpu_cost_per_hour": 0.0, "container_storage_cost_per_hour": 0.01}))
        with pytest.raises(NotYet, match="pays for rentals"):
            await settled(provider, target)
        provider.on(SPEND, NO_COSTS)
        await settled(provider, target)
        provider.on(SPEND, (403, {"detail": "no scope"}))
        await settled(provider, target)


@virtual
async def test_a_rental_that_the_list_hides_is_deleted_by_the_number_that_create_gave() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, CREATED)
    assert await cloud.rent(claim()) == 7
    provider.on(LIST, page(OTHER))
    provider.on(DELETE_7, DONE)
    with pytest.raises(NotYet):
        await cloud.destroy(claim())
    assert len(provider.calls(DELETE_7)) == 1
    await asyncio.sleep(16)
    provider.on(DELETE_7, absent(7))
    await cloud.destroy(claim())


NOT_THERE = [
    absent(7),
    (404, {"success": False, "error": "not_found", "msg": "Instance 7 not found."}),
    (400, {"success": False, "error": "invalid_args", "msg": "invalid instance_id"}),
]


@pytest.mark.parametrize("answer", NOT_THERE)
def test_destroying_what_is_not_there_is_success_by_a_list_past_the_lag(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(DELETE_7, answer)
        provider.on(LIST, page(OTHER))
        with pytest.raises(NotYet, match="lag"):
            await settled(provider, InstanceId(7), seconds=0)
        await settled(provider, InstanceId(7))

    story()


@virtual
async def test_a_fresh_rental_that_the_provider_does_not_know_yet_is_not_taken_for_gone() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, CREATED)
    await asyncio.sleep(1000)
    await cloud.rent(claim())
    provider.on(DELETE_7, absent(7))
    provider.on(LIST, page(OTHER))
    with pytest.raises(NotYet, match="lag"):
        await cloud.destroy(InstanceId(7))


@virtual
async def test_a_delete_whose_answer_was_lost_is_repeated() -> None:
    provider = Provider()
    provider.on(DELETE_7, httpx.ReadTimeout("lost"), absent(7))
    provider.on(LIST, page(OTHER))
    await settled(provider, InstanceId(7))


@virtual
async def test_a_refused_delete_is_told() -> None:
    provider = Provider()
    provider.on(DELETE_7, (403, {"success": False, "msg": "not yours"}))
    provider.on("GET /api/v0/instances/7/", (200, {"instances": row(7)}))
    with pytest.raises(Refused, match="not yours"):
        await settled(provider, InstanceId(7))
