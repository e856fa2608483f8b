"""The report and the snapshots over HTTP: figures that follow from the records, and what a restore could choose from."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from daemon.figures import percentile
from machines.journal import Entry, Mark
from machines.model import MachineId, Snapshot
from tests.test_api_stage import Stage, stage

REPORT = "/api/v1/report"


async def failover(s: Stage, machine: int, seconds: float, code: str | None = None) -> None:
    asking = await s.begin(machine_id=machine, gpu_instance_id=456789 + machine)
    running = (await s.stored(machine)).failover
    assert running is not None
    for mark, wait in ((Mark.STARTED, seconds / 2), (Mark.DONE, seconds / 2)):
        entry = Entry("fence_primary", mark, s.clock.now())
        await s.store.transact(
            lambda tx, one=entry: tx.append_entry(MachineId(machine), running.id, running.attempt, running.fence, one)  # type: ignore[misc]
        )
        await s.clock.advance(wait)
    if code is None:
        await s.win(machine, 900 + machine)
    else:
        await s.lose(code, machine)
    await asking


async def report(s: Stage, **query: str) -> dict[str, Any]:
    answer = await s.http.get(REPORT, params=query)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


async def test_counts_rates_and_times_follow_from_the_failovers() -> None:
    async with stage() as s:
        for machine in (1, 2, 3):
            await s.machine(machine, 456789 + machine)
        await failover(s, 1, 40)
        await failover(s, 2, 80)
        await failover(s, 3, 10, "no_snapshot")
        found = await report(s)
    assert (found["failovers"], found["succeeded"], found["failed"], found["running"]) == (3, 2, 1, 0)
    assert (found["success_rate"], found["mttr_seconds"], found["recovery_p95_seconds"]) == (0.6667, 60.0, 80.0)
    assert (found["by_strategy"], found["by_error"]) == ({"cpu_standby": 2}, {"no_snapshot": 1})
    phases = {row["phase"]: row for row in found["phases"]}
    assert phases["recovery"]["p50_seconds"] == 40.0
    assert (phases["fence_primary"]["count"], phases["fence_primary"]["longest_seconds"]) == (3, 40.0)
    assert found["is_cut"] is False


async def test_what_began_before_the_time_is_not_counted() -> None:
    async with stage() as s:
        await s.machine(1, 456790)
        await failover(s, 1, 40)
        await s.clock.advance(7200)
        assert (await report(s, since="1h"))["failovers"] == 0
        assert (await report(s, since="3h"))["failovers"] == 1
        assert (await report(s, since="2026-11-23T12:00:00Z"))["failovers"] == 1
        nothing = await report(s, since="1h")
    assert (nothing["success_rate"], nothing["mttr_seconds"], nothing["phases"]) == (None, None, [])


@pytest.mark.parametrize("since", ["yesterday", "5", "-5d", "99999w", "2999-01-01", ""])
async def test_what_is_no_time_is_400_and_says_what_would_be_one(since: str) -> None:
    async with stage() as s:
        answer = await s.http.get(REPORT, params={"since": since})
    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert "24h" in answer.json()["remedy"]


@pytest.mark.parametrize(("part", "expected"), [(0.5, 2.0), (0.95, 4.0), (0.0, 1.0)])
def test_a_percentile_is_a_time_that_was_really_taken(part: float, expected: float) -> None:
    assert percentile([4.0, 1.0, 3.0, 2.0], part) == expected
    assert percentile([], part) is None


async def test_the_snapshots_of_a_machine_are_listed_with_their_age() -> None:
    async with stage() as s:
        await s.machine()
        s.outside.make_ready()
        body = (await s.http.get("/api/v1/machines/123/snapshots")).json()
        unknown = await s.http.get("/api/v1/machines/9/snapshots")
    (row,) = body["snapshots"]
    assert (body["count"], row["snapshot_id"], row["machine_id"], row["age_seconds"]) == (1, "s1", 123, 300.0)
    assert unknown.status_code == 404


async def test_snapshots_are_listed_a_page_at_a_time_the_newest_first() -> None:
    async with stage() as s:
        await s.machine()
        s.outside.make_ready()
        now = s.clock.now()
        s.outside.newer = [Snapshot(f"s{n}", MachineId(123), now - timedelta(minutes=4 - n), 1) for n in (4, 3, 2)]
        seen, path = [], "/api/v1/machines/123/snapshots?limit=2"
        while path:
            answer = await s.http.get(path)
            assert answer.json()["count"] == 4
            seen.append([row["snapshot_id"] for row in answer.json()["snapshots"]])
            path = answer.links.get("next", {}).get("url", "")
    assert seen == [["s4", "s3"], ["s2", "s1"]]
