"""The periodic full scan: rings alarms, resumes attempts, pays debts, destroys orphans.

Whatever a lost effect or a crash left undone is found here, because stored state is the truth.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import zip_longest

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.alarms import Alarms
from daemon.changes import debt_alert, pay_debt
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.patience import Patience
from daemon.rearm import Rearm, claim_of
from daemon.runner import Runner
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.failover import Due, StartAsked, StartFailed
from machines.lease import FLEET
from machines.model import (
    Debt,
    DebtKind,
    FailoverId,
    Instance,
    InstanceId,
    Label,
    Machine,
    MachineId,
    Status,
)
from machines.ports import Clock, GpuCloud, VolumeStore

log = structlog.get_logger(__name__)

_DEBT_ERROR_DELAY_S = 30.0
_DEADLY_DEBT_DELAY_S = 300.0
_LONGEST_DELAY_S = 600.0
"""No debt is put off for longer."""
_BEGUN = "a try has begun, and its end is not known"
_DEBTS_AT_ONCE, _DEBTS_A_ROUND = 8, 24
_ORPHAN_AGE_S = 60.0
_QUICK_SCAN_S = 10.0
"""After a listing that took longer, as much time passes before the next: failovers read the same list."""


@dataclass(frozen=True, slots=True)
class Orphan:
    """Something that bears our label and that nothing explains."""

    instance: InstanceId
    label: Label
    price_per_hour: float
    detail: str
    seen_at: datetime


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
        deployment: str,
        leases: Leases,
    ) -> None:
        self._store = store
        self._loop = loop
        self._runner = runner
        self._leases = leases
        self._cloud = cloud
        self._volumes = volumes
        self._rearm = rearm
        self._clock = clock
        self._deployment = deployment
        self._patience = Patience()
        self._alarms = Alarms[MachineId](clock)
        self._due_dates = Alarms[int](clock, _LONGEST_DELAY_S)
        self._begun_here: set[int] = set()
        """Debts that this process has begun to pay: if the end of such a try was not written, we did not end with it."""
        self._suspects: dict[InstanceId, datetime] = {}
        self._scan_not_before = float("-inf")
        self.foreign: tuple[Instance, ...] = ()
        """Rentals with another deployment's label: only reported, never touched."""
        self.orphans: tuple[Orphan, ...] = ()
        self.released: tuple[Instance, ...] = ()
        """Rentals of ours that became a machine, and that no machine names any more: somebody removed it and keeps its
        instance. Only reported, never touched."""

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
        """Several at once, so that one that waits for its turn at the provider holds up none of the others."""
        now, slots = self._clock.now(), asyncio.Semaphore(_DEBTS_AT_ONCE)

        async def one(debt: Debt) -> None:
            async with slots:
                if await self._begin(debt):
                    await self._pay(debt)

        owed = {debt.id: debt for debt in await self._store.transact(lambda tx: tx.open_debts())}
        due = [owed[number] for number in self._due_dates.ring((one.id, one.due_at or now) for one in owed.values())]
        # Who is left out is rung again soon: a long round would keep waiting what becomes due meanwhile.
        due = _in_turn(due)
        ended = await asyncio.gather(*(one(debt) for debt in due[:_DEBTS_A_ROUND]), return_exceptions=True)
        for error in ended:
            if isinstance(error, BaseException):
                raise error  # The store is away, or a bug: every other debt had its turn all the same.

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
                await self._cloud.destroy(claim_of(debt.label, debt.claimed_at))
            case DebtKind.STOP_INSTANCE if debt.instance is not None:
                await self._keep_stopped(debt.instance)
            case DebtKind.START_INSTANCE if debt.instance is not None:
                await self._start_again(debt.machine, debt.instance)
            case DebtKind.DELETE_VOLUME if debt.volume is not None:
                await self._volumes.delete(debt.volume)
            case DebtKind.REARM:
                await self._rearm.settle(debt)
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

    async def _keep_stopped(self, instance: InstanceId) -> None:
        """A fenced host that was silent may return: it is stopped until it reads so, or until it is gone."""
        shown = await self._cloud.look(instance)
        if shown is None:
            listing = await self._cloud.list(about=(instance,))
            if listing.complete and instance not in listing.instances:
                return
            raise NotYet("one read shows the old instance no more, the listing does not say so", timedelta(seconds=30))
        if shown.status is Status.EXITED and not shown.wants_running and not shown.is_interruptible:
            return
        if shown.wants_running or shown.is_interruptible:
            await self._cloud.stop(instance)
        # Else our stop stands, and only the host has to be heard of: a call for each would keep those from their turn
        # that are recovered meanwhile.
        raise NotYet("the old instance does not read as stopped yet", timedelta(seconds=30))

    async def _postpone(self, debt: Debt, delay: timedelta, why: str, trouble: str | None) -> None:
        """Try again after the delay; with `trouble` a person is told what it is."""
        now = self._clock.now()

        def work(tx: Tx) -> None:
            # One that was dropped meanwhile needs nobody's attention any more.
            if tx.postpone_debt(debt.id, now + delay, why) and trouble is not None:
                text = f"debt {debt.id} ({debt.kind.value} of machine {debt.machine}) {trouble}: {why}"
                tx.raise_alert(debt_alert(debt.id), text, now)

        await self._store.transact(work)

    # -- orphans

    async def find_orphans(self) -> None:
        """Whatever bears our label and is explained by nothing, twice and past the listing's lag, becomes a debt."""
        began = self._clock.monotonic()
        if began < self._scan_not_before:
            return
        try:
            listing = await self._cloud.list()
        except StepError as error:
            log.info("orphan_scan_skipped", because=str(error))
            return
        took = self._clock.monotonic() - began
        self._scan_not_before = began + (2 * took if took > _QUICK_SCAN_S else 0.0)
        rows = tuple(listing.instances.values())
        debts, explained = await self._store.transact(self._explained)
        self._patience.keep(debts)
        self._begun_here.intersection_update(debts)
        ours = [row for row in rows if row.label is not None and row.label.startswith(f"{self._deployment}-")]
        self.foreign = tuple(row for row in rows if row.label and _is_foreign(row.label, self._deployment))
        now = self._clock.now()
        lost = [row for row in ours if row.id not in explained[0] and row.label not in explained[1]]
        given = await self._store.transact(lambda tx: {row.id for row in lost if _was_handed_over(tx, row)})
        self.released = tuple(row for row in lost if row.id in given)
        lost = [row for row in lost if row.id not in given]
        self._suspects = {row.id: self._suspects.get(row.id, now) for row in lost}
        ripe = [row for row in lost if self._clock.since(self._suspects[row.id]).total_seconds() >= _ORPHAN_AGE_S]
        self.orphans = tuple(
            Orphan(row.id, row.label or Label(""), row.price_per_hour, row.detail, self._suspects[row.id])
            for row in lost
        )
        if ripe:
            await self._owe(ripe, now)

    def _explained(self, tx: Tx) -> tuple[set[int], tuple[set[InstanceId], set[Label]]]:
        """The open debts, and (instances, labels) that a primary, a standby, a debt or a running failover accounts for."""
        machines, debts = tx.machines(), tx.open_debts()
        instances = {machine.primary for machine in machines if machine.primary is not None}
        instances |= {machine.standby.instance for machine in machines if machine.standby is not None}
        labels: set[Label] = set()
        for debt in debts:
            if debt.instance is not None:
                instances.add(debt.instance)
            if debt.label is not None:
                labels.add(debt.label)
        for failover, _ in tx.running_failovers():
            for _, entry in tx.timeline(failover):
                label = entry.output.get("label")
                if isinstance(label, str):
                    labels.add(Label(label))
        return {debt.id for debt in debts}, (instances, labels)

    async def _owe(self, rows: Sequence[Instance], now: datetime) -> None:
        """Destroyed by label: only rentals that bear a label which this deployment minted."""
        debts = [
            Debt(
                DebtKind.DESTROY_CLAIM,
                _machine_of(row.label or ""),
                None,
                row.id,
                row.label,
                self._suspects[row.id],
                "orphan: it bears our label and nothing explains it",
                due_at=now,
            )
            for row in rows
        ]
        await self._store.transact(lambda tx: tx.add_debts(debts))
        log.warning("orphans_found", instances=[row.id for row in rows])


