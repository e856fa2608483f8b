"""The failovers over HTTP: their timelines, their pages, and how one is cancelled."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from daemon.api.documents import FailoversAnswer, FailoverTimeline
from machines.journal import Entry, Mark, as_output
from machines.model import (
    Claim,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    Label,
    LandlordId,
    MachineId,
    Offer,
    OfferId,
    Running,
    Setting,
    Workload,
)
from tests.test_api_stage import BEGIN, Stage, stage

PATH = "/api/v1/failovers"


async def running(s: Stage, number: int = 123) -> Running:
    found = (await s.stored(number)).failover
    assert found is not None
    return found


async def write(s: Stage, *entries: Entry) -> FailoverId:
    """Entries in the journal of the machine's present attempt."""
    now = await running(s)
    for entry in entries:
        await s.store.transact(
            lambda tx, one=entry: tx.append_entry(MachineId(123), now.id, now.attempt, now.fence, one)  # type: ignore[misc]
        )
    return now.id


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def claim(number: int) -> Entry:
    offer = Offer(
        OfferId(700 + number), HostId(70 + number), LandlordId(7), "RTX 4090", 1, 0.5 + number / 4, 0.99, "US"
    )
    made = Claim(Label(f"l{number}"), offer, at(3), Workload())
    return Entry("rent_candidate", Mark.CLAIMED, at(3), number, as_output(made))


def a_race() -> tuple[Entry, ...]:
    """A choice whose first answer was lost, then a race in which one of two candidates has dropped out."""
    return (
        Entry("choose_snapshot", Mark.STARTED, at(1)),
        Entry("choose_snapshot", Mark.UNKNOWN, at(2), why="the answer was lost"),
        Entry("choose_snapshot", Mark.STARTED, at(2)),
        Entry("choose_snapshot", Mark.DONE, at(3), output={"id": "s1"}),
        Entry("rent_candidate", Mark.STARTED, at(3)),
        claim(0),
        Entry("rent_candidate", Mark.RENTED, at(4), 0, {"instance": 1001}),
        claim(1),
        Entry("rent_candidate", Mark.DROPPED, at(5), 1, why="the offer is gone"),
        Entry("rent_candidate", Mark.WAITING, at(5), why="1 of 2 candidates are coming up", until=at(10)),
    )


async def test_a_timeline_shows_every_second() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.BOTH)
        waiting = await s.begin()
        await s.clock.advance(1)
        await s.lose("warm_pool_not_ready")
        failover = await write(s, *a_race())
        told = (await s.http.get(f"{PATH}/{failover}")).json()
        FailoverTimeline.model_validate(told)
        assert (told["state"], told["trigger"], told["strategy_attempted"]) == ("running", "http", "both")
        assert told["next_attempt_at"] == at(10).isoformat()
        first, second = told["attempts"]
        assert (first["strategy"], first["status"], first["code"], first["seconds"]) == (
            "warm_pool",
            "failed",
            "warm_pool_not_ready",
            1.0,
        )
        steps = {step["name"]: step for step in second["steps"]}
        chosen = steps["choose_snapshot"]
        assert (chosen["status"], chosen["tries"], chosen["waits"], chosen["seconds"]) == ("done", 2, 0, 2.0)
        assert chosen["output"] == {"id": "s1"}
        assert [error["why"] for error in chosen["errors"]] == ["the answer was lost"]
        rented = steps["rent_candidate"]
        assert (rented["status"], rented["tries"], rented["waits"]) == ("waiting", 1, 1)
        assert rented["error"] == "1 of 2 candidates are coming up"
        assert steps["hand_over"]["status"] == "pending"
        assert [(row["status"], row["price_per_hour"], row["gpu_instance_id"]) for row in second["candidates"]] == [
            ("rented", 0.5, 1001),
            ("dropped", 0.75, None),
        ]
        assert second["candidates"][1]["why"] == "the offer is gone"
        await s.win()
        await waiting


async def test_a_timeline_of_an_ended_failover_has_its_end_and_its_proof() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        proof = FenceProof(FenceGrade.STOPPED, "exited, intended stopped", at(2))
        now = await running(s)
        await s.loop.save_proof(MachineId(123), now, proof, ())
        await write(
            s,
            claim(0),
            Entry("rent_candidate", Mark.STARTED, at(3)),
            Entry("rent_candidate", Mark.DONE, at(9), output={"candidate": 0}),
        )
        await s.clock.advance(20)
        failover = await s.win()
        await waiting
        told = (await s.http.get(f"{PATH}/{failover}")).json()
        assert (told["state"], told["success"], told["total_ms"]) == ("succeeded", True, 20000)
        assert (told["fence_grade"], told["fence_proof"]) == ("stopped", "exited, intended stopped")
        assert (told["old_gpu_instance_id"], told["new_gpu_instance_id"]) == (456789, 789012)
        assert told["new"]["price_per_hour"] == 0.45
        assert told["data_age_seconds"] == 300.0
        (attempt,) = told["attempts"]
        assert attempt["status"] == "succeeded"
        assert [step["name"] for step in attempt["steps"]] == ["rent_candidate"]
        assert attempt["candidates"][0]["status"] == "won"


