"""One create for one name: what is stored before a volume is made, and how one that was made without an answer is found.

The name is bound to the debt before the create; what bears it is found again by it, a copy, which cannot be named, by the
row that says where it was to be made.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.errors import NotYet, Refused
from machines.model import Debt, HostId, Label, OfferId, Volume, VolumeId
from machines.ports import Clock, VolumeStore
from machines.volumes import RegionalVolume, VolumeClaim, VolumeOffer, VolumeStatus, volume_label

_LOOK_AGAIN = timedelta(seconds=5)


class VolumeClaims:
    def __init__(self, store: Store, volumes: VolumeStore, clock: Clock, deployment: str) -> None:
        self._store = store
        self._volumes = volumes
        self._clock = clock
        self._deployment = deployment

    async def row_of(self, debt: Debt) -> RegionalVolume | None:
        """The row of the volume that the debt makes; None where nobody wants it any more."""
        number = debt.row
        return await self._store.transact(lambda tx: tx.volume_row(number)) if number is not None else None

    async def send(self, debt: Debt, row: RegionalVolume, offer: VolumeOffer, source: Volume | None = None) -> VolumeId:
        """One create under a name that nobody used before; the name and the place are stored first."""
        label, now = volume_label(self._deployment, row.number, debt.tries), self._clock.now()
        price = offer.price_per_gb_month * row.size_gb
        bears = label if source is None else source.label
        placed = replace(row, host=offer.host, label=bears, price_per_month=price)

        def bind(tx: Tx) -> bool:
            return tx.bind_debt(debt, label, now) and tx.save_volume(placed)

        if not await self._store.transact(bind):
            raise NotYet("another replica settled this debt meanwhile", _LOOK_AGAIN)
        claim = replace(_claim(placed, label, now), offer=offer.id)
        try:
            made = await self._volumes.create(claim)
        except (Refused, NotYet):
            await self._store.transact(lambda tx: self._unbind(tx, replace(debt, label=label), row.number))
            raise
        await self._store.transact(lambda tx: tx.save_volume(replace(placed, volume=made)))
        return made

    async def found(self, debt: Debt, row: RegionalVolume) -> VolumeId:
        """What a create whose answer was lost has brought. Raise NotYet where it was nothing: another is tried."""
        assert debt.label is not None
        assert debt.claimed_at is not None
        made = await self._volumes.adopt(await self._told_apart(_claim(row, debt.label, debt.claimed_at)))
        if made is None:
            await self._store.transact(lambda tx: self._unbind(tx, debt, row.number))
            raise NotYet("the volume did not come into being; another is tried", _LOOK_AGAIN)
        await self._store.transact(lambda tx: tx.save_volume(replace(row, volume=made)))
        return made

    async def _told_apart(self, claim: VolumeClaim) -> VolumeClaim:
        """What other rows account for is not the claim's."""
        rows = await self._store.transact(lambda tx: tx.regional_volumes())
        return replace(claim, seen=claim.seen | {row.volume for row in rows if row.volume is not None})

    @staticmethod
    def _unbind(tx: Tx, debt: Debt, number: int) -> None:
        tx.bind_debt(debt, None, None)
        row = tx.volume_row(number)
        if row is not None:
            tx.save_volume(replace(row, host=None, label=row.label if row.copied_from else None))

    async def give_up(self, debt: Debt, row: RegionalVolume | None) -> None:
        """What was made for it goes, provably."""
        made = row.volume if row is not None and row.status is VolumeStatus.CREATING else None
        if made is None and debt.label is not None and debt.claimed_at is not None:
            claim = _claim(row, debt.label, debt.claimed_at) if row is not None else _named(debt.label, debt.claimed_at)
            made = await self._volumes.adopt(await self._told_apart(claim))
        if made is not None:
            await self._volumes.delete(made)
        if row is not None and row.status is VolumeStatus.CREATING:
            await self._store.transact(lambda tx: tx.drop_volume_row(row.number))


def _claim(row: RegionalVolume, label: Label, claimed_at: datetime) -> VolumeClaim:
    return VolumeClaim(
        label,
        OfferId(0),
        row.host or HostId(0),
        row.size_gb,
        claimed_at,
        row.copied_from,
        row.label if row.copied_from is not None else None,
        frozenset(row.seen),
    )


def _named(label: Label, claimed_at: datetime) -> VolumeClaim:
    """For adopting one by its name alone."""
    return VolumeClaim(label, OfferId(0), HostId(0), 0, claimed_at)
