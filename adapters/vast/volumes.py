"""VastVolumes: the port VolumeStore over Vast's volumes, which are bound to one host (facts/vast-api.md, section 6).

A create has no idempotency key, as with rentals: the name, chosen before, is ours, and a lost answer is settled by
looking for it. A clone cannot even be named. The list has no count that would tell whether it is whole, so an absence is
believed only where the volumes that it shows account for what the account pays for volumes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from adapters.vast.account import read_account, volume_spend
from adapters.vast.client import VastApi
from adapters.vast.creates import Creates
from adapters.vast.rental import refusal
from adapters.vast.replies import Kind, Reply
from adapters.vast.rows import BadRow, number, region_of, text, whole
from adapters.vast.settings import (
    CLONE_VOLUME,
    CREATE_VOLUME,
    DELETE_VOLUME,
    LIST_VOLUMES,
    SEARCH_VOLUMES,
    VastSettings,
)
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.model import HostId, InstanceId, Label, LandlordId, OfferId, Volume, VolumeId
from machines.ports import Clock
from machines.volumes import HOURS_PER_MONTH, VolumeClaim, VolumeOffer, VolumeQuery

_RELEASE_AGAIN = timedelta(seconds=15)
_SETTLED = ("created", "in-use", "")
"""The words of a volume that is there; which ones are shown before that nobody has written."""
_NAMED = re.compile(r"V\.([1-9][0-9]*)")
_ROUNDING = 5e-6
"""$/h by which a price may be off: the provider's have five decimals (facts/vast-api.md, section 3, its 0.03333)."""
_MOST_ROUNDING = 2e-5
"""Of all rows together, whose roundings mostly cancel out. 1 GB, the least that can be had, is several times that at
0.05 $/GB/month, so that no volume hides in it."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """The list, what its rows cost in an hour, and when it was asked for."""

    volumes: Mapping[VolumeId, Volume]
    cost: float
    at: datetime


@dataclass(slots=True)
class _Reading:
    """What the provider showed last; shared by all who act on somebody's behalf."""

    volumes: Mapping[VolumeId, Volume] = field(default_factory=dict)
    at: float = float("-inf")


