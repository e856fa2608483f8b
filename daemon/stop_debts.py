"""Keeps stopped what must not run: a fenced host that was silent may return, and a start of ours may have had an effect after all.

Whose the instance is by now is asked at every look: what serves as a machine's primary again is never stopped.
"""

from __future__ import annotations

from datetime import timedelta
from enum import Enum

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.changes import drop_stops
from machines.errors import NotYet
from machines.model import Debt, DebtKind, InstanceId, Machine, Status, is_served_by_vm
from machines.pool import prepared_instances
from machines.ports import Clock, GpuCloud

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(seconds=30)
_AFTER_THE_FAILOVER = timedelta(seconds=15)


class _Standing(Enum):
    FENCED = "fenced"
    """Something else serves in its place, or is about to."""
    IDLE = "idle"
    """A standby, or part of a pool that stands ready: ours, and started only by a failover."""
    UNDECIDED = "undecided"
    """A failover runs that may start it, or has not fenced it."""
    SERVES = "serves"


class StopDebts:
    """Each `settle` is one look at one debt."""

    def __init__(self, store: Store, cloud: GpuCloud, clock: Clock) -> None:
        self._store = store
        self._cloud = cloud
        self._clock = clock

    async def settle(self, debt: Debt, instance: InstanceId) -> None:
        """Return where it reads as stopped, is gone, or is a machine's to run on. Raise NotYet, Unknown, Refused."""
        standing = await self._store.transact(lambda tx: self._standing_or_dropped(tx, debt, instance))
        if standing is _Standing.SERVES:
            log.info("stop_dropped", instance=instance, machine=debt.machine, because="it is a machine's primary")
            return
        if standing is _Standing.UNDECIDED:
            raise NotYet("a failover of its machine is running", _AFTER_THE_FAILOVER)
        shown = await self._cloud.look(instance)
        if shown is None:
            await self._expect_gone(instance)
            return
        # What was rented by a bid may come up again by itself; where it is fenced, only its end ends that.
        may_come_up = shown.is_interruptible and standing is _Standing.FENCED
        if shown.status is Status.EXITED and not shown.wants_running and not may_come_up:
            return
        if shown.wants_running or may_come_up:
            await self._cloud.stop(instance)
            await self._store.transact(lambda tx: self._start_if_it_serves(tx, debt, instance))
        # Else our stop stands, and only the host has to be heard of: a call for each would keep those from their turn
        # that are recovered meanwhile.
        raise NotYet("the old instance does not read as stopped yet", _LOOK_AGAIN)

    async def _expect_gone(self, instance: InstanceId) -> None:
        """Raise NotYet unless a complete listing shows others and not this one. An empty one is no proof, nor is a bill of
        nothing beside it: a silent host is not charged, and what is forgotten here runs beside its successor when it returns."""
        listing = await self._cloud.list(about=(instance,))
        if not listing.complete or not listing.instances or instance in listing.instances:
            raise NotYet("one read shows the old instance no more, the listing does not prove it", _LOOK_AGAIN)

    def _standing_or_dropped(self, tx: Tx, debt: Debt, instance: InstanceId) -> _Standing:
        standing = _standing_of(tx, debt, instance)
        if standing is _Standing.SERVES:
            drop_stops(tx, instance, self._clock.now())
        return standing

    def _start_if_it_serves(self, tx: Tx, debt: Debt, instance: InstanceId) -> None:
        """It became a machine's to run on while our stop was on its way."""
        machine = tx.machine_by_primary(instance)
        if machine is None or self._standing_or_dropped(tx, debt, instance) is not _Standing.SERVES:
            return
        why = "our own stop of it met the end of what it was stopped for"
        tx.add_debts([Debt(DebtKind.START_INSTANCE, machine.id, debt.failover, instance, None, None, why)])


def _standing_of(tx: Tx, debt: Debt, instance: InstanceId) -> _Standing:
    machine = tx.machine_by_primary(instance)
    if machine is not None:
        if is_served_by_vm(machine):
            return _Standing.FENCED
        if machine.failover is None:
            return _Standing.SERVES
        return _Standing.FENCED if machine.failover.proof is not None else _Standing.UNDECIDED
    owner = tx.machine_by_standby(instance) or _preparer(tx.machine(debt.machine), instance)
    if owner is None:
        return _Standing.FENCED
    return _Standing.IDLE if owner.failover is None else _Standing.UNDECIDED


def _preparer(machine: Machine | None, instance: InstanceId) -> Machine | None:
    if machine is None or all(one.instance != instance for one in prepared_instances(machine)):
        return None
    return machine