async def test_a_step_that_was_undone_says_so() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        failover = await write(
            s,
            Entry("rent_candidate", Mark.STARTED, at(0)),
            Entry("rent_candidate", Mark.REFUSED, at(4), code="no_offer_matches", why="nothing is for rent"),
            Entry("rent_candidate", Mark.UNDO_STARTED, at(4)),
            Entry("rent_candidate", Mark.UNDO_FAILED, at(5), why="the provider was mute", until=at(6)),
            Entry("rent_candidate", Mark.UNDO_STARTED, at(6)),
            Entry("rent_candidate", Mark.UNDONE, at(7)),
        )
        await s.clock.advance(7)
        await s.lose("no_offer_matches")
        assert (await waiting).json()["error"] == "no_offer_matches"
        (attempt,) = (await s.http.get(f"{PATH}/{failover}")).json()["attempts"]
        (step,) = attempt["steps"]
        assert (step["status"], step["code"], step["error"]) == ("failed", "no_offer_matches", "nothing is for rent")
        assert (step["ended_at"], step["seconds"]) == (at(4).isoformat(), 4.0)
        assert step["undo"] == {
            "status": "undone",
            "started_at": at(4).isoformat(),
            "ended_at": at(7).isoformat(),
            "tries": 2,
            "error": None,
        }
        assert [error["mark"] for error in step["errors"]] == ["refused", "undo_failed"]


async def test_what_an_attempt_left_open_has_failed() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        failover = await write(
            s,
            Entry("restore", Mark.STARTED, at(0)),
            Entry("restore", Mark.WAITING, at(1), why="10 of 20 files", until=at(3)),
        )
        await s.clock.advance(5)
        await s.lose("cancelled")
        await waiting
        told = (await s.http.get(f"{PATH}/{failover}")).json()
        (step,) = told["attempts"][0]["steps"]
        assert (step["status"], step["error"], step["ended_at"]) == ("failed", "10 of 20 files", at(5).isoformat())
        assert told["next_attempt_at"] is None


async def test_the_failovers_come_in_pages_newest_first() -> None:
    async with stage() as s:
        ids: list[str] = []
        for number in (1, 2, 3):
            await s.machine(number, primary=456789 + number)
            waiting = await s.begin(machine_id=number, gpu_instance_id=456789 + number)
            await s.clock.advance(1)
            ids.append(await s.win(number, new=1000 + number))
            await waiting
        first = await s.http.get(f"{PATH}?limit=2")
        FailoversAnswer.model_validate(first.json())
        assert [row["failover_id"] for row in first.json()["failovers"]] == [ids[2], ids[1]]
        assert first.json()["next_cursor"] == ids[1]
        following = first.headers["link"].partition("<")[2].partition(">")[0]
        last = await s.http.get(following)
        assert [row["failover_id"] for row in last.json()["failovers"]] == [ids[0]]
        assert (last.json()["next_cursor"], "link" in last.headers) == (None, False)
        mine = await s.http.get(PATH, params={"machine_id": "2"})
        assert [row["machine_id"] for row in mine.json()["failovers"]] == [2]


@pytest.mark.parametrize(
    ("name", "query"), [("limit", "limit=0"), ("limit", "limit=201"), ("cursor", "cursor=fo_x"), ("id", "id=1")]
)
async def test_a_bad_page_is_400(name: str, query: str) -> None:
    async with stage() as s:
        answer = await s.http.get(f"{PATH}?{query}")
        assert (answer.status_code, answer.json()["field"]) == (400, name)


async def test_an_unknown_failover_is_404() -> None:
    async with stage() as s:
        for answer in (await s.http.get(f"{PATH}/fo_x"), await s.http.post(f"{PATH}/fo_x/cancel")):
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_failover")


# -- cancel


@pytest.mark.parametrize("body", [None, {}, {"reason": "it was me"}])
async def test_a_cancel_is_taken_and_its_end_is_the_answer(body: dict[str, Any] | None) -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        failover = (await running(s)).id
        answer = (
            await s.http.post(f"{PATH}/{failover}/cancel", json=body)
            if body is not None
            else await s.http.post(f"{PATH}/{failover}/cancel")
        )
        assert (answer.status_code, answer.headers["location"]) == (202, f"{PATH}/{failover}")
        assert (await running(s)).cancel_asked
        await s.lose("cancelled")
        assert (await waiting).json()["error"] == "cancelled"


async def test_a_failover_that_has_ended_is_not_cancelled_nor_is_the_next_one() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        ended = await s.win()
        await waiting
        again = await s.begin(gpu_instance_id=789012)
        answer = await s.http.post(f"{PATH}/{ended}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "no_failover")
        assert not (await running(s)).cancel_asked
        await s.win(new=5)
        await again


async def test_a_cancel_is_repeated_under_its_key_also_after_the_end() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        failover = (await running(s)).id
        key = {"Idempotency-Key": "c1"}
        first = await s.http.post(f"{PATH}/{failover}/cancel", headers=key)
        await s.lose("cancelled")
        await waiting
        again = await s.http.post(f"{PATH}/{failover}/cancel", headers=key)
        assert (first.status_code, first.json()) == (again.status_code, again.json())


async def test_a_bad_cancel_is_400() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        failover = (await running(s)).id
        answer = await s.http.post(f"{PATH}/{failover}/cancel", json={"why": "x"})
        assert (answer.status_code, answer.json()["field"]) == (400, "why")
        assert not (await running(s)).cancel_asked
        await s.win()
        await waiting
