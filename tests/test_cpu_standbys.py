"""A machine's CPU VM: made by a debt, moved to the next zone, started again, deleted, and never forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest

from adapters.gce import GceCloud, GceSettings
from adapters.sim.compute import Vm
from adapters.sim.compute_api import ComputeApi, SimCompute
from adapters.sim.faults import Fault, FaultKind
from adapters.sim.settings import WorldSettings
from adapters.sim.world import World
from adapters.sql import SqlStore
from adapters.sql.executor import Store
from daemon.announce import Announcer
from daemon.blindness import Blindness
from daemon.cpu_standbys import CpuStandbys
from daemon.cpu_vm_watch import CpuVmWatch
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.registry import Registry
from daemon.sweep import Sweep
from machines.cpu_vm import CpuStandby, VmId, VmServing, WorkspaceCopy, request_id
from machines.errors import Unknown
from machines.model import Debt, DebtKind, InstanceId, Machine, MachineId
from machines.policy import Policy
from machines.ports import CpuCloud
from machines.problems import Problem
from machines.states import State
from tests.cpu_clouds import SETTINGS, A, B, C, claim
from tests.test_vast_provider import EvenRandom, VirtualClock, VirtualLoop

ONE = MachineId(1)
DEFAULTS = Policy()
UNUSED: Any = None


class Crash(BaseException):
    """The daemon ends here."""


class Wire:
    """The way to the simulated provider, which may end the daemon before or after a call that changes something."""

    def __init__(self, inner: SimCompute) -> None:
        self._inner = inner
        self.calls: list[str] = []
        self.crash_at: int | None = None
        self.after = False

    async def ask(self, what: str, *rest: Any) -> Any:
        number = len(self.calls)
        self.calls.append(what)
        if number == self.crash_at and not self.after:
            raise Crash
        try:
            return await self._inner.ask(what, *rest)
        finally:
            if number == self.crash_at:
                raise Crash

    def close(self) -> None: ...


@dataclass
class Yard:
    """What a daemon is, as far as CPU VMs go."""

    store: Store
    clock: VirtualClock
    world: World
    wire: Wire
    loop: Loop
    registry: Registry
    watch: CpuVmWatch
    sweep: Sweep

    @classmethod
    def make(cls, has_provider: bool = True, deployment: str = "fo-x", policy: Policy = DEFAULTS, **world: Any) -> Yard:
        clock = VirtualClock()
        made = World(7, WorldSettings(**world), clock.now())

        async def settle() -> None:
            made.drain()

        wire = Wire(SimCompute(ComputeApi(made, clock, settle), clock))
        return cls._on(Store(SqlStore.in_memory(), inline=True), clock, made, wire, has_provider, deployment, policy)

    @classmethod
    def _on(
        cls,
        store: Store,
        clock: VirtualClock,
        world: World,
        wire: Wire,
        has_provider: bool,
        deployment: str,
        policy: Policy,
        settings: GceSettings = SETTINGS,
    ) -> Yard:
        announcer = Announcer(deployment)
        tell = Blindness(store, clock, Leases(store, clock, "one")).tell
        loop = Loop(store, policy, clock, EvenRandom(), announcer, lambda machine, instance: "agent", tell)
        cloud: CpuCloud | None = GceCloud(wire, clock, settings) if has_provider else None
        standbys = CpuStandbys(store, loop, cloud, clock, deployment, announcer)
        sweep = Sweep(store, loop, UNUSED, UNUSED, UNUSED, UNUSED, clock, UNUSED, UNUSED, cpu_standbys=standbys)
        registry = Registry(store, loop, UNUSED, UNUSED, announcer, clock, makes_cpu_vms=has_provider)
        watch = CpuVmWatch(store, loop, cloud, policy, clock, deployment, announcer)
        return cls(store, clock, world, wire, loop, registry, watch, sweep)

    def another_life(self, settings: GceSettings = SETTINGS) -> Yard:
        """After a crash: the same store and world, and nothing else."""
        return self._on(self.store, self.clock, self.world, self.wire, True, "fo-x", Policy(), settings)

    @property
    def truth(self) -> dict[str, Vm]:
        self.world.advance(self.clock.now())
        return {vm.name: vm for vm in self.world.compute.vms.values()}

    async def put(self, **body: Any) -> Machine:
        return await self.registry.put(ONE, body, "a test")

    async def stored(self) -> Machine:
        found = await self.store.transact(lambda tx: tx.machine(ONE))
        assert found is not None
        return found

    async def run(self, seconds: float) -> None:
        """The two jobs, for so long."""
        until, look_at = self.clock.monotonic() + seconds, self.clock.monotonic()
        while self.clock.monotonic() < until:
            await self.sweep.pay_vm_debts()
            if self.clock.monotonic() >= look_at:
                await self.watch.look()
                look_at += 60
            await self.clock.sleep(5)

    async def open_debts(self) -> list[str]:
        return [debt.kind.value for debt in await self.store.transact(lambda tx: tx.open_debts())]

    async def alerts(self) -> list[str]:
        return [alert.text for alert in await self.store.transact(lambda tx: tx.open_alerts())]

    async def the_vm(self) -> Vm:
        """The machine's, which is the only one and runs."""
        standby = (await self.stored()).cpu_standby
        assert standby is not None
        assert standby.vm is not None
        [vm] = self.truth.values()
        assert (vm.name, vm.id, vm.status) == (standby.vm.name, standby.vm.id, "RUNNING")
        assert await self.open_debts() == []
        return vm


