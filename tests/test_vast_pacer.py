"""The pacer and the repetitions: nobody calls too early, nothing that could bill twice is sent twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from adapters.vast import KeyDead, VastSettings
from adapters.vast.pacer import Pacer
from adapters.vast.settings import CHANGE
from machines.errors import Fenced, NotYet, Refused, Unknown
from machines.model import InstanceId, OfferQuery
from tests.test_vast_provider import (
    CREATE,
    DEAD_KEY,
    DONE,
    LIST,
    Provider,
    VirtualClock,
    claim,
    page,
    row,
    virtual,
)

QUERY = OfferQuery("RTX 4090", 1, 32.0, 0.6, 0.95)
SEARCH = "POST /api/v0/bundles/"
STOP_7 = "PUT /api/v0/instances/7/"
EXACT = VastSettings(slack_s=0.0)
CREATED = (200, {"success": True, "new_contract": 7})


@virtual
async def test_callers_of_one_endpoint_share_its_interval_whatever_the_id() -> None:
    provider = Provider()
    cloud = provider.cloud(EXACT)
    for number in range(4):
        provider.on(f"PUT /api/v0/instances/{number}/", DONE)
    await asyncio.gather(*(cloud.stop(InstanceId(number)) for number in range(4)))
    assert provider.times == [0.0, 1.0, 2.0, 3.0]


@virtual
async def test_endpoints_do_not_wait_for_each_other() -> None:
    provider = Provider()
    cloud = provider.cloud(EXACT)
    provider.on(STOP_7, DONE)
    provider.on(SEARCH, (200, {"offers": []}))
    provider.on(CREATE, CREATED)
    await asyncio.gather(cloud.stop(InstanceId(7)), cloud.search(QUERY), cloud.rent(claim()))
    assert provider.times == [0.0, 0.0, 0.0]


@virtual
async def test_an_idle_endpoint_is_called_at_once() -> None:
    provider = Provider()
    cloud = provider.cloud(EXACT)
    provider.on(STOP_7, DONE)
    await cloud.stop(InstanceId(7))
    await asyncio.sleep(100)
    await cloud.stop(InstanceId(7))
    assert provider.times == [0.0, 100.0]


@virtual
async def test_a_call_whose_actor_lost_its_leave_while_it_waited_is_not_sent() -> None:
    provider = Provider()
    cloud = provider.cloud(EXACT)
    provider.on(STOP_7, DONE)
    lapsed_at = 0.5

    def may_send() -> None:
        if asyncio.get_running_loop().time() > lapsed_at:
            raise Fenced("another replica has the lease")

    mine = cloud.on_behalf_of(may_send)
    results = await asyncio.gather(*(mine.stop(InstanceId(7)) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [type(None), Fenced, Fenced]
    assert len(provider.requests) == 1
    await cloud.stop(InstanceId(7))
    assert len(provider.requests) == 2, "others have their own leave, and the same lanes"


# The wait is what was asked for and a quarter more: half the jitter's range.
TOO_FREQUENT: list[tuple[Any, dict[str, str], float]] = [
    ("API requests too frequent: endpoint threshold=2.0", {}, 2.5),
    ({"detail": "API requests too frequent endpoint threshold=2.5"}, {}, 3.125),
    ({"success": False, "error": "rate_limit_exceeded", "msg": "API requests too frequent threshold=3.0"}, {}, 3.75),
    ({"error": "HTTPTooManyRequests", "msg": "API requests too frequent", "retry_after": 4}, {}, 5.0),
    ({"error": "HTTPTooManyRequests", "retry_after": 4}, {"Retry-After": "9"}, 11.25),
    ("API requests too frequent", {}, 1.0),
]


@pytest.mark.parametrize(("body", "headers", "wait"), TOO_FREQUENT)
def test_a_throttled_call_is_repeated_after_the_wait_that_was_asked_for(
    body: Any, headers: dict[str, str], wait: float
) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        cloud = provider.cloud(EXACT)
        provider.on(STOP_7, (429, body, headers), DONE)
        await cloud.stop(InstanceId(7))
        assert provider.times == [0.0, wait]

    story()


@virtual
async def test_a_throttled_create_is_sent_again_for_nothing_happened() -> None:
    provider = Provider()
    cloud = provider.cloud(EXACT)
    provider.on(CREATE, (429, {"error": "HTTPTooManyRequests", "retry_after": 6}), CREATED)
    assert await cloud.rent(claim()) == 7
    assert provider.times == [0.0, 7.5]


@virtual
async def test_a_throttled_route_holds_back_all_its_callers() -> None:
    provider = Provider()
    cloud = provider.cloud(EXACT)
    provider.on(STOP_7, (429, {"retry_after": 20}), DONE)
    provider.on("PUT /api/v0/instances/8/", DONE)
    await asyncio.gather(cloud.stop(InstanceId(7)), cloud.stop(InstanceId(8)))
    assert provider.times == [0.0, 25.0, 26.0]


@virtual
async def test_a_spent_search_quota_is_told_and_not_asked_again_before_the_reset() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(SEARCH, (429, {"error": "search_quota_exceeded"}))
    for _ in range(3):
        with pytest.raises(NotYet) as told:
            await cloud.search(QUERY)
        assert told.value.delay.total_seconds() == pytest.approx(12 * 3600, abs=20)
    assert len(provider.requests) == 1


@virtual
async def test_a_provider_that_always_throttles_is_told_as_not_yet() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, (429, {"retry_after": 5}))
    with pytest.raises(NotYet):
        await cloud.rent(claim())
    assert len(provider.requests) == VastSettings().throttled_tries
    provider.on(CREATE, CREATED)
    assert await cloud.rent(claim()) == 7  # Nothing was created, so the label is still unused.


LOST = [
    httpx.ReadTimeout("no answer"),
    httpx.RemoteProtocolError("reset"),
    httpx.ReadError("reset"),
    (500, "oops"),
    (502, "<html>"),
    (503, {"success": False}),
    (504, ""),
    (200, "not json"),
    (400, {"success": False, "error": "server_error"}),
]


@pytest.mark.parametrize("lost", LOST)
def test_a_create_without_a_clear_answer_is_unknown_and_never_repeated(lost: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        cloud = provider.cloud()
        provider.on(CREATE, lost)
        with pytest.raises(Unknown):
            await cloud.rent(claim())
        with pytest.raises(Unknown, match="already sent"):
            await cloud.rent(claim())
        assert len(provider.requests) == 1

    story()


@virtual
async def test_a_create_that_never_left_is_tried_again_and_then_waits() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, httpx.ConnectError("refused"), CREATED)
    assert await cloud.rent(claim()) == 7
    provider.on(CREATE, httpx.ConnectError("refused"))
    another = provider.cloud()
    for _ in range(2):  # The offer is still there, as far as anybody knows.
        with pytest.raises(NotYet, match="nothing was sent"):
            await another.rent(claim("fo-dep1-2"))


@virtual
async def test_no_two_claims_queue_up_for_one_offer() -> None:
    """Each create takes seconds of everybody's turn, and the second could only hear that the offer is gone."""
    provider = Provider()
    cloud = provider.cloud()
    provider.on(CREATE, CREATED)
    first = asyncio.create_task(cloud.rent(claim()))
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="asked for already"):
        await cloud.rent(claim("fo-dep1-2"))
    assert await first == 7
    assert len(provider.requests) == 1
    await asyncio.sleep(601)
    await cloud.rent(claim("fo-dep1-2"))
    assert len(provider.requests) == 2


