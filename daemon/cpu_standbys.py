"""The CPU VMs of machines: made, started again, demoted and deleted by debts.

One that was reclaimed and finds no capacity in its zone for an hour is replaced by one in another, as long as the machine itself
is well: the old one stays the machine's until the new one runs, and is there until the new one has a copy.

The name under which a VM is made is written into its debt before the call, with the zone and the request id: what a crash
leaves behind is found again by it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import pay_debt
from daemon.loop import Loop
from machines.cpu_vm import (
    MISCONFIGURED,
    QUOTA_EXCEEDED,
    ZONE_EXHAUSTED,
    CpuStandby,
    VmClaim,
    VmPlace,
    WorkspaceCopy,
    Zone,
    labels_of,
    region_of,
    request_id,
)
from machines.errors import NotYet, Refused, StepError
from machines.model import Debt, DebtKind, Label, Machine, MachineId, is_served_by_vm
from machines.ports import Clock, CpuCloud, VmWorkspaces
from machines.states import State

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(seconds=5)
_NEXT_ZONE = timedelta(seconds=1)
_NO_ZONE = timedelta(minutes=5)
_ZONE_RESTS_S = 600.0
"""A zone that had no capacity, and a region whose quota was spent, are asked again after this."""
_DEADLINE = timedelta(minutes=15)
"""A VM that has not come up by then is given up; another is made under another name."""
_STOCKOUT = timedelta(hours=1)
"""So long a zone may have no capacity for a VM that was reclaimed there before another zone is looked at."""
_UNTIL_COPIED = timedelta(minutes=1)
_AFTER_FAILOVER = timedelta(seconds=15)
_LAG = timedelta(minutes=2)
"""An insert whose answer was lost may still arrive so long."""


class CpuStandbys:
    """Without a provider of CPU VMs (no section `gce`) nothing is made, and what is owed waits for one."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        cloud: CpuCloud | None,
        clock: Clock,
        deployment: str,
        announcer: Announcer,
        workspaces: VmWorkspaces | None = None,
    ) -> None:
        self._workspaces = workspaces
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._clock = clock
        self._deployment = deployment
        self._announcer = announcer
        self._resting: dict[Zone, float] = {}
        """Zones that said no, and until when (monotonic seconds) they are not asked."""

    # -- debts

    async def settle(self, debt: Debt) -> None:
        """Return where the debt is paid. Raise NotYet, Unknown, Refused."""
        cloud = self._cloud
        if cloud is None:
            raise Refused(MISCONFIGURED, "no provider of CPU VMs is configured; remedy: give the section gce")
        match debt.kind:
            case DebtKind.CREATE_VM:
                await self._create(cloud, debt)
            case DebtKind.START_VM:
                await self._start(cloud, debt)
            case DebtKind.DELETE_VM if debt.vm is not None:
                await self._delete(cloud, debt, debt.vm)
            case DebtKind.DEMOTE_VM if debt.vm is not None and self._workspaces is not None:
                await self._demote(self._workspaces, debt.machine, debt.vm)
            case _:
                raise Refused("invalid_debt", f"debt {debt.id} of kind {debt.kind.value} names no VM")

    async def _create(self, cloud: CpuCloud, debt: Debt) -> None:
        machine = await self._store.transact(lambda tx: tx.machine(debt.machine))
        wanted = machine.cpu_standby if machine is not None else None
        if machine is None or wanted is None or wanted.is_made:
            if debt.vm is not None:
                await self._delete(cloud, debt, debt.vm)
            return
        place = debt.vm
        if place is None or debt.claimed_at is None:
            place, debt = await self._claim(cloud, debt, machine, wanted)
        claim = VmClaim(place, labels_of(self._deployment, machine.id), wanted.machine_type)
        try:
            vm = await cloud.insert(claim)
            if wanted.machine_type not in (None, vm.machine_type):
                await cloud.delete(vm.place, request_id("delete", vm.id, debt.id, debt.tries))
                await self._store.transact(lambda tx: tx.bind_vm(debt, None, None))
                raise NotYet(f"it was asked for as {vm.machine_type}, which nobody wants any more", _NEXT_ZONE)
            if not wanted.keep_running:
                vm = await cloud.stop(vm.place, request_id("stop", vm.id, debt.id, debt.tries))
        except Refused as refused:
            await self._turn_away(cloud, debt, place, refused)
        except StepError:
            await self._give_up_if_late(debt, place)
            raise
        else:
            await self._associate(debt, machine, wanted, vm.place)

    async def _claim(self, cloud: CpuCloud, debt: Debt, machine: Machine, wanted: CpuStandby) -> tuple[VmPlace, Debt]:
        now, tried = self._clock.now(), self._tried() | _zones_of(wanted)
        zone = cloud.next_zone(wanted.zone, tried)
        if zone is None:
            raise NotYet(f"none of the zones has room for a VM now: {', '.join(sorted(tried))}", _NO_ZONE)
        name = f"{self._deployment}-m{machine.id}-cpu-{debt.id}-{debt.tries}"
        place = VmPlace(zone, name, None, request_id("insert", name), cloud.project)
        if not await self._store.transact(lambda tx: tx.bind_vm(debt, place, now)):
            raise NotYet("another replica settled this debt meanwhile", _LOOK_AGAIN)
        return place, replace(debt, label=Label(name), claimed_at=now, vm=place)

    def _tried(self) -> frozenset[Zone]:
        now = self._clock.monotonic()
        self._resting = {zone: until for zone, until in self._resting.items() if until > now}
        return frozenset(self._resting)

    async def _turn_away(self, cloud: CpuCloud, debt: Debt, place: VmPlace, refused: Refused) -> None:
        """The operation ended with a no. Nothing may be left under the name before the next zone is asked."""
        await cloud.delete(place, request_id("delete", place.name, debt.tries))
        await self._store.transact(lambda tx: tx.bind_vm(debt, None, None))
        if refused.code not in (ZONE_EXHAUSTED, QUOTA_EXCEEDED):
            raise refused
        until = self._clock.monotonic() + _ZONE_RESTS_S
        self._resting[place.zone] = until
        log.info("cpu_vm_refused", machine=debt.machine, zone=place.zone, code=refused.code, because=refused.why)
        if refused.code == QUOTA_EXCEEDED:
            self._rest_region(cloud, region_of(place.zone), until)
            if cloud.next_zone(None, self._tried()) is None:
                raise refused
        raise NotYet(refused.why, _NEXT_ZONE)

    def _rest_region(self, cloud: CpuCloud, region: str, until: float) -> None:
        """A quota counts in its whole region."""
        while (zone := cloud.next_zone(None, self._tried())) is not None and region_of(zone) == region:
            self._resting[zone] = until

    async def _give_up_if_late(self, debt: Debt, place: VmPlace) -> None:
        if debt.claimed_at is None or self._clock.since(debt.claimed_at, unseen_at_most=_DEADLINE / 2) <= _DEADLINE:
            return
        because = f"it had not come up after {_DEADLINE.total_seconds() / 60:.0f} minutes"

        def work(tx: Tx) -> None:
            if tx.bind_vm(debt, None, None):
                tx.add_debts([delete_debt(debt.machine, place, because, self._clock.now())])

        await self._store.transact(work)
        log.warning("cpu_vm_given_up", machine=debt.machine, vm=place.name, zone=place.zone)

    async def _associate(self, debt: Debt, machine: Machine, wanted: CpuStandby, vm: VmPlace) -> None:
        """The debt is paid with the association: from here on the VM is the machine's."""

        def work(tx: Tx) -> Machine:
            now = tx.machine(machine.id)
            if now is None or now.cpu_standby != wanted:
                raise NotYet("the machine changed while its VM came up", _LOOK_AGAIN)
            if not tx.is_open(debt.id):
                raise NotYet("another replica settled this debt meanwhile", _LOOK_AGAIN)
            if wanted.vm is not None:
                _leave(tx, now, wanted.vm, self._clock.now())
            saved = save_standby(tx, self._announcer, now, wanted.with_vm(vm), self._clock.now())
            pay_debt(tx, debt.id, self._clock.now())
            return saved

        self._loop.follow(await self._store.transact(work))
        log.info("cpu_vm_associated", machine=machine.id, vm=vm.name, zone=vm.zone)

    async def _start(self, cloud: CpuCloud, debt: Debt) -> None:
        """One that was reclaimed, as long as it is the machine's and is to run."""
        machine = await self._store.transact(lambda tx: tx.machine(debt.machine))
        wanted = machine.cpu_standby if machine is not None else None
        if debt.vm is None or wanted is None or wanted.vm != debt.vm:
            return
        if not wanted.keep_running and wanted.serving is None:
            return
        if await cloud.get(debt.vm) is None:
            return  # The watch finds that it is gone.
        try:
            await cloud.start(debt.vm, request_id("start", debt.vm.id, debt.id, debt.tries))
        except Refused as refused:
            if refused.code == ZONE_EXHAUSTED:
                await self._note_stockout(cloud, debt, debt.vm)
            raise NotYet(f"{debt.vm.name} does not start: {refused}", _NO_ZONE) from refused
        if wanted.is_stuck:
            await self._call_stuck(debt, debt.vm, is_stuck=False)

    async def _note_stockout(self, cloud: CpuCloud, debt: Debt, place: VmPlace) -> None:
        """Since when, in the debt; after too long another VM is owed, where there is another zone."""
        self._resting[place.zone] = self._clock.monotonic() + _ZONE_RESTS_S
        since = debt.claimed_at
        if since is None:
            await self._store.transact(lambda tx: tx.bind_vm(debt, place, self._clock.now()))
        elif self._clock.since(since, unseen_at_most=_STOCKOUT / 2) >= _STOCKOUT and cloud.next_zone(
            None, {place.zone}
        ):
            await self._call_stuck(debt, place, is_stuck=True)

    async def _call_stuck(self, debt: Debt, place: VmPlace, *, is_stuck: bool) -> None:
        def work(tx: Tx) -> Machine | None:
            machine, now = tx.machine(debt.machine), self._clock.now()
            standby = machine.cpu_standby if machine is not None else None
            if machine is None or standby is None or standby.vm != place:
                return None
            if is_stuck and not _owe_another(tx, machine, place, now):
                return None
            return save_standby(tx, self._announcer, machine, replace(standby, is_stuck=is_stuck), now)

        saved = await self._store.transact(work)
        if saved is not None:
            self._loop.follow(saved)
            log.info("cpu_vm_stuck" if is_stuck else "cpu_vm_runs_again", machine=saved.id, zone=place.zone)

    async def _demote(self, workspaces: VmWorkspaces, number: MachineId, place: VmPlace) -> None:
        """Unless it serves again: whoever ends that owes a debt of its own."""
        machine = await self._store.transact(lambda tx: tx.machine(number))
        if machine is None or not _names(machine, place.name) or is_served_by_vm(machine):
            return
        if machine.failover is not None:
            raise NotYet("a failover of the machine is running", _AFTER_FAILOVER)
        await workspaces.end(machine, place)

    async def _delete(self, cloud: CpuCloud, debt: Debt, place: VmPlace) -> None:
        """Unless it is a machine's again. Without an id what was asked for may not have arrived yet."""
        machine, copy = await self._store.transact(
            lambda tx: (tx.machine(debt.machine), tx.workspace_copy(debt.machine))
        )
        if machine is not None and _names(machine, place.name):
            raise Refused("instance_in_use", f"VM {place.name} is machine {machine.id}'s")
        if machine is not None and copy is not None and copy.vm == place.id and _will_be_copied(machine, copy):
            raise NotYet(f"{place.name} has the only copy until the machine's new VM has one", _UNTIL_COPIED)
        await cloud.delete(place, request_id("delete", place.name, debt.id, debt.tries))
        if place.id is None and debt.claimed_at is not None and self._clock.since(debt.claimed_at) < _LAG:
            raise NotYet(f"nothing is there under {place.name}, and it may still come", _LAG / 4)