class VastVolumes:
    """There is no read of a single volume, so the list is read and shared for as long as the caller allows."""

    def __init__(self, api: VastApi, clock: Clock, settings: VastSettings | None = None) -> None:
        self._api = api
        self._clock = clock
        self._settings = settings or VastSettings()
        self._last = _Reading()
        self._creates = Creates(clock)

    def on_behalf_of(self, may_send: Callable[[], None]) -> VastVolumes:
        """As `VastCloud.on_behalf_of`."""
        view = copy(self)
        view._api = self._api.on_behalf_of(may_send)
        return view

    async def volumes(self, max_age_s: float = 0.0) -> Mapping[VolumeId, Volume]:
        """Raise Unknown where the list did not come. One that it lacks is not gone by that: it may have come in part."""
        if max_age_s > 0 and self._clock.monotonic() - self._last.at <= max_age_s:
            return self._last.volumes
        return (await self._read()).volumes

    async def search(self, query: VolumeQuery) -> tuple[VolumeOffer, ...]:
        """Room that fulfils every condition, cheapest first. Raise Unknown."""
        reply = await self._api.call(SEARCH_VOLUMES, body=_search_body(query, self._settings.search_limit))
        rows = reply.fields.get("offers")
        if reply.kind is not Kind.OK or not isinstance(rows, list):
            raise Unknown(f"the search for room was not answered: {reply}")
        found = [offer for row in rows if (offer := _fitting(row, query)) is not None]
        return tuple(sorted(found, key=lambda offer: (offer.price_per_gb_month, -offer.reliability, offer.id)))

    async def create(self, claim: VolumeClaim) -> VolumeId:
        """Make the claim's volume once, empty or as a copy of its source. Raise Refused where it was surely not made,
        NotYet where nothing was sent, Unknown where it may have been made: adopt or abandon."""
        label = claim.label
        if label in self._creates:
            raise Unknown(f"a create under {label} was already sent: adopt or abandon it")
        self._creates.note(label)
        try:
            reply = await self._send(claim)
        except NotYet:
            self._creates.forget(label)
            raise
        except BaseException:
            self._creates.note(label)  # Until now it may have had its effect.
            raise
        self._creates.note(label)
        made = _made(reply)
        if made is not None and reply.kind is Kind.OK:
            return made
        if reply.kind is Kind.OK or made is not None:
            raise Unknown(f"whether a volume was made is not clear: {reply}")
        self._creates.forget(label)
        raise _why_not_made(reply)

    async def adopt(self, claim: VolumeClaim) -> VolumeId | None:
        """The volume that the claim brought; None only by a list that accounts for all that is paid for and began after
        the lag, before that NotYet. Raise Refused where several might be it: a person must look."""
        listed = await self._read()
        found = [volume.id for volume in listed.volumes.values() if _may_be(volume, claim)]
        if len(found) > 1 and claim.source is not None:
            raise Refused(
                "provider_unavailable", f"host {claim.host} has volumes {sorted(found)}, each may be our copy"
            )
        if found:
            return min(found)
        await self._settle_absence(claim, listed)
        return None

    async def delete(self, volume: VolumeId) -> None:
        """Refused by the provider while an instance has it, running or stopped, and for about 30 s after. Its yes is no
        proof: success is a list without it that accounts for all that is paid for, NotYet until then."""
        reply = await self._api.call(DELETE_VOLUME, body={}, query={"id": str(volume)})
        if reply.status == 409:
            raise NotYet(f"volume {volume} is still in use", _RELEASE_AGAIN)
        listed = await self._read()
        if volume in listed.volumes and reply.kind is Kind.OK:
            raise NotYet(f"volume {volume} is listed after its delete was accepted", _RELEASE_AGAIN)
        if volume in listed.volumes:
            raise refusal(reply)
        await self._settle_by_the_bill(f"volume {volume} is not listed", listed)

    async def expect_gone(self, volume: VolumeId) -> None:
        """Return where the list lacks it and accounts for all that is paid for. Raise NotYet, Unknown."""
        listed = await self._read()
        if volume in listed.volumes:
            raise NotYet(f"volume {volume} is listed", timedelta(seconds=self._settings.look_again_s))
        await self._settle_by_the_bill(f"volume {volume} is not listed", listed)

    async def _send(self, claim: VolumeClaim) -> Reply:
        if claim.source is None:
            body: dict[str, object] = {"id": claim.offer, "size": claim.size_gb, "name": claim.label}
            return await self._api.call(CREATE_VOLUME, body=body)
        body = {"src_id": claim.source, "dst_id": claim.offer, "size": claim.size_gb}
        return await self._api.call(CLONE_VOLUME, body=body)

    async def _read(self) -> _Listed:
        asked_at, began = self._clock.monotonic(), self._clock.now()
        reply = await self._api.call(LIST_VOLUMES, query={"owner": "me", "type": "all_volume"})
        rows = reply.fields.get("volumes")
        if reply.kind is not Kind.OK or not isinstance(rows, list):
            raise Unknown(f"the volumes were not shown: {reply}")
        try:
            found = [_volume_from(row) for row in rows]
        except BadRow as error:
            raise Unknown(f"a volume was shown in a form that we cannot read: {error}") from error
        self._last.volumes, self._last.at = {volume.id: volume for volume in found}, asked_at
        cost = sum(number(row, "storage_total_cost") or 0.0 for row in rows)
        return _Listed(self._last.volumes, cost, began)

    async def _settle_absence(self, claim: VolumeClaim, listed: _Listed) -> None:
        """Return where the list's silence is proof."""
        what = f"no volume of the claim {claim.label}"
        # Our own create may have left long after the claim was stored, queued behind others.
        created = min(claim.claimed_at, self._creates.last_effect(claim.label), key=self._clock.since)
        lag, age = timedelta(seconds=self._settings.volume_lag_s), self._clock.since(created)
        if age - self._clock.since(listed.at) < lag:
            raise NotYet(f"{what} yet, within the provider's lag", max(lag - age, timedelta(seconds=0.1)))
        await self._settle_by_the_bill(what, listed)

    async def _settle_by_the_bill(self, what: str, listed: _Listed) -> None:
        await read_account(self._api)
        rounding = min(_ROUNDING * (len(listed.volumes) + 1), _MOST_ROUNDING)
        if listed.cost + rounding < await volume_spend(self._api):
            again = timedelta(seconds=self._settings.look_again_s)
            raise NotYet(f"{what}, but the account pays for more than the list shows", again)


