"""The periodic full scan: rings alarms, resumes attempts, pays debts.

Whatever a lost effect or a crash left undone is found here, because stored state is the truth.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from itertools import zip_longest
from typing import Any

import structlog

from adapters.sql.executor import Store
from adapters.sql.records import FailoverRecord
from adapters.sql.tx import Tx
from daemon.alarms import Alarms
from daemon.changes import debt_alert, drop_stops, end_keeping, pay_debt
from daemon.cpu_standbys import CpuStandbys
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.patience import Patience
from daemon.rearm import Rearm
from daemon.rented_ahead import claim_of
from daemon.replicas import owe_deletion
from daemon.runner import Runner
from daemon.stop_debts import StopDebts
from daemon.volume_debts import VolumeDebts
from daemon.volume_users import is_owed_its_deletion, user_of
from daemon.warm_pools import WarmPools
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.failover import Due, StartAsked, StartFailed
from machines.lease import FLEET
from machines.model import (
    Debt,
    DebtKind,
    InstanceId,
    Machine,
    MachineId,
    Replacement,
    VolumeId,
)
from machines.ports import AccessKeys, Clock, GpuCloud, Hook, VolumeStore
from machines.volumes import KEPT_FOR

log = structlog.get_logger(__name__)

_DEBT_ERROR_DELAY_S = 30.0
_DEADLY_DEBT_DELAY_S = 300.0
_LONGEST_DELAY_S = 600.0
"""No debt is put off for longer."""
_BEGUN = "a try has begun, and its end is not known"
_DEBTS_AT_ONCE, _DEBTS_A_ROUND = 8, 12


class Sweep:
    """Each method is one periodic job; none of them may fail for long without an alert."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        runner: Runner,
        cloud: GpuCloud,
        volumes: VolumeStore,
        rearm: Rearm,
        clock: Clock,
        leases: Leases,
        volume_debts: VolumeDebts,
        *,
        warm_pools: WarmPools | None = None,
        cpu_standbys: CpuStandbys | None = None,
        keys: AccessKeys | None = None,
        hook: Hook | None = None,
        is_provider_out: Callable[[], bool] = lambda: False,
    ) -> None:
        """`keys` None: the store of snapshots gives instances no keys of their own. `is_provider_out`: does the provider
        answer nobody now?"""
        self._store = store
        self._loop = loop
        self._runner = runner
        self._leases = leases
        self._cloud = cloud
        self._volumes = volumes
        self._rearm = rearm
        self._warm_pools = warm_pools
        self._cpu_standbys = cpu_standbys
        self._keys = keys
        self._is_provider_out = is_provider_out
        self._volume_debts = volume_debts
        self._stops = StopDebts(store, cloud, clock)
        self._clock = clock
        self._hook = hook
        self._patience = Patience()
        self._alarms = Alarms[MachineId](clock)
        self._due_dates = Alarms[int](clock, _LONGEST_DELAY_S)
        self._vm_due_dates = Alarms[int](clock, _LONGEST_DELAY_S)
        self._hook_due_dates = Alarms[int](clock, _LONGEST_DELAY_S)
        self._begun_here: set[int] = set()
        """Debts that this process has begun to pay: if the end of such a try was not written, we did not end with it."""

    async def ring(self) -> None:
        """Signal `Due` to every machine whose alarm has come and that is this replica's to look after. What this process
        knows of them is what it saved, or followed from the other replicas."""
        by_fleet = self._leases.holds(FLEET)
        for machine in self._alarms.ring((machine.id, machine.look_at) for machine in self._loop.machines()):
            if self._loop.rings_for(machine, by_fleet):
                self._loop.post(machine, Due())

    async def resume(self) -> None:
        """Take up every failover that runs in the store and that no replica works on."""
        for failover, machine in await self._store.transact(lambda tx: tx.running_failovers()):
            if not self._runner.is_running(machine) and self._leases.is_free(failover):
                log.info("failover_resumed", failover=failover, machine=machine)
                self._runner.begin(machine)

    async def pay_debts(self) -> None:
        """What only the provider can do waits while it answers nobody: it would say for each debt what one alert says."""
        if self._is_provider_out():
            await self._pay_round(self._due_dates, lambda debt: debt.kind in _OF_NO_PROVIDER)
        else:
            await self._pay_round(self._due_dates, lambda debt: debt.kind not in _APART)

    async def tell_hooks(self) -> None:
        """Apart from the others: a program of the operator's that hangs must not hold up what bills or stands still."""
        await self._pay_round(self._hook_due_dates, lambda debt: debt.kind is DebtKind.RUN_HOOK)

    async def pay_vm_debts(self) -> None:
        """Apart from the others: a provider of CPU VMs that says nothing must not hold up a customer who stands still."""
        await self._pay_round(self._vm_due_dates, lambda debt: debt.kind in _OF_VMS)

    async def _pay_round(self, due_dates: Alarms[int], is_meant: Callable[[Debt], bool]) -> None:
        """Several at once, so that one that waits for its turn at the provider holds up none of the others."""
        now, slots = self._clock.now(), asyncio.Semaphore(_DEBTS_AT_ONCE)

        async def one(debt: Debt) -> None:
            async with slots:
                if await self._begin(debt):
                    await self._pay(debt)

        debts = {debt.id: debt for debt in await self._store.transact(lambda tx: tx.open_debts())}
        self._patience.keep(debts.keys())
        self._begun_here.intersection_update(debts)
        owed = {number: debt for number, debt in debts.items() if is_meant(debt) and not self._is_kept(debt)}
        due = [owed[number] for number in due_dates.ring((one.id, one.due_at or now) for one in owed.values())]
        # Who is left out is rung again soon: a long round would keep waiting what becomes due meanwhile.
        due = _in_turn(due)
        ended = await asyncio.gather(*(one(debt) for debt in due[:_DEBTS_A_ROUND]), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error  # The store is away, or a bug: every other debt had its turn all the same.

    def _is_kept(self, debt: Debt) -> bool:
        """Far longer than an alarm may be away: so it is counted from its beginning."""
        if debt.kind is not DebtKind.KEEP_VOLUME or debt.due_at is None:
            return False
        return self._clock.since(debt.due_at - KEPT_FOR) < KEPT_FOR

    async def _begin(self, debt: Debt) -> bool:
        """Written down before anything is done: a debt that kills the daemon must not be the first that its next life
        meets. False where another replica has begun it."""
        now = self._clock.now()
        is_again = debt.last_error == _BEGUN and debt.id not in self._begun_here
        due_at = now + timedelta(seconds=_DEADLY_DEBT_DELAY_S if is_again else _DEBT_ERROR_DELAY_S)

        def work(tx: Tx) -> bool:
            begun = tx.begin_debt(debt, due_at, _BEGUN)
            if begun and is_again:
                what = f"debt {debt.id} ({debt.kind.value} of machine {debt.machine})"
                tx.raise_alert(debt_alert(debt.id), f"{what}: the daemon ended while it was being paid", now)
            return begun

        self._begun_here.add(debt.id)
        return await self._store.transact(work)

    async def _pay(self, debt: Debt) -> None:
        try:
            await self._settle(debt)
        except NotYet as error:
            await self._postpone(debt, error.delay, error.why, self._patience.waits(debt, self._clock.monotonic()))
        except (Refused, Unknown, StepError) as error:
            delay = timedelta(seconds=_DEBT_ERROR_DELAY_S)
            await self._postpone(debt, delay, str(error), self._patience.fails(debt, self._clock.monotonic()))
        else:
            paid_at = self._clock.now()
            await self._store.transact(lambda tx: _paid(tx, debt, paid_at))
            self._patience.forget(debt)
            log.info("debt_paid", kind=debt.kind.value, instance=debt.instance, label=debt.label, machine=debt.machine)

    async def _settle(self, debt: Debt) -> None:
        match debt.kind:
            case DebtKind.DESTROY_INSTANCE if debt.instance is not None:
                await self._destroy(debt.instance)
            case DebtKind.DESTROY_CLAIM if debt.label is not None and debt.claimed_at is not None:
                await self._refuse_machines(debt.instance)
                await self._cloud.destroy(claim_of(debt.label, debt.claimed_at))
            case DebtKind.STOP_INSTANCE if debt.instance is not None:
                await self._stops.settle(debt, debt.instance)
            case DebtKind.START_INSTANCE if debt.instance is not None:
                await self._start_again(debt.machine, debt.instance)
            case DebtKind.DELETE_VOLUME if debt.volume is not None:
                await self._delete_volume(debt.volume)
            case DebtKind.KEEP_VOLUME if debt.volume is not None:
                await self._keep_no_longer(debt.machine, debt.volume)
            case DebtKind.REARM:
                await self._rearm.settle(debt)
            case DebtKind.PROVISION_POOL if self._warm_pools is not None:
                await self._warm_pools.settle(debt)
            case DebtKind.RUN_HOOK:
                await self._tell_hook(debt)
            case kind if kind in _OF_VMS and self._cpu_standbys is not None:
                await self._cpu_standbys.settle(debt)
            case DebtKind.REVOKE_KEY if debt.key is not None and self._keys is not None:
                await self._keys.revoke(debt.key)
            case DebtKind.CREATE_VOLUME | DebtKind.CLONE_VOLUME:
                await self._volume_debts.settle(debt)
            case DebtKind.REVOKE_KEY:
                raise Refused("provider_unavailable", f"no store gives keys out here: delete key {debt.key} by hand")
            case _:
                raise Refused("invalid_debt", f"debt {debt.id} of kind {debt.kind.value} names nothing to act on")

    async def _destroy(self, instance: InstanceId) -> None:
        """What was replaced, unless somebody has named it as a machine's instance since."""

        def owner(tx: Tx) -> Machine | None:
            return tx.machine_by_primary(instance) or tx.machine_by_standby(instance)

        named = await self._store.transact(owner)
        if named is not None:
            raise Refused("instance_in_use", f"instance {instance} was registered again, for machine {named.id}")
        await self._cloud.destroy(instance)

    async def _refuse_machines(self, instance: InstanceId | None) -> None:
        """A claim that has become a machine since, or was one that somebody removed, is its owner's to destroy."""

        def is_owned(tx: Tx) -> bool:
            if instance is None:
                return False
            named = tx.machine_by_primary(instance) or tx.machine_by_standby(instance)
            return named is not None or tx.was_primary(instance)

        if await self._store.transact(is_owned):
            raise Refused("instance_in_use", f"instance {instance} is, or was, a machine's own")

    async def _delete_volume(self, volume: VolumeId) -> None:
        """What was given up, unless a machine lies on it, or is being moved to it, by now."""
        user = await self._store.transact(lambda tx: user_of(tx, volume))
        if user is not None:
            raise Refused("volume_in_use", f"volume {volume} is machine {user.id}'s: name another one for it first")
        await self._volumes.delete(volume)

    async def _keep_no_longer(self, machine: MachineId, volume: VolumeId) -> None:
        """Its time is over: its deletion is owed, under the alert that it was kept."""

        def work(tx: Tx) -> None:
            user = user_of(tx, volume)
            if user is not None:
                raise NotYet(f"machine {user.id} may go on with volume {volume}", timedelta(minutes=1))
            if not is_owed_its_deletion(tx, volume):
                owe_deletion(tx, machine, volume, "what is newer on it was kept for its time")

        await self._store.transact(work)

    async def _start_again(self, machine_id: MachineId, instance: InstanceId) -> None:
        """A primary that was fenced in vain. One that was replaced meanwhile must never come up again."""
        asked = await self._loop.apply(machine_id, StartAsked(instance))
        if asked is None or asked.machine.primary != instance:
            return
        if asked.machine.failover is not None:
            raise NotYet("a failover of the machine is running", timedelta(seconds=15))
        try:
            await self._cloud.start(instance)
        except (NotYet, Refused) as error:
            await self._loop.apply(machine_id, StartFailed(instance, error.why, isinstance(error, Refused)))
            raise
        finally:
            await self._stop_if_fenced(machine_id, instance)

    async def _tell_hook(self, debt: Debt) -> None:
        """Of the machine as it is: where it has moved on meanwhile, the later hand-over has a debt of its own."""
        if self._hook is None or debt.failover is None:
            return  # It was taken out of the configuration: nobody wants to hear it any more.
        failover = debt.failover
        machine, record = await self._store.transact(lambda tx: (tx.machine(debt.machine), tx.failover(failover)))
        if machine is not None and record is not None and machine.last_failover == failover and record.new is not None:
            await self._hook.tell(_handed_over(machine, record, record.new))

    async def _stop_if_fenced(self, machine_id: MachineId, instance: InstanceId) -> None:
        """A failover that began while our start was on its way has proved a stop that the start may have undone."""

        def work(tx: Tx) -> None:
            machine = tx.machine(machine_id)
            if machine is None or (machine.failover is None and machine.primary == instance):
                return
            failover = machine.failover.id if machine.failover else machine.last_failover
            why = "our own start of it may have met the failover that fenced it"
            tx.add_debts([Debt(DebtKind.STOP_INSTANCE, machine_id, failover, instance, None, None, why)])

        await self._store.transact(work)

    async def _postpone(self, debt: Debt, delay: timedelta, why: str, trouble: str | None) -> None:
        """Try again after the delay; with `trouble` a person is told what it is."""
        now = self._clock.now()

        def work(tx: Tx) -> None:
            # One that was dropped meanwhile needs nobody's attention any more.
            if tx.postpone_debt(debt.id, now + delay, why) and trouble is not None:
                text = f"debt {debt.id} ({debt.kind.value} of machine {debt.machine}) {trouble}: {why}"
                tx.raise_alert(debt_alert(debt.id), text, now)

        await self._store.transact(work)


def _handed_over(machine: Machine, record: FailoverRecord, new: Replacement) -> dict[str, Any]:
    won = record.strategy_succeeded
    return {
        "event": "handed_over",
        "failover_id": record.id,
        "machine_id": machine.id,
        "machine_name": machine.name,
        "old_gpu_instance_id": record.old_instance,
        "gpu_instance_id": new.instance,
        "ssh_host": new.ssh.host,
        "ssh_port": new.ssh.port,
        "ssh_host_key": new.host_key,
        "strategy": won.value if won else None,
        "data_age_seconds": record.data_age_s,
    }


def _paid(tx: Tx, debt: Debt, at: datetime) -> None:
    pay_debt(tx, debt.id, at)
    if debt.kind is DebtKind.DELETE_VOLUME and debt.volume is not None:
        tx.drop_volume(debt.volume)
        end_keeping(tx, debt.volume, at)
    if debt.kind in _DESTROYS and debt.instance is not None:
        drop_stops(tx, debt.instance, at)


def _in_turn(due: Iterable[Debt]) -> list[Debt]:
    """A customer who stands still because of us comes first, then what may write beside its replacement, then what was rented
    in vain and may come up yet, then what bills; a standby for the next time can wait. Each kind has its turn in every lap:
    none waits for ever behind another."""
    kinds: dict[int, list[Debt]] = {}
    for debt in due:
        kinds.setdefault(_URGENCY.get(debt.kind, _USUAL), []).append(debt)
    laps = zip_longest(*(kinds[urgency] for urgency in sorted(kinds)))
    return [debt for lap in laps for debt in lap if debt is not None]


_USUAL = 3
_URGENCY = {
    DebtKind.START_INSTANCE: 0,
    DebtKind.STOP_INSTANCE: 1,
    DebtKind.REVOKE_KEY: 1,
    DebtKind.DESTROY_CLAIM: 2,
    DebtKind.REARM: 4,
    DebtKind.CLONE_VOLUME: 4,
    DebtKind.PROVISION_POOL: 4,
    DebtKind.CREATE_VM: 4,
    DebtKind.START_VM: 4,
}
_OF_VMS = (DebtKind.CREATE_VM, DebtKind.START_VM, DebtKind.DELETE_VM, DebtKind.DEMOTE_VM)
_APART = (*_OF_VMS, DebtKind.RUN_HOOK)
_OF_NO_PROVIDER = (DebtKind.REVOKE_KEY,)
_DESTROYS = (DebtKind.DESTROY_INSTANCE, DebtKind.DESTROY_CLAIM)