def save_standby(tx: Tx, announcer: Announcer, machine: Machine, changed: CpuStandby, now: datetime) -> Machine:
    """In the caller's transaction, and told to everyone."""
    saved = tx.save_machine(replace(machine, cpu_standby=changed))
    tx.post(announcer.machine(saved, machine, now))
    return saved


def _may_leave(tx: Tx, machine: Machine) -> bool:
    """Is the machine well, and nothing on its VM that it has not? Copies can be made anew then. A VM that is still to be
    demoted may have served without anybody's knowing."""
    is_well = machine.state is State.HEALTHY and machine.failover is None and machine.primary is not None
    owed = {one.kind for one in tx.open_debts(machine.id)}
    return is_well and not is_served_by_vm(machine) and DebtKind.DEMOTE_VM not in owed


def _owe_another(tx: Tx, machine: Machine, stuck: VmPlace, now: datetime) -> bool:
    """False where it is owed already, or the machine may not leave its VM now."""
    owed = {one.kind for one in tx.open_debts(machine.id)}
    if DebtKind.CREATE_VM in owed or not _may_leave(tx, machine):
        return False
    because = f"zone {stuck.zone} has had no capacity for {stuck.name} for an hour"
    tx.add_debts([create_debt(machine.id, because, now)])
    return True


