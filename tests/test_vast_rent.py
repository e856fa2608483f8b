"""Renting: the offer that is gone, the money that lacks, the answer that was lost, and the label that settles it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from machines.errors import NotYet, Refused, Unknown
from machines.model import VolumeId, VolumeMount
from tests.test_vast_provider import (
    CREATE,
    DEAD_KEY,
    DONE,
    LIST,
    PREFIX,
    START,
    Answer,
    Provider,
    claim,
    page,
    row,
    virtual,
)

DELETE_7 = "DELETE /api/v0/instances/7/"
LABEL = PREFIX + "1"
OTHER = row(99, label="somebody else")

GONE_OFFERS = [
    (404, {"success": False, "error": "no_such_ask", "msg": "No ask by id 384826 is available.", "ask_id": 384826}),
    (404, {"success": False, "error": "invalid_args", "msg": "error 404/3603: no_such_ask Instance type"}),
    (410, {"success": False, "error": "no_such_ask", "msg": "error 410/3907: no_such_ask Instance type"}),
    (400, {"success": False, "error": "invalid_args", "msg": "error 400/3467: no_such_ask"}),
    (410, "Gone"),
]


@pytest.mark.parametrize("answer", GONE_OFFERS)
def test_an_offer_that_is_gone_is_refused_as_no_offer(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(CREATE, answer)
        with pytest.raises(Refused) as no:
            await provider.cloud().rent(claim())
        assert no.value.code == "no_offer_matches"

    story()


NO_MONEY = [
    (400, {"success": False, "error": "insufficient_credit", "msg": "You lack credit, see the billing page."}),
    (400, {"success": False, "error": "missing_billing", "msg": "You lack credit, see the billing page."}),
    (200, {"success": False, "error": "spend_rate_limit", "msg": "You lack credit for this rate."}),
]


@pytest.mark.parametrize("answer", NO_MONEY)
def test_a_lack_of_money_is_refused_in_the_providers_words_and_not_repeated(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(CREATE, answer)
        with pytest.raises(Refused, match="You lack credit") as no:
            await provider.cloud().rent(claim())
        assert no.value.code == "provider_unavailable"
        assert len(provider.requests) == 1

    story()


STOPPED_CONTRACT: Answer = (200, {"success": False, "new_contract": 7, "error": "resources_unavailable"})


@virtual
async def test_a_rental_that_came_into_being_stopped_is_destroyed_at_once() -> None:
    provider = Provider()
    provider.on(CREATE, STOPPED_CONTRACT)
    provider.on(DELETE_7, DONE)
    with pytest.raises(Refused) as no:
        await provider.cloud().rent(claim())
    assert (no.value.code, no.value.leaves_rental) == ("no_offer_matches", True)
    assert len(provider.calls(DELETE_7)) == 1


@pytest.mark.parametrize("answer", [(500, ""), (429, {"retry_after": 1}), (403, {"success": False}), DEAD_KEY])
def test_a_stopped_rental_that_cannot_be_destroyed_is_unknown_so_that_undo_finds_it_by_label(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(CREATE, STOPPED_CONTRACT)
        provider.on(DELETE_7, answer)
        provider.on("GET /api/v0/instances/7/", (200, {"instances": row(7)}))
        with pytest.raises(Unknown):
            await provider.cloud().rent(claim())

    story()


@virtual
async def test_a_create_that_names_no_rental_is_unknown() -> None:
    provider = Provider()
    provider.on(CREATE, (200, {"success": True}))
    with pytest.raises(Unknown):
        await provider.cloud().rent(claim())


@virtual
async def test_a_lost_create_is_adopted_by_its_label() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, httpx.ReadTimeout("lost"))
    with pytest.raises(Unknown):
        await cloud.rent(claim())
    provider.on(LIST, page(OTHER), page(OTHER, row(7, label=LABEL)))
    with pytest.raises(NotYet):
        await cloud.adopt(claim())
    assert await cloud.adopt(claim()) == 7
    assert len(provider.calls(CREATE)) == 1


@virtual
async def test_nothing_to_adopt_is_only_said_after_the_lag() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, httpx.ReadTimeout("lost"))
    await asyncio.sleep(100)
    made = claim(claimed_at=START)
    with pytest.raises(Unknown):
        await cloud.rent(made)  # Sent long after the claim: the lag runs from here.
    provider.on(LIST, page(OTHER))
    with pytest.raises(NotYet) as wait:
        await cloud.adopt(made)
    assert wait.value.delay == timedelta(seconds=15)
    await asyncio.sleep(wait.value.delay.total_seconds())
    assert await cloud.adopt(made) is None


@virtual
async def test_a_young_process_does_not_trust_the_absence_of_what_its_forerunner_may_have_sent() -> None:
    provider = Provider()
    provider.on(LIST, page(OTHER))
    old = claim(claimed_at=START - timedelta(hours=1))
    cloud = provider.cloud()
    with pytest.raises(NotYet):
        await cloud.adopt(old)
    with pytest.raises(NotYet):
        await cloud.destroy(old)
    await asyncio.sleep(15)
    assert await cloud.adopt(old) is None
    await cloud.destroy(old)


@pytest.mark.parametrize("call", ["adopt", "destroy", "rent"])
def test_labels_of_others_are_not_touched(call: str) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        with pytest.raises(Refused, match="not a label of this deployment"):
            await getattr(provider.cloud(), call)(claim("fo-dep2-1"))
        assert provider.requests == []

    story()


def test_a_deployment_without_a_prefix_is_refused() -> None:
    with pytest.raises(ValueError, match="prefix"):
        Provider().cloud(prefix="")


@virtual
async def test_an_offer_is_free_again_once_the_claim_is_settled_that_asked_for_it() -> None:
    """Seen: the only offer on a volume's host was locked for ten minutes after a lost answer."""
    provider = Provider()
    cloud = provider.cloud()
    provider.on(
        CREATE, httpx.ReadTimeout("lost"), httpx.ReadTimeout("lost"), (200, {"success": True, "new_contract": 8})
    )
    provider.on(LIST, page(OTHER))
    for number, settle in ((1, cloud.adopt), (2, cloud.destroy)):
        asked = claim(f"{PREFIX}{number}")
        with pytest.raises(Unknown):
            await cloud.rent(asked)
        with pytest.raises(Refused, match="asked for already"):
            await cloud.rent(claim(f"{PREFIX}9"))
        await asyncio.sleep(20)
        await settle(asked)
    assert await cloud.rent(claim(f"{PREFIX}3")) == 8


@virtual
async def test_a_place_beside_a_volume_is_asked_for_whoever_asked_before() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, httpx.ReadTimeout("lost"), (200, {"success": True, "new_contract": 8}))
    with pytest.raises(Unknown):
        await cloud.rent(claim())
    beside = replace(claim(f"{PREFIX}2"), volume=VolumeMount(VolumeId(881), "/workspace"))
    assert await cloud.rent(beside) == 8
