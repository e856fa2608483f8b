"""One rental of a debt: its label is bound before the create, and what bears it is found again and watched until it is up.

Whatever rents ahead goes this way (daemon/rearm.py, daemon/warm_pools.py), so a crash at any point leaves an open debt that
names its label, and nothing that the debt does not explain.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.errors import NotYet, Refused
from machines.model import (
    Claim,
    Debt,
    DebtKind,
    HostId,
    Instance,
    Label,
    LandlordId,
    MachineId,
    Offer,
    OfferId,
    Status,
    Workload,
)
from machines.policy import Policies
from machines.ports import Clock, GpuCloud

LOOK_AGAIN = timedelta(seconds=5)


class RentedAhead:
    def __init__(self, store: Store, cloud: GpuCloud, policies: Policies, clock: Clock) -> None:
        self._store = store
        self._cloud = cloud
        self._policies = policies
        self._clock = clock

    async def rent(self, debt: Debt, machine: MachineId, claim: Claim) -> None:
        """Raise Refused where nothing was rented: the debt has no label then, and what came into being all the same is a debt
        of its own. Unknown leaves it, to be adopted."""
        label, now = claim.label, claim.claimed_at
        if not await self._store.transact(lambda tx: _bind(tx, debt, claim)):
            raise NotYet("another replica settled this debt meanwhile", LOOK_AGAIN)
        try:
            rented = await self._cloud.rent(claim)
        except Refused as refused:
            left = (_leftover(debt, claim, refused.why),) if refused.leaves_rental else ()
            await self._store.transact(lambda tx: _unbind(tx, replace(debt, label=label), left))
            raise
        await self._store.transact(lambda tx: tx.note_rental(rented, machine, None, now))

    async def standing(self, label: Label, claimed_at: datetime, what: str) -> Instance | None:
        """As the provider shows it; None where it did not come up, and is provably gone. Raise NotYet while neither is known."""
        claim = claim_of(label, claimed_at)
        instance = await self._cloud.adopt(claim)
        listing = await self._cloud.list(max_age_s=5.0, about=(instance,)) if instance is not None else None
        row = listing.instances.get(instance) if listing is not None and instance is not None else None
        if instance is None or self._has_died(row, claimed_at):
            await self._cloud.destroy(claim)
            return None
        if row is None:
            raise NotYet(f"the listing does not show the {what} yet", LOOK_AGAIN)
        return row

    async def stopped(self, row: Instance, what: str) -> None:
        """Raise NotYet until it was seen running once, and reads as stopped."""
        if row.wants_running and row.status is Status.RUNNING:
            await self._cloud.stop(row.id)
        if row.wants_running or row.status is not Status.EXITED:
            raise NotYet(f"the {what} reads {row.status.value}", LOOK_AGAIN)

    def is_late(self, claimed_at: datetime) -> bool:
        timeout = timedelta(seconds=self._policies.fleet.boot_timeout_s)
        return self._clock.since(claimed_at, unseen_at_most=timeout / 2) > timeout

    def _has_died(self, row: Instance | None, claimed_at: datetime) -> bool:
        late = self.is_late(claimed_at)
        if row is None:
            return late
        failed = row.status is Status.EXITED and row.wants_running
        return failed or (late and row.status not in (Status.EXITED, Status.RUNNING))


def _bind(tx: Tx, debt: Debt, claim: Claim) -> bool:
    if not tx.bind_debt(debt, claim.label, claim.claimed_at):
        return False
    if claim.volume is not None:
        tx.note_mount(debt.id, claim.volume.id)
    return True


def _unbind(tx: Tx, debt: Debt, left: Sequence[Debt]) -> None:
    tx.bind_debt(debt, None, None)
    tx.add_debts(left)


def _leftover(debt: Debt, claim: Claim, why: str) -> Debt:
    """The end of a rental that nobody will look for under the debt's next label."""
    ends = DebtKind.DESTROY_CLAIM
    return Debt(ends, debt.machine, debt.failover, None, claim.label, claim.claimed_at, why, due_at=claim.claimed_at)


def claim_of(label: Label, claimed_at: datetime) -> Claim:
    """For adopting and destroying: the label and its time are all that those need."""
    offer = Offer(OfferId(0), HostId(0), LandlordId(0), "", 1, 0.0, 0.0, None)
    return Claim(label, offer, claimed_at, Workload())