def told(story: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        await story()

    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(run())


def test_a_machine_that_asks_for_a_cpu_vm_gets_one_and_loses_it_when_it_goes() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        vm = await y.the_vm()
        assert (vm.zone, vm.labels) == (A, {"failoverd-deployment": "fo-x", "failoverd-machine": "1"})
        await y.put(cpu_standby=None)
        await y.run(60)
        assert (y.truth, await y.open_debts()) == ({}, [])
        await y.put(cpu_standby={"machine_type": "e2-standard-2", "zone": B})
        await y.run(60)
        assert (await y.the_vm()).zone == B
        await y.registry.remove(ONE)
        await y.run(60)
        assert (y.truth, await y.open_debts()) == ({}, [])

    told(story)


def test_a_machine_that_is_removed_while_its_vm_is_being_made_leaves_nothing() -> None:
    async def story() -> None:
        y = Yard.make(vm_boot_seconds=60.0)
        await y.put(cpu_standby={})
        await y.run(30)
        assert len(y.truth) == 1
        await y.registry.remove(ONE)
        await y.run(400)
        assert (y.truth, await y.open_debts()) == ({}, [])

    told(story)


def test_the_next_zone_is_taken_where_one_has_no_capacity() -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.compute.exhausted = dict.fromkeys((A, B), "ZONE_RESOURCE_POOL_EXHAUSTED")
        await y.put(cpu_standby={})
        await y.run(90)
        assert (await y.the_vm()).zone == C

    told(story)


def test_where_no_zone_has_capacity_it_is_tried_again_later_and_a_person_hears_of_it() -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.compute.exhausted = dict.fromkeys((A, B, C), "ZONE_RESOURCE_POOL_EXHAUSTED")
        await y.put(cpu_standby={})
        await y.run(45 * 60)
        assert y.truth == {}
        [alert] = await y.alerts()
        assert "none of the zones has room for a VM now" in alert
        y.world.compute.exhausted.clear()
        await y.run(20 * 60)
        assert (await y.the_vm()).zone == A
        assert await y.alerts() == []

    told(story)


def test_a_spent_quota_rests_its_whole_region() -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.compute.quotas["europe-west4"] = 0
        await y.put(cpu_standby={})
        await y.run(90)
        assert (await y.the_vm()).zone == C
        assert not [one for one in y.world.compute.operations.values() if one.vm.zone == B]

    told(story)


def test_what_no_zone_would_take_is_told_to_a_person() -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.faults.order(Fault(FaultKind.STATUS, "compute.insert", status=400), y.clock.now(), None)
        await y.put(cpu_standby={})
        await y.run(10 * 60)
        [alert] = await y.alerts()
        assert "cpu_misconfigured" in alert
        assert y.truth == {}

    told(story)


def test_a_reclaimed_vm_is_started_again_where_it_is_to_run() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        vm = await y.the_vm()
        y.world.compute.preempt(y.clock.now(), vm)
        await y.run(30)
        assert y.truth[vm.name].status == "TERMINATED"
        await y.run(150)
        assert (await y.the_vm()).id == vm.id

    told(story)


STOCKOUT = "ZONE_RESOURCE_POOL_EXHAUSTED"


async def reclaimed(**changed: Any) -> tuple[Yard, Vm]:
    """A machine that is well, but for what is said otherwise; its VM was reclaimed, and the zone has no room for it any more."""
    y = Yard.make()
    await y.put(cpu_standby={})
    await y.run(60)
    vm, machine = await y.the_vm(), await y.stored()
    well = {"state": State.HEALTHY, "primary": InstanceId(7001)}
    await y.store.transact(lambda tx: tx.save_machine(replace(machine, **{**well, **changed})))
    y.world.compute.exhausted[A] = STOCKOUT
    y.world.compute.preempt(y.clock.now(), vm)
    return y, vm


def test_a_vm_that_finds_no_capacity_for_an_hour_is_replaced_by_one_in_the_next_zone() -> None:
    async def story() -> None:
        y, vm = await reclaimed()
        await y.run(50 * 60)
        assert [(one.name, one.zone) for one in y.truth.values()] == [(vm.name, A)]
        await y.run(25 * 60)
        assert (await y.the_vm()).zone == B

    told(story)


@pytest.mark.parametrize("why", ["it serves", "the machine is not well", "it may have served"])
def test_a_vm_that_may_have_the_newest_work_is_waited_for(why: str) -> None:
    async def story() -> None:
        y, vm = await reclaimed(**({"state": State.DETECTING} if why == "the machine is not well" else {}))
        machine = await y.stored()
        assert machine.cpu_standby is not None
        if why == "it serves":
            serving = VmServing("203.0.113.1", 22, "ssh-ed25519 AAAA", y.clock.now())
            served = replace(machine, cpu_standby=replace(machine.cpu_standby, serving=serving))
            await y.store.transact(lambda tx: tx.save_machine(served))
        if why == "it may have served":
            owed = Debt(DebtKind.DEMOTE_VM, ONE, None, None, None, None, "its service ended", vm=machine.cpu_standby.vm)
            await y.store.transact(lambda tx: tx.add_debts([owed]))
        await y.run(2 * 3600)
        assert [(one.name, one.zone) for one in y.truth.values()] == [(vm.name, A)]
        assert "create_vm" not in await y.open_debts()

    told(story)


def test_a_vm_with_the_only_copy_is_there_until_the_new_one_has_a_copy() -> None:
    async def story() -> None:
        y, vm = await reclaimed()
        copy = WorkspaceCopy("c1", VmId(vm.id), 7001, y.clock.now(), 5, 5, "ssh-ed25519 AAAA")
        await y.store.transact(lambda tx: tx.save_copy(ONE, copy))
        await y.run(80 * 60)
        assert sorted(one.zone for one in y.truth.values()) == [A, B]
        standby = (await y.stored()).cpu_standby
        assert standby is not None
        assert standby.vm is not None
        assert (standby.vm.zone, await y.open_debts()) == (B, ["delete_vm"])
        assert standby.vm.id is not None
        fresh = replace(copy, id="c2", vm=standby.vm.id)
        await y.store.transact(lambda tx: tx.save_copy(ONE, fresh))
        await y.run(150)
        assert (await y.the_vm()).zone == B

    told(story)


def test_a_vm_whose_zone_has_room_again_before_another_was_found_stays_the_machines() -> None:
    async def story() -> None:
        y, vm = await reclaimed()
        y.world.compute.exhausted.update({B: STOCKOUT, C: STOCKOUT})
        await y.run(80 * 60)
        assert "create_vm" in await y.open_debts()
        y.world.compute.exhausted.clear()
        y.world.compute.exhausted.update({B: STOCKOUT, C: STOCKOUT})
        await y.run(15 * 60)
        assert (await y.the_vm()).id == vm.id
        standby = (await y.stored()).cpu_standby
        assert standby is not None
        assert not standby.is_stuck

    told(story)


def test_a_machine_that_fell_ill_meanwhile_keeps_its_vm_until_it_is_well() -> None:
    async def story() -> None:
        y, vm = await reclaimed()
        while not (standby := (await y.stored()).cpu_standby) or not standby.is_stuck:
            await y.run(5)
        ill = replace(await y.stored(), state=State.DETECTING)
        await y.store.transact(lambda tx: tx.save_machine(ill))
        await y.run(10 * 60)
        standby = (await y.stored()).cpu_standby
        assert standby is not None
        assert standby.vm is not None
        assert standby.vm.id == vm.id
        well = replace(await y.stored(), state=State.HEALTHY)
        await y.store.transact(lambda tx: tx.save_machine(well))
        await y.run(10 * 60)
        assert (await y.the_vm()).zone == B

    told(story)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(6))
