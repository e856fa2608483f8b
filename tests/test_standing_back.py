"""A replica that alone is cut off from the provider leaves its work; in an outage for all, nobody does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.store import SqlStore
from adapters.sql.tx import Tx
from adapters.vast import Circuit
from adapters.vast.settings import LIST
from daemon.leases import Leases
from daemon.standing_back import ALERT, StandingBack
from machines.errors import Fenced, Unknown
from machines.lease import ANSWERED, BLIND, FLEET, STANDS_BACK
from tests.test_api_stage import StillClock

FAILOVER = "fo_1"
Answers = Callable[[int], bool]


class Ingest:
    has_left = False

    def stand_back(self, stands_back: bool) -> None:
        self.has_left = stands_back


class Replica:
    def __init__(self, store: Store, clock: StillClock, number: int) -> None:
        self.leases, self.ingest, self.circuit = Leases(store, clock, f"r{number}"), Ingest(), Circuit(clock)
        self.standing_back = StandingBack(store, self.leases, self.ingest, self.circuit, clock, 30.0)  # type: ignore[arg-type]

    def asks(self, is_answered: bool) -> None:
        """As the listing does, every now and then."""
        if is_answered:
            self.circuit.answered()
        else:
            self.circuit.failed(LIST, Unknown("no route"))


class Replicas:
    def __init__(self, url: str, count: int) -> None:
        self.clock, self.store = StillClock(), Store(SqlStore(url), inline=True)
        self.store.is_shared = True
        self.all = [Replica(self.store, self.clock, number) for number in range(count)]
        self.second = 0

    async def start(self) -> None:
        """r0 does the fleet's jobs and works on a failover."""
        await self.all[0].leases.acquire(FLEET)
        await self.all[0].leases.acquire(FAILOVER)
        await self.passes(70, lambda number: True)

    async def passes(self, seconds: int, answers: Answers, *living: int) -> list[str]:
        """What the alert said in that time, each text once."""
        told: dict[str, None] = {}
        for _ in range(seconds):
            self.second += 1
            await self.clock.advance(1.0)
            for number in living or range(len(self.all)):
                await self._turn(self.all[number], answers(number))
            told |= dict.fromkeys(await self.standing())
        return list(told)

    async def standing(self) -> list[str]:
        alerts = await self.store.transact(lambda tx: tx.open_alerts())
        return [alert.text for alert in alerts if alert.key == ALERT]

    async def _turn(self, one: Replica, is_answered: bool) -> None:
        await one.leases.tend()
        if self.second % 3 == 0:
            one.asks(is_answered)
        if self.second % 5 == 0:
            await one.standing_back.look()
        if self.second % 30 == 0 and one.leases.holds(FLEET):
            await one.standing_back.tell()

    async def lease_names(self) -> list[str]:
        return [one.name for one in await self.store.transact(lambda tx: tx.leases())]


async def test_one_that_alone_is_cut_off_leaves_its_work_and_is_told_of_until_it_is_back(database_url: str) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    alone, other = r.all
    assert await r.passes(120, lambda number: number == 1) == []
    assert alone.leases.holds(FAILOVER), "it may be back in a moment"
    [told] = await r.passes(80, lambda number: number == 1)
    assert "replica r0" in told
    assert other.leases.holds(FLEET)
    assert (alone.ingest.has_left, other.ingest.has_left) == (True, False)
    with pytest.raises(Fenced):
        alone.leases.require(FAILOVER)
    assert not alone.leases.is_free(FAILOVER)
    assert not await alone.leases.acquire(FAILOVER)
    taken: list[bool] = []
    assert await other.leases.acquire(FAILOVER, lambda tx, is_anothers: taken.append(is_anothers))
    assert taken == [True], "the fence must rise: calls of the former may still be under way"
    await r.passes(50, lambda number: True)
    assert alone.ingest.has_left, "a way that opens for moments is none"
    await r.passes(60, lambda number: True)
    assert not alone.ingest.has_left
    assert await alone.leases.acquire("fo_2")
    assert not any(name.startswith(STANDS_BACK) for name in await r.lease_names())
    assert await r.standing() == []
    await r.store.close()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
async def test_in_an_outage_for_all_nobody_leaves_anything_neither_when_it_begins_nor_when_it_ends(
    database_url: str, order: tuple[int, ...]
) -> None:
    """Each meets it, and its end, at another moment: where calls hang, a minute may lie between."""
    r = Replicas(database_url, 3)
    await r.start()
    out: set[int] = set()
    for number in order:
        out.add(number)
        assert await r.passes(25 if number != order[-1] else 600, lambda one: one not in out) == []
    for number in order:
        out.discard(number)
        assert await r.passes(25, lambda one: one not in out) == []
    assert not any(one.ingest.has_left for one in r.all)
    assert r.all[0].leases.holds(FLEET)
    assert r.all[0].leases.holds(FAILOVER)
    await r.store.close()


async def test_one_that_began_in_the_outage_and_was_never_answered_is_nobody_to_leave_work_to(
    database_url: str,
) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    await r.passes(100, lambda number: False)
    r.all[1] = Replica(r.store, r.clock, 2)
    assert await r.passes(200, lambda number: False) == []
    assert r.all[0].leases.holds(FAILOVER)
    await r.store.close()


async def test_it_takes_its_work_back_where_the_others_are_gone(database_url: str) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    await r.passes(180, lambda number: number == 1)
    assert r.all[0].ingest.has_left
    await r.passes(40, lambda number: False, 0)
    assert not r.all[0].ingest.has_left
    assert r.all[0].leases.holds(FLEET)
    await r.store.close()


async def test_partitions_are_left_only_to_one_that_hears(database_url: str) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    await r.all[1].leases.acquire(f"{BLIND}r1")
    await r.passes(180, lambda number: number == 1)
    assert not r.all[0].ingest.has_left
    assert not r.all[0].leases.holds(FAILOVER), "its failovers can go on there"
    await r.store.close()


async def test_what_could_not_be_looked_at_did_not_last(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    await r.passes(120, lambda number: number == 1)

    async def is_away(work: Callable[[Tx], object]) -> object:
        raise StoreUnavailable("away")

    with monkeypatch.context() as patched:
        patched.setattr(r.store, "transact", is_away)
        await r.clock.advance(300)
        with pytest.raises(StoreUnavailable):
            await r.all[0].standing_back.look()
    await r.passes(50, lambda number: number == 1)
    assert not r.all[0].ingest.has_left
    await r.store.close()


async def test_what_a_dead_replica_said_of_itself_is_forgotten(database_url: str) -> None:
    r = Replicas(database_url, 3)
    await r.start()
    assert len(await r.passes(200, lambda number: number != 1)) == 1
    await r.passes(60, lambda number: True, 0, 2)
    assert await r.standing() == []
    assert not any(name.startswith(STANDS_BACK) for name in await r.lease_names())
    assert f"{ANSWERED}r0" in await r.lease_names()
    await r.store.close()


async def test_a_renewal_under_way_believes_no_lease_that_is_left_meanwhile(database_url: str) -> None:
    r = Replicas(database_url, 1)
    leases, transact = r.all[0].leases, r.store.transact
    await leases.acquire(FLEET)

    async def leaves_meanwhile(work: Callable[[Tx], object]) -> object:
        found = await transact(work)
        leases.stand_back(True)
        return found

    r.store.transact = leaves_meanwhile  # type: ignore[method-assign,assignment]
    await leases.tend()
    assert not leases.holds(FLEET)
    leases.stand_back(False)
    assert not await leases.acquire(FAILOVER)
    assert not leases.holds(FAILOVER)
    await r.store.close()
