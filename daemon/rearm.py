"""Gives a machine a new standby: rented beside its primary with the same volume, seen running once, then stopped.

Worked off as a debt, so that no crash forgets it. The label under which it rents is written into the debt before the
rental; whatever bears it is found again by it, and is accounted for while the debt is open.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import NoReturn

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import pay_debt
from daemon.lasting import Lasting
from daemon.loop import Loop
from daemon.marking import Marking
from daemon.money_ahead import MoneyAhead
from daemon.rented_ahead import RentedAhead, claim_of
from machines.errors import NotYet, Refused, StepError
from machines.model import (
    Claim,
    Debt,
    DebtKind,
    Instance,
    Label,
    Machine,
    OfferQuery,
    Rung,
    Standby,
    Status,
    VolumeMount,
    WarmPool,
)
from machines.onstart import held_back
from machines.policy import Policies, Policy
from machines.ports import Clock, GpuCloud, Shell, VolumeStore
from machines.strategies.ladder import ladder
from machines.volumes import mount_fault

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(seconds=5)
_WAIT_FOR_HEALTH = timedelta(seconds=15)
_AFTER_THE_STORM = timedelta(seconds=60)
_NO_GPU = timedelta(seconds=120)
_UNSHARED = timedelta(hours=6)
_UNMOUNTED_S = 60.0
"""So long the lists may say of a running standby that it does not have the volume."""


class Rearm:
    """One look at a time; NotYet until the standby stands by, and nothing where none is wanted."""

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
        self._volumes = volumes
        self._unmounted: Lasting[Label] = Lasting(clock, _UNMOUNTED_S)
        self._marking = Marking(cloud, shell)
        self._ahead = RentedAhead(store, cloud, policies, clock)
        self._money = MoneyAhead(store, policies, clock)
        self._policies = policies
        self._clock = clock
        self._deployment = deployment
        self._announcer = announcer
        self._unshared_until = float("-inf")
        """The provider said that no two instances share a volume; so long nobody asks it again."""

    async def settle(self, debt: Debt) -> None:
        """Return where the debt is paid: armed, or there is nothing to arm. Raise NotYet, Unknown, Refused."""
        try:
            await self._go_on(debt)
        except StepError:
            await self._money.release_unbound(debt)
            raise

    async def _go_on(self, debt: Debt) -> None:
        machine, storm = await self._store.transact(lambda tx: (tx.machine(debt.machine), tx.storm()))
        if machine is None or machine.volume is None or machine.standby is not None or not _wants_standby(machine):
            await self._give_up(debt)
            return
        if machine.failover is not None:
            raise NotYet("a failover of the machine is running", _WAIT_FOR_HEALTH)
        if debt.label is None or debt.claimed_at is None:
            if storm is not None:
                raise NotYet("a storm: failovers come before new standbys", _AFTER_THE_STORM)
            if await self._begin(debt, machine, machine.volume):
                raise NotYet("the standby is coming up", _LOOK_AGAIN)
            return
        await self._watch(debt, machine, machine.volume, debt.label, debt.claimed_at)

    async def _give_up(self, debt: Debt) -> None:
        """What was rented for it goes, provably."""
        if debt.label is not None and debt.claimed_at is not None:
            await self._cloud.destroy(claim_of(debt.label, debt.claimed_at))

    async def _begin(self, debt: Debt, machine: Machine, volume: VolumeMount) -> bool:
        """False where the provider lets no two instances share a volume: the warm pool works without a standby then."""
        await self._marking.mark(machine, volume)
        if self._clock.monotonic() < self._unshared_until:
            return False
        offers = await self._cloud.search(_query(machine, self._policies.of(machine)), machine.host)
        if not offers:
            await self._note_full(machine)
            raise NotYet(f"host {machine.host} has no free GPU for a standby", _NO_GPU)
        await self._money.reserve(machine, debt, offers[0])
        now = self._clock.now()
        label = Label(f"{self._deployment}-m{machine.id}-standby-{debt.id}-{debt.tries}")
        claim = Claim(label, offers[0], now, machine.workload, held_back(machine.workload.onstart), volume)
        try:
            await self._ahead.rent(debt, machine.id, claim)
        except Refused as refused:
            if refused.code != "volume_in_use":
                raise NotYet(refused.why, _NO_GPU) from refused
            self._unshared_until = self._clock.monotonic() + _UNSHARED.total_seconds()
            log.info("standby_refused", machine=machine.id, because=refused.why)
            return False
        return True

    async def _note_full(self, machine: Machine) -> None:
        """Where an operator asked for a warm pool, it is provisioned on another host then (daemon/warm_pools.py)."""
        if machine.warm_pool is None or machine.warm_pool.home_is_full:
            return

        def work(tx: Tx) -> Machine | None:
            now = tx.machine(machine.id)
            if now is None or now.warm_pool is None or now.failover is not None or now.standby is not None:
                return None
            return tx.save_machine(replace(now, warm_pool=replace(now.warm_pool, home_is_full=True)))

        saved = await self._store.transact(work)
        if saved is not None:
            self._loop.follow(saved)

    async def _watch(
        self, debt: Debt, machine: Machine, volume: VolumeMount, label: Label, claimed_at: datetime
    ) -> None:
        row = await self._ahead.standing(label, claimed_at, "standby")
        if row is None:
            await self._store.transact(lambda tx: tx.bind_debt(debt, None, None))
            raise NotYet("the rental for the standby did not come up; another is tried", _LOOK_AGAIN)
        if (fault := _misplaced(debt, machine, volume, row)) is not None:
            await self._leave_rental(debt, label, claimed_at, fault)
        if row.status is Status.RUNNING:
            await self._expect_mounted(debt, volume, row, label, claimed_at)
        await self._ahead.stopped(row, "standby")
        await self._arm(debt, machine, Standby(row.id, row.host, label))

    async def _expect_mounted(
        self, debt: Debt, volume: VolumeMount, row: Instance, label: Label, claimed_at: datetime
    ) -> None:
        """While it runs, for of what is stopped the list may not tell. Raise NotYet where it seems to lack the volume."""
        volumes = await self._volumes.volumes(max_age_s=5.0)
        fault = mount_fault(volume.id, row, volumes, await self._cloud.list(max_age_s=5.0, about=(row.id,)))
        if fault is None:
            self._unmounted.forget(label)
            return
        if self._unmounted.lasts(label, is_so=True):
            await self._leave_rental(debt, label, claimed_at, fault)
        raise NotYet(f"it seems that {fault}", _LOOK_AGAIN)

    async def _leave_rental(self, debt: Debt, label: Label, claimed_at: datetime, because: str) -> NoReturn:
        """It would serve another volume's work: it goes, and another is rented where the machine lies now."""
        await self._cloud.destroy(claim_of(label, claimed_at))
        await self._store.transact(lambda tx: tx.bind_debt(debt, None, None))
        self._unmounted.forget(label)
        raise NotYet(f"{because}; another is tried", _LOOK_AGAIN)

    async def _arm(self, debt: Debt, machine: Machine, standby: Standby) -> None:
        """The debt is paid with the arming: from here on its label is the machine's, and no more the debt's to destroy."""

        def work(tx: Tx) -> Machine:
            now = tx.machine(machine.id)
            is_same = now is not None and _place_of(now) == _place_of(machine)
            if now is None or not is_same or now.failover is not None or now.standby is not None:
                raise NotYet("the machine changed while its standby came up", _LOOK_AGAIN)
            if not tx.is_open(debt.id):
                raise NotYet("another replica settled this debt meanwhile", _LOOK_AGAIN)
            saved = tx.save_machine(replace(now, standby=standby, warm_pool=_at_home(now.warm_pool)))
            tx.note_rental(standby.instance, machine.id, None, self._clock.now())
            pay_debt(tx, debt.id, self._clock.now())
            tx.post(self._announcer.machine(saved, now, self._clock.now()))
            return saved

        armed = await self._store.transact(work)
        self._loop.follow(armed)
        log.info("standby_armed", machine=machine.id, instance=standby.instance, host=standby.host)


