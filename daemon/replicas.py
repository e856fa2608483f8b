"""Keeps a fresh copy of each regional volume on another host of its region, and the books of what is kept.

A look finds what is due and owes it: the copy itself is a debt, so that no crash forgets it (daemon/volume_debts.py).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.loop import Loop
from machines.errors import StepError
from machines.model import Debt, DebtKind, Machine, MachineId, Rung, Volume, VolumeId
from machines.policy import Policies
from machines.ports import Clock, VolumeStore
from machines.strategies.ladder import ladder
from machines.volumes import RegionalVolume, VolumeStatus

log = structlog.get_logger(__name__)


class Replicas:
    """One periodic job: `look`."""

    def __init__(
        self, store: Store, loop: Loop, volumes: VolumeStore, policies: Policies, clock: Clock, announcer: Announcer
    ) -> None:
        self._store = store
        self._loop = loop
        self._volumes = volumes
        self._policies = policies
        self._clock = clock
        self._announcer = announcer

    async def look(self) -> None:
        """Enter volumes that operators named into the books, owe the copies that are due, give up those that nobody wants."""
        machines = self._loop.machines()
        keeping = [machine for machine in machines if is_regional(machine)]
        spare = [machine for machine in machines if _has_replica(machine) and not self._wants(machine)]
        if not keeping and not spare:
            return
        rows, owed = await self._store.transact(lambda tx: (tx.regional_volumes(), _machines_owed(tx)))
        known = {row.volume for row in rows}
        strangers = [machine for machine in keeping if machine.volume and machine.volume.id not in known]
        if strangers:
            await self._enter(strangers)
        for machine in keeping:
            if machine not in strangers and machine.id not in owed and self._is_due(machine):
                await self._store.transact(lambda tx, machine=machine: self._owe_copy(tx, machine.id))  # type: ignore[misc]
        for machine in spare:
            saved = await self._store.transact(lambda tx, number=machine.id: self._give_up(tx, number))  # type: ignore[misc]
            if saved is not None:
                self._loop.follow(saved)

    def _wants(self, machine: Machine) -> bool:
        return is_regional(machine) and self._policies.of(machine).replica_every_s > 0

    def _is_due(self, machine: Machine) -> bool:
        if not self._wants(machine) or machine.failover is not None or machine.volume is None:
            return False
        replica = machine.volume.replica
        every = timedelta(seconds=self._policies.of(machine).replica_every_s)
        return replica is None or self._clock.since(replica.copied_at) >= every

    async def _enter(self, machines: Sequence[Machine]) -> None:
        """As the provider shows them; what it does not list, or without a region, waits for the next look."""
        try:
            listed = await self._volumes.volumes(max_age_s=30.0)
        except StepError as error:
            log.info("volumes_not_listed", because=str(error))
            return
        shown = [(one, listed[one.volume.id]) for one in machines if one.volume is not None and one.volume.id in listed]
        now = self._clock.now()

        def work(tx: Tx) -> None:
            for machine, volume in shown:
                stored = tx.machine(machine.id)  # What this process remembers may be history.
                lies_there = stored is not None and stored.volume is not None and stored.volume.id == volume.id
                is_known = tx.row_of_volume(volume.id) is not None or tx.regional_volume(volume.id) is not None
                if lies_there and not is_known and volume.region is not None:
                    tx.insert_volume(_row_of(volume, volume.region, machine.id, now))

        await self._store.transact(work)

    def _owe_copy(self, tx: Tx, number: MachineId) -> None:
        """The copy has a row from the first moment: it is the debt's."""
        machine, now = tx.machine(number), self._clock.now()
        if machine is None or machine.volume is None or not self._is_due(machine) or number in _machines_owed(tx):
            return
        main = tx.row_of_volume(machine.volume.id)
        if main is None or main.status is not VolumeStatus.AVAILABLE:
            return
        copy = RegionalVolume(
            number=0,
            region=main.region,
            size_gb=main.size_gb,
            status=VolumeStatus.CREATING,
            created_at=now,
            replica_of=main.number,
            copied_from=machine.volume.id,
            label=main.label,
        )
        row = tx.insert_volume(copy).number
        because = "its regional volume has no copy on another host that is young enough"
        debt = Debt(DebtKind.CLONE_VOLUME, number, None, None, None, None, because)
        tx.add_debts((replace(debt, volume=machine.volume.id, row=row, due_at=now),))

    def _give_up(self, tx: Tx, number: MachineId) -> Machine | None:
        """Its strategy has no use for a copy any more. None where there is nothing to give up."""
        machine, now = tx.machine(number), self._clock.now()
        if machine is None or machine.failover is not None or self._wants(machine):
            return None
        volume = machine.volume
        if volume is None or volume.replica is None:
            return None
        saved = tx.save_machine(replace(machine, volume=replace(volume, replica=None)))
        leave(tx, machine, volume.replica.id, "its machine has another strategy now")
        tx.post(self._announcer.machine(saved, machine, now))
        return saved


def is_regional(machine: Machine) -> bool:
    """Does it lie on a volume that it is to go on with elsewhere?"""
    is_wanted = Rung.REGIONAL_VOLUME in ladder(machine.setting)
    return is_wanted and machine.volume is not None and machine.primary is not None


def leave(tx: Tx, machine: Machine, volume: VolumeId, because: str) -> None:
    """Nobody needs this volume of the machine's any more."""
    owe_deletion(tx, machine.id, volume, because)


def owe_deletion(tx: Tx, machine: MachineId, volume: VolumeId, because: str) -> None:
    """Its row says so too. The machine may be none any more."""
    row = tx.row_of_volume(volume)
    if row is not None:
        tx.save_volume(replace(row, status=VolumeStatus.DELETING))
    tx.add_debts((delete_debt(machine, volume, because),))


def delete_debt(machine: MachineId, volume: VolumeId, because: str) -> Debt:
    return replace(Debt(DebtKind.DELETE_VOLUME, machine, None, None, None, None, because), volume=volume)


def _has_replica(machine: Machine) -> bool:
    return machine.volume is not None and machine.volume.replica is not None


def _machines_owed(tx: Tx) -> frozenset[MachineId]:
    return frozenset(debt.machine for debt in tx.open_debts() if debt.kind is DebtKind.CLONE_VOLUME)


def _row_of(volume: Volume, region: str, machine: MachineId, now: datetime) -> RegionalVolume:
    """Of a volume that an operator made, and that a machine lies on."""
    return RegionalVolume(
        number=0,
        region=region,
        size_gb=math.ceil(volume.size_gb),
        status=VolumeStatus.AVAILABLE,
        created_at=now,
        handle=volume.id,
        volume=volume.id,
        machine=machine,
        host=volume.host,
        label=volume.label,
        price_per_month=volume.price_per_month,
    )