def _was_handed_over(tx: Tx, row: Instance) -> bool:
    """Did it become a machine? Its label names the failover; whatever replaced it owes its destruction."""
    found = re.search(r"-(fo_[a-z0-9]+)-", row.label or "")
    record = tx.failover(FailoverId(found.group(1))) if found else None
    return record is not None and record.new is not None and record.new.instance == row.id


def _paid(tx: Tx, debt: Debt, at: datetime) -> None:
    pay_debt(tx, debt.id, at)
    if debt.kind in _DESTROYS and debt.instance is not None:
        for moot in tx.drop_debts_of(debt.instance, (DebtKind.STOP_INSTANCE,), at):
            tx.resolve_alert(debt_alert(moot), at)


def _in_turn(due: Iterable[Debt]) -> list[Debt]:
    """A customer who stands still because of us comes first, then what may write beside its replacement, then what bills;
    a standby for the next time can wait. Each kind has its turn in every lap: none waits for ever behind another."""
    kinds: dict[int, list[Debt]] = {}
    for debt in due:
        kinds.setdefault(_URGENCY.get(debt.kind, 2), []).append(debt)
    laps = zip_longest(*(kinds[urgency] for urgency in sorted(kinds)))
    return [debt for lap in laps for debt in lap if debt is not None]


_URGENCY = {DebtKind.START_INSTANCE: 0, DebtKind.STOP_INSTANCE: 1, DebtKind.REARM: 3}
_DESTROYS = (DebtKind.DESTROY_INSTANCE, DebtKind.DESTROY_CLAIM)


def _machine_of(label: str) -> MachineId:
    """The machine that a label of ours was minted for; 0 where it cannot be read any more."""
    found = re.search(r"-m(\d+)-", label)
    return MachineId(int(found.group(1))) if found else MachineId(0)


def _is_foreign(label: str, deployment: str) -> bool:
    return label.startswith("fo-") and not label.startswith(f"{deployment}-")
