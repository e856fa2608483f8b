"""The simulated provider over its HTTP API: golden requests, error bodies, limits, faults and the control plane."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from adapters.sim.instances import Mount
from adapters.sim.offers import Ask
from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings

T = TypeVar("T")
GOLDEN = json.loads((Path(__file__).parent / "data" / "vast-requests.json").read_text())["operations"]
BODY = {"image": "pytorch/pytorch:latest", "disk": 32.0, "label": "fo-1", "runtype": "ssh_direc ssh_proxy"}
UNKNOWN_TOKEN = "eyJ0b2tlbiI6MX0="


class VirtualClock:
    """Time that moves when somebody sleeps or the test says so."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at)

    def monotonic(self) -> float:
        return self.at

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self.now() - at

    def real(self, seconds: float) -> float:
        return seconds

    async def sleep(self, seconds: float) -> None:
        self.at += seconds

    async def breathe(self) -> None:
        return None

    async def wait_for(self, awaitable: Awaitable[T], seconds: float) -> T:
        return await awaitable


class Provider:
    """A world without bodies behind an in-process client; every call is spaced so that no limit is hit."""

    def __init__(self, http: httpx.AsyncClient, sim: SimServer, clock: VirtualClock) -> None:
        self.http, self.sim, self.world, self.clock = http, sim, sim.world, clock

    async def __call__(self, method: str, path: str, body: Any = None, **kwargs: Any) -> httpx.Response:
        self.clock.at += 10
        return await self.http.request(method, path, json=body, **kwargs)

    async def loaded(self, **body: Any) -> list[dict[str, Any]]:
        answer = await self("POST", "/sim/instances", body)
        assert answer.status_code == 200, answer.text
        return list(answer.json()["instances"])


@asynccontextmanager
async def provider(api_key: str | None = None, **world: Any) -> AsyncIterator[Provider]:
    clock = VirtualClock()
    settings = SimSettings(seed=3, has_bodies=False, api_key=api_key, world=WorldSettings(**world))
    sim = SimServer(settings, clock)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(sim.app), base_url="http://sim", headers={"Authorization": "Bearer key"}
    ) as http:
        yield Provider(http, sim, clock)


async def ready_for_golden(vast: Provider) -> None:
    """The ids that the recorded requests name exist: offer 384826, instance 7001, volume 881, volume offer 555."""
    host = next(iter(vast.world.hosts.values()))
    host.volume_ask_id = 555
    volume = vast.world.volumes.make(host, 50, "old", vast.clock.now())
    assert volume.id == 881
    [row] = await vast.loaded(count=1)
    assert row["id"] == 7001
    vast.world.instances[7001].bid = 0.25
    vast.world.market.asks[384826] = Ask(384826, host, 1)


@pytest.mark.parametrize("operation", GOLDEN, ids=lambda each: f"{each['operation']}: {each.get('variant', '')}"[:60])
async def test_the_official_clients_requests_are_answered(operation: dict[str, Any]) -> None:
    async with provider() as vast:
        await ready_for_golden(vast)
        for request in operation["requests"]:
            answer = await vast(request["method"], request["path"], request["body"], params=request["query"])
            assert answer.headers["content-type"] == "application/json"
            if request["query"].get("after_token") == UNKNOWN_TOKEN:
                assert (answer.status_code, answer.json()["error"]) == (400, "invalid_token")
                continue
            assert answer.status_code == 200, answer.text
            assert answer.json().get("success", True) is True


async def test_both_slash_forms_and_doubled_slashes_mean_the_same() -> None:
    async with provider() as vast:
        for path in ("/api/v1/instances", "/api/v1/instances/", "//api/v1/instances/"):
            assert (await vast("GET", "http://sim" + path)).json()["instances"] == []