def _search_body(query: VolumeQuery, limit: int) -> dict[str, object]:
    body: dict[str, object] = {
        "verified": {"eq": True},
        "external": {"eq": False},
        "disk_space": {"gte": query.size_gb},
        "geolocation": {"eq": query.region},
        "order": [["storage_cost", "asc"]],
        "limit": limit,
        "allocated_storage": query.size_gb,
    }
    if query.hosts is not None:
        body["machine_id"] = {"in": sorted(query.hosts - query.not_hosts)}
    elif query.not_hosts:
        body["machine_id"] = {"notin": sorted(query.not_hosts)}
    return body


def _fitting(row: object, query: VolumeQuery) -> VolumeOffer | None:
    """The row's offer where it fulfils every condition; None too where the row does not let us tell."""
    if not isinstance(row, dict):
        return None
    try:
        offer = _offer_from(row)
    except BadRow:
        return None
    fulfilled = (
        offer.free_gb >= query.size_gb,
        offer.region == query.region,
        offer.reliability >= query.min_reliability,
        offer.host not in query.not_hosts,
        query.hosts is None or offer.host in query.hosts,
        row.get("external") is not True,
        text(row, "verification") in ("", "verified"),
    )
    return offer if all(fulfilled) else None


def _offer_from(row: dict[str, object]) -> VolumeOffer:
    """Raise BadRow."""
    price = number(row, "storage_cost")
    if price is None or price < 0.0:
        raise BadRow("an offer of room without a price")
    reliabilities = [found for key in ("reliability", "reliability2") if (found := number(row, key)) is not None]
    return VolumeOffer(
        OfferId(whole(row, "id")),
        HostId(whole(row, "machine_id")),
        LandlordId(whole(row, "host_id")),
        number(row, "disk_space") or 0.0,
        price,
        min(reliabilities, default=0.0),
        region_of(text(row, "geolocation")),
    )


def _may_be(volume: Volume, claim: VolumeClaim) -> bool:
    """By its name; a clone by its host, which has it beside what it had before, its size, and a name that is no other's."""
    if claim.source is None:
        return volume.label == claim.label
    is_new = volume.host == claim.host and volume.id not in claim.seen and volume.id != claim.source
    return is_new and volume.size_gb >= claim.size_gb and volume.label in (None, claim.source_label)


def _made(reply: Reply) -> VolumeId | None:
    """The volume that the answer names: by its number, or as "V.12345"."""
    found = reply.fields.get("volume_id")
    if isinstance(found, int) and not isinstance(found, bool) and found > 0:
        return VolumeId(found)
    name = reply.fields.get("volume_name")
    named = _NAMED.fullmatch(name) if isinstance(name, str) else None
    return VolumeId(int(named[1])) if named else None


def _why_not_made(reply: Reply) -> StepError:
    if reply.kind is Kind.MONEY:
        return refusal(reply)
    if "offline" in f"{reply.error} {reply.message}".casefold():
        return Refused("host_offline", f"the copy is refused: {reply}")
    if reply.kind is Kind.NO_OFFER or reply.status in (400, 404, 410):
        return Refused("no_offer_matches", f"the room is gone, or does not suffice: {reply}")
    return refusal(reply)


def _volume_from(row: object) -> Volume:
    if not isinstance(row, dict):
        raise BadRow(f"a volume row is a {type(row).__name__}")
    holders = row.get("instances")
    ids = holders if isinstance(holders, list) else []
    size = number(row, "disk_space") or 0.0
    per_gb, hourly = number(row, "storage_cost"), number(row, "storage_total_cost")
    price = per_gb * size if per_gb is not None else hourly * HOURS_PER_MONTH if hourly is not None else None
    return Volume(
        VolumeId(whole(row, "id")),
        HostId(whole(row, "machine_id")),
        size,
        tuple(InstanceId(int(one)) for one in ids if isinstance(one, int) and not isinstance(one, bool)),
        Label(text(row, "label")) if text(row, "label") else None,
        region_of(text(row, "geolocation")),
        price,
        text(row, "status").casefold() in _SETTLED,
    )
