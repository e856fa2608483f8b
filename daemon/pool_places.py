"""Where a whole warm pool could stand: a host with two free GPUs of the machine's kind and room for a volume, and its price."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from adapters.sql.executor import Store
from daemon.money_ahead import MoneyAhead
from machines.errors import NotYet, Refused
from machines.model import Debt, HostId, Machine, Offer, OfferQuery, WarmPool, Workload
from machines.policy import Policies
from machines.ports import Clock, GpuCloud, VolumeStore
from machines.volumes import VolumeOffer, VolumeQuery

_NO_PLACE = timedelta(seconds=120)
_REGIONS_ASKED = 3
_LEAST_GB = 10
_NEAR = 8


@dataclass(frozen=True, slots=True)
class Room:
    """On a host that had two free GPUs when it was asked."""

    offer: VolumeOffer
    region: str


class PoolPlaces:
    def __init__(self, store: Store, cloud: GpuCloud, volumes: VolumeStore, policies: Policies, clock: Clock) -> None:
        self._store = store
        self._cloud = cloud
        self._volumes = volumes
        self._policies = policies
        self._clock = clock
        self.money = MoneyAhead(store, policies, clock)

    async def find(self, machine: Machine, debt: Debt) -> Room:
        """With its money reserved for the debt. Raise NotYet where there is none now, or no money for it."""
        now = self._clock.now()
        bad = await self._store.transact(lambda tx: tx.reputation(now).bad_hosts(now))
        home = frozenset({machine.host} if machine.host is not None else ())
        query = replace(self._query(machine), not_hosts=bad | home)
        roomy = _with_two(await self._cloud.search(query), await self._cloud.search(_twice(query)))
        if not roomy:
            await self.money.release(debt)
            gpu = f"{query.num_gpus} x {query.gpu_name or 'any GPU'}"
            raise NotYet(f"no host has twice {gpu} free up to {query.max_price:.2f} $/h each", _NO_PLACE)
        # Machines that search together must not all run after the same cheapest host.
        turn = int(machine.id) % min(len(roomy), _NEAR)
        room = await self._room((*roomy[turn:], *roomy[:turn]), size_gb(machine))
        if room is None:
            await self.money.release(debt)
            raise NotYet(f"no host with two free GPUs has room for a volume of {size_gb(machine)} GB", _NO_PLACE)
        await self.money.reserve(machine, debt, next(one for one in roomy if one.host == room.offer.host))
        return room

    async def on_host(self, machine: Machine, debt: Debt, host: HostId) -> Offer | None:
        """The cheapest offer there, where the volume lies already, with its money reserved for the debt; None where there is none
        now. Raise NotYet where there is no money for it."""
        query = replace(self._query(machine), min_reliability=0.0, min_inet_down=0.0, region=None)
        offers = await self._cloud.search(query, host)
        if not offers:
            await self.money.release(debt)
            return None
        await self.money.reserve(machine, debt, offers[0])
        return offers[0]

    async def _room(self, hosts: Sequence[Offer], size: int) -> Room | None:
        """On the first of them that has any; a search for room is of one region."""
        regions = list(dict.fromkeys(one.region for one in hosts if one.region is not None))
        for region in regions[:_REGIONS_ASKED]:
            there = [one.host for one in hosts if one.region == region]
            found = {one.host: one for one in await self._volumes.search(VolumeQuery(region, size, frozenset(there)))}
            first = next((found[host] for host in there if host in found), None)
            if first is not None:
                return Room(first, region)
        return None

    def _query(self, machine: Machine) -> OfferQuery:
        workload, policy = workload_of(machine), self._policies.of(machine)
        return OfferQuery(
            gpu_name=workload.gpu_name,
            num_gpus=workload.num_gpus,
            disk_gb=workload.disk_gb,
            max_price=policy.price_cap(workload.max_price, machine.price_per_hour),
            min_reliability=policy.min_reliability,
            region=workload.region,
            min_inet_down=policy.min_inet_down_mbps,
        )


def workload_of(machine: Machine) -> Workload:
    """What is rented ahead for it: its own, but for what was wished otherwise."""
    wish, own = machine.warm_pool or WarmPool(), machine.workload
    return replace(
        own,
        image=wish.image or own.image,
        gpu_name=wish.gpu_name or own.gpu_name,
        region=wish.region or own.region,
        max_price=wish.max_price if wish.max_price is not None else own.max_price,
    )


def size_gb(machine: Machine) -> int:
    wish = machine.warm_pool
    wanted = wish.size_gb if wish is not None else None
    return wanted or max(_LEAST_GB, math.ceil(machine.workload.disk_gb))


def refused(error: Refused, again: timedelta) -> NotYet:
    """Another offer may do."""
    return NotYet(error.why, again)


def _twice(query: OfferQuery) -> OfferQuery:
    """Some hosts offer all of their GPUs together, and not one by one."""
    return replace(query, num_gpus=2 * query.num_gpus, max_price=2 * query.max_price)


def _with_two(single: Sequence[Offer], double: Sequence[Offer]) -> list[Offer]:
    """An offer of each host where two such instances fit, the cheapest first: one is of no use without a second."""
    count = Counter(offer.host for offer in single)
    whole = {offer.host for offer in double}
    first: dict[HostId, Offer] = {}
    for offer in single:
        if count[offer.host] > 1 or offer.host in whole:
            first.setdefault(offer.host, offer)
    return list(first.values())
