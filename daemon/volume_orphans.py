"""Finds volumes that bear our names and that nothing explains: waited out past the lag, then deleted or told, by policy.

A clone bears its source's name, whoever made it: so a volume under the name of one that we know, or knew, may be a person's
own copy of it. That is only told.

Volumes of other deployments are only counted, and those of anybody else are none of our business.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.volume_users import volumes_of
from machines.errors import StepError
from machines.lost import LostKind, LostThing, Standing
from machines.model import Debt, DebtKind, Label, MachineId, Volume, VolumeId
from machines.policy import Policies
from machines.ports import Clock, VolumeStore
from machines.volumes import HOURS_PER_MONTH, VolumeStatus, volume_prefix

log = structlog.get_logger(__name__)

_AGE_S = 60.0
ALERT = "orphan-volumes"
_OURS = re.compile(r"fo_[a-z0-9]+_v\d+_\d+")
_KNOWN = (DebtKind.DELETE_VOLUME, DebtKind.KEEP_VOLUME)
_ROW = re.compile(r"(\d+)_\d+")
"""What follows the prefix: the row, and the try."""


class VolumeOrphans:
    """One periodic job: `find`."""

    def __init__(self, store: Store, volumes: VolumeStore, policies: Policies, clock: Clock, deployment: str) -> None:
        self._store = store
        self._volumes = volumes
        self._policies = policies
        self._clock = clock
        self._prefix = volume_prefix(deployment)
        self._suspects: dict[VolumeId, datetime] = {}
        self.foreign: tuple[Volume, ...] = ()
        """With another deployment's name: only reported, never touched."""

    async def find(self) -> None:
        """Twice, and a minute apart: what is made at this moment is explained by the time of the second look."""
        try:
            listed = await self._volumes.volumes(max_age_s=5.0)
        except StepError as error:
            log.info("volume_scan_skipped", because=str(error))
            return
        ours = {volume.id: volume for volume in listed.values() if (volume.label or "").startswith(self._prefix)}
        self.foreign = tuple(one for one in listed.values() if one.id not in ours and _OURS.fullmatch(one.label or ""))
        explained, labels = await self._store.transact(_explained) if ours else ((), ())
        lost = {number: one for number, one in ours.items() if number not in explained and one.label not in labels}
        now = self._clock.now()
        self._suspects = {number: self._suspects.get(number, now) for number in lost}
        ripe = {
            number: lost[number]
            for number, seen_at in self._suspects.items()
            if self._clock.since(seen_at).total_seconds() >= _AGE_S
        }
        found = (*_things(lost.values(), Standing.ORPHAN, now), *_things(self.foreign, Standing.FOREIGN, now))
        await self._store.transact(lambda tx: self._tell(tx, found, ripe, now))

    def _tell(self, tx: Tx, found: Sequence[LostThing], ripe: Mapping[VolumeId, Volume], now: datetime) -> None:
        tx.note_lost(LostKind.VOLUME, found)
        highest = tx.highest_volume_row() if ripe else 0
        kept = [
            one
            for one in ripe.values()
            if not self._policies.fleet.deletes_orphan_volumes or self._is_copied(one, highest)
        ]
        if kept:
            names = ", ".join(f"{one.id} ({one.label}, {one.size_gb:g} GB)" for one in kept)
            what = f"volumes that bear our names and that nothing explains are billed: {names}"
            remedy = "one may be somebody's copy of a volume of ours, which bears its name; delete at the provider what nobody needs"
            tx.raise_alert(ALERT, f"{what}; {remedy}", now)
        else:
            tx.resolve_alert(ALERT, now)
        lost = sorted(ripe.keys() - {one.id for one in kept})
        if lost:
            because = "orphan: it bears our name and nothing explains it"
            owed = Debt(DebtKind.DELETE_VOLUME, MachineId(0), None, None, None, None, because, due_at=now)
            tx.add_debts([replace(owed, volume=number) for number in lost])
            log.warning("orphan_volumes_found", volumes=lost)

    def _is_copied(self, volume: Volume, highest: int) -> bool:
        """Might it be a copy of a volume that has, or had, a row here?"""
        named = _ROW.fullmatch((volume.label or "").removeprefix(self._prefix))
        return named is None or int(named[1]) <= highest


def _things(volumes: Iterable[Volume], standing: Standing, now: datetime) -> Iterator[LostThing]:
    for one in volumes:
        price = None if one.price_per_month is None else one.price_per_month / HOURS_PER_MONTH
        what = f"{one.size_gb:g} GB on host {one.host}"
        yield LostThing(LostKind.VOLUME, str(one.id), standing, one.label or "", None, price, one.size_gb, what, now)


def _explained(tx: Tx) -> tuple[Collection[VolumeId], Collection[Label]]:
    """The volumes that a machine, a row or a debt accounts for, and the names under which some are being made."""
    rows, debts = tx.regional_volumes(), tx.open_debts()
    volumes = {row.volume for row in rows if row.volume is not None}
    volumes |= {debt.volume for debt in debts if debt.volume is not None and debt.kind in _KNOWN}
    for machine in tx.machines():
        volumes |= volumes_of(machine)
    labels = {debt.label for debt in debts if debt.label is not None}
    labels |= {row.label for row in rows if row.status is VolumeStatus.CREATING and row.label is not None}
    return volumes, labels
