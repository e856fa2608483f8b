"""Debts: what is worth a person's attention, and what ends with the instance that it was about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from adapters.sql import StoreUnavailable
from daemon.demo_watch import Look, narrate
from daemon.sweep import Sweep, _in_turn
from machines.errors import NotYet, Refused
from machines.model import (
    Debt,
    DebtKind,
    HostId,
    Instance,
    InstanceId,
    Label,
    LandlordId,
    Listing,
    Machine,
    MachineId,
    Replica,
    Status,
    VolumeId,
    VolumeMount,
)
from machines.states import State
from tests.test_api_stage import BEGIN, Stage, stage

OLD = InstanceId(7007)


@dataclass
class Provider:
    """As far as debts need one: it destroys, or says why not."""

    answer: BaseException | None = None
    destroyed: list[InstanceId] = field(default_factory=list)
    rows: list[Instance] = field(default_factory=list)
    while_starting: Callable[[], Awaitable[None]] | None = None
    stopped: list[InstanceId] = field(default_factory=list)
    deleted: list[VolumeId] = field(default_factory=list)

    async def look(self, instance: InstanceId) -> Instance | None:
        return next((row for row in self.rows if row.id == instance), None)

    async def stop(self, instance: InstanceId) -> None:
        self.stopped.append(instance)

    async def destroy(self, instance: InstanceId) -> None:
        if self.answer is not None:
            raise self.answer
        self.destroyed.append(instance)

    async def delete(self, volume: VolumeId) -> None:
        self.deleted.append(volume)

    async def start(self, instance: InstanceId) -> None:
        if self.while_starting is not None:
            await self.while_starting()

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({row.id: row for row in self.rows}, True, BEGIN)


@asynccontextmanager
async def owing(*debts: Debt) -> AsyncIterator[tuple[Stage, Provider, Sweep]]:
    async with stage() as s:
        provider = Provider()
        await s.store.transact(lambda tx: tx.add_debts([replace(debt, due_at=BEGIN) for debt in debts]))
        yield s, provider, another_life(s, provider)


def another_life(s: Stage, provider: object) -> Sweep:
    unused: Any = None
    parts: Any = (s.store, s.loop, unused, provider, provider, unused, s.clock, unused, unused)
    return Sweep(*parts)


def debt(kind: DebtKind = DebtKind.DESTROY_INSTANCE, **more: Any) -> Debt:
    return replace(Debt(kind, MachineId(1), None, OLD, None, None, "replaced"), **more)


async def look_again(s: Stage, sweep: Sweep, times: int, every_s: float) -> dict[str, str]:
    """The open alerts after so many rounds."""
    for _ in range(times):
        await sweep.pay_debts()
        await s.clock.advance(every_s)
    return {alert.key: alert.text for alert in await s.store.transact(lambda tx: tx.open_alerts())}


async def test_a_debt_that_waits_within_its_time_needs_nobody_however_often_it_is_looked_at() -> None:
    async with owing(debt()) as (s, provider, sweep):
        provider.answer = NotYet("it still reads running", timedelta(seconds=5))
        assert await look_again(s, sweep, 60, 5.0) == {}


async def test_a_debt_that_waits_beyond_its_time_is_told_with_how_long() -> None:
    async with owing(debt()) as (s, provider, sweep):
        provider.answer = NotYet("it still reads running", timedelta(seconds=60))
        alerts = await look_again(s, sweep, 17, 60.0)
        assert alerts == {
            "debt-1": "debt 1 (destroy_instance of machine 1) is open after 16 minutes: it still reads running"
        }


async def test_a_debt_that_fails_ten_times_in_a_row_is_told_and_one_wait_between_begins_anew() -> None:
    async with owing(debt()) as (s, provider, sweep):
        provider.answer = Refused("provider_unavailable", "500")
        assert await look_again(s, sweep, 9, 30.0) == {}
        provider.answer = NotYet("it still reads running", timedelta(seconds=5))
        assert await look_again(s, sweep, 1, 30.0) == {}
        provider.answer = Refused("provider_unavailable", "500")
        assert await look_again(s, sweep, 9, 30.0) == {}
        assert "has failed 10 times in a row" in (await look_again(s, sweep, 1, 30.0))["debt-1"]


async def test_the_alert_of_a_debt_ends_with_it() -> None:
    async with owing(debt()) as (s, provider, sweep):
        provider.answer = Refused("provider_unavailable", "500")
        assert len(await look_again(s, sweep, 10, 30.0)) == 1
        provider.answer = None
        assert await look_again(s, sweep, 1, 30.0) == {}


async def test_the_stop_that_a_destroyed_instance_was_owed_is_dropped_with_the_destroy() -> None:
    later = debt(DebtKind.STOP_INSTANCE)
    other = debt(DebtKind.STOP_INSTANCE, instance=InstanceId(1))
    async with owing(debt()) as (s, provider, sweep):
        await s.store.transact(
            lambda tx: tx.add_debts([replace(one, due_at=BEGIN + timedelta(1)) for one in (later, other)])
        )
        await s.store.transact(lambda tx: tx.raise_alert("debt-2", "it waits", BEGIN))
        assert await look_again(s, sweep, 1, 5.0) == {}
        left = await s.store.transact(lambda tx: tx.open_debts())
        assert provider.destroyed == [OLD]
        assert [(one.kind, one.instance) for one in left] == [(DebtKind.STOP_INSTANCE, 1)]


@pytest.mark.parametrize(("wants_running", "calls"), [(False, 0), (True, 3)])
async def test_a_stop_that_stands_at_a_silent_host_is_not_sent_again(wants_running: bool, calls: int) -> None:
    """Forty dead hosts would take the turns of those that are recovered meanwhile."""
    async with owing(debt(DebtKind.STOP_INSTANCE)) as (s, provider, sweep):
        provider.rows = [replace(rental(int(OLD), "old"), status=Status.OFFLINE, wants_running=wants_running)]
        await look_again(s, sweep, 3, 31.0)
        assert len(provider.stopped) == calls
        assert len(await s.store.transact(lambda tx: tx.open_debts())) == 1


async def test_of_many_debts_what_bills_comes_first_and_a_round_is_short() -> None:
    stops = [debt(DebtKind.STOP_INSTANCE, instance=InstanceId(number)) for number in range(1, 101)]
    async with owing(*stops, debt()) as (s, provider, sweep):
        provider.rows = [rental(9000, "somebody")]  # An empty listing would pay no stop.
        await sweep.pay_debts()
        assert provider.destroyed == [OLD]
        assert len(await s.store.transact(lambda tx: tx.open_debts())) > 70
        for _ in range(9):
            await s.clock.advance(6.0)
            await sweep.pay_debts()
        assert await s.store.transact(lambda tx: tx.open_debts()) == []


async def test_a_claim_that_has_become_a_machine_is_not_destroyed_by_its_label() -> None:
    claim = debt(DebtKind.DESTROY_CLAIM, instance=InstanceId(456789), label=Label("fo-test-m123-x"), claimed_at=BEGIN)
    async with owing(claim) as (s, provider, sweep):
        await s.machine()
        await sweep.pay_debts()
        (left,) = await s.store.transact(lambda tx: tx.open_debts())
        assert (provider.destroyed, left.last_error) == (
            [],
            "instance_in_use: instance 456789 is, or was, a machine's own",
        )


async def test_an_old_instance_that_was_registered_again_is_not_destroyed() -> None:
    async with owing(debt(instance=InstanceId(456789))) as (s, provider, sweep):
        await s.machine()
        await sweep.pay_debts()
        assert provider.destroyed == []
        (left,) = await s.store.transact(lambda tx: tx.open_debts())
        assert "registered again, for machine 123" in (left.last_error or "")


async def test_a_start_that_meets_a_new_failover_is_stopped_again() -> None:
    """The fence of that failover may have been proved before our start arrived."""
    async with owing(debt(DebtKind.START_INSTANCE, machine=MachineId(123), instance=InstanceId(456789))) as (
        s,
        provider,
        sweep,
    ):
        await s.machine(state=State.DETECTING)
        begun: list[Any] = []

        async def begin_meanwhile() -> None:
            begun.append(await s.begin())

        provider.while_starting = begin_meanwhile
        await sweep.pay_debts()
        owed = await s.store.transact(lambda tx: tx.open_debts())
        assert [(one.kind, one.instance) for one in owed] == [(DebtKind.STOP_INSTANCE, 456789)]
        await s.win()
        await begun[0]


def rental(number: int, label: str) -> Instance:
    return Instance(
        InstanceId(number),
        Label(label),
        Status.RUNNING,
        True,
        True,
        HostId(1),
        LandlordId(1),
        None,
        "RTX 4090",
        1,
        False,
        0.4,
        "",
    )


def test_who_watches_is_not_told_that_a_destroyed_instance_was_stopped() -> None:
    machine = Machine(MachineId(1), "alpha")
    owed = (debt(id=1), debt(DebtKind.STOP_INSTANCE, id=2))
    before = Look(BEGIN, {machine.id: machine}, debts=owed)
    assert narrate(before, replace(before, debts=())) == ["alpha: destroy instance 7007: done."]
    assert narrate(before, replace(before, debts=owed[:1])) == ["alpha: stop instance 7007: done."]


async def test_a_try_whose_end_could_not_be_written_is_no_end_of_the_daemon() -> None:
    """Seen in the middle of an outage of the database: "the daemon ended", said the daemon."""
    async with owing(debt()) as (s, provider, sweep):
        provider.answer = StoreUnavailable("full")
        for _ in range(3):
            with pytest.raises(StoreUnavailable):
                await sweep.pay_debts()
            await s.clock.advance(31)
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []
        provider.answer = None
        await sweep.pay_debts()
        assert provider.destroyed == [OLD]


async def test_a_debt_that_ended_the_daemon_is_told_and_waits_longer_each_life() -> None:
    """As it reads after a life that never wrote an end: begun, and due again."""
    async with owing(debt()) as (s, provider, sweep):
        (owed,) = await s.store.transact(lambda tx: tx.open_debts())
        provider.answer = asyncio.CancelledError()
        with pytest.raises(asyncio.CancelledError):
            await sweep.pay_debts()
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []
        await s.clock.advance(31)
        sweep = another_life(s, provider)
        with pytest.raises(asyncio.CancelledError):
            await sweep.pay_debts()
        (alert,) = await s.store.transact(lambda tx: tx.open_alerts())
        assert "the daemon ended while it was being paid" in alert.text
        provider.answer = None
        assert await look_again(s, sweep, 4, 60.0) == {alert.key: alert.text}
        assert provider.destroyed == []
        await s.clock.advance(61)
        await sweep.pay_debts()
        assert provider.destroyed == [owed.instance]
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


def test_no_kind_of_debt_waits_behind_all_of_another() -> None:
    def debts(kind: DebtKind, first: int, count: int) -> list[Debt]:
        return [
            Debt(kind, MachineId(1), None, InstanceId(number), None, None, "", id=number)
            for number in range(first, first + count)
        ]

    stuck = debts(DebtKind.DESTROY_INSTANCE, 1, 40)
    rest = [
        *debts(DebtKind.REARM, 50, 2),
        *debts(DebtKind.STOP_INSTANCE, 60, 2),
        *debts(DebtKind.START_INSTANCE, 70, 1),
        *debts(DebtKind.DESTROY_CLAIM, 80, 1),
    ]
    turn = [debt.kind for debt in _in_turn([*stuck, *rest])]
    assert turn[:5] == [
        DebtKind.START_INSTANCE,
        DebtKind.STOP_INSTANCE,
        DebtKind.DESTROY_CLAIM,
        DebtKind.DESTROY_INSTANCE,
        DebtKind.REARM,
    ]
    assert turn[5:8] == [DebtKind.STOP_INSTANCE, DebtKind.DESTROY_INSTANCE, DebtKind.REARM]


async def test_a_volume_that_a_machine_lies_on_or_keeps_as_its_copy_is_not_deleted_whoever_owes_it() -> None:
    main, copy, other = VolumeId(881), VolumeId(990), VolumeId(991)
    owed = [debt(DebtKind.DELETE_VOLUME, instance=None, volume=volume) for volume in (main, copy, other)]
    async with owing(*owed) as (s, provider, sweep):
        mount = VolumeMount(main, "/workspace", Replica(copy, HostId(2), BEGIN))
        await s.store.transact(lambda tx: tx.insert_machine(Machine(MachineId(3), "m", volume=mount)))
        await sweep.pay_debts()
        assert provider.deleted == [other]
        open_now = await s.store.transact(lambda tx: tx.open_debts())
        assert {one.volume for one in open_now} == {main, copy}
        assert all("machine 3's" in (one.last_error or "") for one in open_now)
