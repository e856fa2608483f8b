"""Pays the debts that make volumes: an empty one that somebody asked for, and the copy of a machine's volume."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.changes import pay_debt
from daemon.volume_claims import VolumeClaims
from daemon.volume_copies import VolumeCopies
from events.schema import CommandResult
from machines.errors import NotYet, Refused, Unknown
from machines.model import Debt, DebtKind, OfferQuery, VolumeId
from machines.ports import Clock, GpuCloud, VolumeStore
from machines.problems import Problem
from machines.volumes import RegionalVolume, VolumeOffer, VolumeQuery, VolumeStatus

log = structlog.get_logger(__name__)

_LOOK_AGAIN = timedelta(seconds=5)
_NEXT_OFFER = timedelta(seconds=2)
_OFFERS_TRIED = 5
_PATIENCE = timedelta(minutes=2)
"""Of whoever waits for a volume, while the provider gives no answer and nothing was sent."""
_LEAST_RELIABILITY = 0.9
_ANY_GPU = OfferQuery(None, 1, 10.0, math.inf, _LEAST_RELIABILITY)


class VolumeDebts:
    """One look at a time; NotYet until the volume is there, and nothing where none is wanted any more."""

    def __init__(
        self,
        store: Store,
        cloud: GpuCloud,
        volumes: VolumeStore,
        clock: Clock,
        claims: VolumeClaims,
        copies: VolumeCopies,
        announcer: Announcer,
    ) -> None:
        self._store = store
        self._cloud = cloud
        self._volumes = volumes
        self._clock = clock
        self._claims = claims
        self._copies = copies
        self._announcer = announcer

    async def settle(self, debt: Debt) -> None:
        """Return where the debt is paid. Raise NotYet, Unknown, Refused."""
        if debt.kind is DebtKind.CLONE_VOLUME:
            await self._copies.settle(debt)
        else:
            await self._create(debt)

    async def _create(self, debt: Debt) -> None:
        row = await self._claims.row_of(debt)
        if row is None or row.status is not VolumeStatus.CREATING:
            await self._claims.give_up(debt, row)
            return
        made = row.volume
        if made is None:
            made = await self._claims.found(debt, row) if debt.label is not None else await self._make(debt, row)
        if made is not None:
            await self._store.transact(lambda tx: self._keep(tx, debt, row.number, made))
            log.info("volume_made", volume=made, region=row.region, size_gb=row.size_gb)

    async def _make(self, debt: Debt, row: RegionalVolume) -> VolumeId | None:
        """None where it was refused for good, and whoever asked was told so."""
        try:
            offers = await self._room(row.region, row.size_gb)
            if not offers:
                why = f"no host of {row.region} has room for {row.size_gb} GB"
                await self._refuse(debt, row, "no_offer_matches", why)
                return None
            return await self._claims.send(debt, row, offers[0])
        except Refused as refused:
            if debt.tries >= _OFFERS_TRIED or refused.code != "no_offer_matches":
                await self._refuse(debt, row, refused.code, refused.why)
                return None
            raise NotYet(refused.why, _NEXT_OFFER) from refused
        except (NotYet, Unknown) as error:
            bound = await self._store.transact(lambda tx: _is_bound(tx, debt))
            if bound or self._clock.since(row.created_at, unseen_at_most=_PATIENCE / 2) < _PATIENCE:
                raise
            await self._refuse(debt, row, "provider_unavailable", str(error))
            return None

    async def _room(self, region: str, size_gb: int) -> Sequence[VolumeOffer]:
        """Where a GPU can be rented beside the volume comes first: a volume is of use nowhere else."""
        room = await self._volumes.search(VolumeQuery(region, size_gb, min_reliability=_LEAST_RELIABILITY))
        gpus = {offer.host for offer in await self._cloud.search(replace(_ANY_GPU, region=region))} if room else set()
        return sorted(room, key=lambda offer: offer.host not in gpus)

    async def _refuse(self, debt: Debt, row: RegionalVolume, code: str, why: str) -> None:
        """Whoever waits is told, and the row goes: there is no such volume."""
        problem = Problem(503, code, why, "try again later, with another region or a smaller size")

        def work(tx: Tx) -> None:
            tx.drop_volume_row(row.number)
            pay_debt(tx, debt.id, self._clock.now())
            if row.command_id is not None:
                self._answer(tx, row.command_id, problem)

        await self._store.transact(work)
        log.info("volume_refused", region=row.region, size_gb=row.size_gb, because=why)

    def _keep(self, tx: Tx, debt: Debt, number: int, made: VolumeId) -> None:
        """The debt is paid with the keeping: from here on the volume is the row's, and no more the debt's to delete."""
        row = tx.volume_row(number)
        if row is None or row.status is not VolumeStatus.CREATING or not tx.is_open(debt.id):
            raise NotYet("the volume's row changed while it was made", _LOOK_AGAIN)
        kept = replace(row, status=VolumeStatus.AVAILABLE, volume=made, handle=made)
        tx.save_volume(kept)
        pay_debt(tx, debt.id, self._clock.now())
        if row.command_id is not None:
            self._answer(tx, row.command_id, created_answer(kept))

    def _answer(self, tx: Tx, command_id: str, outcome: Problem | dict[str, Any]) -> None:
        """The command's one answer, over HTTP and on the results topic."""
        row, now = tx.command(command_id), self._clock.now()
        if row is None or row.answered_at is not None:
            return
        if isinstance(outcome, Problem):
            said = {"code": outcome.code, "detail": outcome.detail, "remedy": outcome.remedy, **outcome.extra}
            tx.answer_command(command_id, "refused", said, outcome.status, now)
            told = CommandResult(
                command_id,
                row.command,
                row.machine_id,
                "refused",
                code=outcome.code,
                detail=outcome.detail,
                remedy=outcome.remedy,
            )
        else:
            tx.answer_command(command_id, "succeeded", outcome, 200, now)
            told = CommandResult(command_id, row.command, row.machine_id, "succeeded", result=outcome)
        tx.post((self._announcer.result(told, now),))


def created_answer(row: RegionalVolume) -> dict[str, Any]:
    """The contract's answer to a create."""
    return {
        "success": True,
        "volume_id": row.handle,
        "region": row.region,
        "size_gb": row.size_gb,
        "name": row.name,
        "status": row.status.value,
        "price_per_month": row.price_per_month,
    }


def _is_bound(tx: Tx, debt: Debt) -> bool:
    return any(one.id == debt.id and one.label is not None for one in tx.open_debts())