def test_a_daemon_that_is_killed_at_any_call_of_such_a_change_leaves_one_vm(call: int, after: bool) -> None:
    async def story() -> None:
        y, _ = await reclaimed()
        while not (standby := (await y.stored()).cpu_standby) or not standby.is_stuck:
            await y.run(5)
        y = await killed(y, call, after)
        await y.run(1800)
        assert (await y.the_vm()).zone == B

    told(story)


def test_a_vm_that_is_not_to_run_is_stopped_once_it_is_made_and_stays_so() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={"keep_running": False})
        await y.run(300)
        [vm] = y.truth.values()
        assert (vm.status, await y.open_debts()) == ("TERMINATED", [])
        assert len([one for one in y.wire.calls if one == "start"]) == 0
        await y.put(cpu_standby={"keep_running": True})
        await y.run(150)
        assert (await y.the_vm()).id == vm.id
        await y.put(cpu_standby={"keep_running": False})
        await y.run(150)
        assert y.truth[vm.name].status == "TERMINATED"

    told(story)


def test_a_vm_that_was_deleted_behind_our_back_is_made_anew() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        vm = await y.the_vm()
        y.world.compute.delete(y.clock.now(), vm, {})
        await y.run(240)
        assert (await y.the_vm()).id != vm.id

    told(story)


