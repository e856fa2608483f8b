"""The search for offers: what is asked of Vast, and what is checked again because Vast does not always apply it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

from adapters.vast.client import VastApi
from adapters.vast.replies import Kind
from adapters.vast.rows import BadRow, number, offer_from, text
from adapters.vast.settings import SEARCH, VastSettings
from machines.errors import Unknown
from machines.model import HostId, Offer, OfferQuery


async def search_offers(
    api: VastApi, settings: VastSettings, query: OfferQuery, host: HostId | None = None
) -> tuple[Offer, ...]:
    """Offers that fulfil every condition, cheapest first. Raise Unknown.

    One search shows 64 offers at most. Where it was full and nothing on it passed our own check, the next one begins at
    its highest price (facts/vast-api.md, traps 1 and 3).
    """
    floor: float | None = None
    for _ in range(settings.search_pages):
        rows = await _search_once(api, search_body(query, settings.search_limit, host, floor))
        found = {offer.id: offer for row in rows if (offer := fitting(row, query, host)) is not None}
        if found:
            return tuple(sorted(found.values(), key=lambda offer: (offer.price_per_hour, -offer.reliability, offer.id)))
        highest = max((number(row, "dph_total") or 0.0 for row in rows if isinstance(row, dict)), default=0.0)
        if len(rows) < settings.search_limit or highest <= (floor or 0.0):
            break
        floor = highest
    return ()


async def _search_once(api: VastApi, body: Mapping[str, object]) -> list[object]:
    reply = await api.call(SEARCH, body=body)
    rows = reply.fields.get("offers")
    if reply.kind is not Kind.OK or not isinstance(rows, list):
        raise Unknown(f"the search for offers was not answered: {reply}")
    return rows


def search_body(
    query: OfferQuery, limit: int, host: HostId | None = None, floor: float | None = None
) -> dict[str, object]:
    """The flat query. `rented` stays at the server's default, which hides hosts where this account already rents;
    only a search on one host, the one that has our volume, asks for those too (facts/vast-api.md, trap 5)."""
    price = {"gte": floor} if floor is not None else {}
    if math.isfinite(query.max_price):
        price["lte"] = query.max_price
    body: dict[str, object] = {
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "num_gpus": {"eq": query.num_gpus},
        "reliability": {"gte": query.min_reliability},
        "disk_space": {"gte": query.disk_gb},
        "direct_port_count": {"gte": 1},
        "order": [["dph_total", "asc"]],
        "type": "bid" if query.is_interruptible else "on-demand",
        "limit": limit,
        "allocated_storage": query.disk_gb,
    }
    if price:
        body["dph_total"] = price
    if query.min_inet_down > 0:
        body["inet_down"] = {"gte": query.min_inet_down}
    if query.gpu_name is not None:
        body["gpu_name"] = {"eq": query.gpu_name.replace("_", " ")}
    if query.region is not None:
        body["geolocation"] = {"eq": query.region.upper()}
    if query.not_landlords:
        body["host_id"] = {"notin": sorted(query.not_landlords)}
    if host is not None:
        body |= {"machine_id": {"eq": host}, "rented": {"eq": True}}
    elif query.not_hosts:
        body["machine_id"] = {"notin": sorted(query.not_hosts)}
    return body


def fitting(row: object, query: OfferQuery, host: HostId | None = None) -> Offer | None:
    """The row's offer where it fulfils every condition; None too where the row does not let us tell."""
    try:
        offer = offer_from(row)
    except BadRow:
        return None
    assert isinstance(row, dict)
    fulfilled = (
        query.gpu_name is None or _same_gpu(offer.gpu_name, query.gpu_name),
        offer.num_gpus == query.num_gpus,
        offer.price_per_hour <= query.max_price,
        offer.reliability >= query.min_reliability,
        (number(row, "disk_space") or 0.0) >= query.disk_gb,
        (number(row, "inet_down") or 0.0) >= query.min_inet_down,
        number(row, "direct_port_count") != 0.0,
        query.region is None or offer.region == query.region.strip().upper(),
        offer.host == host if host is not None else offer.host not in query.not_hosts,
        offer.landlord not in query.not_landlords,
        row.get("rentable") is not False,
        row.get("external") is not True,
        text(row, "verification") in ("", "verified"),
    )
    if not all(fulfilled):
        return None
    if not query.is_interruptible:
        return offer
    bid = number(row, "min_bid")
    return replace(offer, bid=bid) if bid else None


def _same_gpu(one: str, other: str) -> bool:
    """ "RTX_4090" is "RTX 4090"; "RTX 4090D" is another card."""
    return one.replace("_", " ").split() == other.replace("_", " ").split()
