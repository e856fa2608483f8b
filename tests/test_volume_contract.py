"""The contract of the port VolumeStore, held by VastVolumes against the simulated provider, with everything that goes wrong.

The provider's truth is the judge: whatever the adapter was told, at the end no volume may exist that nobody knows.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.hosts import Host
from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings
from adapters.sim.volumes import NAME
from adapters.sim.volumes import Volume as Truth
from adapters.vast import KeyDead, VastApi, VastSettings, VastVolumes, vast_client
from machines.errors import NotYet, Refused, StepError, Unknown
from machines.model import HostId, Label, OfferId, VolumeId
from machines.volumes import VolumeClaim, VolumeOffer, VolumeQuery, volume_label
from tests.test_cloud_contract import at_last
from tests.test_vast_provider import EvenRandom, VirtualClock, virtual

KEY = "k-123"
CREATE, CLONE, LIST, DELETE = "create_volume", "clone_volume", "list_volumes", "delete_volume"
GB = 20


@dataclass(frozen=True)
class Place:
    """A simulated provider and stores that talk to it in process."""

    server: SimServer
    clock: VirtualClock

    @classmethod
    def make(cls, **world: Any) -> Place:
        clock = VirtualClock()
        wished = WorldSettings(**{"hosts": 68, "volume_invisible_seconds": 5.0, **world})
        return cls(SimServer(SimSettings(seed=7, api_key=KEY, has_bodies=False, world=wished), clock), clock)

    def store(self, key: str = KEY) -> VastVolumes:
        client = vast_client(key, "http://vast.test", transport=httpx.ASGITransport(self.server.app))
        return VastVolumes(VastApi(client, self.clock, EvenRandom(), VastSettings()), self.clock)

    @property
    def truth(self) -> dict[int, Truth]:
        self.server.world.advance(self.clock.now())
        return self.server.world.volumes.volumes

    def host(self, number: int) -> Host:
        return self.server.world.hosts[number]

    def break_it(self, kind: FaultKind, endpoint: str = "*", count: int | None = None, **more: Any) -> None:
        self.server.world.faults.order(Fault(kind, endpoint, count=count, **more), self.clock.now(), None)

    def mend(self) -> None:
        self.server.world.faults.clear()

    async def offers(self, store: VastVolumes, region: str = "US") -> tuple[VolumeOffer, ...]:
        return await store.search(VolumeQuery(region, GB))

    async def claim(self, store: VastVolumes, number: int = 1) -> VolumeClaim:
        offer = (await self.offers(store))[0]
        return VolumeClaim(volume_label("fo-dep1", number, 0), offer.id, offer.host, GB, self.clock.now())

    async def copy_of(self, store: VastVolumes, source: VolumeId) -> VolumeClaim:
        """To be made on another host of the region."""
        listed = await store.volumes()
        known = listed[source]
        offer = next(one for one in await self.offers(store) if one.host != known.host)
        seen = frozenset(one.id for one in listed.values() if one.host == offer.host)
        label = volume_label("fo-dep1", 9, 0)
        return VolumeClaim(label, offer.id, offer.host, GB, self.clock.now(), source, known.label, seen)


@virtual
async def test_room_is_offered_in_the_region_alone_cheapest_first() -> None:
    place = Place.make()
    store = place.store()
    found = await place.offers(store)
    assert len(found) > 3
    assert {place.host(offer.host).country for offer in found} == {"US"}, "neither AUstria nor rUSsia"
    assert [offer.price_per_gb_month for offer in found] == sorted(offer.price_per_gb_month for offer in found)
    assert all(place.host(offer.host).verified for offer in found)
    first = found[0]
    for query in (
        VolumeQuery("US", GB, not_hosts=frozenset({first.host})),
        VolumeQuery("US", GB, hosts=frozenset({found[1].host, HostId(1)})),
        VolumeQuery("US", first.free_gb + 1),
        VolumeQuery("US", GB, min_reliability=first.reliability + 0.0001),
    ):
        assert first not in await store.search(query)
    assert await store.search(VolumeQuery("XX", GB)) == ()


@virtual
async def test_what_the_provider_does_not_filter_is_filtered_by_us() -> None:
    place = Place.make()
    client = httpx.AsyncClient(transport=httpx.MockTransport(_unfiltered), base_url="http://vast.test")
    store = VastVolumes(VastApi(client, place.clock, EvenRandom(), VastSettings()), place.clock)
    assert [offer.host for offer in await store.search(VolumeQuery("US", GB))] == [1]


def _unfiltered(request: httpx.Request) -> httpx.Response:
    row = {"id": 5, "machine_id": 1, "host_id": 2, "disk_space": 100.0, "storage_cost": 0.1, "reliability": 0.99}
    row |= {"geolocation": "Texas, US", "verification": "verified", "external": False}
    rows = [
        {**row, **change}
        for change in (
            {},
            {"machine_id": 2, "geolocation": "Austria, AT"},
            {"machine_id": 3, "geolocation": "Russia, RU"},
            {"machine_id": 4, "disk_space": 19.9},
            {"machine_id": 5, "verification": "unverified"},
            {"machine_id": 6, "external": True},
            {"machine_id": 7, "storage_cost": None},
            {"machine_id": 8, "geolocation": "US of A"},
        )
    ]
    return httpx.Response(200, json={"offers": [*rows, "what is this"]})


@virtual
async def test_a_volume_lives_and_ends() -> None:
    place = Place.make()
    store = place.store()
    claim = await place.claim(store)
    made = await store.create(claim)
    await asyncio.sleep(6)
    shown = (await store.volumes())[made]
    assert (shown.host, shown.size_gb, shown.holders, shown.region) == (claim.host, GB, (), "US")
    assert (shown.label, shown.is_settled) == (claim.label, True)
    assert shown.price_per_month == pytest.approx(GB * place.host(claim.host).storage_price)
    assert await store.adopt(claim) == made
    await store.delete(made)
    await store.delete(made)
    assert place.truth == {}


@virtual
async def test_a_copy_is_made_on_another_host_of_the_region() -> None:
    place = Place.make()
    store = place.store()
    source = await store.create(await place.claim(store))
    await asyncio.sleep(6)
    claim = await place.copy_of(store, source)
    copy = await store.create(claim)
    await asyncio.sleep(6)
    assert (await store.volumes())[copy].host == claim.host != (await store.volumes())[source].host
    assert await store.adopt(claim) == copy


@virtual
async def test_a_dead_hosts_volume_cannot_be_copied() -> None:
    place = Place.make()
    store = place.store()
    source = await store.create(await place.claim(store))
    await asyncio.sleep(6)
    claim = await place.copy_of(store, source)
    place.server.world.kill_host(place.truth[source].host, place.clock.now())
    with pytest.raises(Refused) as no:
        await store.create(claim)
    assert no.value.code == "host_offline"
    assert list(place.truth) == [source]


@virtual
async def test_room_that_is_gone_is_refused() -> None:
    place = Place.make()
    store = place.store()
    claim = await place.claim(store)
    for bad in (
        VolumeClaim(claim.label, OfferId(1), claim.host, GB, claim.claimed_at),
        VolumeClaim(Label("fo_dep1_v2_0"), claim.offer, claim.host, 10_000_000, claim.claimed_at),
    ):
        with pytest.raises(Refused) as no:
            await store.create(bad)
        assert no.value.code == "no_offer_matches"
    assert await store.create(claim), "a name that was surely not used is free"


@virtual
async def test_a_volume_that_is_held_is_not_deleted() -> None:
    place = Place.make()
    store = place.store()
    client = httpx.AsyncClient(transport=httpx.ASGITransport(place.server.app), base_url="http://vast.test")
    await client.post("/sim/instances", json={"count": 1, "volume_gb": 20.0})
    (volume,) = place.truth
    (instance,) = place.server.world.instances
    await asyncio.sleep(6)
    assert (await store.volumes())[VolumeId(volume)].holders == (instance,)
    with pytest.raises(NotYet):
        await store.delete(VolumeId(volume))
    place.server.world.rentals.destroy(place.clock.now(), instance)
    with pytest.raises(NotYet):
        await store.delete(VolumeId(volume))
    await at_last(lambda: store.delete(VolumeId(volume)))
    assert place.truth == {}


@virtual
async def test_a_delete_that_was_accepted_and_had_no_effect_is_no_deletion() -> None:
    place = Place.make()
    store = place.store()
    made = await store.create(await place.claim(store))
    await asyncio.sleep(6)
    place.break_it(FaultKind.STATUS, DELETE, status=200, body={"success": True})
    with pytest.raises(NotYet, match="listed after its delete was accepted"):
        await store.delete(made)
    place.break_it(FaultKind.EMPTY_LIST, LIST)
    with pytest.raises(NotYet, match="pays for more"):
        await store.delete(made)
    place.mend()
    await store.delete(made)
    assert place.truth == {}


def _bill(cost: str, *listed: float) -> Callable[[httpx.Request], httpx.Response]:
    """A provider that names what the volumes cost in all, and these rows."""

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/volumes"):
            rows = [{"id": 9 + number, "machine_id": 1, "storage_total_cost": one} for number, one in enumerate(listed)]
            return httpx.Response(200, json={"volumes": rows})
        return httpx.Response(200, json={"id": 1, "volume_storage_cost_per_hour": float(cost)})

    return answer


@virtual
async def test_two_roundings_of_one_price_hide_no_volume_and_keep_none_alive() -> None:
    exact = [15 * 0.1 / 730] * 4

    async def is_gone(cost: str, *listed: float) -> bool:
        client = httpx.AsyncClient(transport=httpx.MockTransport(_bill(cost, *listed)), base_url="http://vast.test")
        clock = VirtualClock()
        try:
            await VastVolumes(VastApi(client, clock, EvenRandom(), VastSettings()), clock).expect_gone(VolumeId(5))
        except NotYet:
            return False
        return True

    assert await is_gone(f"{math.ceil(sum(exact) * 1e5) / 1e5:.5f}", *exact), "the sum is rounded up"
    rounded_down = [math.floor(one * 1e5) / 1e5 for one in exact[:2]]
    assert await is_gone(f"{sum(exact[:2]):.8f}", *rounded_down), "and the rows down"
    smallest = 1 * 0.05 / 730
    assert not await is_gone(f"{sum(exact) + smallest:.5f}", *exact), "1 GB of the cheapest is more than a rounding"
    assert not await is_gone(f"{smallest:.5f}")


@pytest.mark.parametrize(
    "body", ["Unauthorized", {"error": "Unauthorized"}, {"success": False, "error": "unauthorized"}]
)
def test_a_volume_that_is_not_ours_to_delete_or_to_copy_is_no_dead_key(body: Any) -> None:
    @virtual
    async def story() -> None:
        place = Place.make()
        store = place.store()
        made = await store.create(await place.claim(store))
        await asyncio.sleep(6)
        copied = await place.copy_of(store, made)
        for endpoint in (DELETE, CLONE, LIST):
            place.break_it(FaultKind.STATUS, endpoint, status=401, body=body)
        with pytest.raises(Refused, match="nauthorized") as no:
            await store.create(copied)
        assert no.value.code == "provider_unavailable"
        with pytest.raises(KeyDead):
            await store.delete(made)  # The list says it too, of which nobody knows a 401 that is about a volume.
        place.mend()
        place.break_it(FaultKind.STATUS, DELETE, status=401, body=body)
        with pytest.raises(Refused, match="nauthorized"):
            await store.delete(made)
        assert list(place.truth) == [made]

    story()


@virtual
async def test_a_list_that_lacks_what_is_paid_for_proves_no_absence() -> None:
    place = Place.make()
    claim = await place.claim(place.store())
    await place.store().create(claim)
    successor = place.store()  # Another process: it knows the name and nothing else.
    await asyncio.sleep(90)
    place.break_it(FaultKind.EMPTY_LIST, LIST)
    with pytest.raises(NotYet, match="pays for more"):
        await successor.adopt(claim)
    place.mend()
    assert await successor.adopt(claim) == next(iter(place.truth))


@virtual
async def test_a_refused_delete_of_what_such_a_list_lacks_is_no_deletion() -> None:
    place = Place.make()
    store = place.store()
    made = await store.create(await place.claim(store))
    await asyncio.sleep(90)
    place.break_it(FaultKind.EMPTY_LIST, LIST)
    place.break_it(FaultKind.STATUS, DELETE, status=400, body={"success": False, "error": "invalid_args", "msg": "no"})
    for ask in (store.delete, store.expect_gone):
        with pytest.raises(NotYet, match="pays for more"):
            await ask(made)
    place.mend()
    with pytest.raises(NotYet, match="is listed"):
        await store.expect_gone(made)
    await store.delete(made)
    await store.expect_gone(made)
    assert place.truth == {}


@virtual
async def test_two_volumes_that_may_be_our_copy_are_a_persons_to_tell_apart() -> None:
    place = Place.make()
    store = place.store()
    source = await store.create(await place.claim(store))
    await asyncio.sleep(6)
    claim = await place.copy_of(store, source)
    for _ in range(2):
        place.server.world.volumes.make(place.host(claim.host), GB, claim.source_label, place.clock.now())
    await asyncio.sleep(6)
    with pytest.raises(Refused, match="each may be our copy"):
        await store.adopt(claim)


@virtual
async def test_another_name_or_a_smaller_volume_is_not_our_copy() -> None:
    place = Place.make()
    store = place.store()
    source = await store.create(await place.claim(store))
    await asyncio.sleep(6)
    claim = await place.copy_of(store, source)
    for size, name in ((GB, "somebody_elses"), (GB - 1, claim.source_label)):
        place.server.world.volumes.make(place.host(claim.host), size, name, place.clock.now())
    assert await at_last(lambda: store.adopt(claim)) is None


@virtual
async def test_a_dead_key_says_nothing_about_any_volume() -> None:
    place = Place.make()
    store = place.store()
    claim = await place.claim(store)
    made = await store.create(claim)
    place.break_it(FaultKind.AUTH_ERROR)
    for call in (store.volumes(), store.delete(made), store.adopt(claim), store.search(VolumeQuery("US", GB))):
        with pytest.raises(KeyDead):
            await call
    assert list(place.truth) == [made]


@virtual
async def test_a_list_that_cannot_be_read_is_no_list() -> None:
    place = Place.make()
    store = place.store()
    for kind in (FaultKind.STATUS, FaultKind.TIMEOUT_AFTER, FaultKind.MALFORMED):
        place.break_it(kind, LIST)
        with pytest.raises(Unknown):
            await store.volumes()
        place.mend()


KINDS = [kind for kind in FaultKind if kind is not FaultKind.LATENCY]
ENDPOINTS = [CREATE, CLONE, LIST, DELETE, "show_user", "spend_rate", "*"]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.value))
@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_whatever_goes_wrong_once_or_thrice_no_volume_is_forgotten_or_made_twice(
    kind: FaultKind, endpoint: str
) -> None:
    @virtual
    async def story() -> None:
        for count in (1, 3):
            place = Place.make()
            store = place.store()
            source = await store.create(await place.claim(store))
            await asyncio.sleep(6)
            claims = [await place.claim(store, 2), await place.copy_of(store, source)]
            place.break_it(kind, endpoint, count=count)
            known = [source]
            for claim in claims:
                try:
                    made: VolumeId | None = await store.create(claim)
                except StepError:
                    made = await at_last(lambda store=store, claim=claim: store.adopt(claim))  # type: ignore[misc]
                if made is not None:
                    known.append(made)
                assert sorted(place.truth) == sorted(known)
                await asyncio.sleep(6)
            for volume in known:
                await at_last(lambda store=store, volume=volume: store.delete(volume))  # type: ignore[misc]
            assert place.truth == {}

    story()


def test_every_name_is_one_that_the_provider_takes() -> None:

    assert NAME.fullmatch(volume_label("fo-a1b2c3", 2**62, 999_999))
