"""The provider's own bill: read whole or not at all, month by month, and each charge known by the machine that it was for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.server import SimServer, SimSettings
from adapters.vast import VastApi, VastBilling, VastSettings, vast_client
from daemon.bills import Bills
from machines.charges import Bill, Charge, Charged, month_before, month_of, span_of
from machines.errors import StepError, Unknown
from machines.model import InstanceId, MachineId
from tests.test_api_stage import BEGIN, Stage, stage
from tests.test_vast_provider import EvenRandom, VirtualClock, virtual

KEY = "k-123"


class Place:
    """A simulated provider, and the adapter that reads its bill."""

    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = SimServer(SimSettings(seed=7, api_key=KEY, has_bodies=False), self.clock)
        client = vast_client(KEY, "http://vast.test", transport=httpx.ASGITransport(self.server.app))
        self.billing = VastBilling(VastApi(client, self.clock, EvenRandom(), VastSettings()))

    @property
    def ledger(self) -> Any:
        return self.server.world.ledger

    def break_it(self, kind: FaultKind, count: int, **more: Any) -> None:
        self.server.world.faults.order(Fault(kind, "list_charges", count=count, **more), self.clock.now(), None)


def by_thing(bill: Bill) -> dict[tuple[str, int], float]:
    return {(charge.what.value, charge.id): charge.amount for charge in bill.charges}


@virtual
async def test_a_bill_of_many_pages_is_read_whole() -> None:
    place = Place()
    began = place.clock.now()
    for number in range(1, 251):
        place.ledger.set_rate("gpu", number, 3600.0, began)
        place.ledger.set_rate("storage", number, 360.0, began)
    place.ledger.set_rate("volume", 900, 36.0, began)
    place.ledger.set_rate("vm", 901, 36.0, began)
    for number in range(1, 251):
        place.ledger.set_rate("gpu", number, 0.0, began + timedelta(seconds=1))
        place.ledger.set_rate("storage", number, 0.0, began + timedelta(seconds=1))
    await place.clock.sleep(60)
    place.ledger.set_rate("volume", 900, 0.0, began + timedelta(seconds=1))
    found = by_thing(await place.billing.bill(month_of(began)))
    assert len(found) == 251
    assert found["volume", 900] == pytest.approx(0.01)
    assert {round(cost, 6) for (what, _), cost in found.items() if what == "instance"} == {1.1}


@virtual
async def test_a_month_has_what_fell_into_it() -> None:
    place = Place()
    month = month_of(place.clock.now())
    _, following = span_of(month)
    place.ledger.set_rate("gpu", 7, 1.0, following - timedelta(hours=2))
    place.ledger.set_rate("gpu", 7, 0.0, following + timedelta(hours=3))
    place.server.world.now = following + timedelta(hours=4)
    ledger = place.ledger
    assert ledger.charges(*span_of(month))["instance", 7] == pytest.approx(2.0)
    assert ledger.charges(*span_of(month_of(following)))["instance", 7] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (FaultKind.STATUS, {"status": 500}),
        (FaultKind.STATUS, {"status": 429}),
        (FaultKind.MALFORMED, {}),
        (FaultKind.TIMEOUT_BEFORE, {}),
        (FaultKind.EMPTY_LIST, {}),
        (FaultKind.PARTIAL_LIST, {}),
        (FaultKind.AUTH_ERROR, {}),
    ],
)
@virtual
async def test_a_bill_that_does_not_come_is_unknown_and_never_nothing(kind: FaultKind, more: dict[str, Any]) -> None:
    place = Place()
    for number in (7, 8, 9):
        place.ledger.set_rate("gpu", number, 1.0, place.clock.now())
    await place.clock.sleep(3600)
    place.break_it(kind, 50, **more)
    with pytest.raises(StepError):
        await place.billing.bill(month_of(place.clock.now()))


@pytest.mark.parametrize(
    "row",
    [
        {"type": "instance", "source": "instance-x", "amount": 1.0},
        {"type": "instance", "source": "instance-7", "amount": None},
        {"type": "serverless", "source": "endpoint-7", "amount": 1.0},
        "nothing",
    ],
)
@virtual
async def test_a_charge_in_a_form_that_we_do_not_know_makes_the_bill_unknown(row: object) -> None:
    answer = httpx.Response(200, json={"results": [row], "count": 1, "total": 1, "next_token": None})
    client = vast_client(KEY, "http://vast.test", transport=httpx.MockTransport(lambda _: answer))
    billing = VastBilling(VastApi(client, VirtualClock(), EvenRandom(), VastSettings()))
    with pytest.raises(Unknown):
        await billing.bill("2026-11")


def test_months_follow_one_another() -> None:
    assert month_before("2026-01") == "2025-12"
    assert month_before("2026-11") == "2026-10"
    assert span_of("2026-12") == (datetime(2026, 12, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


class Provider:
    """The provider's bills of a test, by month."""

    def __init__(self, **months: Bill | StepError) -> None:
        self.months = {name.replace("m", "").replace("_", "-"): bill for name, bill in months.items()}
        self.asked: list[str] = []

    async def bill(self, month: str) -> Bill:
        self.asked.append(month)
        found = self.months.get(month, Bill(month, ()))
        if isinstance(found, StepError):
            raise found
        return found


