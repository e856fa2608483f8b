"""Our requests to Compute Engine and the simulated answers, held against Google's document and recorded requests."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.routing import compile_path

from adapters.gce import GceAccess, GoogleCompute
from adapters.sim.compute_api import CALLS
from machines.errors import Unknown
from tests.compute_document import Exchange, violations
from tests.cpu_clouds import Served, served

RECORDED = json.loads((Path(__file__).parent / "data/gce-requests.json").read_text())["operations"]
UNUSED = ("list", "stop request id, no graceful")
"""What we never send: one list covers all zones, and a VM may shut down in peace."""
FRESH = "99999999-0000-4000-8000-{:012d}"


def requests() -> list[tuple[str, Mapping[str, Any]]]:
    """(name, request) of each that was recorded."""
    found = []
    for one in RECORDED:
        for number, request in enumerate(one["requests"], 1):
            found.append((f"{one['operation']} {one.get('variant', '')} {number}", request))
    return found


def call_of(request: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """What we call it, and what stands in its path."""
    for what, (method, template) in CALLS.items():
        match = compile_path(template)[0].fullmatch(request["path"])
        if method == request["method"] and match is not None:
            return what, match.groupdict()
    raise AssertionError(f"the world does not know {request['method']} {request['path']}")


async def prepared(there: Served) -> dict[str, str]:
    """Both VMs of the recording are there; the label fingerprint and an operation of the one that is changed."""
    url = f"{there.url}/compute/v1/projects/proj-1/zones/europe-west4-a/instances"
    inserts = [request for name, request in requests() if name.startswith("insert")]
    async with httpx.AsyncClient() as client:
        for number, insert in enumerate(inserts):
            made = await client.post(url, params={"requestId": FRESH.format(number)}, json=insert["body"])
            operation = made.json()["name"]
            await client.post(f"{url.removesuffix('/instances')}/operations/{operation}/wait")
        shown = (await client.get(f"{url}/fo-web-2")).json()
    return {"fingerprint": shown["labelFingerprint"], "operation": operation}


def filled(request: Mapping[str, Any], found: Mapping[str, str]) -> dict[str, Any]:
    """With what a server returned before, which differs from that of the recording."""
    body = request["body"]
    if body is not None and "labelFingerprint" in body:
        body = {**body, "labelFingerprint": found["fingerprint"]}
    path = request["path"].replace("operation-1000000000000000008", found["operation"])
    return {**request, "path": path, "body": body}


@pytest.mark.parametrize(("name", "request_"), requests(), ids=[name for name, _ in requests()])
async def test_the_world_answers_each_recorded_request_as_the_document_says(
    name: str, request_: Mapping[str, Any]
) -> None:
    async with served() as there:
        found = {"fingerprint": "", "operation": ""} if name.startswith("insert") else await prepared(there)
        asked = filled(request_, found)
        async with httpx.AsyncClient(timeout=20) as client:
            answer = await client.request(
                asked["method"], there.url + asked["path"], params=asked["query"], json=asked["body"]
            )
        assert answer.status_code == 200, answer.text
        assert violations(there.exchanges[-1]) == []


@pytest.mark.parametrize(
    ("name", "request_"),
    [one for one in requests() if not one[0].startswith(UNUSED)],
    ids=[name for name, _ in requests() if not name.startswith(UNUSED)],
)
async def test_our_client_sends_each_request_as_it_was_recorded(name: str, request_: Mapping[str, Any]) -> None:
    async with served() as there:
        wire = GoogleCompute(GceAccess(endpoint=there.url), there.clock)
        what, path = call_of(request_)
        try:
            await wire.ask(what, path, request_["query"], request_["body"], 5.0)
        finally:
            wire.close()
        [sent] = there.exchanges
    assert (sent.method, sent.path, sent.query, sent.body) == (
        request_["method"],
        request_["path"],
        request_["query"],
        request_["body"],
    )
    assert sent.headers["x-goog-request-params"] == request_["headers"]["x-goog-request-params"]
    assert sent.headers["content-type"] == "application/json"
    assert "authorization" not in sent.headers


def test_the_checker_finds_what_is_wrong() -> None:
    path = "/compute/v1/projects/proj-1/zones/europe-west4-a/instances"
    wrong = [
        Exchange("POST", f"{path}/x/reboot", {}, {}, None),
        Exchange("GET", path, {"filtre": "a"}, {}, None),
        Exchange("POST", path, {}, {}, {"nom": "x"}),
        Exchange("POST", path, {}, {}, {"name": 5}),
        Exchange("GET", f"{path}/x", {}, {}, None, 200, {"id": "hex-ff"}),
        Exchange("GET", f"{path}/x", {}, {}, None, 200, {"status": "TIRED"}),
        Exchange("GET", path, {}, {}, None, 200, {"items": {}}),
    ]
    assert [len(violations(exchange)) for exchange in wrong] == [1] * len(wrong)


async def test_a_client_whose_server_says_nothing_gives_up_in_time() -> None:
    async with served() as there:
        wire = GoogleCompute(GceAccess(endpoint="http://127.0.0.1:1"), there.clock)
        with pytest.raises(Unknown):
            await wire.ask("get", {"project": "p-1", "zone": "z-1", "instance": "i"}, {}, None, 1.0)
        wire.close()