async def test_a_wrong_key_is_a_404_with_an_auth_error() -> None:
    async with provider(api_key="right") as vast:
        answer = await vast("GET", "/api/v0/instances/1/")
        assert (answer.status_code, answer.json()["error"]) == (404, "auth_error")
        assert (await vast("GET", "/api/v0/gpu_names/unique/")).status_code == 200
        answer = await vast("GET", "/api/v0/instances/1/", headers={"Authorization": "Bearer right"})
        assert answer.json() == {"instances": None}


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "expected"),
    [
        ("GET", "/api/v0/instances/", None, 410, {"error": "deprecated_endpoint"}),
        ("GET", "/api/v0/instances/x1/", None, 400, {"error": "invalid_args"}),
        ("POST", "/api/v0/bundles/", [1], 400, {"msg": "Invalid query: must be dict of conditions"}),
        ("PUT", "/api/v0/asks/9/", BODY, 404, {"error": "no_such_ask", "ask_id": 9}),
        ("PUT", "/api/v0/asks/9/", {"disk": 8}, 400, {"error": "invalid_args"}),
        ("PUT", "/api/v0/asks/9/", {**BODY, "disk": 7}, 400, {"error": "invalid_args"}),
        ("PUT", "/api/v0/asks/9/", {**BODY, "price": 0.0001}, 400, {"error": "invalid_price"}),
        ("PUT", "/api/v0/asks/9/", {**BODY, "label": "x" * 257}, 400, {"error": "invalid_args"}),
        ("PUT", "/api/v0/instances/9/", {"state": "running"}, 404, {"msg": "Instance 9 not found."}),
        ("PUT", "/api/v0/instances/7001/", {"state": "dancing"}, 400, {"msg": "Invalid target state"}),
        ("PUT", "/api/v0/instances/7001/", {"label": "x" * 1025}, 400, {"msg": "label_too_long"}),
        ("PUT", "/api/v0/instances/reboot/9/", {}, 400, {"msg": "invalid instance_id"}),
        (
            "PUT",
            "/api/v0/instances/bid_price/7001/",
            {"price": 1},
            400,
            {"msg": "Can't change price of on-demand contract."},
        ),
        ("PUT", "/api/v0/instances/", {"state": "stopped"}, 400, {"msg": "ids list required"}),
        ("PUT", "/api/v0/instances/", {"state": "stopped", "ids": [1] * 65}, 400, {"msg": "chunk length of 65 > 64"}),
        ("PUT", "/api/v0/instances/", {"state": "stopped", "ids": [1]}, 404, {"error": "invalid_args"}),
        ("DELETE", "/api/v0/instances/", {}, 400, {"msg": "instance_ids array is required"}),
        ("DELETE", "/api/v0/instances/", {"instance_ids": [1]}, 404, {"error": "instances_not_found"}),
        ("DELETE", "/api/v0/volumes/", {"id": 9}, 404, {"msg": "could not find a listed volume matching id"}),
        ("DELETE", "/api/v0/volumes/", {}, 400, {"msg": "id must refer to a valid volume id"}),
        ("PUT", "/api/v0/volumes/", {"id": 1, "size": 10}, 400, {"error": "invalid_args"}),
        ("GET", "/api/v0/volumes?type=x", None, 400, {"error": "invalid_args"}),
        ("GET", "/api/v0/ssh/", None, 404, {"error": "not_found"}),
        ("GET", "/api/v9/nothing", None, 404, {"error": "not_found"}),
    ],
)
async def test_error_bodies(method: str, path: str, body: Any, status: int, expected: dict[str, Any]) -> None:
    async with provider() as vast:
        await vast.loaded(count=1)
        answer = await vast(method, path, body)
        assert answer.status_code == status, answer.text
        assert expected.items() <= answer.json().items()


async def offers(vast: Provider, **query: Any) -> list[dict[str, Any]]:
    answer = await vast("POST", "/api/v0/bundles/", query)
    assert answer.status_code == 200, answer.text
    return list(answer.json()["offers"])


async def test_search_traps() -> None:
    async with provider(hosts=64) as vast:
        assert len(await offers(vast, limit=1000)) == 64
        assert len(await offers(vast, limit=3)) == 3
        [first] = await offers(vast, limit=1)
        assert await offers(vast, id={"eq": first["id"]}) == []
        assert [each["id"] for each in await offers(vast, ask_contract_id={"eq": str(first["id"])})] == [first["id"]]
        cheap = await offers(vast, dph_total={"gte": 0.3, "lt": "0.5"}, order=[["dph_total", "asc"]])
        prices = [each["dph_total"] for each in cheap]
        assert prices == sorted(prices)
        assert all(0.3 <= price < 0.5 for price in prices)
        places = {each["geolocation"] for each in await offers(vast, geolocation={"in": ["SE", "US"]})}
        assert places == {"Sweden, SE", "California, US", "Texas, US"}
        assert all(each["gpu_name"] == "RTX 4090" for each in await offers(vast, gpu_name={"eq": "RTX 4090"}))
        assert {each["verification"] for each in await offers(vast)} == {"verified"}
        assert {each["is_bid"] for each in await offers(vast, type="bid")} == {False}
        assert await offers(vast, driver_version={"gte": 999000000}) == []


