"""A stop that is owed: it keeps down what was fenced, and never stops what serves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from adapters.sql.tx import Tx
from daemon.asked import Asked
from daemon.simulation.replica import Replica
from events.schema import Command
from machines.cpu_vm import CpuStandby, VmId, VmPlace, VmServing, Zone
from machines.failover import AttemptEnded, Heard
from machines.model import (
    Debt,
    DebtKind,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    InstanceId,
    MachineId,
    Prepared,
    Setting,
    Standby,
    Status,
    VolumeId,
    VolumeMount,
    WarmPool,
)
from machines.pool import Wanted
from machines.signals import Parked
from machines.states import State
from tests.test_api_stage import BEGIN, Stage, instance, stage
from tests.test_sweep import Provider, another_life, rental
from tests.test_warm_pools import play, row, whole
from tests.virtual_fleet import Fleet

PRIMARY, READY, FO_OLD = InstanceId(456789), InstanceId(501), FailoverId("fo_old")
MOUNT = VolumeMount(VolumeId(3), "/workspace")
POOL = WarmPool(prepared=Prepared(MOUNT, HostId(9), Standby(READY, HostId(9), None), 0.3, 1.0))
SERVED = CpuStandby(vm=VmPlace(Zone("z-a"), "vm-123", VmId(77)), serving=VmServing("198.51.100.1", 22, "k", BEGIN))
PROOF = FenceProof(FenceGrade.SEVERED, "its host is offline", BEGIN)


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def stop_of(instance: InstanceId, failover: FailoverId = FO_OLD) -> Debt:
    return Debt(DebtKind.STOP_INSTANCE, MachineId(123), failover, instance, None, None, "it may run", due_at=BEGIN)


def runs(instance: InstanceId, is_interruptible: bool = False) -> Any:
    return replace(rental(int(instance), "l"), status=Status.RUNNING, is_interruptible=is_interruptible)


async def owe(s: Stage, *debts: Debt) -> None:
    await s.store.transact(lambda tx: tx.add_debts(debts))


async def change(s: Stage, number: int = 123, **more: Any) -> None:
    machine = await s.stored(number)
    s.loop.follow(await s.store.transact(lambda tx: tx.save_machine(replace(machine, **more))))


async def open_debts(s: Stage) -> list[tuple[DebtKind, int | None]]:
    return [(one.kind, one.instance) for one in await s.store.transact(lambda tx: tx.open_debts())]


async def rounds(s: Stage, provider: Provider, count: int = 3) -> None:
    sweep = another_life(s, provider)
    for _ in range(count):
        await sweep.pay_debts()
        await s.clock.advance(31.0)


@pytest.mark.parametrize("is_interruptible", [False, True])
async def test_what_serves_as_a_machines_primary_is_not_stopped_and_its_stop_is_dropped(is_interruptible: bool) -> None:
    async with stage() as s:
        provider = Provider(rows=[runs(PRIMARY, is_interruptible)])
        await s.machine()
        await owe(s, stop_of(PRIMARY))
        await s.store.transact(lambda tx: tx.raise_alert("debt-1", "it waits", BEGIN))
        await rounds(s, provider)
        assert (provider.stopped, await open_debts(s)) == ([], [])
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


async def test_a_failover_that_runs_has_a_primary_stopped_only_once_it_has_fenced_it() -> None:
    async with stage() as s:
        provider = Provider(rows=[runs(PRIMARY)])
        await s.machine()
        await owe(s, stop_of(PRIMARY))
        begun = await s.begin()
        await rounds(s, provider)
        assert (provider.stopped, await open_debts(s)) == ([], [(DebtKind.STOP_INSTANCE, PRIMARY)])
        running = (await s.stored()).failover
        assert running is not None
        await s.loop.save_proof(MachineId(123), running, PROOF, ())
        await rounds(s, provider, 1)
        assert provider.stopped == [PRIMARY]
        await s.win()
        await begun


async def test_a_primary_in_whose_place_a_vm_serves_is_kept_stopped() -> None:
    async with stage() as s:
        provider = Provider(rows=[runs(PRIMARY)])
        await s.machine(state=State.FAILED, cpu_standby=SERVED)
        await owe(s, stop_of(PRIMARY))
        await rounds(s, provider, 2)
        assert provider.stopped == [PRIMARY, PRIMARY]
        assert await open_debts(s) == [(DebtKind.STOP_INSTANCE, PRIMARY)]


async def test_an_empty_listing_pays_no_stop_and_one_that_shows_others_does() -> None:
    async with stage() as s:
        provider = Provider(rows=[replace(runs(PRIMARY), status=Status.OFFLINE, wants_running=False)])
        await s.machine(state=State.FAILED, cpu_standby=SERVED)
        await owe(s, stop_of(PRIMARY))
        await rounds(s, provider, 1)
        provider.rows = []
        await rounds(s, provider, 3)
        assert await open_debts(s) == [(DebtKind.STOP_INSTANCE, PRIMARY)]
        provider.rows = [runs(PRIMARY)]
        await rounds(s, provider, 1)
        assert provider.stopped == [PRIMARY], "its host is back, and the VM serves"
        provider.rows = [runs(InstanceId(3))]
        await rounds(s, provider, 1)
        assert await open_debts(s) == []


async def test_where_the_vms_work_is_given_up_the_old_primary_may_serve_again() -> None:
    async with stage() as s:
        s.services.registry._makes_cpu_vms = True
        provider = Provider(rows=[runs(PRIMARY)])
        await s.machine(state=State.FAILED, cpu_standby=SERVED, boot_id="b1")
        await owe(s, stop_of(PRIMARY))
        answer = await s.http.put("/api/v1/machines/123", json={"cpu_standby": {"give_up_work": True}})
        assert answer.status_code == 200
        assert await open_debts(s) == [(DebtKind.DEMOTE_VM, None)]
        assert "may stand still by our fence" in (await s.stored()).because
        await s.loop.apply(MachineId(123), Heard(PRIMARY, "b1", 10.0, 0, True))
        assert (await s.stored()).state is State.HEALTHY
        await rounds(s, provider)
        assert provider.stopped == []


async def test_an_old_instance_that_is_named_again_as_primary_is_owed_no_stop() -> None:
    async with stage() as s:
        old = InstanceId(1007)
        s.outside.instances[old] = instance(int(old))
        await s.machine()
        await owe(s, stop_of(old))
        assert (await s.http.put("/api/v1/machines/123", json={"gpu_instance_id": int(old)})).status_code == 200
        assert await open_debts(s) == []


async def test_a_machine_that_is_removed_leaves_no_stop_of_its_instance_behind() -> None:
    async with stage() as s:
        await s.machine()
        await owe(s, stop_of(PRIMARY), stop_of(READY))
        assert (await s.http.delete("/api/v1/machines/123")).status_code == 200
        assert await open_debts(s) == [(DebtKind.STOP_INSTANCE, READY)]


async def test_what_stands_ready_is_stopped_once_by_bid_or_not_and_not_while_a_failover_may_use_it() -> None:
    async with stage() as s:
        provider = Provider(rows=[runs(READY, is_interruptible=True)])
        await s.machine(setting=Setting.BOTH, warm_pool=POOL)
        await owe(s, stop_of(READY))
        begun = await s.begin(force_strategy="cpu_standby")
        await rounds(s, provider)
        assert (provider.stopped, len(await open_debts(s))) == ([], 1)
        await s.lose("no_snapshot")
        await begun
        await rounds(s, provider, 1)
        assert provider.stopped == [READY]
        provider.rows = [replace(runs(READY, True), status=Status.EXITED, wants_running=False)]
        await rounds(s, provider, 1)
        assert (provider.stopped, await open_debts(s)) == ([READY], [])


async def test_a_hand_over_drops_the_stop_that_an_earlier_failover_owed_the_new_primary() -> None:
    async with stage() as s:
        await s.machine(setting=Setting.BOTH, warm_pool=POOL)
        begun = await s.begin(force_strategy="cpu_standby")
        running = (await s.stored()).failover
        assert running is not None
        parked = AttemptEnded(running.id, running.fence, Parked("verify_failed", "the undo does not come to its end"))
        await s.loop.apply(MachineId(123), parked)
        await begun
        assert await open_debts(s) == [(DebtKind.STOP_INSTANCE, READY)]
        again = await s.begin(force_strategy="cpu_standby")
        await s.win(new=int(READY))
        await again
        assert (DebtKind.STOP_INSTANCE, READY) not in await open_debts(s)


async def test_a_stop_that_meets_the_end_of_what_it_was_for_is_followed_by_a_start() -> None:
    async with stage() as s:
        await s.machine(state=State.FAILED, cpu_standby=SERVED)

        class Slow(Provider):
            async def stop(self, instance: InstanceId) -> None:
                await super().stop(instance)
                await change(s, cpu_standby=replace(SERVED, serving=None))

        provider = Slow(rows=[runs(PRIMARY)])
        await owe(s, stop_of(PRIMARY))
        await rounds(s, provider, 1)
        assert provider.stopped == [PRIMARY]
        assert await open_debts(s) == [(DebtKind.START_INSTANCE, PRIMARY)]


def test_the_pool_that_a_failover_lands_on_is_not_stopped_by_the_debt_of_one_that_was_parked() -> None:
    async def story(fleet: Fleet) -> None:
        machine = await whole(fleet)
        first = InstanceId(machine.prepared[0])
        await ask(fleet, lambda tx: tx.add_debts([replace(stop_of(first), machine=MachineId(1))]))
        await submit(fleet, strategy="cpu_standby")
        await fleet.until(lambda: row(fleet).primary == first, 300.0)
        await fleet.sleep(120.0)
        assert (row(fleet).state, fleet.world.instances[first].intended) == ("healthy", "running")
        assert fleet.violations == []

    play(story, Wanted.ELSEWHERE)


async def ask(fleet: Fleet, work: Callable[[Tx], Any]) -> None:
    async def write(replica: Replica) -> None:
        await replica.daemon.store.transact(work)

    await fleet.theatre.ask(write)


async def submit(fleet: Fleet, **more: Any) -> None:
    async def asked(replica: Replica) -> None:
        now = replica.clock.now()
        command = Command("failover", 1, "op-x", **more)
        await replica.daemon.commands.submit(Asked(command, "http", "ana", now, now))

    await fleet.theatre.ask(asked)
