"""Provisions the warm pools that operators asked for: a volume, an instance that has it, and a standby beside it
(daemon/prepared_pools.py owes them).

Worked off as a debt, one create at a time: the row of the volume and the label of the rental are stored before each, so that
a crash at any point goes on, or is undone, by the same debt. What has come up is the machine's (machines/pool.py says which of
the two it is): its first instance, or a pool that stands ready on another host. Nothing that lives is ever moved.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import follow_volume, pay_debt
from daemon.loop import Loop
from daemon.marking import Marking
from daemon.pool_places import PoolPlaces, refused, size_gb, workload_of
from daemon.rearm import rearm_debt
from daemon.rented_ahead import LOOK_AGAIN, RentedAhead, claim_of
from daemon.replicas import delete_debt
from daemon.volume_claims import VolumeClaims
from daemon.volume_users import user_of
from machines.errors import NotYet, Refused, StepError
from machines.model import (
    Claim,
    Debt,
    HostId,
    Instance,
    Label,
    Machine,
    Prepared,
    Standby,
    Status,
    VolumeMount,
)
from machines.onstart import held_back
from machines.policy import Policies
from machines.pool import Wanted, lacks_pool, mount_path, wanted_pool
from machines.ports import Clock, GpuCloud, Shell, ShellResult, VolumeStore
from machines.reputation import Boot
from machines.shell_lines import CheckPlace, StartServing
from machines.states import State
from machines.strategies.candidates import check_fault
from machines.volumes import RegionalVolume, VolumeStatus

log = structlog.get_logger(__name__)

_AT_ONCE = timedelta(seconds=0.1)
_NEXT_OFFER = timedelta(seconds=5)
_NO_SECOND = timedelta(seconds=120)
_WAIT_FOR_HEALTH = timedelta(seconds=15)
_AFTER_THE_STORM = timedelta(seconds=60)


class WarmPools:
    """Each `settle` is one look at one debt."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        cloud: GpuCloud,
        volumes: VolumeStore,
        shell: Shell,
        policies: Policies,
        clock: Clock,
        deployment: str,
        announcer: Announcer,
    ) -> None:
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._shell = shell
        self._clock = clock
        self._deployment = deployment
        self._announcer = announcer
        self._claims = VolumeClaims(store, volumes, clock, deployment)
        self._places = PoolPlaces(store, cloud, volumes, policies, clock)
        self._ahead = RentedAhead(store, cloud, policies, clock)
        self._marking = Marking(cloud, shell)

    async def settle(self, debt: Debt) -> None:
        """Return where the debt is paid: the pool is there, or nobody wants it. Raise NotYet, Unknown, Refused."""
        try:
            await self._go_on(debt)
        except NotYet as error:
            if error.delay > _AT_ONCE:
                await self._places.money.release_unbound(debt)
            raise
        except StepError:
            await self._places.money.release_unbound(debt)
            raise

    async def _go_on(self, debt: Debt) -> None:
        machine, row, storm = await self._store.transact(
            lambda tx: (tx.machine(debt.machine), _row_of(tx, debt), tx.storm())
        )
        if machine is None or not lacks_pool(machine):
            await self._give_up(debt, row)
            return
        if machine.failover is not None:
            raise NotYet("a failover of the machine is running", _WAIT_FOR_HEALTH)
        if storm is not None and debt.label is None:
            raise NotYet("a storm: failovers come before warm pools", _AFTER_THE_STORM)
        if debt.row is not None and (row is None or row.status is VolumeStatus.DELETING):
            await self._leave_place(debt, row, "its volume was given up")
        if row is None or row.status is VolumeStatus.CREATING or row.volume is None:
            await self._provide_volume(debt, machine, row)
        elif debt.label is None or debt.claimed_at is None:
            await self._rent(debt, machine, row)
        else:
            await self._watch(debt, machine, row, debt.label, debt.claimed_at)

    async def _give_up(self, debt: Debt, row: RegionalVolume | None) -> None:
        """What was made and rented for it goes, provably."""
        if row is None or row.status is not VolumeStatus.CREATING:
            if debt.label is not None and debt.claimed_at is not None:
                await self._cloud.destroy(claim_of(debt.label, debt.claimed_at))
            await self._store.transact(
                lambda tx: self._leave_volume(tx, debt, row, "nobody wants its warm pool any more")
            )
        else:
            await self._claims.give_up(debt, row)

    def _leave_volume(self, tx: Tx, debt: Debt, row: RegionalVolume | None, because: str) -> None:
        """Unless it has become a machine's."""
        current = tx.volume_row(row.number) if row is not None else None
        if current is None or current.volume is None or current.status is not VolumeStatus.AVAILABLE:
            return
        if user_of(tx, current.volume) is None:
            tx.save_volume(replace(current, status=VolumeStatus.DELETING))
            tx.add_debts((delete_debt(debt.machine, current.volume, because),))

    async def _leave_place(
        self, debt: Debt, row: RegionalVolume | None, because: str, is_dead: bool = False
    ) -> NoReturn:
        """Another host is looked for; what was rented here goes first."""
        if debt.label is not None and debt.claimed_at is not None:
            await self._cloud.destroy(claim_of(debt.label, debt.claimed_at))
        now = self._clock.now()

        def work(tx: Tx) -> None:
            if not (tx.bind_debt(debt, None, None) and tx.bind_row(debt, None)):
                raise NotYet("another replica settled this debt meanwhile", LOOK_AGAIN)
            tx.reserve_for_debt(debt.id, None)
            self._leave_volume(tx, debt, row, because)
            if is_dead and row is not None and row.host is not None:
                tx.note_boot(Boot(row.host, is_dead=True), now)

        await self._store.transact(work)
        raise NotYet(f"{because}; another host is looked for", _NEXT_OFFER)

    # -- the volume

    async def _provide_volume(self, debt: Debt, machine: Machine, row: RegionalVolume | None) -> NoReturn:
        if row is not None and row.volume is not None:
            await self._keep_volume(debt, row)
        elif row is not None and debt.label is not None:
            await self._keep_volume(debt, replace(row, volume=await self._claims.found(debt, row)))
        room = await self._places.find(machine, debt)
        row = replace(row or await self._open_row(debt, machine, room.region), region=room.region)
        try:
            made = await self._claims.send(replace(debt, row=row.number), row, room.offer)
        except Refused as error:
            raise refused(error, _NEXT_OFFER) from error
        await self._keep_volume(debt, replace(row, volume=made))

    async def _open_row(self, debt: Debt, machine: Machine, region: str) -> RegionalVolume:
        """The volume has a row from the first moment: it is the debt's."""
        fresh = RegionalVolume(
            number=0,
            region=region,
            size_gb=size_gb(machine),
            status=VolumeStatus.CREATING,
            created_at=self._clock.now(),
            machine=machine.id,
        )

        def work(tx: Tx) -> RegionalVolume:
            row = tx.insert_volume(fresh)
            if not tx.bind_row(debt, row.number):
                raise NotYet("another replica settled this debt meanwhile", LOOK_AGAIN)
            return row

        return await self._store.transact(work)

    async def _keep_volume(self, debt: Debt, row: RegionalVolume) -> NoReturn:
        """The claim is settled, and the label is free for the next one."""

        def work(tx: Tx) -> None:
            current = tx.volume_row(row.number)
            owed = next((one for one in tx.open_debts(debt.machine) if one.id == debt.id), None)
            if current is None or current.status is not VolumeStatus.CREATING or owed is None:
                raise NotYet("the volume's row changed while it was made", LOOK_AGAIN)
            tx.save_volume(replace(current, status=VolumeStatus.AVAILABLE, volume=row.volume, handle=row.volume))
            tx.bind_debt(owed, None, None)

        await self._store.transact(work)
        log.info("pool_volume_made", machine=debt.machine, volume=row.volume)
        raise NotYet("its volume is there; an instance is rented with it", _AT_ONCE)

    # -- the instances

    async def _rent(self, debt: Debt, machine: Machine, row: RegionalVolume) -> None:
        """Always raises NotYet, but where the pool is whole without a standby."""
        assert row.volume is not None
        assert row.host is not None
        has_first = wanted_pool(machine) is Wanted.ELSEWHERE and _first_of(machine) is not None
        offer = await self._places.on_host(machine, debt, row.host)
        if offer is None and has_first:
            raise NotYet(f"host {row.host} has no second free GPU now", _NO_SECOND)
        if offer is None:
            await self._leave_place(debt, row, f"host {row.host} has no free GPU any more")
        workload, mount = workload_of(machine), VolumeMount(row.volume, mount_path(machine))
        label = Label(f"{self._deployment}-m{machine.id}-pool-{debt.id}-{debt.tries}")
        claim = Claim(label, offer, self._clock.now(), workload, held_back(workload.onstart), mount)
        try:
            await self._ahead.rent(debt, machine.id, claim)
        except Refused as error:
            await self._places.money.release(debt)
            if error.code != "volume_in_use" or not has_first:
                raise refused(error, _NEXT_OFFER) from error
            await self._finish_alone(debt, machine)
            return
        raise NotYet("its instance is coming up", LOOK_AGAIN)

    async def _finish_alone(self, debt: Debt, machine: Machine) -> None:
        """The provider lets no two instances share a volume: the pool works without a standby."""
        log.info("pool_has_no_standby", machine=machine.id, because="the provider lets no two instances share a volume")
        await self._save_prepared(debt, replace(_prepared(machine), is_alone=True))

    async def _watch(
        self, debt: Debt, machine: Machine, row: RegionalVolume, label: Label, claimed_at: datetime
    ) -> None:
        shown = await self._ahead.standing(label, claimed_at, "instance")
        if shown is None:
            await self._leave_rental(debt, machine, row, "its rental did not come up")
        if wanted_pool(machine) is Wanted.ELSEWHERE and _first_of(machine) is not None:
            await self._ahead.stopped(shown, "standby")
            prepared = _prepared(machine)
            await self._save_prepared(debt, replace(prepared, second=Standby(shown.id, shown.host, label)))
            return
        host_key = None
        if shown.wants_running or wanted_pool(machine) is Wanted.FIRST:
            checked = await self._check(debt, machine, row, shown, claimed_at)
            host_key = checked.host_key
        if wanted_pool(machine) is Wanted.FIRST:
            await self._begin_to_serve(debt, machine, row, shown, host_key)
            return
        await self._ahead.stopped(shown, "instance")
        assert row.volume is not None
        mount = VolumeMount(row.volume, mount_path(machine))
        first = Standby(shown.id, shown.host, label)
        await self._save_prepared(debt, Prepared(mount, shown.host, first, shown.price_per_hour, row.price_per_month))
        raise NotYet("it stands ready; a standby beside it is rented", _AT_ONCE)

    async def _leave_rental(self, debt: Debt, machine: Machine, row: RegionalVolume, because: str) -> NoReturn:
        """A dead boot is the host's fault. Where one instance stands ready there, only the standby is tried again."""
        if _first_of(machine) is None:
            await self._leave_place(debt, row, because, is_dead=True)
        assert debt.label is not None
        assert debt.claimed_at is not None
        await self._cloud.destroy(claim_of(debt.label, debt.claimed_at))
        await self._store.transact(lambda tx: tx.bind_debt(debt, None, None))
        await self._places.money.release(debt)
        raise NotYet(f"{because}; another is tried", _NO_SECOND)

    async def _check(
        self, debt: Debt, machine: Machine, row: RegionalVolume, shown: Instance, claimed_at: datetime
    ) -> ShellResult:
        """GPU, disk and shell, as every candidate is checked. Raise NotYet until it answers."""
        fault: str | None = f"it reads {shown.status.value}"
        if shown.wants_running and shown.status is Status.RUNNING and shown.ssh is not None:
            try:
                result = await self._shell.run(shown.ssh, CheckPlace(mount_path(machine)).line(), timeout_s=30.0)
            except NotYet as error:
                fault = error.why
            else:
                fault = check_fault(result.exit_status, result.stdout, shown, 0)
                if fault is None:
                    return result
                await self._leave_place(debt, row, fault, is_dead=True)
        if self._ahead.is_late(claimed_at) or not shown.wants_running:
            await self._leave_place(debt, row, f"its instance is not usable: {fault}", is_dead=True)
        raise NotYet(f"its instance is coming up: {fault}", LOOK_AGAIN)

    async def _begin_to_serve(
        self, debt: Debt, machine: Machine, row: RegionalVolume, shown: Instance, host_key: str | None
    ) -> None:
        """The volume is marked and the agent started before the instance becomes the machine."""
        assert row.volume is not None
        assert shown.ssh is not None
        mount, workload = VolumeMount(row.volume, mount_path(machine)), workload_of(machine)
        embodied = replace(
            machine,
            primary=shown.id,
            host=shown.host,
            landlord=shown.landlord,
            ssh=shown.ssh,
            host_key=host_key,
            price_per_hour=shown.price_per_hour,
            volume=mount,
            workload=replace(workload, gpu_name=workload.gpu_name or shown.gpu_name),
        )
        await self._marking.mark(embodied, mount)
        agent = self._loop.agent_command(embodied, shown.id)
        command = StartServing(workload.onstart, agent, workload.ssh_keys).line()
        result = await self._shell.run(shown.ssh, command, host_key, timeout_s=60.0)
        if result.exit_status != 0:
            raise NotYet(f"the agent did not start (status {result.exit_status}): {result.stderr[:200]}", LOOK_AGAIN)
        await self._embody(debt, embodied)

    async def _embody(self, debt: Debt, embodied: Machine) -> None:
        """The debt is paid with it: from here on the instance and its volume are the machine's. Its first heartbeat makes it
        healthy, and silence is judged as of any machine."""

        def work(tx: Tx) -> Machine:
            before, now = tx.machine(embodied.id), self._clock.now()
            if before is None or before.version != embodied.version:
                raise NotYet("the machine changed while its instance came up", LOOK_AGAIN)
            if not tx.is_open(debt.id) or embodied.primary is None:
                raise NotYet("another replica settled this debt meanwhile", LOOK_AGAIN)
            because = "its warm pool was provisioned; its first heartbeat is waited for"
            saved = tx.save_machine(replace(embodied, state=State.RECOVERED, because=because, since=now))
            tx.note_primary(embodied.primary, embodied.id, now)
            follow_volume(tx, before, saved, now)
            _note_life(tx, saved.host, now)
            pay_debt(tx, debt.id, now)
            tx.add_debts((replace(rearm_debt(saved, "it was provisioned and has no standby yet"), due_at=now),))
            tx.post(self._announcer.machine(saved, before, now))
            return saved

        saved = await self._store.transact(work)
        self._loop.follow(saved)
        log.info("machine_provisioned", machine=saved.id, instance=saved.primary, host=saved.host)

    async def _save_prepared(self, debt: Debt, prepared: Prepared) -> None:
        """What was rented is the machine's with this, and no more the debt's to destroy; a whole pool pays the debt."""

        def work(tx: Tx) -> Machine:
            machine, now = tx.machine(debt.machine), self._clock.now()
            owed = next((one for one in tx.open_debts(debt.machine) if one.id == debt.id), None)
            if owed is None or (owed.label, owed.row) != (debt.label, debt.row):
                raise NotYet("another replica settled this debt meanwhile", LOOK_AGAIN)
            if machine is None or machine.warm_pool is None or machine.failover is not None or not lacks_pool(machine):
                raise NotYet("the machine changed while its pool came up", LOOK_AGAIN)
            wish = replace(machine.warm_pool, prepared=prepared)
            saved = tx.save_machine(replace(machine, warm_pool=wish))
            tx.note_rental((prepared.second or prepared.first).instance, machine.id, None, now)
            if debt.label is not None:
                _note_life(tx, prepared.host, now)
            tx.bind_debt(owed, None, None)
            tx.reserve_for_debt(owed.id, None)  # It stands still.
            if prepared.is_complete:
                pay_debt(tx, debt.id, now)
            tx.post(self._announcer.machine(saved, machine, now))
            return saved

        saved = await self._store.transact(work)
        self._loop.follow(saved)
        log.info("pool_prepared", machine=saved.id, host=prepared.host, whole=prepared.is_complete)


def _note_life(tx: Tx, host: HostId | None, now: datetime) -> None:
    if host is not None:
        tx.note_boot(Boot(host, is_dead=False), now)


def _row_of(tx: Tx, debt: Debt) -> RegionalVolume | None:
    return tx.volume_row(debt.row) if debt.row is not None else None


def _prepared(machine: Machine) -> Prepared:
    assert machine.warm_pool is not None
    assert machine.warm_pool.prepared is not None
    return machine.warm_pool.prepared


def _first_of(machine: Machine) -> Standby | None:
    prepared = machine.warm_pool.prepared if machine.warm_pool is not None else None
    return prepared.first if prepared is not None else None
