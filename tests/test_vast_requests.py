"""Our requests against golden ones of the official client (facts/vast-requests.json): same paths, same shapes."""

from __future__ import annotations

from typing import Any

import pytest

from machines.model import HostId, InstanceId, Label, LandlordId, OfferQuery, Workload
from tests.test_vast_provider import CREATE, DONE, LIST, Provider, claim, page, row, virtual

GOLDEN_CREATE: dict[str, Any] = {
    "client_id": "me",
    "image": "pytorch/pytorch:latest",
    "env": {"A": "1", "B": "two", "-p 8000:8000": "1", "-p 8082:8082/udp": "1", "-h": "web1"},
    "price": None,
    "disk": 32.0,
    "label": "fo-dep1-1",
    "extra": None,
    "onstart": "echo hi",
    "image_login": None,
    "python_utf8": False,
    "lang_utf8": False,
    "use_jupyter_lab": False,
    "jupyter_dir": None,
    "force": False,
    "cancel_unavail": True,
    "template_hash_id": None,
    "user": None,
    "runtype": "ssh_direc ssh_proxy",
}
GOLDEN_SEARCH: dict[str, Any] = {
    "verified": {"eq": True},
    "external": {"eq": False},
    "rentable": {"eq": True},
    "gpu_name": {"eq": "RTX 4090"},
    "num_gpus": {"eq": 1},
    "dph_total": {"lte": 0.6},
    "reliability": {"gte": 0.98},
    "geolocation": {"eq": "SE"},
    "order": [["dph_total", "asc"]],
    "type": "on-demand",
    "allocated_storage": 32.0,
}
"""As the client's, in numbers where it sends text, and without its free choices (limit, ports)."""
QUERY = OfferQuery("RTX_4090", 1, 32.0, 0.6, 0.98, region="SE")
SEARCH = "POST /api/v0/bundles/"


@virtual
async def test_create_sends_what_the_official_client_sends() -> None:
    provider = Provider()
    provider.on(CREATE, (200, {"success": True, "new_contract": 7}))
    workload = Workload(env=GOLDEN_CREATE["env"], onstart="echo hi")
    await provider.cloud().rent(claim(workload=workload))
    assert provider.bodies(CREATE) == [GOLDEN_CREATE]
    assert provider.requests[0].headers["authorization"] == "Bearer k-123"
    assert "k-123" not in str(provider.requests[0].url)


@virtual
async def test_create_starts_the_image_as_the_old_instance_did() -> None:
    provider = Provider()
    provider.on(CREATE, (200, {"success": True, "new_contract": 7}))
    login = "-u me -p hunter2 registry.example"
    await provider.cloud().rent(claim(workload=Workload(runtype="jupyter_proxy ssh_proxy", image_login=login)))
    (body,) = provider.bodies(CREATE)
    assert (body["runtype"], body["image_login"]) == ("jupyter_proxy ssh_proxy", login)


@virtual
async def test_create_never_asks_for_less_disk_than_the_provider_allows() -> None:
    provider = Provider()
    provider.on(CREATE, (200, {"success": True, "new_contract": 7}))
    await provider.cloud().rent(claim(workload=Workload(disk_gb=4)))
    assert provider.bodies(CREATE)[0]["disk"] == 8.0


async def searched(query: OfferQuery, host: HostId | None = None) -> dict[str, Any]:
    provider = Provider()
    provider.on(SEARCH, (200, {"offers": []}))
    await provider.cloud().search(query, host)
    body: dict[str, Any] = provider.bodies(SEARCH)[0]
    return body


@virtual
async def test_search_asks_for_every_condition_and_leaves_rented_to_the_server() -> None:
    body = await searched(QUERY)
    assert {key: body[key] for key in GOLDEN_SEARCH} == GOLDEN_SEARCH
    assert "rented" not in body
    assert "id" not in body


@virtual
async def test_search_on_one_host_also_sees_hosts_where_we_rent() -> None:
    body = await searched(QUERY, HostId(178))
    assert body["machine_id"] == {"eq": 178}
    assert body["rented"] == {"eq": True}


@virtual
async def test_search_excludes_hosts_and_landlords_and_no_price_at_all_is_allowed() -> None:
    excluded = (frozenset({HostId(3), HostId(1)}), frozenset({LandlordId(9)}))
    body = await searched(OfferQuery(None, 2, 10.0, float("inf"), 0.9, None, *excluded))
    assert body["machine_id"] == {"notin": [1, 3]}
    assert body["host_id"] == {"notin": [9]}
    assert not body.keys() & {"dph_total", "gpu_name", "geolocation"}


@virtual
async def test_the_list_is_asked_as_the_official_client_asks() -> None:
    provider = Provider()
    provider.on(LIST, page(row(1), total=2, token="t="), page(row(2), total=2))
    await provider.cloud().list()
    first = {"select_filters": "{}", "order_by": '[{"col": "id", "dir": "asc"}]', "limit": "25"}
    assert [dict(request.url.params) for request in provider.requests] == [first, first | {"after_token": "t="}]
    assert all(request.content == b"" for request in provider.requests)


CHANGES: list[tuple[str, list[Any], str, dict[str, Any]]] = [
    ("start", [], "PUT /api/v0/instances/7001/", {"state": "running"}),
    ("stop", [], "PUT /api/v0/instances/7001/", {"state": "stopped"}),
    ("label", [Label("fo-web-2")], "PUT /api/v0/instances/7001/", {"label": "fo-web-2"}),
    ("reboot", [], "PUT /api/v0/instances/reboot/7001/", {}),
    ("destroy", [], "DELETE /api/v0/instances/7001/", {}),
]


@pytest.mark.parametrize(("call", "more", "path", "body"), CHANGES)
def test_changes_send_what_the_official_client_sends(
    call: str, more: list[Any], path: str, body: dict[str, Any]
) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        provider.on(path, DONE)
        provider.on(LIST, page(row(1)))
        await getattr(provider.cloud(), call)(InstanceId(7001), *more)
        assert provider.bodies(path) == [body]

    story()


@virtual
async def test_one_instance_is_asked_for_as_its_owner() -> None:
    provider = Provider()
    provider.on("GET /api/v0/instances/7001/", (200, {"instances": row(7001)}))
    shown = await provider.cloud().show(InstanceId(7001))
    assert shown is not None
    assert shown.id == 7001
    assert dict(provider.requests[0].url.params) == {"owner": "me"}