def _place_of(machine: Machine) -> tuple[object, ...]:
    return machine.primary, machine.host, machine.volume


def _misplaced(debt: Debt, machine: Machine, volume: VolumeMount, row: Instance) -> str | None:
    """Why what was rented is no standby of the machine: it may have moved, or been given another volume, meanwhile."""
    if row.host != machine.host:
        return f"the standby was rented on host {row.host}, and the machine is on host {machine.host} now"
    if debt.volume not in (None, volume.id):
        return f"the standby was rented with volume {debt.volume}, and the machine lies on volume {volume.id} now"
    return None


def _at_home(wish: WarmPool | None) -> WarmPool | None:
    return None if wish is None else replace(wish, home_is_full=False)


def needs_standby(machine: Machine) -> bool:
    """Has it a volume to share and a strategy that would use a standby, and none beside it?"""
    return machine.volume is not None and machine.standby is None and _wants_standby(machine)


def _wants_standby(machine: Machine) -> bool:
    return Rung.WARM_POOL in ladder(machine.setting) and machine.primary is not None


def rearm_debt(machine: Machine, because: str) -> Debt:
    return Debt(DebtKind.REARM, machine.id, None, None, None, None, because)


def _query(machine: Machine, policy: Policy) -> OfferQuery:
    workload = machine.workload
    return OfferQuery(
        workload.gpu_name,
        workload.num_gpus,
        workload.disk_gb,
        policy.price_cap(workload.max_price, machine.price_per_hour),
        0.0,
        None,
    )
