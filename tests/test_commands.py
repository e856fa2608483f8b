"""The command plane at its narrowest: one id, one effect, whoever comes first and however often."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from daemon.asked import Asked
from events.schema import Command
from machines.problems import Problem
from tests.test_api_stage import settle, stage


def failover(s, command_id="k1", **more):
    now = s.clock.now()
    return Asked(Command("failover", machine_id=123, command_id=command_id, **more), "kafka", "ana", now, now)


async def test_the_same_command_five_times_at_once_is_one_failover_and_one_answer():
    async with stage(inline=False) as s:
        await s.machine()
        taken = await asyncio.gather(*(s.services.commands.submit(failover(s)) for _ in range(5)))
        assert len({answer.failover_id for answer in taken}) == 1
        records = await s.store.transact(lambda tx: tx.failovers())
        assert len(records) == 1


async def test_the_same_id_through_both_doors_is_one_command_by_what_it_resolves_to():
    async with stage() as s:
        await s.machine()
        first = await s.services.commands.submit(failover(s))
        over_http = replace(failover(s, gpu_instance_id=456789, arguments={"ssh_port": 22}), door="http")
        assert (await s.services.commands.submit(over_http)).failover_id == first.failover_id
        with pytest.raises(Problem) as refused:
            await s.services.commands.submit(replace(failover(s, strategy="both"), door="http"))
        assert refused.value.code == "idempotency_key_reused"


async def test_a_command_that_ended_is_answered_again_without_another_failover():
    async with stage() as s:
        await s.machine()
        first = await s.services.commands.submit(failover(s))
        await settle()
        await s.win()
        again = await s.services.commands.submit(failover(s))
        assert again.failover_id == first.failover_id
        assert again.answer["success"] is True
        assert len(await s.store.transact(lambda tx: tx.failovers())) == 1


async def test_an_expired_command_is_refused_for_ever():
    async with stage() as s:
        await s.machine()
        late = failover(s)
        late = replace(late, issued_at=late.issued_at - timedelta(minutes=20))
        for _ in range(2):
            with pytest.raises(Problem) as refused:
                await s.services.commands.submit(late)
            assert refused.value.code == "expired"
        assert (await s.stored()).failover is None


async def test_a_late_cancel_never_reaches_the_next_failover():
    async with stage() as s:
        await s.machine()
        await s.services.commands.submit(failover(s))
        stale = Command("cancel", machine_id=123, command_id="k2", arguments={"failover_id": "fo_gone"})
        with pytest.raises(Problem) as refused:
            await s.services.commands.submit(replace(failover(s), command=stale))
        assert refused.value.status == 409
        assert (await s.stored()).failover.cancel_asked is False