@virtual
async def test_a_reboot_without_an_answer_is_not_repeated() -> None:
    provider = Provider()
    cloud = provider.cloud()
    provider.on("PUT /api/v0/instances/reboot/7/", (502, ""))
    with pytest.raises(Unknown):
        await cloud.reboot(InstanceId(7))
    assert len(provider.requests) == 1


@pytest.mark.parametrize("lost", [httpx.ReadTimeout("no answer"), httpx.ConnectError("refused"), (502, "")])
def test_a_read_is_repeated_a_few_times_and_then_unknown(lost: Any) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        cloud = provider.cloud()
        provider.on(LIST, lost, lost, page(row(1)))
        assert (await cloud.list()).complete
        provider.on(LIST, lost)
        with pytest.raises(Unknown):
            await cloud.list()
        assert len(provider.requests) == 6

    story()


@virtual
async def test_an_answer_that_never_comes_ends_with_the_time_out_over_any_transport() -> None:
    class Silent(Provider):
        async def answer(self, request: httpx.Request) -> httpx.Response:
            await asyncio.sleep(10_000)
            raise AssertionError(request)

    provider = Silent()
    cloud = provider.cloud()
    with pytest.raises(Unknown):
        await cloud.rent(claim())
    assert asyncio.get_running_loop().time() == 30.0


