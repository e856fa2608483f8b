"""The provider's rows in our words, and the check that is made again on every offer."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from adapters.vast import VastSettings
from adapters.vast.offers import fitting
from adapters.vast.rows import BadRow, instance_from, region_of
from machines.errors import Unknown
from machines.model import Endpoint, HostId, LandlordId, OfferQuery, Status
from tests.test_vast_provider import Provider, row, virtual

STATUSES = [
    (None, Status.PROVISIONING),
    ("created", Status.PROVISIONING),
    ("loading", Status.LOADING),
    ("running", Status.RUNNING),
    ("exited", Status.EXITED),
    ("stopped", Status.EXITED),
    ("unknown", Status.OFFLINE),
    ("offline", Status.OFFLINE),
    ("frozen", Status.OTHER),
    ("rebooting", Status.OTHER),
    ("recycling", Status.OTHER),
    ("something new", Status.OTHER),
]


@pytest.mark.parametrize(("actual", "status"), STATUSES)
def test_the_actual_status_is_understood(actual: str | None, status: Status) -> None:
    assert instance_from(row(7, actual_status=actual)).status is status


def test_scheduling_wants_to_run_but_holds_no_gpu() -> None:
    instance = instance_from(row(7, actual_status="exited", cur_state="stopped"))
    assert instance.wants_running
    assert not instance.holds_gpu


def test_a_row_is_read_whole() -> None:
    instance = instance_from(row(7, label="fo-dep1-1", onstart="echo hi", is_bid=True, status_msg=None))
    assert (instance.id, instance.label, instance.host, instance.landlord) == (7, "fo-dep1-1", 178, 2)
    assert (instance.price_per_hour, instance.region, instance.is_interruptible) == (0.4, "SE", True)
    assert instance.env == {"A": "1", "-p 8000:8000": "1"}
    assert (instance.image, instance.disk_gb, instance.onstart) == ("pytorch/pytorch:latest", 32.0, "echo hi")
    assert instance.detail == ""


ENDPOINTS: list[tuple[dict[str, Any], Endpoint | None]] = [
    ({}, Endpoint("203.0.113.7", 40022)),
    ({"ports": None}, Endpoint("ssh5.vast.ai", 31000)),
    ({"ports": {}}, Endpoint("ssh5.vast.ai", 31000)),
    ({"ports": {"22/tcp": []}}, Endpoint("ssh5.vast.ai", 31000)),
    ({"ports": {"22/tcp": [40023]}}, Endpoint("203.0.113.7", 40023)),
    ({"ports": {"22/tcp": [{"HostPort": "99999"}]}}, Endpoint("ssh5.vast.ai", 31000)),
    ({"public_ipaddr": None}, Endpoint("ssh5.vast.ai", 31000)),
    ({"ports": None, "image_runtype": "jupyter_direc ssh_direc ssh_proxy"}, Endpoint("ssh5.vast.ai", 31001)),
    ({"ports": None, "ssh_host": None}, None),
    ({"ports": None, "ssh_port": None}, None),
]


@pytest.mark.parametrize(("fields", "endpoint"), ENDPOINTS)
def test_ssh_is_direct_while_the_port_is_open_and_else_by_proxy(
    fields: dict[str, Any], endpoint: Endpoint | None
) -> None:
    assert instance_from(row(7, **fields)).ssh == endpoint


@pytest.mark.parametrize("broken", [{}, [], None, "x", {"id": 1}, {"id": True, "machine_id": 1, "host_id": 1}])
def test_a_row_without_its_ids_cannot_be_read(broken: Any) -> None:
    with pytest.raises(BadRow):
        instance_from(broken)


def test_a_region_is_the_exact_code() -> None:
    assert region_of("South Korea, KR") == "KR"
    assert region_of("US") == "US"
    assert region_of("Texas, US") == "US"
    assert region_of("Austria") is None
    assert region_of("") is None


QUERY = OfferQuery("RTX_4090", 1, 32.0, 0.6, 0.95, region="US")


def offer_row(number: int = 5, **fields: Any) -> dict[str, Any]:
    return {
        "id": number,
        "machine_id": 178,
        "host_id": 2,
        "gpu_name": "RTX 4090",
        "num_gpus": 1,
        "dph_total": 0.5,
        "reliability": 0.98,
        "reliability2": 0.97,
        "disk_space": 100.0,
        "geolocation": "Texas, US",
        "rentable": True,
        "rented": False,
        "external": False,
        "verification": "verified",
    } | fields


def test_an_offer_that_fulfils_everything_fits() -> None:
    offer = fitting(offer_row(), QUERY)
    assert offer is not None
    assert (offer.id, offer.host, offer.landlord, offer.reliability, offer.region) == (5, 178, 2, 0.97, "US")


UNFIT: list[dict[str, Any]] = [
    {"gpu_name": "RTX 4090D"},
    {"gpu_name": "RTX 3090"},
    {"num_gpus": 2},
    {"dph_total": 0.61},
    {"dph_total": None},
    {"dph_total": float("nan")},
    {"reliability": 0.9},
    {"reliability2": 0.9},
    {"reliability": None, "reliability2": None},
    {"disk_space": 31.9},
    {"disk_space": None},
    {"geolocation": "Vienna, AT"},
    {"geolocation": "Russia"},
    {"geolocation": None},
    {"rentable": False},
    {"external": True},
    {"verification": "deverified"},
    {"id": None},
]


@pytest.mark.parametrize("fields", UNFIT)
def test_an_offer_that_the_server_should_not_have_sent_is_dropped(fields: dict[str, Any]) -> None:
    assert fitting(offer_row(**fields), QUERY) is None


def test_excluded_hosts_and_landlords_are_dropped_and_one_host_is_kept() -> None:
    assert fitting(offer_row(), replace(QUERY, not_hosts=frozenset({HostId(178)}))) is None
    assert fitting(offer_row(), replace(QUERY, not_landlords=frozenset({LandlordId(2)}))) is None
    assert fitting(offer_row(rented=True), QUERY, HostId(178)) is not None
    assert fitting(offer_row(), QUERY, HostId(179)) is None


@virtual
async def test_offers_come_cheapest_first_and_each_once() -> None:
    provider = Provider()
    rows = [offer_row(1, dph_total=0.5), offer_row(2, dph_total=0.3), offer_row(2, dph_total=0.3), "junk"]
    provider.on("POST /api/v0/bundles/", (200, {"offers": rows}))
    assert [offer.id for offer in await provider.cloud().search(QUERY)] == [2, 1]


@virtual
async def test_a_full_page_without_a_fitting_offer_leads_to_the_next_prices() -> None:
    provider = Provider()
    full = [offer_row(number, gpu_name="RTX 3090", dph_total=0.1 + number / 1000) for number in range(64)]
    provider.on("POST /api/v0/bundles/", (200, {"offers": full}), (200, {"offers": [offer_row(99)]}))
    found = await provider.cloud(VastSettings(slack_s=0)).search(QUERY)
    assert [offer.id for offer in found] == [99]
    assert provider.bodies("POST /api/v0/bundles/")[1]["dph_total"] == {"gte": 0.163, "lte": 0.6}


@pytest.mark.parametrize("answer", [(200, {"success": True}), (400, {"success": False, "msg": "Invalid query"})])
def test_a_search_without_an_answer_is_unknown_and_not_an_empty_market(answer: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on("POST /api/v0/bundles/", answer)
        with pytest.raises(Unknown):
            await provider.cloud().search(QUERY)

    story()