async def test_offers_where_this_account_rents_are_hidden_unless_asked_for() -> None:
    async with provider(hosts=6) as vast:
        [first] = await offers(vast, limit=1, num_gpus={"eq": 1})
        made = await vast("PUT", f"/api/v0/asks/{first['id']}/", BODY)
        assert made.json()["success"] is True
        on_host = {"machine_id": {"eq": first["machine_id"]}}
        assert await offers(vast, **on_host) == []
        assert await offers(vast, **on_host, rented={"eq": True})
        assert len(await offers(vast, rented={"eq": True})) > len(await offers(vast))
        again = await vast("PUT", f"/api/v0/asks/{first['id']}/", BODY)
        assert again.status_code == 404


async def test_pages_of_25_with_tokens_filters_and_order() -> None:
    async with provider() as vast:
        await vast.loaded(count=60, label="fo-{n}")
        ids, token = [], ""
        while token is not None:
            query = {"limit": "100", "order_by": '[{"col": "id", "dir": "desc"}]', "after_token": token}
            page = (await vast("GET", "/api/v1/instances/", params=query)).json()
            assert page["total_instances"] == 60
            assert page["instances_found"] == len(page["instances"]) <= 25
            ids += [row["id"] for row in page["instances"]]
            token = page["next_token"]
        assert ids == sorted(vast.world.instances, reverse=True)
        only = {"select_filters": '{"label": {"in": ["fo-3", "fo-4"]}}', "select_cols": '["id", "nonsense"]'}
        page = (await vast("GET", "/api/v1/instances/", params=only)).json()
        assert page["instances"] == [{"id": 7003, "nonsense": None}, {"id": 7004, "nonsense": None}]
        assert page["label_counts"] == {"fo-3": 1, "fo-4": 1}
        unlabelled = {"select_filters": '{"label": {"in": [null]}}'}
        assert (await vast("GET", "/api/v1/instances/", params=unlabelled)).json()["instances"] == []
        answer = await vast("GET", "/api/v1/instances/", params={"select_filters": '{"dph_total": {"gt": 1}}'})
        assert answer.status_code == 400
        assert "is not a valid search key" in answer.json()["msg"]
        assert len((await vast("GET", "/api/v1/instances/", params={"limit": "0"})).json()["instances"]) == 5


async def test_volume_info_stands_in_the_list_only() -> None:
    async with provider() as vast:
        await vast.loaded(count=1, volume_gb=20)
        assert vast.world.instances[7001].mounts == (Mount(881, "/workspace"),)
        [row] = (await vast("GET", "/api/v1/instances/")).json()["instances"]
        assert row["volume_info"] == [{"id": 881, "label": None, "total_space": 20.0, "avail_space": 20.0}]
        assert "volume_info" not in (await vast("GET", "/api/v0/instances/7001/")).json()["instances"]


@pytest.mark.parametrize("form", [1, 2, 3, 4, 5])
async def test_a_second_call_within_the_interval_is_429(form: int) -> None:
    async with provider(too_frequent_form=form) as vast:
        path = "/api/v0/instances/1/"
        assert (await vast.http.get(path)).status_code == 200
        answer = await vast.http.get(path)
        assert answer.status_code == 429
        assert ("application/json" in answer.headers["content-type"]) == (form != 1)
        if form == 4:
            assert answer.json()["retry_after"] == 2
        other = await vast.http.get(path, headers={"Authorization": "Bearer other"})
        assert other.status_code == 200
        vast.clock.at += 2
        assert (await vast.http.get(path)).status_code == 200


async def test_create_may_run_only_every_four_and_a_half_seconds() -> None:
    async with provider(create_seconds=0) as vast:
        first, second, *_ = await offers(vast, num_gpus={"eq": 1})
        assert (await vast.http.put(f"/api/v0/asks/{first['id']}/", json=BODY)).status_code == 200
        vast.clock.at += 4.4
        assert (await vast.http.put(f"/api/v0/asks/{second['id']}/", json=BODY)).status_code == 429
        vast.clock.at += 0.1
        assert (await vast.http.put(f"/api/v0/asks/{second['id']}/", json=BODY)).status_code == 200


