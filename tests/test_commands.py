"""The command plane at its narrowest: one id, one effect, whoever comes first and however often."""

import asyncio
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.sql.errors import StoreUnavailable
from daemon.asked import Asked
from events.schema import Command
from machines.failover import Heard
from machines.model import InstanceId, MachineId
from machines.problems import Problem
from machines.states import State
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


def other(s, kind, command_id, **more):
    return replace(failover(s), command=Command(kind, machine_id=123, command_id=command_id, **more))


async def interrupted(s, number, happening, work):
    """Do the work; before its transaction of that number something happens (which may raise)."""
    real, count = s.store.transact, 0

    async def transact(one):
        nonlocal count
        count += 1
        if count == number:
            s.store.transact = real
            await happening()
        return await real(one)

    s.store.transact = transact
    try:
        return await work()
    finally:
        s.store.transact = real


async def goes_down():
    raise StoreUnavailable("the database does not answer")


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_cancel_that_is_repeated_after_an_outage_has_its_effect(number):
    async with stage() as s:
        await s.machine()
        begun = await s.services.commands.submit(failover(s))
        cancel = other(s, "cancel", "c1")
        try:
            await interrupted(s, number, goes_down, lambda: s.services.commands.submit(cancel))
        except StoreUnavailable:
            is_written = await s.store.transact(lambda tx: tx.command("c1")) is not None
            assert (await s.stored()).failover.cancel_asked is is_written
        assert (await s.services.commands.submit(cancel)).failover_id == begun.failover_id
        assert (await s.stored()).failover.cancel_asked is True


@pytest.mark.parametrize("number", [1, 2, 3])
async def test_a_cancel_that_meets_the_end_of_its_failover_is_answered(number):
    async with stage() as s:
        await s.machine()
        await s.services.commands.submit(failover(s))
        cancel = other(s, "cancel", "c1")
        with suppress(Problem):
            await interrupted(s, number, s.win, lambda: s.services.commands.submit(cancel))
        if (await s.stored()).failover is not None:
            await s.win()  # It was cancelled before the end came.
        row = await s.store.transact(lambda tx: tx.command("c1"))
        assert row.answered_at is not None
        assert row.status == "succeeded" or row.answer["code"] == "no_failover"


@pytest.mark.parametrize("number", [2, 3])
async def test_a_machine_that_has_just_come_back_is_not_tried_again(number):
    async with stage() as s:
        await s.machine(state=State.FAILED)

        async def speaks():
            await s.loop.apply(MachineId(123), Heard(InstanceId(456789), "b2", 10.0, 1))

        with pytest.raises(Problem) as refused:
            await interrupted(s, number, speaks, lambda: s.services.commands.submit(other(s, "retry", "r1")))
        assert (refused.value.code, refused.value.extra["state"]) == ("not_failed", "healthy")
        assert (await s.stored()).failover is None


async def test_a_removal_that_is_repeated_after_an_outage_is_answered_with_what_it_did():
    async with stage() as s:
        await s.machine()
        removal = other(s, "remove_machine", "x1")
        for number in (1, 2):
            try:
                await interrupted(s, number, goes_down, lambda: s.services.commands.submit(removal))
            except StoreUnavailable:
                assert await s.store.transact(lambda tx: tx.machine(MachineId(123))) is not None
        assert (await s.services.commands.submit(removal)).answer == {"machine_id": 123, "removed": True}
        assert await s.store.transact(lambda tx: tx.machine(MachineId(123))) is None
        assert s.loop.known(MachineId(123)) is None
