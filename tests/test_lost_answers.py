"""A commit is made and its answer is lost: the one daemon of a store of its own must learn what it has done."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from adapters.sql import StoreUnavailable, Tx
from machines.model import InstanceId, MachineId
from tests.test_api_stage import Stage, stage


def loses_the_next_answer(s: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = s.store._transact

    async def once(work: Callable[[Tx], Any]) -> Any:
        monkeypatch.undo()
        await plain(work)
        raise StoreUnavailable("the commit's answer was lost")

    monkeypatch.setattr(s.store, "_transact", once)


def primary_as_judged(s: Stage) -> InstanceId | None:
    return next(machine.primary for machine in s.loop.machines() if machine.id == 123)


async def test_a_hand_over_whose_answer_was_lost_is_judged_by_the_new_instance(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as s:
        await s.machine()
        asking = await s.begin()
        running = (await s.stored()).failover
        assert running is not None
        loses_the_next_answer(s, monkeypatch)
        with pytest.raises(StoreUnavailable):
            await s.loop.hand_over(MachineId(123), running, s.replacement(789012))
        assert (await s.stored()).primary == 789012
        assert primary_as_judged(s) == 456789
        await s.loop.make_up()
        assert primary_as_judged(s) == 789012
        asking.cancel()


async def test_nothing_is_read_anew_where_every_answer_came(monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage() as s:
        await s.machine()
        monkeypatch.setattr(s.loop, "load", None)
        await s.loop.make_up()
