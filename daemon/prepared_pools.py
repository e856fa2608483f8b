"""Owes the warm pools that operators asked for, and looks after those that stand ready on another host.

A look finds what is lacking, lost or of no use any more; renting it is a debt, so that no crash forgets it
(daemon/warm_pools.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.loop import Loop
from daemon.replicas import leave
from machines.errors import StepError
from machines.model import Debt, DebtKind, Listing, Machine, MachineId, Prepared, Standby, Status
from machines.pool import is_of_use, lacks_pool, prepared_instances
from machines.ports import Clock, GpuCloud
from machines.strategies.prepared_pool import prepared_of

log = structlog.get_logger(__name__)

_GIVEN_UP_AFTER_S = 300.0
"""So long a prepared instance may be in no list, or its host offline."""


class PreparedPools:
    """One periodic job: `look`."""

    def __init__(self, store: Store, loop: Loop, cloud: GpuCloud, clock: Clock, announcer: Announcer) -> None:
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._clock = clock
        self._announcer = announcer
        self._lost_since: dict[MachineId, float] = {}

    async def look(self) -> None:
        """What a machine lacks is owed, and what was prepared for it and is of no use any more is given up."""
        wishing = [one for one in self._loop.machines() if one.warm_pool is not None and one.failover is None]
        for machine in wishing:
            prepared = prepared_of(machine)
            if prepared is not None and not is_of_use(machine, prepared):
                await self._give_up(machine.id, prepared, None, "its machine has no use for it any more")
            elif lacks_pool(machine):
                await self._store.transact(lambda tx, number=machine.id: self._owe(tx, number))  # type: ignore[misc]
        await self._look_at([machine for machine in wishing if prepared_of(machine) is not None])

    def _owe(self, tx: Tx, number: MachineId) -> None:
        machine = tx.machine(number)
        if machine is not None and machine.failover is None and lacks_pool(machine):
            owe_pool(tx, machine, self._clock.now())

    async def _look_at(self, machines: Sequence[Machine]) -> None:
        """Those whose pools stand ready."""
        numbers = {machine.id for machine in machines}
        self._lost_since = {one: since for one, since in self._lost_since.items() if one in numbers}
        if not machines:
            return
        about = {one.instance for machine in machines for one in prepared_instances(machine)}
        try:
            listing = await self._cloud.list(max_age_s=30.0, about=about)
        except StepError as error:
            log.info("prepared_pools_not_looked_at", because=str(error))
            return
        for machine in machines:
            if (prepared := prepared_of(machine)) is not None:
                await self._judge(machine, prepared, listing)

    async def _judge(self, machine: Machine, prepared: Prepared, listing: Listing) -> None:
        """Only what is lost by every list of some minutes is given up; without a standby, the rest stays."""
        lost = next((one for one in prepared_instances(machine) if _is_lost(one, listing)), None)
        if lost is None:
            self._lost_since.pop(machine.id, None)
            return
        now = self._clock.monotonic()
        if now - self._lost_since.setdefault(machine.id, now) < _GIVEN_UP_AFTER_S:
            return
        rest = replace(prepared, second=None) if lost is prepared.second else None
        because = f"instance {lost.instance} of the prepared pool is in no list any more, or its host is offline"
        await self._give_up(machine.id, prepared, rest, because)

    async def _give_up(self, number: MachineId, prepared: Prepared, rest: Prepared | None, because: str) -> None:
        def work(tx: Tx) -> Machine | None:
            machine, now = tx.machine(number), self._clock.now()
            if machine is None or machine.failover is not None or machine.warm_pool is None:
                return None
            if machine.warm_pool.prepared != prepared:
                return None
            saved = tx.save_machine(replace(machine, warm_pool=replace(machine.warm_pool, prepared=rest)))
            if rest is None:
                drop_prepared(tx, machine, because, now)
            elif prepared.second is not None:
                tx.add_debts((_destroy(machine, prepared.second, because, now),))
            tx.post(self._announcer.machine(saved, machine, now))
            return saved

        saved = await self._store.transact(work)
        self._lost_since.pop(number, None)
        if saved is not None:
            self._loop.follow(saved)
            log.info("prepared_pool_given_up", machine=number, host=prepared.host, because=because)


def owe_pool(tx: Tx, machine: Machine, now: datetime) -> None:
    """Once."""
    if any(debt.kind is DebtKind.PROVISION_POOL for debt in tx.open_debts(machine.id)):
        return
    because = "an operator asked for a warm pool"
    tx.add_debts((Debt(DebtKind.PROVISION_POOL, machine.id, None, None, None, None, because, due_at=now),))


def drop_prepared(tx: Tx, machine: Machine, because: str, now: datetime) -> None:
    """Its instances and its volume are owed their end, in the transaction in which the machine no longer has them."""
    prepared = prepared_of(machine)
    if prepared is None:
        return
    tx.add_debts([_destroy(machine, one, because, now) for one in prepared_instances(machine)])
    leave(tx, machine, prepared.volume.id, because)


def _destroy(machine: Machine, one: Standby, because: str, now: datetime) -> Debt:
    return Debt(DebtKind.DESTROY_CLAIM, machine.id, None, one.instance, one.label, now, because, due_at=now)


def _is_lost(one: Standby, listing: Listing) -> bool:
    row = listing.instances.get(one.instance)
    if row is None:
        return listing.complete and bool(listing.instances)
    return row.status is Status.OFFLINE