def test_vms_that_are_all_gone_at_once_are_not_forgotten_and_a_person_hears_of_it() -> None:
    async def story() -> None:
        y = Yard.make()
        for number in (ONE, MachineId(2)):
            await y.registry.put(number, {"cpu_standby": {}}, "a test")
        await y.run(120)
        assert len(y.truth) == 2
        before = (await y.stored()).cpu_standby
        vms = dict(y.world.compute.vms)
        y.world.compute.vms.clear()  # As an endpoint without them shows it.
        await y.run(240)
        assert (await y.stored()).cpu_standby == before
        assert (y.truth, await y.open_debts()) == ({}, [])
        [alert] = await y.alerts()
        assert "none of our CPU VMs is there" in alert
        y.world.compute.vms.update(vms)
        await y.run(120)
        assert await y.alerts() == []
        y.world.compute.delete(y.clock.now(), next(iter(y.truth.values())), {})
        await y.run(240)
        assert len(y.truth) == 2

    told(story)


def test_a_vm_stays_the_machines_where_another_project_is_configured_and_is_deleted_in_its_own() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        vm = await y.the_vm()
        y = y.another_life(replace(SETTINGS, project="proj-2"))
        await y.run(240)
        assert (await y.the_vm()).id == vm.id
        vm.status = "TERMINATED"  # Reclaimed.
        await y.run(240)
        assert vm.status == "RUNNING"
        await y.put(cpu_standby=None)
        await y.run(240)
        assert y.truth == {}
        await y.put(cpu_standby={})
        await y.run(120)
        assert (await y.the_vm()).project == "proj-2"

    told(story)


def test_one_read_that_fails_or_an_empty_list_makes_no_second_vm() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        vm = await y.the_vm()
        for kind, what in ((FaultKind.EMPTY_LIST, "aggregatedList"), (FaultKind.STATUS, "get")):
            y.world.faults.order(Fault(kind, f"compute.{what}"), y.clock.now(), None)
            await y.run(300)
            y.world.faults.clear()
        await y.run(120)
        assert (await y.the_vm()).id == vm.id

    told(story)


