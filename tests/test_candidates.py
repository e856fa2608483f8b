"""The race for a replacement, beside a provider that only has a market."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from machines.brake import in_a_storm
from machines.elapsed import Elapsed
from machines.errors import NotYet, Refused
from machines.journal import Entry, Mark
from machines.model import (
    Claim,
    Debt,
    DebtKind,
    Endpoint,
    FailoverId,
    FenceGrade,
    FenceProof,
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
    Snapshot,
    Status,
    VolumeId,
    VolumeMount,
)
from machines.policy import Policy
from machines.ports import ShellResult
from machines.reputation import HostRecord, Reputation
from machines.saga import StepContext
from machines.strategies.candidates import STEP, Wish, rent_candidate
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
    debts: list[Debt] = field(default_factory=list)

    async def append(self, entry: Entry, debts: Sequence[Debt] = ()) -> None:
        self.entries.append(entry)
        self.debts += debts


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


@pytest.mark.parametrize(("grade", "repeats", "minutes"), [("destroyed", 0, 9), ("destroyed", 1, 0), ("stopped", 0, 0)])
async def test_a_host_for_whose_gpu_the_old_instance_was_destroyed_is_waited_for_as_long_as_a_market(
    grade: str, repeats: int, minutes: float
) -> None:
    """Seen: after 30 s the copy was taken, which is older, and the newer volume was deleted."""
    wish = Wish(host=HostId(1), volume=VolumeMount(VolumeId(5), "/workspace"))
    running = replace(RUNNING, proof=FenceProof(FenceGrade(grade), "read back", BEGIN), repeats=repeats)
    clock, written = StillClock(), Written([Entry(STEP, Mark.STARTED, BEGIN)])
    await clock.advance(minutes * 60)
    with pytest.raises(NotYet):
        await rent_candidate(replace(context(Market(()), written, clock), failover=running), wish)
    await clock.advance(66)
    with pytest.raises(Refused):
        await rent_candidate(replace(context(Market(()), written, clock), failover=running), wish)


async def test_the_machines_own_host_is_taken_where_it_is_wished_for() -> None:
    volume = VolumeMount(VolumeId(5), "/workspace")
    market = Market((offer(1, host=1), offer(2, host=1)))
    assert await hosts_of(market, Wish(host=HostId(1), volume=volume), volume=volume) == [1]


@dataclass
class InUse(Market):
    """Its volume is not released yet."""

    async def rent(self, claim: Claim) -> InstanceId:
        self.rented.append(claim)
        raise Refused("volume_in_use", "the volume is not shared")


ON_ITS_HOST = Wish(host=HostId(1), volume=VolumeMount(VolumeId(5), "/workspace"))


async def attach(market: Market, written: Written, clock: StillClock, proved_s: float = 0.0) -> NotYet | Refused:
    proof = FenceProof(FenceGrade.DESTROYED, "read back", BEGIN + timedelta(seconds=proved_s))
    with pytest.raises((NotYet, Refused)) as error:
        await rent_candidate(
            replace(context(market, written, clock), failover=replace(RUNNING, proof=proof)), ON_ITS_HOST
        )
    assert isinstance(error.value, NotYet | Refused)
    return error.value


async def test_a_volume_that_our_destroy_has_not_released_yet_is_asked_for_again() -> None:
    """Seen by reading: the provider's first "in use", a second after the destroy, was the end of the newest data."""
    market, written, clock = InUse((offer(1, host=1), offer(2, host=1))), Written(), SteppedClock()
    for _ in range(8):
        assert isinstance(await attach(market, written, clock), NotYet)
        await clock.advance(10)
    assert len(market.rented) == 8, "one create a look: another offer would want the same volume"
    await clock.advance(15)
    final = await attach(market, written, clock)
    assert isinstance(final, Refused)
    assert (final.code, final.why) == ("no_offer_matches", "the volume is not shared")


async def test_a_candidate_that_came_to_nothing_has_to_let_go_of_the_volume_too() -> None:
    written, clock = Written(), SteppedClock()
    booting = Market((offer(1, host=1),), shows=True)
    assert isinstance(await attach(booting, written, clock, -3600), NotYet)
    await clock.advance(1000)
    market = InUse((offer(1, host=1),), rented=booting.rented, shows=True)
    assert isinstance(await attach(market, written, clock, -3600), NotYet), "its boot is given up only now"
    await clock.advance(95)
    assert isinstance(await attach(market, written, clock, -3600), Refused)


async def test_a_daemon_that_was_away_asks_for_the_volume_once_more_before_it_gives_up() -> None:
    market, written, clock = InUse((offer(1, host=1),)), Written(), SteppedClock()
    await clock.advance(3600)
    clock.begin_anew()
    assert isinstance(await attach(market, written, clock), NotYet)
    await clock.advance(50)
    assert isinstance(await attach(market, written, clock), Refused)


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


DEADLY = Reputation(100, 58)


async def width(market: Market, **more: Any) -> int:
    with pytest.raises(NotYet):
        await rent_candidate(replace(context(market, Written()), **more), Wish())
    return len(market.rented)


