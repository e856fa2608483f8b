"""Looks after the CPU VMs that there are: which are gone or stopped that should not be, and which nothing explains.

What is to be done about it becomes a debt.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import drop_stops
from daemon.cpu_standbys import create_debt, delete_debt, save_standby
from daemon.cpu_wishes import may_stand_still
from daemon.loop import Loop
from daemon.orphan_instances import tell_kept
from daemon.workspace_keeping import copy_alert
from machines.cpu_vm import (
    DEPLOYMENT_LABEL,
    MACHINE_LABEL,
    CpuStandby,
    CpuVm,
    VmId,
    VmListing,
    VmStatus,
    labels_of,
    request_id,
)
from machines.errors import StepError
from machines.lost import LostKind, LostThing, Standing
from machines.model import Debt, DebtKind, Label, Machine, MachineId, is_served_by_vm
from machines.policy import Policies
from machines.ports import Clock, CpuCloud

log = structlog.get_logger(__name__)

_UNEXPLAINED_S = 60.0
ORPHANS = "orphan-vms"
ALL_GONE = "cpu-vms-all-gone"
"""The key of the alert that the provider shows none of the VMs that there should be."""


@dataclass(frozen=True, slots=True)
class LostVm:
    """It bears our deployment's label, and nothing explains it."""

    vm: CpuVm
    seen_at: datetime