def test_labels_that_somebody_took_off_are_put_back() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        vm = await y.the_vm()
        vm.labels = {"owner": "ops"}
        await y.run(120)
        assert vm.labels == {"owner": "ops", "failoverd-deployment": "fo-x", "failoverd-machine": "1"}

    told(story)


def test_a_vm_that_nothing_explains_is_deleted_and_another_deployments_is_only_reported() -> None:
    async def story() -> None:
        y = Yard.make(vm_boot_seconds=10.0)
        cloud = GceCloud(y.wire, y.clock, SETTINGS)
        for name, deployment in (("fo-x-m9-cpu-9-0", "fo-x"), ("fo-y-m9-cpu-9-0", "fo-y")):
            y_claim = claim(name, A, {"failoverd-deployment": deployment, "failoverd-machine": "9"})
            await cloud.insert(y_claim)
        await y.run(60)
        assert len(y.truth) == 2
        await y.run(240)
        assert list(y.truth) == ["fo-y-m9-cpu-9-0"]
        assert [vm.name for vm in y.watch.foreign] == ["fo-y-m9-cpu-9-0"]
        assert (y.watch.lost, await y.open_debts()) == ((), [])

    told(story)


def test_where_the_policy_says_so_a_vm_that_nothing_explains_is_only_told() -> None:
    async def story() -> None:
        y = Yard.make(policy=Policy(destroys_orphans=False), vm_boot_seconds=10.0)
        lost = claim("fo-x-m9-cpu-9-0", A, {"failoverd-deployment": "fo-x", "failoverd-machine": "9"})
        vm = await GceCloud(y.wire, y.clock, SETTINGS).insert(lost)
        await y.run(300)
        assert (list(y.truth), await y.open_debts()) == ([vm.name], [])
        [alert] = await y.alerts()
        assert f"VMs that bear our label and that nothing explains are billed: {A}/{vm.name}" in alert
        y.world.compute.vms.clear()
        await y.run(120)
        assert await y.alerts() == []

    told(story)


def test_a_creation_that_hangs_is_given_up_and_another_is_made() -> None:
    async def story() -> None:
        y = Yard.make(vm_boot_seconds=3600.0)
        await y.put(cpu_standby={})
        await y.run(17 * 60)
        assert len(y.truth) == 2
        await y.registry.remove(ONE)
        await y.run(2 * 3600)
        assert (y.truth, await y.open_debts()) == ({}, [])

    told(story)


def test_a_daemon_without_a_provider_takes_no_cpu_vm_and_keeps_what_is_owed() -> None:
    async def story() -> None:
        y = Yard.make(has_provider=False)
        with pytest.raises(Problem, match="cpu_standby"):
            await y.put(cpu_standby={})
        assert (await y.put(cpu_standby=None)).cpu_standby is None

    told(story)


def test_a_wrong_wish_names_its_field() -> None:
    async def story() -> None:
        y = Yard.make()
        for wish, field in (
            ({"zone": "Europe!"}, "cpu_standby.zone"),
            ({"zones": []}, "cpu_standby.zones"),
            ({"keep_running": 1}, "cpu_standby.keep_running"),
            (5, "cpu_standby"),
        ):
            with pytest.raises(Problem) as no:
                await y.put(cpu_standby=wish)
            assert no.value.extra["field"] == field

    told(story)


async def killed(y: Yard, at: int, after: bool) -> Yard:
    """The next life of a daemon that is killed at the call with this number from now on."""
    number = len(y.wire.calls) + at
    y.wire.crash_at, y.wire.after = number, after
    with pytest.raises(Crash):
        await y.run(120)
    assert len(y.wire.calls) == number + 1
    y.wire.crash_at = None
    next_life = y.another_life()
    await next_life.loop.load()
    return next_life


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(10))
def test_a_daemon_that_is_killed_at_any_call_of_a_creation_leaves_one_vm(call: int, after: bool) -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.compute.exhausted[A] = "ZONE_RESOURCE_POOL_EXHAUSTED"
        await y.put(cpu_standby={})
        y = await killed(y, call, after)
        await y.run(900)
        assert (await y.the_vm()).zone == B

    told(story)


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("call", range(4))
def test_a_daemon_that_is_killed_at_any_call_of_a_deletion_leaves_none(call: int, after: bool) -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(59)
        await y.the_vm()
        await y.registry.remove(ONE)
        y = await killed(y, call, after)
        await y.run(400)
        assert (y.truth, await y.open_debts()) == ({}, [])

    told(story)