async def test_a_race_is_as_wide_as_the_markets_record_of_dead_boots_asks_for() -> None:
    offers = tuple(offer(number, host=number) for number in range(20, 40))
    assert await width(Market(offers)) == 2
    assert await width(Market(offers), reputation=DEADLY) == 3
    worse = Reputation(100, 80)
    assert await width(Market(offers), reputation=worse) == 5
    assert await width(Market(offers), reputation=DEADLY, policy=in_a_storm(Policy())) == 1


async def test_a_host_that_failed_lately_is_taken_only_where_there_is_no_other() -> None:
    bad = HostRecord(HostId(20), 1, 1, 1, BEGIN, BEGIN, BEGIN + timedelta(hours=1))
    known = Reputation(10, 1, {HostId(20): bad})
    market = Market((offer(1, host=20), offer(2, host=30)))
    await width(market, reputation=known)
    assert [int(claim.offer.host) for claim in market.rented] == [30]
    market = Market((offer(1, host=20),))
    await width(market, reputation=known)
    assert [int(claim.offer.host) for claim in market.rented] == [20]


async def test_no_rental_is_begun_that_the_failovers_budget_does_not_allow() -> None:
    """One boot at 0.4 $/h may take seven minutes, which is 0.0467 $."""
    offers = tuple(offer(number, host=number) for number in range(20, 30))
    assert await width(Market(offers), policy=Policy(max_failover_cost=0.05)) == 1
    assert await width(Market(offers), policy=Policy(max_failover_cost=0.1)) == 2
    market = Market(offers)
    poor = replace(context(market, Written()), spent_before=0.96, policy=Policy(max_failover_cost=1.0))
    with pytest.raises(Refused, match=r"budget_exceeded: .*policy\.max_failover_cost") as refused:
        await rent_candidate(poor, Wish())
    assert (refused.value.code, market.rented) == ("budget_exceeded", [])


@dataclass
class Churning(Market):
    """Others are faster at every offer."""

    async def rent(self, claim: Claim) -> InstanceId:
        self.rented.append(claim)
        raise Refused("no_offer_matches", "the offer is gone")


async def test_offers_that_others_had_taken_are_no_verdict_on_the_market() -> None:
    """Seen: eight offers of one search were gone, and the machine was given up."""
    market, written = Churning(tuple(offer(number, host=number) for number in range(20, 60))), Written()
    for looks in (1, 2):
        with pytest.raises(NotYet, match="searching anew"):
            await rent_candidate(context(market, written), Wish())
        assert len(market.rented) == 5 * looks


class Stopping(Market):
    """What it rents comes up stopped; its destroy was accepted, which proves nothing."""

    async def rent(self, claim: Claim) -> InstanceId:
        self.rented.append(claim)
        raise Refused("no_offer_matches", "it came into being stopped", leaves_rental=True)


@pytest.mark.parametrize(("kind", "is_owed"), [(Stopping, True), (Churning, False)])
async def test_what_came_into_being_and_was_refused_is_owed_its_end(kind: type[Market], is_owed: bool) -> None:
    market, written = kind((offer(1, host=5),)), Written()
    with pytest.raises(NotYet, match="searching anew"):
        await rent_candidate(context(market, written), Wish())
    labels = [(debt.kind, debt.label) for debt in written.debts]
    assert labels == ([(DebtKind.DESTROY_CLAIM, market.rented[0].label)] if is_owed else [])


class Serving(Market):
    """What it rents is up at once."""

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        listing = await super().list(max_age_s, about)
        up = {"status": Status.RUNNING, "ssh": Endpoint("ssh4.vast.ai", 1)}
        return replace(listing, instances={key: replace(row, **up) for key, row in listing.instances.items()})


class Answering:
    """A shell that shows a GPU and room on the disk."""

    async def run(self, *args: object, **named: object) -> ShellResult:
        return ShellResult(0, "RTX 4090\n---\n/dev/x 9 9 99999999 1% /\n", "", "key")


@dataclass
class Refusing:
    """A store of snapshots from which nothing is fetched."""

    code: str

    async def check_download(self, *args: object) -> None:
        raise Refused(self.code, "nothing can be fetched")


@pytest.mark.parametrize(
    ("code", "is_dead"), [("restore_failed", True), ("provider_unavailable", False), ("no_snapshot", False)]
)
async def test_what_the_store_of_snapshots_refuses_is_no_dead_boot_of_the_host(code: str, is_dead: bool) -> None:
    market, written = Serving((offer(1, 70),), shows=True), Written()
    parts: dict[str, Any] = {"shell": Answering(), "snapshots": Refusing(code)}
    wish = Wish(snapshot=Snapshot("s", MachineId(7), BEGIN, 1))
    for _ in range(2):
        with pytest.raises(NotYet):
            await rent_candidate(replace(context(market, written), **parts), wish)
    [dropped] = [entry for entry in written.entries if entry.mark is Mark.DROPPED]
    assert ("host" in dropped.output) is is_dead