class CpuVmWatch:
    """One periodic job, of the fleet."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        cloud: CpuCloud | None,
        policies: Policies,
        clock: Clock,
        deployment: str,
        announcer: Announcer,
    ) -> None:
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._policies = policies
        self._clock = clock
        self._deployment = deployment
        self._announcer = announcer
        self._suspects: dict[VmId, datetime] = {}
        self._is_told = True
        """May the alert stand that all are gone? After a start it may."""
        self.foreign: tuple[CpuVm, ...] = ()
        """Other deployments' VMs in the same project: only reported, never touched."""
        self.lost: tuple[LostVm, ...] = ()

    async def look(self) -> None:
        if self._cloud is None:
            return
        try:
            listing = await self._cloud.list(DEPLOYMENT_LABEL)
        except StepError as error:
            log.info("cpu_vms_not_looked_at", because=str(error))
            return
        machines, debts = await self._store.transact(
            lambda tx: (tx.machines_with_cpu_standby(), tx.open_debts()),
        )
        gone: list[tuple[Machine, CpuStandby]] = []
        for machine in machines:
            if machine.cpu_standby is not None and machine.failover is None:
                try:
                    if not await self._is_there(self._cloud, machine, machine.cpu_standby, listing, debts):
                        gone.append((machine, machine.cpu_standby))
                except StepError as error:
                    log.info("cpu_vm_not_looked_at", machine=machine.id, because=str(error))
        await self._forget_all(gone, listing)
        await self._find_lost(listing, machines, debts)

    async def _is_there(
        self, cloud: CpuCloud, machine: Machine, wanted: CpuStandby, listing: VmListing, debts: Collection[Debt]
    ) -> bool:
        """False where the provider says that its VM is gone; else what it lacks is owed."""
        owed = {debt.kind for debt in debts if debt.machine == machine.id}
        place = wanted.vm
        if place is None:
            if DebtKind.CREATE_VM not in owed:
                await self._owe(create_debt(machine.id, "it has no CPU VM", self._clock.now()))
            return True
        vm = listing.vms.get(place.id) if place.id is not None else None
        if vm is None:
            vm = await cloud.get(place)
            if vm is None:
                return False
            labels = labels_of(self._deployment, machine.id)
            if not labels.items() <= vm.labels.items():
                # Without them no look would find it once it is nobody's.
                await cloud.set_labels(vm, labels)
        is_to_run = wanted.keep_running or wanted.serving is not None
        if vm.status is VmStatus.STOPPED and is_to_run and DebtKind.START_VM not in owed:
            because = "it was stopped, and is to run"
            start = Debt(DebtKind.START_VM, machine.id, None, None, Label(place.name), None, because, vm=place)
            await self._owe(replace(start, due_at=self._clock.now()))
        if vm.status is VmStatus.RUNNING and not is_to_run:
            await cloud.stop(place, request_id("stop", vm.id, self._clock.now()))
        return True

    async def _forget_all(self, gone: Collection[tuple[Machine, CpuStandby]], listing: VmListing) -> None:
        """Where all are gone at once, it is rather that what we ask is not what it was: then a person decides."""
        is_ours = any(vm.labels.get(DEPLOYMENT_LABEL) == self._deployment for vm in listing.vms.values())
        if len(gone) > 1 and not is_ours:
            names = ", ".join(machine.name for machine, _ in gone)
            text = (
                f"none of our CPU VMs is there, those of {names} are missing: does what gce.endpoint names answer for "
                'them? They are not forgotten; if they were deleted, put {"cpu_standby": null} for all but one of these machines, then '
                '{"cpu_standby": {}}'
            )
            await self._store.transact(lambda tx: tx.raise_alert(ALL_GONE, text, self._clock.now()))
            self._is_told = True
            log.warning("cpu_vms_all_gone", machines=[machine.id for machine, _ in gone])
            return
        if self._is_told:
            await self._store.transact(lambda tx: tx.resolve_alert(ALL_GONE, self._clock.now()))
            self._is_told = False
        for machine, wanted in gone:
            await self._forget(machine, wanted)

    async def _forget(self, machine: Machine, wanted: CpuStandby) -> None:
        """The provider says that it is gone: another is made."""

        def work(tx: Tx) -> Machine | None:
            now = tx.machine(machine.id)
            if now is None or now.cpu_standby != wanted:
                return None
            tx.add_debts([create_debt(machine.id, f"its VM {wanted.vm} is gone", self._clock.now())])
            if is_served_by_vm(now):
                lost = f"{now.name}: its CPU VM, which served in its place, is gone with what was written on it"
                tx.raise_alert(copy_alert(machine.id), f"{lost}; {may_stand_still(now)}", self._clock.now())
                if now.primary is not None and now.failover is None:
                    drop_stops(tx, now.primary, self._clock.now())
            return save_standby(tx, self._announcer, now, wanted.with_vm(None), self._clock.now())

        saved = await self._store.transact(work)
        if saved is not None:
            self._loop.follow(saved)
            log.warning("cpu_vm_gone", machine=machine.id, vm=wanted.vm.name if wanted.vm else None)

    async def _find_lost(self, listing: VmListing, machines: Collection[Machine], debts: Collection[Debt]) -> None:
        """Seen twice, at some distance: what has just been made stands in no machine yet."""
        names = {debt.vm.name for debt in debts if debt.vm is not None}
        names |= {one.cpu_standby.vm.name for one in machines if one.cpu_standby and one.cpu_standby.vm}
        vms, now = listing.vms.values(), self._clock.now()
        foreign = tuple(vm for vm in vms if vm.labels.get(DEPLOYMENT_LABEL) != self._deployment)
        if {vm.id for vm in foreign} - {vm.id for vm in self.foreign}:
            log.info("other_deployments_vms", vms=[f"{vm.zone}/{vm.name}" for vm in foreign])
        self.foreign = foreign
        found = [vm for vm in vms if vm.labels.get(DEPLOYMENT_LABEL) == self._deployment and vm.name not in names]
        self._suspects = {vm.id: self._suspects.get(vm.id, now) for vm in found}
        self.lost = tuple(LostVm(vm, self._suspects[vm.id]) for vm in found)
        things = (
            *(_thing(one.vm, Standing.ORPHAN, now) for one in self.lost),
            *(_thing(vm, Standing.FOREIGN, now) for vm in foreign),
        )
        ripe = [one.vm for one in self.lost if self._clock.since(one.seen_at).total_seconds() >= _UNEXPLAINED_S]
        await self._store.transact(lambda tx: self._tell(tx, things, ripe, now))

    def _tell(self, tx: Tx, things: Sequence[LostThing], ripe: Collection[CpuVm], now: datetime) -> None:
        tx.note_lost(LostKind.VM, things)
        kept = () if self._policies.fleet.destroys_orphans else ripe
        tell_kept(tx, ORPHANS, "VMs", [f"{vm.zone}/{vm.name} ({vm.machine_type})" for vm in kept], now)
        for vm in ripe if not kept else ():
            because = "it bears our label and nothing explains it"
            tx.add_debts([delete_debt(_machine_of(vm), vm.place, because, now)])
            log.warning("cpu_vm_lost", vm=vm.name, zone=vm.zone)

    async def _owe(self, debt: Debt) -> None:
        await self._store.transact(lambda tx: tx.add_debts([debt]))


def _thing(vm: CpuVm, standing: Standing, now: datetime) -> LostThing:
    """Its provider tells no price with it."""
    what = f"{vm.machine_type} in {vm.zone}, {vm.status.value}"
    number = vm.labels.get(MACHINE_LABEL, "")
    machine = MachineId(int(number)) if number.isdecimal() else None
    return LostThing(LostKind.VM, f"{vm.zone}/{vm.name}", standing, vm.name, machine, None, None, what, now)


def _machine_of(vm: CpuVm) -> MachineId:
    """0 where its label cannot be read any more."""
    number = vm.labels.get(MACHINE_LABEL, "")
    return MachineId(int(number)) if number.isdecimal() else MachineId(0)
