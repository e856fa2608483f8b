"""Who works on a failover need not be who hears the replacement: its first beat is a row, for any replica."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from adapters.sql import SqlStore
from events.schema import Heartbeat
from machines.errors import NotYet
from machines.model import InstanceId, MachineId
from machines.ports import Beat
from machines.strategies import repair_primary
from tests.test_api_stage import settle, stage

MACHINE, NEW = MachineId(123), InstanceId(789012)


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def test_the_newest_boot_that_was_heard_stands_until_nobody_waits_for_it(store: SqlStore) -> None:
    with store.transaction() as tx:
        assert tx.first_beat(NEW) is None
        tx.note_first_beat(MACHINE, NEW, Beat("b1", 1))
        assert tx.first_beat(NEW) == Beat("b1", 1)
        tx.note_first_beat(MACHINE, NEW, Beat("b2", 4))
        assert tx.first_beat(NEW) == Beat("b2", 4)
        tx.forget_first_beats(MACHINE)
        assert tx.first_beat(NEW) is None


async def test_a_beat_of_a_replacement_is_told_to_the_replica_that_waits_for_it() -> None:
    async with stage() as s:
        s.store.is_shared = True
        await s.machine()
        await s.begin()
        for sequence in (1, 2, 3):
            s.loop.meet(Heartbeat(123, 789012, "b2", sequence, 10.0, None), 0, True)
        await _work(s)
        assert await s.loop.heard(NEW) == Beat("b2", 1), "one row for each life of the agent"
        await s.win()
        await settle()
        assert await s.store.transact(lambda tx: tx.first_beat(NEW)) is None


async def test_a_fleet_of_strangers_is_registered_many_at_a_time_and_each_of_them_once() -> None:
    async with stage() as s:
        for sequence in (1, 2, 3):
            for number in range(1, 251):
                s.loop.meet(Heartbeat(number, number, "b", sequence, 10.0, None), 0, True)
        await _work(s)
        machines = await s.store.transact(lambda tx: tx.machines())
        assert len(machines) == 250
        assert {machine.version for machine in machines} == {machines[0].version}
        assert all(machine.primary is None for machine in machines)


async def test_a_reboot_that_helped_is_seen_also_where_another_replica_hears_the_machine() -> None:
    async with stage() as s:
        machine = await s.machine(boot_id="b1")
        outputs = {
            "note_boot": repair_primary.Noted(("b0", "b1")),
            "reboot": repair_primary.Rebooted(InstanceId(456789), "b1"),
        }

        class Silent:
            async def boots(self, instance: InstanceId, only_live: bool = False) -> frozenset[str]:
                return frozenset()

        class Cloud:
            async def list(self, max_age_s: float = 0.0, about: object = None) -> Any:
                return SimpleNamespace(instances={})

        ctx: Any = SimpleNamespace(
            machine=machine, fleet=Silent(), cloud=Cloud(), entries=(), output=lambda step: outputs[step.name]
        )
        with pytest.raises(NotYet):
            await repair_primary.await_heartbeat(ctx)
        ctx.machine = replace(machine, boot_id="b2")
        assert await repair_primary.await_heartbeat(ctx) == repair_primary.SpokeAgain("b2")


async def _work(s: Any) -> None:
    """Let the loop do what stands in its queue."""
    working = asyncio.create_task(s.loop.run())
    while not s.loop.is_idle():
        await settle()
    await settle()
    working.cancel()
    await asyncio.gather(working, return_exceptions=True)
