"""Owes the warm pools that operators asked for, and looks after what stands ready: the standbys beside their primaries, and
the pools on other hosts.

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
from daemon.lasting import Lasting
from daemon.loop import Loop
from daemon.rearm import needs_standby, rearm_debt
from daemon.replicas import leave
from machines.errors import StepError
from machines.model import Debt, DebtKind, InstanceId, Listing, Machine, MachineId, Prepared, Standby, Status
from machines.pool import is_of_use, lacks_pool, prepared_instances
from machines.ports import Clock, GpuCloud
from machines.strategies.prepared_pool import prepared_of

log = structlog.get_logger(__name__)

_GIVEN_UP_AFTER_S = 300.0
"""So long what stands ready may be in no list, or the host of a prepared pool offline."""


class PreparedPools:
    """One periodic job: `look`."""

    def __init__(self, store: Store, loop: Loop, cloud: GpuCloud, clock: Clock, announcer: Announcer) -> None:
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._clock = clock
        self._announcer = announcer
        self._lost: Lasting[InstanceId] = Lasting(clock, _GIVEN_UP_AFTER_S)

    async def look(self) -> None:
        """What a machine lacks is owed, and what stands ready for it and is lost, or of no use any more, is given up."""
        quiet = [one for one in self._loop.machines() if one.failover is None]
        for machine in [one for one in quiet if one.warm_pool is not None]:
            prepared = prepared_of(machine)
            if prepared is not None and not is_of_use(machine, prepared):
                await self._give_up(machine.id, prepared, None, "its machine has no use for it any more")
            elif lacks_pool(machine):
                await self._store.transact(lambda tx, number=machine.id: self._owe(tx, number))  # type: ignore[misc]
        await self._look_at([machine for machine in quiet if _standing_ready(machine)])

    def _owe(self, tx: Tx, number: MachineId) -> None:
        machine = tx.machine(number)
        if machine is not None and machine.failover is None and lacks_pool(machine):
            owe_pool(tx, machine, self._clock.now())

    async def _look_at(self, machines: Sequence[Machine]) -> None:
        """Those for which something stands ready."""
        about = {one.instance for machine in machines for one in _standing_ready(machine)}
        self._lost.keep(about)
        if not machines:
            return
        try:
            listing = await self._cloud.list(max_age_s=30.0, about=about)
        except StepError as error:
            log.info("prepared_pools_not_looked_at", because=str(error))
            return
        for machine in machines:
            for one in _standing_ready(machine):
                is_lost = self._lost.lasts(one.instance, _is_lost(machine, one, listing))
                if is_lost and await self._is_certain(one, listing):
                    await self._do_without(machine, one)

    async def _is_certain(self, one: Standby, listing: Listing) -> bool:
        """Of what the lists lack the provider says so too when it is asked for that alone."""
        if one.instance in listing.instances:
            return True
        try:
            return await self._cloud.show(one.instance) is None
        except StepError as error:
            log.info("prepared_pools_not_looked_at", instance=one.instance, because=str(error))
            return False

    async def _do_without(self, machine: Machine, lost: Standby) -> None:
        prepared = prepared_of(machine)
        if lost == machine.standby:
            await self._replace_standby(machine.id, lost)
        elif prepared is not None:
            # Without its standby the rest stays.
            rest = replace(prepared, second=None) if lost is prepared.second else None
            because = f"instance {lost.instance} of the prepared pool is in no list any more, or its host is offline"
            await self._give_up(machine.id, prepared, rest, because)

    async def _replace_standby(self, number: MachineId, lost: Standby) -> None:
        """Another one is owed in the transaction in which the machine no longer has it."""
        because = f"standby {lost.instance} is in no list any more"

        def work(tx: Tx) -> Machine | None:
            machine, now = tx.machine(number), self._clock.now()
            if machine is None or machine.failover is not None or machine.standby != lost:
                return None
            saved = tx.save_machine(replace(machine, standby=None))
            tx.add_debts((destroy_debt(machine, lost, because, now),))
            if needs_standby(saved):
                tx.add_debts((replace(rearm_debt(saved, because), due_at=now),))
            tx.post(self._announcer.machine(saved, machine, now))
            return saved

        saved = await self._store.transact(work)
        if saved is not None:
            self._loop.follow(saved)
            log.warning("standby_lost", machine=number, instance=lost.instance)

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
                tx.add_debts((destroy_debt(machine, prepared.second, because, now),))
            tx.post(self._announcer.machine(saved, machine, now))
            return saved

        saved = await self._store.transact(work)
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
    tx.add_debts([destroy_debt(machine, one, because, now) for one in prepared_instances(machine)])
    leave(tx, machine, prepared.volume.id, because)


def destroy_debt(machine: Machine, one: Standby, because: str, now: datetime) -> Debt:
    """What we rented goes by its label, which proves more; one that an operator named, by its number."""
    kind = DebtKind.DESTROY_INSTANCE if one.label is None else DebtKind.DESTROY_CLAIM
    return Debt(kind, machine.id, None, one.instance, one.label, now, because, due_at=now)


def _standing_ready(machine: Machine) -> tuple[Standby, ...]:
    beside = () if machine.standby is None else (machine.standby,)
    return (*beside, *prepared_instances(machine))


def _is_lost(machine: Machine, one: Standby, listing: Listing) -> bool:
    """A standby beside its primary is not lost with their host: another one would have to be rented there, too."""
    row = listing.instances.get(one.instance)
    if row is None:
        return listing.complete and bool(listing.instances)
    return row.status is Status.OFFLINE and one != machine.standby
