"""Finds rentals that bear our label and that nothing explains: waited out past the listing's lag, then destroyed as a debt, or
told, by policy.

Rentals of other deployments on the same account are told of, and never touched.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.errors import StepError
from machines.lost import LostKind, LostThing, Standing
from machines.model import Debt, DebtKind, Instance, InstanceId, Label, MachineId
from machines.policy import Policies
from machines.pool import prepared_instances
from machines.ports import Clock, GpuCloud

log = structlog.get_logger(__name__)

ALERT = "orphan-instances"
_AGE_S = 40.0
_QUICK_SCAN_S = 10.0
"""After a listing that took longer, as much time passes before the next: failovers read the same list."""


class OrphanInstances:
    """One periodic job: `find`."""

    def __init__(self, store: Store, cloud: GpuCloud, policies: Policies, clock: Clock, deployment: str) -> None:
        self._store = store
        self._cloud = cloud
        self._policies = policies
        self._clock = clock
        self._deployment = deployment
        self._suspects: dict[InstanceId, datetime] = {}
        self._not_before = float("-inf")

    async def find(self) -> None:
        """Whatever bears our label and is explained by nothing, twice and past the listing's lag, becomes a debt, or is told."""
        began = self._clock.monotonic()
        if began < self._not_before:
            return
        try:
            listing = await self._cloud.list()
        except StepError as error:
            log.info("orphan_scan_skipped", because=str(error))
            return
        took = self._clock.monotonic() - began
        self._not_before = began + (2 * took if took > _QUICK_SCAN_S else 0.0)
        rows = tuple(listing.instances.values())
        ours = [row for row in rows if (row.label or "").startswith(f"{self._deployment}-")]
        foreign = [row for row in rows if _is_foreign(row.label or "", self._deployment)]
        unclaimed, owed = await self._store.transact(lambda tx: self._tell(tx, ours, foreign))
        self._suspects = {row.id: self._suspects.get(row.id, self._clock.now()) for row in unclaimed}
        if owed:
            log.warning("orphans_found", instances=[debt.instance for debt in owed])

    def _tell(self, tx: Tx, ours: Sequence[Instance], foreign: Sequence[Instance]) -> tuple[list[Instance], list[Debt]]:
        """What nothing explains, and what of it is owed its destruction from now on."""
        unclaimed, released = _sorted_out(tx, ours)
        now = self._clock.now()
        ripe = [row for row in unclaimed if self._has_been_seen_for(row.id) >= _AGE_S]
        kept = () if self._policies.fleet.destroys_orphans else ripe
        debts = [_owed(row, self._suspects[row.id], now) for row in ripe if row not in kept]
        found = (
            *_things(unclaimed, Standing.ORPHAN, now),
            *_things(released, Standing.RELEASED, now),
            *_things(foreign, Standing.FOREIGN, now),
        )
        tx.note_lost(LostKind.INSTANCE, found)
        tx.add_debts(debts)
        tell_kept(tx, ALERT, "instances", [f"{row.id} ({row.label}, {row.price_per_hour:g} $/h)" for row in kept], now)
        for row in ripe:
            tx.note_rental(row.id, machine_of_label(row.label or "") or MachineId(0), None, now)
        return unclaimed, debts

    def _has_been_seen_for(self, instance: InstanceId) -> float:
        seen_at = self._suspects.get(instance)
        return 0.0 if seen_at is None else self._clock.since(seen_at).total_seconds()


def tell_kept(tx: Tx, alert: str, what: str, names: Sequence[str], now: datetime) -> None:
    """One alert for all that the policy lets be; it is over when there is none any more."""
    if not names:
        tx.resolve_alert(alert, now)
        return
    found = f"{what} that bear our label and that nothing explains are billed: {', '.join(names)}"
    remedy = "destroy at the provider what nobody needs, or let policy.destroys_orphans do it"
    tx.raise_alert(alert, f"{found}; {remedy}", now)


def _sorted_out(tx: Tx, rows: Sequence[Instance]) -> tuple[list[Instance], list[Instance]]:
    """Those that nothing explains, and those that became a machine which somebody removed and whose instance they keep."""
    instances, labels = _explained(tx)
    lost = [row for row in rows if row.id not in instances and row.label not in labels]
    released = [row for row in lost if tx.was_primary(row.id)]
    return [row for row in lost if row not in released], released


def _explained(tx: Tx) -> tuple[Collection[InstanceId], Collection[Label]]:
    """What a primary, a standby, a prepared pool, a debt or a running failover accounts for."""
    machines, debts = tx.machines(), tx.open_debts()
    instances = {machine.primary for machine in machines if machine.primary is not None}
    instances |= {machine.standby.instance for machine in machines if machine.standby is not None}
    instances |= {one.instance for machine in machines for one in prepared_instances(machine)}
    instances |= {debt.instance for debt in debts if debt.instance is not None}
    labels = {debt.label for debt in debts if debt.label is not None}
    for failover, _ in tx.running_failovers():
        for _, entry in tx.timeline(failover):
            label = entry.output.get("label")
            if isinstance(label, str):
                labels.add(Label(label))
    return instances, labels


def _owed(row: Instance, seen_at: datetime, now: datetime) -> Debt:
    """Destroyed by label: only rentals that bear a label which this deployment minted."""
    because = "orphan: it bears our label and nothing explains it"
    machine = machine_of_label(row.label or "") or MachineId(0)
    return Debt(DebtKind.DESTROY_CLAIM, machine, None, row.id, row.label, seen_at, because, due_at=now)


def _things(rows: Iterable[Instance], standing: Standing, now: datetime) -> Iterator[LostThing]:
    for row in rows:
        what = f"{row.num_gpus} x {row.gpu_name} on host {row.host}, {row.status.value}"
        label = row.label or ""
        machine = machine_of_label(label)
        yield LostThing(
            LostKind.INSTANCE, str(row.id), standing, label, machine, row.price_per_hour, row.disk_gb, what, now
        )


def machine_of_label(label: str) -> MachineId | None:
    """The machine that a label of a deployment was minted for; None where it cannot be read."""
    found = re.search(r"-m(\d+)-", label)
    return MachineId(int(found.group(1))) if found else None


def _is_foreign(label: str, deployment: str) -> bool:
    return label.startswith("fo-") and not label.startswith(f"{deployment}-")