@pytest.mark.parametrize("what", ["insert", "get", "wait", "delete", "aggregatedList"])
@pytest.mark.parametrize(
    "kind", [FaultKind.STATUS, FaultKind.STATUS_AFTER, FaultKind.TIMEOUT_BEFORE, FaultKind.TIMEOUT_AFTER]
)
def test_whatever_call_goes_wrong_thrice_there_is_one_vm_and_then_none(what: str, kind: FaultKind) -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.faults.order(Fault(kind, f"compute.{what}", count=3, seconds=40.0), y.clock.now(), None)
        await y.put(cpu_standby={})
        await y.run(900)
        await y.the_vm()
        y.world.faults.order(Fault(kind, f"compute.{what}", count=3, seconds=40.0), y.clock.now(), None)
        await y.put(cpu_standby=None)
        await y.run(900)
        assert (y.truth, await y.open_debts()) == ({}, [])

    told(story)


def test_a_request_is_the_same_for_the_same_intent_alone() -> None:
    assert request_id("insert", "a") == request_id("insert", "a")
    assert request_id("insert", "a") != request_id("insert", "b")


def test_another_wish_needs_another_vm_only_where_it_is_about_the_vm() -> None:
    former = CpuStandby(A, "e2-standard-4")
    assert not CpuStandby(A, "e2-standard-4", keep_running=False).wants_another(former)
    assert CpuStandby(B, "e2-standard-4").wants_another(former)
    assert CpuStandby(A, "e2-standard-8").wants_another(former)
    assert CpuStandby().wants_another(None)


def test_an_unreachable_provider_is_unknown_to_the_look() -> None:
    async def story() -> None:
        y = Yard.make()
        y.world.faults.order(Fault(FaultKind.STATUS, "compute.aggregatedList", status=503), y.clock.now(), None)
        await y.watch.look()
        with pytest.raises(Unknown):
            await GceCloud(y.wire, y.clock, SETTINGS).list("failoverd-deployment")

    told(story)


def test_work_on_a_vm_that_serves_is_given_up_only_where_an_operator_says_so() -> None:
    async def story() -> None:
        y = Yard.make()
        await y.put(cpu_standby={})
        await y.run(60)
        await y.the_vm()
        machine = await y.stored()
        assert machine.cpu_standby is not None
        serving = VmServing("203.0.113.1", 22, "ssh-ed25519 AAAA", y.clock.now())
        served = replace(machine, cpu_standby=replace(machine.cpu_standby, serving=serving))
        await y.store.transact(lambda tx: tx.save_machine(served))
        copy = WorkspaceCopy("c1", VmId(5), 7001, y.clock.now(), 5, 5, "ssh-ed25519 AAAA")
        await y.store.transact(lambda tx: tx.save_copy(ONE, copy))
        for body in ({"cpu_standby": None}, {"cpu_standby": {"zone": B}}):
            with pytest.raises(Problem) as refused:
                await y.put(**body)
            assert (refused.value.status, refused.value.code) == (409, "cpu_vm_serves")
            assert "give_up_work" in refused.value.remedy
        with pytest.raises(Problem):
            await y.registry.remove(ONE)
        await y.put(cpu_standby={"keep_running": True})
        assert (await y.stored()).cpu_standby == served.cpu_standby
        given_up = (await y.put(cpu_standby={"give_up_work": True})).cpu_standby
        assert given_up is not None
        assert given_up.serving is None
        assert await y.store.transact(lambda tx: tx.workspace_copy(ONE)) is None
        assert await y.open_debts() == ["demote_vm"]

    told(story)
