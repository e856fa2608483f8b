"""How much one caller may ask: requests a second, requests that wait, bytes in a body."""

from __future__ import annotations

import asyncio

from daemon.api import beat_token
from daemon.api.limits import Buckets, Limits
from tests.test_api_stage import EXECUTE, TOKEN, StillClock, settle, stage
from tests.test_api_tokens import BEAT, bearing, made


async def test_a_token_that_asks_too_often_is_told_when_it_may_go_on() -> None:
    async with stage(limits=Limits(per_second=0.5, burst=3)) as s:
        answers = [await s.http.get("/api/v1/alerts") for _ in range(4)]
        assert [answer.status_code for answer in answers] == [200, 200, 200, 429]
        told = answers[-1]
        assert told.headers["content-type"] == "application/problem+json"
        assert (told.json()["code"], told.headers["retry-after"]) == ("rate_limited", "2")
        assert told.json()["remedy"]
        await s.clock.advance(2)
        assert (await s.http.get("/api/v1/alerts")).status_code == 200
        assert (await s.http.get("/api/v1/alerts")).status_code == 429


async def test_one_caller_s_haste_is_not_another_s() -> None:
    async with stage(limits=Limits(per_second=0.5, burst=2)) as s:
        await s.machine()
        other, beats = bearing(await made(s)), bearing(beat_token(TOKEN, 123))
        await s.http.get("/api/v1/alerts")
        assert (await s.http.get("/api/v1/alerts")).status_code == 429
        assert (await s.http.get("/api/v1/alerts", headers=other)).status_code == 200
        assert (await s.http.post("/api/v1/heartbeats", json=BEAT, headers=beats)).status_code == 202


async def test_what_stands_outside_the_api_knows_no_haste() -> None:
    async with stage(limits=Limits(per_second=0.5, burst=1)) as s:
        assert {(await s.http.get("/livez")).status_code for _ in range(5)} == {200}


def test_a_caller_who_was_silent_longest_is_forgotten_first() -> None:
    buckets = Buckets(Limits(per_second=0.001, burst=1), StillClock())
    assert buckets.take("first") == 0
    assert buckets.take("first") > 0
    for number in range(10_000):
        buckets.take(f"other-{number}")
    assert buckets.take("first") == 0


async def test_where_too_many_wait_nothing_is_begun_and_the_remedy_works() -> None:
    async with stage(limits=Limits(waiting=1)) as s:
        await s.machine()
        await s.machine(124, primary=456790)
        first = await s.begin()
        other = {**EXECUTE, "machine_id": 124, "gpu_instance_id": 456790}
        refused = await s.http.post("/api/v1/failover/execute", json=other)
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_waiting")
        assert int(refused.headers["retry-after"]) > 0
        assert (await s.stored(124)).failover is None
        taken = await s.http.post("/api/v1/failover/execute", json=other, headers={"Prefer": "respond-async"})
        assert taken.status_code == 202
        await s.win()
        assert (await first).json()["success"] is True
        again = asyncio.create_task(
            s.http.post("/api/v1/failover/execute", json={**EXECUTE, "gpu_instance_id": 789012})
        )
        await settle()
        await s.win(new=789013)
        assert (await again).status_code == 200