async def order(vast: Provider, **fault: Any) -> None:
    answer = await vast("POST", "/sim/faults", fault)
    assert answer.status_code == 200, answer.text


async def test_a_lost_answer_to_create_has_rented_all_the_same() -> None:
    async with provider() as vast:
        [offer] = await offers(vast, limit=1)
        await order(vast, endpoint="create_instance", kind="timeout_before", count=1)
        with pytest.raises(httpx.ReadTimeout):
            await vast("PUT", f"/api/v0/asks/{offer['id']}/", BODY)
        assert vast.world.instances == {}
        await order(vast, endpoint="/api/v0/asks/*", method="PUT", kind="timeout_after", count=1)
        with pytest.raises(httpx.ReadTimeout):
            await vast("PUT", f"/api/v0/asks/{offer['id']}/", BODY)
        assert [instance.label for instance in vast.world.instances.values()] == ["fo-1"]


async def test_faults_of_every_kind_and_their_ends() -> None:
    async with provider() as vast:
        await vast.loaded(count=4)
        path = "/api/v1/instances/"
        await order(vast, endpoint=path, kind="status", status=502, count=1)
        assert (await vast("GET", path)).status_code == 502
        await order(vast, endpoint=path, kind="empty_list", count=1)
        assert (await vast("GET", path)).json()["instances"] == []
        await order(vast, endpoint=path, kind="partial_list", count=1)
        assert len((await vast("GET", path)).json()["instances"]) == 2
        await order(vast, endpoint=path, kind="auth_error", count=1)
        answer = await vast("GET", path)
        assert (answer.status_code, answer.json()["error"]) == (404, "auth_error")
        await order(vast, endpoint=path, kind="malformed", count=1)
        with pytest.raises(ValueError):
            (await vast("GET", path)).json()
        before = vast.clock.at
        await order(vast, endpoint=path, kind="latency", seconds=30, count=1)
        await vast("GET", path)
        assert vast.clock.at == before + 50
        await order(vast, endpoint="destroy_instance", kind="status_after", status=503, count=1)
        assert (await vast("DELETE", "/api/v0/instances/7001/")).status_code == 503
        assert 7001 not in vast.world.instances
        await order(vast, kind="status", status=503, for_seconds=45)
        assert [(await vast("GET", path)).status_code for _ in range(5)] == [503, 503, 503, 503, 200]
        await order(vast, kind="status")
        assert (await vast("DELETE", "/sim/faults")).status_code == 200
        assert (await vast("GET", path)).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "said"),
    [
        ("POST", "/sim/faults", {"kind": "rain"}, 400, "'kind'"),
        ("POST", "/sim/faults", {}, 400, "'kind' is required"),
        ("POST", "/sim/faults", {"kind": "status", "cuont": 1}, 400, "'cuont'"),
        ("POST", "/sim/faults", {"kind": "status", "count": True}, 400, "'count'"),
        ("POST", "/sim/faults", [1], 400, "object"),
        ("POST", "/sim/hosts/1/kill", None, 404, "no host 1"),
        ("POST", "/sim/hosts/x/kill", None, 404, "'x'"),
        ("POST", "/sim/instances/1/crash", None, 404, "no instance 1"),
        ("POST", "/sim/instances", {"count": 0}, 400, "'count'"),
        ("POST", "/sim/instances", {"gpu_name": "VooDoo"}, 400, "'gpu_name'"),
        ("POST", "/sim/snapshots", {"instance_id": 9}, 404, "no instance 9"),
        ("POST", "/sim/snapshots/1/restore", {"instance_id": 9}, 404, "no snapshot 1"),
        ("GET", "/sim/snapshots/1/restore/2", None, 404, "nobody"),
    ],
)
async def test_the_control_plane_says_what_is_wrong(method: str, path: str, body: Any, status: int, said: str) -> None:
    async with provider() as vast:
        answer = await vast(method, path, body)
        assert answer.status_code == status
        assert said in answer.json()["msg"]