def bill(month: str, *charges: tuple[int, float]) -> Bill:
    return Bill(month, tuple(Charge(Charged.INSTANCE, number, amount) for number, amount in charges))


async def told(s: Stage, **parameters: str) -> Any:
    answer = await s.http.get("/api/v1/costs", params=parameters)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_each_machine_is_told_what_it_has_cost_and_what_nobody_knows_stands_apart() -> None:
    async with stage() as s:
        month = month_of(s.clock.now())
        await s.machine()
        await s.store.transact(lambda tx: tx.note_rental(InstanceId(5), MachineId(123), None, BEGIN))
        provider = Provider()
        provider.months[month] = bill(month, (456789, 2.0), (5, 0.25), (77, 0.5))
        await Bills(s.store, provider, s.clock).read()
        found = await told(s)
        assert found["machines"] == [{"machine_id": 123, "cost": 2.25, "things": 2}]
        assert (found["unexplained"], found["total"], found["age_seconds"]) == (0.5, 2.75, 0.0)


async def test_what_a_machine_has_cost_outlives_it() -> None:
    async with stage() as s:
        month = month_of(s.clock.now())
        await s.machine()
        provider = Provider()
        provider.months[month] = bill(month, (456789, 2.0))
        bills = Bills(s.store, provider, s.clock)
        await bills.read()
        await s.store.transact(lambda tx: tx.remove_machine(MachineId(123)))
        provider.months[month] = bill(month, (456789, 3.0))
        await bills.read()
        assert (await told(s))["machines"] == [{"machine_id": 123, "cost": 3.0, "things": 1}]


async def test_an_outage_leaves_what_was_known_with_its_age() -> None:
    async with stage() as s:
        month = month_of(s.clock.now())
        provider = Provider()
        provider.months[month] = bill(month, (1, 2.0))
        bills = Bills(s.store, provider, s.clock)
        await bills.read()
        await s.clock.advance(600)
        provider.months[month] = Unknown("no answer")
        await bills.read()
        found = await told(s)
        assert (found["total"], found["age_seconds"]) == (2.0, 600.0)


async def test_what_stood_on_the_bill_is_not_forgotten_by_a_shorter_one() -> None:
    async with stage() as s:
        month = month_of(s.clock.now())
        provider = Provider()
        provider.months[month] = bill(month, (1, 2.0), (2, 1.0))
        bills = Bills(s.store, provider, s.clock)
        await bills.read()
        provider.months[month] = bill(month, (1, 2.5))
        await bills.read()
        assert (await told(s))["total"] == 3.5


async def test_a_month_that_has_ended_is_read_once_more() -> None:
    async with stage() as s:
        first = month_of(s.clock.now())
        provider = Provider()
        provider.months[first] = bill(first, (1, 2.0))
        bills = Bills(s.store, provider, s.clock)
        await bills.read()
        _, following = span_of(first)
        await s.clock.advance((following - s.clock.now()).total_seconds() + 60)
        second = month_of(s.clock.now())
        provider.months |= {first: bill(first, (1, 2.5)), second: bill(second, (1, 0.1))}
        await bills.read()
        await bills.read()
        assert provider.asked == [first, first, second, second]
        assert (await told(s, since=first))["total"] == 2.6
        assert (await told(s))["total"] == 0.1


async def test_a_month_that_is_none_is_refused_with_its_field() -> None:
    async with stage() as s:
        answer = await s.http.get("/api/v1/costs", params={"since": "2026-13"})
        assert answer.status_code == 400
        assert answer.json()["field"] == "since"
