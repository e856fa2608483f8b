"""Pays the debts that keep a copy of a machine's volume on another host of its region (daemon/replicas.py owes them)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import pay_debt
from daemon.loop import Loop
from daemon.marking import Marking
from daemon.replicas import is_regional, leave
from daemon.volume_claims import VolumeClaims
from machines.errors import NotYet, Refused
from machines.model import Debt, HostId, Machine, MachineId, OfferQuery, Replica, Volume, VolumeId, VolumeMount
from machines.policy import Policies
from machines.ports import Clock, GpuCloud, Shell, VolumeStore
from machines.volumes import RegionalVolume, VolumeOffer, VolumeQuery, VolumeStatus

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(seconds=5)
_WAIT_FOR_HEALTH = timedelta(seconds=30)
_NO_ROOM = timedelta(minutes=10)
_COPY_REFUSED = timedelta(minutes=2)
_WHOLE_WITHIN, _WHOLE_WITHIN_PER_GB = timedelta(minutes=60), timedelta(minutes=1)
"""Whichever is longer; at 1 GB a minute a line carries 140 Mb/s. What is slower is taken for a copy that has failed."""
_SHOWN_WITHIN_S = 600.0
"""So long a copy may be in no list that shows others."""


class VolumeCopies:
    """One look at a time; NotYet until the copy is kept, and nothing where none is wanted any more."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        cloud: GpuCloud,
        volumes: VolumeStore,
        shell: Shell,
        policies: Policies,
        clock: Clock,
        claims: VolumeClaims,
        announcer: Announcer,
    ) -> None:
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._volumes = volumes
        self._marking = Marking(cloud, shell)
        self._policies = policies
        self._clock = clock
        self._claims = claims
        self._announcer = announcer
        self._unlisted_since: dict[VolumeId, float] = {}
        self._failed_on: dict[MachineId, HostId] = {}
        """Where a machine's last copy did not become whole: the next one is rather made elsewhere."""

    async def settle(self, debt: Debt) -> None:
        """Of a volume that its living primary has, so that it is marked and not empty; a copy of it is never taken from
        a machine in a failover."""
        row = await self._claims.row_of(debt)
        machine, storm = await self._store.transact(lambda tx: (tx.machine(debt.machine), tx.storm()))
        if row is None or machine is None or not self._is_wanted(debt, machine):
            await self._claims.give_up(debt, row)
            return
        if machine.failover is not None:
            raise NotYet("a failover of the machine is running", _WAIT_FOR_HEALTH)
        made = row.volume
        if made is None and debt.label is not None:
            made = await self._claims.found(debt, row)
        elif made is None:
            if storm is not None:
                raise NotYet("a storm: failovers come before copies", _WAIT_FOR_HEALTH)
            made = await self._make_copy(debt, row, machine)
            row = await self._claims.row_of(debt) or row
        await self._see(made, row, debt)
        armed = await self._store.transact(lambda tx: self._arm(tx, debt, row.number, made))
        self._failed_on.pop(machine.id, None)
        self._loop.follow(armed)
        log.info("replica_kept", machine=machine.id, volume=made, of=debt.volume)

    def _is_wanted(self, debt: Debt, machine: Machine) -> bool:
        is_same = machine.volume is not None and machine.volume.id == debt.volume
        return is_same and is_regional(machine) and self._policies.of(machine).replica_every_s > 0

    async def _make_copy(self, debt: Debt, row: RegionalVolume, machine: Machine) -> VolumeId:
        assert machine.volume is not None
        listed = await self._volumes.volumes()
        source = listed.get(machine.volume.id)
        if source is None or machine.primary not in source.holders:
            raise NotYet(f"the primary does not have volume {machine.volume.id} mounted", _WAIT_FOR_HEALTH)
        offers = await self._room_for_copy(machine, source, row.region)
        await self._mark(machine, machine.volume)
        seen = tuple(sorted(volume.id for volume in listed.values() if volume.host == offers[0].host))
        meant = replace(row, seen=seen, copied_at=self._clock.now(), size_gb=math.ceil(source.size_gb))
        try:
            return await self._claims.send(debt, meant, offers[0], source)
        except Refused as refused:
            raise NotYet(refused.why, _COPY_REFUSED) from refused

    async def _mark(self, machine: Machine, volume: VolumeMount) -> None:
        """Once, before the first copy. A mark that is gone by the next one says that the volume was emptied, or that another
        one is mounted there: such a copy would take the place of a good one."""
        if volume.replica is None:
            await self._marking.mark(machine, volume)
        elif not await self._marking.is_marked(machine, volume):
            why = f"volume {volume.id} bears the mark of machine {machine.id} no more: its copy is left as it is"
            raise Refused("verify_failed", why)

    async def _room_for_copy(self, machine: Machine, source: Volume, region: str) -> Sequence[VolumeOffer]:
        """Elsewhere in the region, where a GPU that the machine could go on with is offered now."""
        workload, policy = machine.workload, self._policies.of(machine)
        query = OfferQuery(
            workload.gpu_name,
            workload.num_gpus,
            workload.disk_gb,
            policy.price_cap(workload.max_price, machine.price_per_hour),
            policy.min_reliability,
            region,
            frozenset({source.host}),
        )
        hosts = {offer.host for offer in await self._cloud.search(query)}
        taken = await self._hosts_in_use()
        wanted = VolumeQuery(region, source.size_gb, frozenset(hosts), frozenset({source.host, *taken}))
        offers = await self._volumes.search(wanted) if hosts else ()
        if not offers:
            why = f"no other host of {region} has a GPU to rent and room for {source.size_gb:g} GB"
            raise NotYet(f"the volume of machine {machine.id} has no copy: {why}", _NO_ROOM)
        present = machine.volume.replica.host if machine.volume and machine.volume.replica else None
        failed = self._failed_on.get(machine.id)
        return sorted(offers, key=lambda offer: (offer.host == failed, offer.host == present))

    async def _hosts_in_use(self) -> Collection[HostId]:
        """Where another copy is being made: two at a time on one host could not be told apart."""

        def read(tx: Tx) -> set[HostId]:
            rows = tx.regional_volumes()
            return {row.host for row in rows if row.status is VolumeStatus.CREATING and row.host is not None}

        return await self._store.transact(read)

    async def _see(self, made: VolumeId, row: RegionalVolume, debt: Debt) -> None:
        """The old copy goes only once the new one is listed as a whole. One that is not within its time is given up, for
        no copy that failed says so: it would be billed and waited for until a person looks."""
        listed = await self._volumes.volumes()
        shown = listed.get(made)
        if shown is not None and shown.is_settled and shown.size_gb >= row.size_gb:
            self._unlisted_since.pop(made, None)
            return
        why = f"copy {made} is not whole yet" if shown is not None else f"the list does not show copy {made} yet"
        if self._is_lost(made, row, listed):
            await self._store.transact(lambda tx: self._begin_anew(tx, debt, row, made, why))
            self._unlisted_since.pop(made, None)
            if row.host is not None:
                self._failed_on[debt.machine] = row.host
            log.warning("replica_given_up", machine=debt.machine, volume=made, because=why)
            raise NotYet(f"{why}: it is deleted, and another is made", _LOOK_AGAIN)
        raise NotYet(why, _LOOK_AGAIN)

    def _is_lost(self, made: VolumeId, row: RegionalVolume, listed: Mapping[VolumeId, Volume]) -> bool:
        """An empty list says nothing, and one that lacks the copy only where all of some minutes did."""
        if made in listed:
            self._unlisted_since.pop(made, None)
            within = max(_WHOLE_WITHIN, row.size_gb * _WHOLE_WITHIN_PER_GB)
            return self._clock.since(row.copied_at or row.created_at, unseen_at_most=within / 2) > within
        now = self._clock.monotonic()
        return bool(listed) and now - self._unlisted_since.setdefault(made, now) > _SHOWN_WITHIN_S

    def _begin_anew(self, tx: Tx, debt: Debt, row: RegionalVolume, made: VolumeId, why: str) -> None:
        """What came of the copy keeps its row until its deletion is proved; the debt stays open, so that its alert does."""
        machine = tx.machine(debt.machine)
        if machine is None or machine.failover is not None or not tx.is_open(debt.id):
            raise NotYet("the machine changed while its volume was copied", _LOOK_AGAIN)
        blank = replace(row, number=0, host=None, volume=None, seen=(), copied_at=None, price_per_month=None)
        fresh = tx.insert_volume(blank)
        if not (tx.bind_row(debt, fresh.number) and tx.bind_debt(debt, None, None)):
            raise NotYet("another replica settled this debt meanwhile", _LOOK_AGAIN)
        leave(tx, machine, made, f"it did not become a copy: {why}")

    def _arm(self, tx: Tx, debt: Debt, number: int, made: VolumeId) -> Machine:
        """The debt is paid with the arming, and the copy before it given up."""
        machine, row, now = tx.machine(debt.machine), tx.volume_row(number), self._clock.now()
        if machine is None or row is None or machine.failover is not None or not self._is_wanted(debt, machine):
            raise NotYet("the machine changed while its volume was copied", _LOOK_AGAIN)
        if not tx.is_open(debt.id):
            raise NotYet("another replica settled this debt meanwhile", _LOOK_AGAIN)
        assert machine.volume is not None
        assert row.host is not None
        former = machine.volume.replica
        copy = Replica(made, row.host, row.copied_at or now)
        saved = tx.save_machine(replace(machine, volume=replace(machine.volume, replica=copy)))
        tx.save_volume(replace(row, status=VolumeStatus.AVAILABLE, volume=made))
        if former is not None:
            leave(tx, machine, former.id, "a fresh copy of the volume took its place")
        pay_debt(tx, debt.id, now)
        tx.post(self._announcer.machine(saved, machine, now))
        return saved