async def test_the_loader_spreads_over_hosts_and_fills_in_numbers() -> None:
    async with provider(hosts=4) as vast:
        rows = await vast.loaded(count=12, label="m{n}", env={"FAILOVERD_MACHINE_ID": "{n}"}, gpu_name="RTX 4090")
        assert [row["label"] for row in rows] == [f"m{n}" for n in range(1, 13)]
        assert [row["env"]["FAILOVERD_MACHINE_ID"] for row in rows] == [str(n) for n in range(1, 13)]
        assert len({row["host"] for row in rows}) == 12
        assert {row["gpu_name"] for row in rows} == {"RTX 4090"}
        assert all(row["serving"] and row["ssh_open"] for row in rows)
        truth = (await vast("GET", "/sim/world")).json()
        assert len(truth["instances"]) == len(truth["snapshots"]) == 12
        assert truth["bill"]["total"] > 0


async def test_the_truth_follows_kill_freeze_crash_and_preempt() -> None:
    async with provider() as vast:
        rows = await vast.loaded(count=4)
        one, two, three, four = (row["id"] for row in rows)
        await vast("POST", f"/sim/hosts/{rows[0]['host']}/kill")
        await vast("POST", f"/sim/instances/{two}/freeze")
        await vast("POST", f"/sim/instances/{three}/crash", {"reboot_helps": True})
        await vast("POST", f"/sim/instances/{four}/preempt", {"for_seconds": 60})
        vast.clock.at += 30
        truth = {row["id"]: row for row in (await vast("GET", "/sim/world")).json()["instances"]}
        states = {number: (row["state"], row["serving"]) for number, row in truth.items()}
        assert states == {
            one: ("host_dead", False),
            two: ("frozen", False),
            three: ("crashed", False),
            four: ("waiting_for_gpu", False),
        }
        assert truth[two]["actual_status"] == "running"
        vast.clock.at += 300
        await vast("POST", f"/sim/instances/{two}/thaw")
        assert (await vast("POST", f"/sim/instances/{one}/crash")).status_code == 409
        truth = {row["id"]: row for row in (await vast("GET", "/sim/world")).json()["instances"]}
        assert [truth[two]["serving"], truth[four]["serving"]] == [True, True]


async def test_ssh_keys_of_account_and_instance() -> None:
    async with provider() as vast:
        key = {"ssh_key": "ssh-ed25519 AAAA one"}
        assert (await vast("POST", "/api/v0/ssh/", key)).json()["success"] is True
        assert (await vast("POST", "/api/v0/ssh/", key)).json()["success"] is False
        [row] = (await vast("GET", "/api/v0/ssh/")).json()
        await vast.loaded(count=1)
        assert (await vast("POST", "/api/v0/instances/7001/ssh/", {"ssh_key": "k2"})).json()["success"] is True
        keys = json.loads((await vast("GET", "/api/v0/instances/7001/ssh/")).json()["ssh_keys"])
        assert [each["public_key"] for each in keys] == ["ssh-ed25519 AAAA one", "k2"]
        assert (await vast("DELETE", f"/api/v0/ssh/{row['id']}/")).json() == {"success": True}


async def test_other_reads_and_group_operations() -> None:
    async with provider() as vast:
        await vast.loaded(count=3)
        stop = {"state": "stopped", "ids": [7001, 7002]}
        assert (await vast("PUT", "/api/v0/instances/", stop)).json() == {"success": True}
        assert vast.world.instances[7002].intended == "stopped"
        destroy = {"instance_ids": [7001, 7002]}
        assert (await vast("DELETE", "/api/v0/instances/", destroy)).json() == {"success": True}
        assert list(vast.world.instances) == [7003]
        assert (await vast("PUT", "/api/v0/instances/recycle/7003/", {})).json() == {"success": True}
        filters = (await vast("GET", "/api/v0/instances/filters/")).json()["filters"]
        assert [each["actual_status"] for each in filters] == ["recycling"]
        rate = (await vast("GET", "/api/v0/users/spend-rate/")).json()
        assert rate["has_active_resources"] is True
        assert (await vast("GET", "/api/v0/users/current")).json()["credit"] < vast.world.settings.credit
        query = {"q": json.dumps({"limit": 2})}
        assert len((await vast("GET", "/api/v0/bundles/", params=query)).json()["offers"]) == 2
        newer = {"select_cols": ["*"], "q": {"limit": 2}}
        found = (await vast("PUT", "/api/v0/search/asks/", newer)).json()["offers"]
        assert len(found) == 2
        assert (await vast("PUT", f"/api/v0/bundles_bid_price/{found[0]['bundle_id']}/")).json() > 0
