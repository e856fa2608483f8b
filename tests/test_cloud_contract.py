"""The contract of the port GpuCloud, held by VastCloud against the simulated provider, with everything that goes wrong.

The provider's truth is the judge: whatever the adapter was told, at the end no rental may exist that nobody knows.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

import httpx
import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.instances import Instance as Rental
from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings
from adapters.vast import KeyDead, VastApi, VastCloud, VastSettings, vast_client
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.model import Claim, InstanceId, Label, OfferQuery, Status, Workload
from machines.ports import Random
from tests.test_vast_provider import EvenRandom, SeededRandom, T, VirtualClock, virtual

QUERY = OfferQuery(None, 1, 32.0, 5.0, 0.5)
WORKLOAD = Workload(env={"A": "1", "-p 8000:8000": "1"}, onstart="echo hi")
KEY = "k-123"
LIST, CREATE, DESTROY = "list_instances", "create_instance", "destroy_instance"


@dataclass(frozen=True)
class Place:
    """A simulated provider and clouds that talk to it in process."""

    server: SimServer
    clock: VirtualClock

    @classmethod
    def make(cls, **world: Any) -> Place:
        clock = VirtualClock()
        settings = SimSettings(seed=7, api_key=KEY, has_bodies=False, world=WorldSettings(**world))
        return cls(SimServer(settings, clock), clock)

    def cloud(self, key: str = KEY, random: Random | None = None) -> VastCloud:
        client = vast_client(key, "http://vast.test", transport=httpx.ASGITransport(self.server.app))
        settings = VastSettings()
        return VastCloud(
            VastApi(client, self.clock, random or EvenRandom(), settings), self.clock, "fo-dep1-", settings
        )

    @property
    def truth(self) -> dict[int, Rental]:
        self.server.world.advance(self.clock.now())
        return self.server.world.instances

    def break_it(self, kind: FaultKind, endpoint: str = "*", count: int | None = None, **more: Any) -> None:
        self.server.world.faults.order(Fault(kind, endpoint, count=count, **more), self.clock.now(), None)

    def mend(self) -> None:
        self.server.world.faults.clear()

    async def claim(self, cloud: VastCloud, number: int = 1, position: int = 0) -> Claim:
        offer = (await cloud.search(QUERY))[position]
        return Claim(Label(f"fo-dep1-{number}"), offer, self.clock.now(), WORKLOAD)


async def at_last(call: Callable[[], Awaitable[T]], patience: int = 40) -> T:
    """As the runner does it: wait where it is not yet, read again where it is unknown."""
    for _ in range(patience):
        try:
            return await call()
        except NotYet as wait:
            await asyncio.sleep(wait.delay.total_seconds())
        except Unknown:
            await asyncio.sleep(5)
    raise AssertionError("never")


@virtual
async def test_offers_fulfil_the_query_and_come_cheapest_first() -> None:
    cloud = Place.make().cloud()
    offers = await cloud.search(QUERY)
    assert len(offers) > 3
    assert [offer.price_per_hour for offer in offers] == sorted(offer.price_per_hour for offer in offers)
    first = offers[0]
    narrow = OfferQuery(
        first.gpu_name.replace(" ", "_"), 1, 32.0, first.price_per_hour, first.reliability, first.region
    )
    assert first.id in [offer.id for offer in await cloud.search(narrow)]
    elsewhere = replace(QUERY, not_hosts=frozenset({first.host}), not_landlords=frozenset({offers[1].landlord}))
    found = await cloud.search(elsewhere)
    assert found
    assert not {first.host} & {offer.host for offer in found}
    assert not {offers[1].landlord} & {offer.landlord for offer in found}


@virtual
async def test_the_host_of_our_rental_is_found_only_where_it_is_asked_for() -> None:
    place = Place.make()
    cloud = place.cloud()
    offers = await cloud.search(QUERY)
    host = next(offer.host for offer in offers if [other.host for other in offers].count(offer.host) > 1)
    offer = next(offer for offer in offers if offer.host == host)
    await cloud.rent(Claim(Label("fo-dep1-1"), offer, place.clock.now(), WORKLOAD))
    assert host not in [offer.host for offer in await cloud.search(QUERY)]
    assert {offer.host for offer in await cloud.search(QUERY, host)} == {host}


@virtual
async def test_an_offer_whose_answer_was_lost_is_found_only_where_its_host_is_asked_for() -> None:
    place = Place.make()
    cloud = place.cloud()
    claim = await place.claim(cloud)
    place.break_it(FaultKind.TIMEOUT_BEFORE, CREATE, 1, seconds=20.0)
    with pytest.raises(Unknown):
        await cloud.rent(claim)
    assert claim.offer.id not in [offer.id for offer in await cloud.search(QUERY)]
    assert claim.offer.id in [offer.id for offer in await cloud.search(QUERY, claim.offer.host)]
    assert await at_last(lambda: cloud.adopt(claim)) is None
    assert claim.offer.id in [offer.id for offer in await cloud.search(QUERY)]


@virtual
async def test_a_rental_lives_and_ends() -> None:
    place = Place.make()
    cloud = place.cloud()
    claim = await place.claim(cloud)
    number = await cloud.rent(claim)
    await asyncio.sleep(3)
    shown = await cloud.show(number)
    assert shown is not None
    assert (shown.status, shown.label, shown.wants_running) == (Status.PROVISIONING, claim.label, True)
    await asyncio.sleep(75)
    listing = await cloud.list()
    running = listing.instances[number]
    assert listing.complete
    assert (running.status, running.holds_gpu) == (Status.RUNNING, True)
    assert running.ssh is not None
    assert (running.host, running.gpu_name) == (claim.offer.host, claim.offer.gpu_name)
    assert (running.env, running.onstart) == (WORKLOAD.env, WORKLOAD.onstart)
    await cloud.label(number, Label("fo-dep1-primary"))
    assert (await cloud.list()).with_label(Label("fo-dep1-primary"))
    await cloud.destroy(number)
    assert place.truth == {}
    assert await cloud.show(number) is None
    await cloud.destroy(number)
    await at_last(lambda: cloud.destroy(claim))


@virtual
async def test_a_stopped_rental_starts_again_and_reboots_only_while_it_runs() -> None:
    place = Place.make()
    cloud = place.cloud()
    number = await cloud.rent(await place.claim(cloud))
    await asyncio.sleep(80)
    await cloud.stop(number)
    await cloud.stop(number)
    await asyncio.sleep(20)
    stopped = (await cloud.list()).instances[number]
    assert (stopped.status, stopped.wants_running, stopped.holds_gpu) == (Status.EXITED, False, False)
    with pytest.raises(Refused):
        await cloud.reboot(number)
    await cloud.start(number)
    await asyncio.sleep(40)
    await cloud.reboot(number)
    await asyncio.sleep(40)
    assert (await cloud.list()).instances[number].status is Status.RUNNING


@virtual
async def test_logs_come_from_where_the_provider_lays_them_down_and_from_a_dead_host_never() -> None:
    place = Place.make()
    cloud = place.cloud()
    number = await cloud.rent(await place.claim(cloud))
    await asyncio.sleep(3)
    assert (await cloud.logs(number, 10)).splitlines() == []
    assert "Creating container" in await cloud.logs(number, 10, of_daemon=True)
    await asyncio.sleep(75)
    assert [line.partition(" ")[2] for line in (await cloud.logs(number, 10)).splitlines()] == [
        f"start 1 of {WORKLOAD.image}",
        "echo hi",
    ]
    assert (await cloud.logs(number, 1)).splitlines() == ["onstart: echo hi"]
    place.server.world.kill_host(place.truth[number].host, place.clock.now())
    with pytest.raises(NotYet, match="a dead one never does"):
        await cloud.logs(number, 10)
    with pytest.raises(StepError):
        await cloud.logs(InstanceId(1), 10)


@virtual
async def test_a_start_whose_gpu_was_taken_is_refused_and_leaves_nothing_in_the_queue() -> None:
    place = Place.make()
    cloud = place.cloud()
    number = await cloud.rent(await place.claim(cloud))
    await asyncio.sleep(80)
    await cloud.stop(number)
    await asyncio.sleep(20)
    host = place.truth[number].host
    while host.idle():
        host.take(-1, 1, None)
    with pytest.raises(Refused) as no:
        await cloud.start(number)
    assert no.value.code == "standby_gpu_taken"
    await asyncio.sleep(60)
    assert place.truth[number].intended == "stopped"
    assert not place.truth[number].is_waiting


@virtual
async def test_an_offer_is_rented_once() -> None:
    place = Place.make()
    cloud = place.cloud()
    claim = await place.claim(cloud)
    await cloud.rent(claim)
    with pytest.raises(Refused) as no:
        await cloud.rent(replace(claim, label=Label("fo-dep1-2")))
    assert no.value.code == "no_offer_matches"


@virtual
async def test_an_offer_that_churned_away_is_refused_whatever_form_that_takes() -> None:
    place = Place.make(hosts=64)
    server = SimServer(replace(place.server._settings, weather="hard"), place.clock)
    hard = Place(server, place.clock)
    cloud = hard.cloud()
    codes = []
    for number in range(30):
        claim = await hard.claim(cloud, number)
        try:
            await cloud.rent(claim)
        except Refused as no:
            codes.append(no.code)
    assert len(codes) > 5
    assert set(codes) == {"no_offer_matches"}
    assert len(hard.truth) == 30 - len(codes)


LOST_AFTER = [(FaultKind.TIMEOUT_AFTER, {"seconds": 30.0}), (FaultKind.STATUS_AFTER, {"status": 502})]


@pytest.mark.parametrize(("kind", "more"), [*LOST_AFTER, (FaultKind.MALFORMED, {})])
def test_a_create_whose_answer_was_lost_is_adopted_and_not_made_twice(kind: FaultKind, more: dict[str, Any]) -> None:
    @virtual
    async def story() -> None:
        place = Place.make()
        cloud = place.cloud()
        claim = await place.claim(cloud)
        place.break_it(kind, CREATE, count=1, **more)
        with pytest.raises(Unknown):
            await cloud.rent(claim)
        number = await at_last(lambda: cloud.adopt(claim))
        assert list(place.truth) == [number]
        await at_last(lambda: cloud.destroy(claim))
        assert place.truth == {}

    story()


NOT_MADE = [(FaultKind.TIMEOUT_BEFORE, {"seconds": 30.0}), (FaultKind.STATUS, {"status": 503})]


@pytest.mark.parametrize(("kind", "more"), NOT_MADE)
def test_a_create_that_never_arrived_is_abandoned_after_the_lag(kind: FaultKind, more: dict[str, Any]) -> None:
    @virtual
    async def story() -> None:
        place = Place.make()
        cloud = place.cloud()
        claim = await place.claim(cloud)
        place.break_it(kind, CREATE, count=1, **more)
        with pytest.raises(Unknown):
            await cloud.rent(claim)
        assert await at_last(lambda: cloud.adopt(claim)) is None
        assert place.truth == {}

    story()


@virtual
async def test_an_empty_list_hides_no_rental_from_the_destruction_of_its_claim() -> None:
    place = Place.make()
    claim = await place.claim(place.cloud())
    await place.cloud().rent(claim)
    successor = place.cloud()  # Another process: it knows the label and nothing else.
    await asyncio.sleep(60)
    place.break_it(FaultKind.EMPTY_LIST, LIST)
    for call in (successor.adopt, successor.destroy):
        with pytest.raises(NotYet, match="pays for rentals"):
            await call(claim)
    place.mend()
    await at_last(lambda: successor.destroy(claim))
    assert place.truth == {}


@virtual
async def test_half_a_list_is_not_complete_and_proves_nothing() -> None:
    place = Place.make()
    cloud = place.cloud()
    claims = []
    for number in (1, 2):
        claims.append(await place.claim(cloud, number))
        await cloud.rent(claims[-1])
    await asyncio.sleep(60)
    place.break_it(FaultKind.PARTIAL_LIST, LIST)
    assert not (await cloud.list()).complete
    with pytest.raises(NotYet):
        await place.cloud().destroy(claims[1])
    place.mend()
    await at_last(lambda: cloud.destroy(claims[1]))
    assert len(place.truth) == 1


@virtual
async def test_a_dead_key_says_nothing_about_any_rental() -> None:
    place = Place.make()
    cloud = place.cloud()
    claim = await place.claim(cloud)
    number = await cloud.rent(claim)
    await asyncio.sleep(80)
    strange = place.cloud(key="revoked")
    place.break_it(FaultKind.AUTH_ERROR)
    for each in (cloud, strange):
        calls: list[Awaitable[Any]] = [each.list(), each.show(number), each.stop(number), each.start(number)]
        calls += [each.destroy(number), each.destroy(claim), each.adopt(claim), each.reboot(number)]
        for call in calls:
            with pytest.raises(KeyDead):
                await call
        place.mend()
    assert list(place.truth) == [number]


@virtual
async def test_one_failure_of_a_read_is_survived_and_an_outage_is_unknown() -> None:
    place = Place.make()
    cloud = place.cloud()
    place.break_it(FaultKind.STATUS, LIST, count=1, status=500)
    assert (await cloud.list()).complete
    for kind in (FaultKind.STATUS, FaultKind.TIMEOUT_AFTER, FaultKind.MALFORMED):
        place.break_it(kind, LIST)
        with pytest.raises(Unknown):
            await cloud.list()
        place.mend()


@virtual
async def test_a_large_fleet_is_listed_whole() -> None:
    place = Place.make()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(place.server.app), base_url="http://vast.test")
    await client.post("/sim/instances", json={"count": 130, "label": "fleet-{n}"})
    listing = await place.cloud().list()
    assert listing.complete
    assert set(listing.instances) == set(place.truth)
    assert len(listing.with_label(Label("fleet-130"))) == 1


@pytest.mark.parametrize("form", [1, 2, 3, 4])
def test_two_daemons_on_one_key_get_along_in_every_form_of_429(form: int) -> None:
    @virtual
    async def story() -> None:
        place = Place.make(too_frequent_form=form, penalty_seconds=0.5)
        both = [place.cloud(random=SeededRandom(seed)) for seed in (1, 2)]
        claim = await place.claim(both[0])
        rental = await both[0].rent(claim)
        await asyncio.sleep(3)
        await asyncio.gather(*(at_last(lambda c=cloud: c.show(rental)) for cloud in both for _ in range(5)))  # type: ignore[misc]
        await asyncio.gather(*(at_last(lambda c=cloud: c.destroy(rental)) for cloud in both))  # type: ignore[misc]
        assert place.truth == {}

    story()


@virtual
async def test_our_key_is_in_the_account_once() -> None:
    cloud = Place.make().cloud()
    for _ in range(2):
        await cloud.ensure_ssh_key("ssh-ed25519 AAAAC3Nza failoverd")
    assert (await cloud.account()).credit == 250.0


KINDS = [kind for kind in FaultKind if kind is not FaultKind.LATENCY]
ENDPOINTS = [CREATE, LIST, DESTROY, "show_user", "spend_rate", "*"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_whatever_goes_wrong_once_or_thrice_no_rental_is_forgotten(kind: FaultKind, endpoint: str) -> None:
    @virtual
    async def story() -> None:
        for count in (1, 3):
            place = Place.make()
            cloud = place.cloud()
            claim = await place.claim(cloud)
            place.break_it(kind, endpoint, count=count)
            try:
                number: InstanceId | None = await cloud.rent(claim)
            except StepError:
                number = await at_last(lambda cloud=cloud, claim=claim: cloud.adopt(claim))  # type: ignore[misc]
            if kind is not FaultKind.WRONG_ID:  # Who is told a wrong number finds the right rental by its label.
                assert list(place.truth) == ([] if number is None else [number])
            await at_last(lambda cloud=cloud, claim=claim: cloud.destroy(claim))  # type: ignore[misc]
            assert place.truth == {}

    story()