@pytest.mark.parametrize("call", ["list", "show", "search", "rent", "start", "stop", "destroy", "reboot", "account"])
def test_a_dead_key_is_told_by_every_call_and_is_never_an_answer(call: str) -> None:
    @virtual
    async def story() -> None:
        provider = Provider()
        cloud = provider.cloud()
        for path in ("GET /api/v1/instances/", "GET /api/v0/users/current", SEARCH, CREATE):
            provider.on(path, DEAD_KEY)
        for method in ("GET", "PUT", "DELETE"):
            provider.on(f"{method} /api/v0/instances/7/", DEAD_KEY)
        provider.on("PUT /api/v0/instances/reboot/7/", DEAD_KEY)
        arguments: dict[str, list[Any]] = {"list": [], "account": [], "search": [QUERY], "rent": [claim()]}
        with pytest.raises(KeyDead):
            await getattr(cloud, call)(*arguments.get(call, [InstanceId(7)]))

    story()


class Replicas:
    """Turns that other replicas share, with as long a queue and as slow a store as a test wants."""

    def __init__(self, *waits: float, store_s: float = 0.0) -> None:
        self.waits = list(waits)
        self.store_s = store_s
        self.booked: list[float] = []
        self.held: list[tuple[str, float]] = []

    async def book(self, route: str, spacing_s: float, most_s: float) -> float:
        await asyncio.sleep(self.store_s)
        self.booked.append(asyncio.get_running_loop().time())
        return self.waits.pop(0) if self.waits else 0.0

    async def hold(self, route: str, seconds: float) -> None:
        self.held.append((route, seconds))


@pytest.mark.parametrize(("wait", "store_s"), [(4.0, 0.0), (0.0, 4.0)])
def test_a_hold_that_comes_while_a_turn_is_booked_or_waited_for_is_kept(wait: float, store_s: float) -> None:
    @virtual
    async def story() -> None:
        replicas = Replicas(wait, store_s=store_s)
        pacer, loop = Pacer(VirtualClock(), EXACT, replicas), asyncio.get_running_loop()
        turn = asyncio.create_task(pacer.turn(CHANGE))
        await asyncio.sleep(1)
        pacer.hold(CHANGE, 20.0)
        await turn
        assert loop.time() == 21.0 + store_s
        assert replicas.booked == [store_s, 21.0 + store_s], "the first turn passed unused"

    story()


@virtual
async def test_a_turn_that_comes_too_late_is_told_and_holds_nobody_up() -> None:
    pacer, loop = Pacer(VirtualClock(), EXACT, Replicas(3600.0)), asyncio.get_running_loop()
    with pytest.raises(NotYet) as told:
        await pacer.turn(CHANGE)
    assert told.value.delay.total_seconds() == 3600.0
    await pacer.turn(CHANGE)
    assert loop.time() == 0.0


@virtual
async def test_what_the_provider_told_one_replica_is_told_to_all() -> None:
    provider, replicas = Provider(), Replicas()
    cloud = provider.cloud(EXACT)
    cloud._api._pacer._turns = replicas
    provider.on(STOP_7, (429, {"retry_after": 20}), (502, ""), DONE)
    await cloud.stop(InstanceId(7))
    assert replicas.held == [("PUT /api/v0/instances/{id}/", 25.0)], "a lost answer is our own trouble"
