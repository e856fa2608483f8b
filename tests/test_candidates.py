"""The race for a replacement, beside a provider that only has a market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from machines.elapsed import Elapsed
from machines.errors import NotYet, Refused
from machines.journal import Entry, Mark
from machines.model import (
    Claim,
    Debt,
    FailoverId,
    HostId,
    Instance,
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
    Status,
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


def loading(number: InstanceId, claim: Claim) -> Instance:
    return Instance(
        id=number,
        label=claim.label,
        host=claim.offer.host,
        landlord=claim.offer.landlord,
        status=Status.LOADING,
        wants_running=True,
        holds_gpu=True,
        detail="",
        ssh=None,
        gpu_name="RTX 4090",
        num_gpus=1,
        price_per_hour=0.4,
        is_interruptible=False,
    )


@dataclass
class Market:
    """What rents, and what is never up yet."""

    offers: tuple[Offer, ...]
    rented: list[Claim] = field(default_factory=list)
    shows: bool = False
    """Does its listing show what was rented, as still loading?"""

    async def search(self, query: OfferQuery, host: HostId | None = None) -> tuple[Offer, ...]:
        return tuple(one for one in self.offers if one.host not in query.not_hosts and host in (None, one.host))

    async def rent(self, claim: Claim) -> InstanceId:
        self.rented.append(claim)
        return InstanceId(8000 + len(self.rented))

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        rows = (loading(InstanceId(8001 + place), claim) for place, claim in enumerate(self.rented))
        return Listing({row.id: row for row in rows} if self.shows else {}, True, BEGIN)


@dataclass
class Written:
    entries: list[Entry] = field(default_factory=list)

    async def append(self, entry: Entry, debts: Sequence[Debt] = ()) -> None:
        self.entries.append(entry)


class SteppedClock(StillClock):
    """Its time of day can be stepped, and a new process can begin."""

    def __init__(self) -> None:
        super().__init__()
        self.skew = timedelta(0)
        self.begin_anew()

    def begin_anew(self) -> None:
        self.elapsed = Elapsed()
        self.elapsed.note(self.now(), self.monotonic())

    def now(self) -> datetime:
        return super().now() + self.skew

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self.elapsed.since(at, self.now(), self.monotonic(), unseen_at_most)


def context(market: Market, written: Written, clock: StillClock | None = None, **more: Any) -> StepContext:
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
        clock=clock or StillClock(),
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


async def look(market: Market, written: Written, clock: SteppedClock) -> list[str]:
    """One more look at the race; why candidates were given up, up to now."""
    with pytest.raises((NotYet, Refused)):
        await rent_candidate(context(market, written, clock), Wish())
    return [entry.why or "" for entry in written.entries if entry.mark is Mark.DROPPED]


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_step_of_the_clock_gives_up_no_candidate_that_boots_and_keeps_none_for_ever(hours: int) -> None:
    """Seen: a step of an hour destroyed both racers, half a minute after they were rented."""
    market, written, clock = Market((offer(1, 20), offer(2, 30)), shows=True), Written(), SteppedClock()
    assert await look(market, written, clock) == []
    await clock.advance(30)
    clock.skew += timedelta(hours=hours)
    assert await look(market, written, clock) == []
    await clock.advance(Policy().boot_timeout_s - 60)
    assert await look(market, written, clock) == []
    await clock.advance(60)
    assert len(await look(market, written, clock)) == 2


@pytest.mark.parametrize("hours", [1, -1])
async def test_a_step_before_a_restart_gives_up_none_either(hours: int) -> None:
    """The new process knows but the time of day of the claim: half of the patience may have passed, and no more."""
    market, written, clock = Market((offer(1, 20), offer(2, 30)), shows=True), Written(), SteppedClock()
    assert await look(market, written, clock) == []
    clock.skew += timedelta(hours=hours)
    clock.begin_anew()
    assert await look(market, written, clock) == []
    await clock.advance(Policy().boot_timeout_s / 2 - 1)
    assert await look(market, written, clock) == []
    await clock.advance(Policy().boot_timeout_s / 2 + 2)
    assert len(await look(market, written, clock)) == 2