def _leave(tx: Tx, machine: Machine, former: VmPlace, now: datetime) -> None:
    """In the transaction that gives the machine another VM. Raise NotYet where the former one may be needed."""
    if not _may_leave(tx, machine):
        raise NotYet("the machine is not well: its former VM may have the newest work", _AFTER_FAILOVER)
    because = f"zone {former.zone} had no capacity for it, and another VM runs in its place"
    tx.add_debts([delete_debt(machine.id, former, because, now)])


def _will_be_copied(machine: Machine, copy: WorkspaceCopy) -> bool:
    """Is the copy of what the machine is now, and is another to be made on its VM?"""
    standby = machine.cpu_standby
    return standby is not None and standby.keeps_copies and copy.instance == machine.primary


def _zones_of(wanted: CpuStandby) -> frozenset[Zone]:
    """Where a VM is stuck."""
    return frozenset() if wanted.vm is None else frozenset({wanted.vm.zone})


def create_debt(machine: MachineId, because: str, due_at: datetime) -> Debt:
    return Debt(DebtKind.CREATE_VM, machine, None, None, None, None, because, due_at=due_at)


def delete_debt(machine: MachineId, vm: VmPlace, because: str, due_at: datetime) -> Debt:
    return Debt(DebtKind.DELETE_VM, machine, None, None, Label(vm.name), due_at, because, due_at=due_at, vm=vm)


def _names(machine: Machine, vm: str) -> bool:
    place = machine.cpu_standby.vm if machine.cpu_standby is not None else None
    return place is not None and place.name == vm
