"""The race for a replacement, beside a provider that only has a market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from machines.errors import NotYet
from machines.journal import Entry
from machines.model import (
    Claim,
    Debt,
    FailoverId,
    HostId,
    InstanceId,
    LandlordId,
    Listing,
    Machine,
    MachineId,
    Offer,
    OfferId,
    OfferQuery,
    Reason,
    Rung,
    Running,
    VolumeId,
    VolumeMount,
)
from machines.policy import Policy
from machines.saga import StepContext
from machines.strategies.candidates import Wish, rent_candidate
from tests.test_api_stage import BEGIN, StillClock

RUNNING = Running(FailoverId("fo_1"), Reason.HTTP, (Rung.CPU_STANDBY,), 0, BEGIN, 1)


def offer(number: int, host: int, price: float = 0.4) -> Offer:
    return Offer(OfferId(number), HostId(host), LandlordId(host), "RTX 4090", 1, price, 0.99, "US")


@dataclass
class Market:
    """What rents, and what is never up yet."""

    offers: tuple[Offer, ...]
    rented: list[Claim] = field(default_factory=list)

    async def search(self, query: OfferQuery, host: HostId | None = None) -> tuple[Offer, ...]:
        return tuple(one for one in self.offers if one.host not in query.not_hosts and host in (None, one.host))

    async def rent(self, claim: Claim) -> InstanceId:
        self.rented.append(claim)
        return InstanceId(8000 + len(self.rented))

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        return Listing({}, True, BEGIN)


@dataclass
class Written:
    entries: list[Entry] = field(default_factory=list)

    async def append(self, entry: Entry, debts: Sequence[Debt] = ()) -> None:
        self.entries.append(entry)


def context(market: Market, written: Written, **more: Any) -> StepContext:
    machine = Machine(MachineId(7), "golf", primary=InstanceId(7001), host=HostId(1), **more)
    nothing: Any = None
    cloud: Any = market
    return StepContext(
        machine=machine,
        failover=RUNNING,
        attempt=1,
        deployment="fo-x",
        policy=Policy(candidate_width=2),
        entries=tuple(written.entries),
        avoid_hosts=frozenset(),
        cloud=cloud,
        shell=nothing,
        snapshots=nothing,
        volumes=nothing,
        journal=written,
        fleet=nothing,
        clock=StillClock(),
    )


async def hosts_of(market: Market, wish: Wish, rounds: int = 1, **more: Any) -> list[int]:
    written = Written()
    for _ in range(rounds):
        with pytest.raises(NotYet):
            await rent_candidate(context(market, written, **more), wish)
    return [int(claim.offer.host) for claim in market.rented]


async def test_two_racers_of_one_failover_never_stand_on_one_host() -> None:
    """Seen: a host with eight free GPUs got both racers of the first batch, for they came from one search."""
    crowded = [offer(number, host=20) for number in range(1, 21)]
    market = Market((*crowded, offer(30, host=30, price=0.5), offer(40, host=40, price=0.6)))
    for rounds in (1, 3):
        hosts = await hosts_of(replace(market, rented=[]), Wish(), rounds)
        assert len(hosts) == len(set(hosts)) == 2


async def test_where_one_host_is_all_there_is_one_racer_runs() -> None:
    assert await hosts_of(Market((offer(1, host=20), offer(2, host=20))), Wish()) == [20]


async def test_the_machines_own_host_is_taken_where_it_is_wished_for() -> None:
    volume = VolumeMount(VolumeId(5), "/workspace")
    market = Market((offer(1, host=1), offer(2, host=1)))
    assert await hosts_of(market, Wish(host=HostId(1), volume=volume), volume=volume) == [1]
