"""After a failover has failed: it is tried again, and somebody says that they know of it."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.asked import Asked
from events.schema import Command
from machines.model import Setting
from machines.problems import Problem
from machines.states import State
from tests.test_api_stage import Stage, settle, stage

FAILOVERS = "/api/v1/failovers"


async def failed(s: Stage, **more: Any) -> str:
    """A machine whose last failover found no snapshot, and is dead."""
    await s.machine()
    waiting = await s.begin(**more)
    failover = await s.lose("no_snapshot")
    while (await s.stored()).failover is not None:
        failover = await s.lose("no_snapshot")
    await waiting
    return failover


async def dead(s: Stage, failover: str) -> None:
    """As it is where the primary had been silent: the machine has failed, and not only its failover."""
    from dataclasses import replace

    machine = await s.stored()
    await s.store.transact(lambda tx: tx.save_machine(replace(machine, state=State.FAILED)))
    await s.loop.load()


async def test_what_failed_is_tried_again_with_the_same_strategy() -> None:
    async with stage() as s:
        failover = await failed(s, force_strategy="both")
        await dead(s, failover)
        answer = await s.http.post(f"{FAILOVERS}/{failover}/retry", json={"reason": "the bucket is back"})
        assert answer.status_code == 202, answer.text
        again = answer.json()["failover_id"]
        assert answer.headers["location"] == f"{FAILOVERS}/{again}"
        record = (await s.http.get(f"{FAILOVERS}/{again}")).json()
        assert (record["strategy_attempted"], record["because"]) == ("both", "the bucket is back")
        assert again != failover


async def test_the_same_key_tries_once_and_another_strategy_may_be_named() -> None:
    async with stage() as s:
        failover = await failed(s)
        await dead(s, failover)
        key = {"Idempotency-Key": "once"}
        answers = [
            await s.http.post(f"{FAILOVERS}/{failover}/retry", json={"strategy": "warm_pool"}, headers=key)
            for _ in range(2)
        ]
        assert [answer.status_code for answer in answers] == [202, 202]
        assert answers[0].json() == answers[1].json()
        running = (await s.stored()).failover
        assert running is not None
        assert running.id == answers[0].json()["failover_id"]


async def test_a_machine_that_has_not_failed_has_nothing_to_try_again() -> None:
    async with stage() as s:
        failover = await failed(s)
        refused = await s.http.post(f"{FAILOVERS}/{failover}/retry")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_failed")
        assert "failoverd failover 123" in refused.json()["remedy"]
        assert (await s.http.post(f"{FAILOVERS}/fo_none/retry")).status_code == 404


async def test_only_the_last_failover_is_tried_again() -> None:
    async with stage() as s:
        first = await failed(s)
        await dead(s, first)
        second = (await s.http.post(f"{FAILOVERS}/{first}/retry")).json()["failover_id"]
        await settle()
        while (await s.stored()).failover is not None:
            await s.lose("no_snapshot")
        await dead(s, second)
        refused = await s.http.post(f"{FAILOVERS}/{first}/retry")
        assert (refused.status_code, refused.json()["failover_id"]) == (409, second)


async def test_the_command_tries_again_a_machine_that_failed_without_a_failover() -> None:
    async with stage() as s:
        machine = await s.machine(setting=Setting.DISABLED)
        assert machine.last_failover is None
        await dead(s, "")
        command = Command("retry", 123, command_id="r1", strategy="cpu_standby")
        accepted = await s.services.commands.submit(Asked(command, "kafka", "ana", s.clock.now(), s.clock.now()))
        assert accepted.failover_id is not None


async def test_somebody_says_that_they_know_and_the_first_who_says_so_stands() -> None:
    async with stage() as s:
        failover = await failed(s)
        assert (await s.http.get("/api/v1/fleet")).json()["unacknowledged"] == 1
        rows = (await s.http.get(f"{FAILOVERS}?wants_a_look=true")).json()["failovers"]
        assert [row["failover_id"] for row in rows] == [failover]
        first = await s.http.post(f"{FAILOVERS}/{failover}/ack", json={"comment": "the bucket was gone"})
        assert first.status_code == 200, first.text
        assert first.json()["acknowledged_by"] == "admin"
        await s.clock.advance(60)
        again = await s.http.post(f"{FAILOVERS}/{failover}/ack", json={"comment": "me too"})
        assert again.json() == first.json()
        summary = (await s.http.get(f"{FAILOVERS}/{failover}")).json()
        assert (summary["ack_comment"], summary["wants_a_look"]) == ("the bucket was gone", False)
        assert (await s.http.get("/api/v1/fleet")).json()["unacknowledged"] == 0
        assert (await s.http.get(f"{FAILOVERS}?wants_a_look=true")).json()["failovers"] == []


async def test_one_that_runs_or_is_unknown_cannot_be_acknowledged_and_one_that_won_need_not_be() -> None:
    async with stage() as s:
        await s.machine()
        waiting = await s.begin()
        running = (await s.stored()).failover
        assert running is not None
        refused = await s.http.post(f"{FAILOVERS}/{running.id}/ack")
        assert (refused.status_code, refused.json()["code"]) == (409, "not_ended")
        await s.win()
        await waiting
        assert (await s.http.get("/api/v1/fleet")).json()["unacknowledged"] == 0
        assert (await s.http.post(f"{FAILOVERS}/{running.id}/ack")).status_code == 200
        assert (await s.http.post(f"{FAILOVERS}/fo_none/ack")).status_code == 404


@pytest.mark.parametrize("arguments", [{}, {"failover_id": 5}, {"failover_id": "fo_none"}])
async def test_the_command_to_acknowledge_names_a_failover(arguments: dict[str, Any]) -> None:
    async with stage() as s:
        command = Command("ack", command_id="a1", arguments=arguments)
        with pytest.raises(Problem) as refused:
            await s.services.commands.submit(Asked(command, "kafka", "ana", s.clock.now(), s.clock.now()))
        assert refused.value.status in (400, 404)
