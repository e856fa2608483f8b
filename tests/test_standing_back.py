"""A replica that alone is cut off from the provider leaves its work; in an outage for all, nobody does."""

from __future__ import annotations

import pytest

from adapters.sql.executor import Store
from adapters.sql.store import SqlStore
from daemon.leases import Leases
from daemon.standing_back import ALERT, StandingBack
from machines.errors import Fenced
from machines.lease import CUT_OFF, FLEET, POLICY
from tests.test_api_stage import StillClock

FAILOVER = "fo_1"


class Ingest:
    has_left = False

    def stand_back(self, stands_back: bool) -> None:
        self.has_left = stands_back


class Replicas:
    def __init__(self, url: str, count: int) -> None:
        self.clock, self.store = StillClock(), Store(SqlStore(url), inline=True)
        self.store.is_shared = True
        self.leases = [Leases(self.store, self.clock, f"r{number}") for number in range(count)]
        self.ingests = [Ingest() for _ in range(count)]
        self.is_cut_off = [False] * count
        self.looks = [self._look(number) for number in range(count)]

    def _look(self, number: int) -> StandingBack:
        ingest, leases = self.ingests[number], self.leases[number]
        return StandingBack(self.store, leases, ingest, lambda: self.is_cut_off[number], self.clock)  # type: ignore[arg-type]

    async def start(self) -> None:
        """r0 does the fleet's jobs and works on a failover."""
        for number, leases in enumerate(self.leases):
            await leases.acquire(f"{POLICY}one:r{number}")
        await self.leases[0].acquire(FLEET)
        await self.leases[0].acquire(FAILOVER)
        await self.passes(10)

    async def passes(self, seconds: int, *living: int) -> list[str]:
        """The text of the alert, where it stands then."""
        for second in range(seconds):
            await self.clock.advance(1.0)
            for number in living or range(len(self.leases)):
                await self.leases[number].tend()
                if second % 5 == 0:
                    await self.looks[number].look()
        return [alert.text for alert in await self.store.transact(lambda tx: tx.open_alerts()) if alert.key == ALERT]

    async def lease_names(self) -> list[str]:
        return [one.name for one in await self.store.transact(lambda tx: tx.leases())]


async def test_one_that_alone_is_cut_off_leaves_its_work_and_is_told_of_until_it_is_back(database_url: str) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    r.is_cut_off[0] = True
    assert await r.passes(50) == []
    assert r.leases[0].holds(FAILOVER), "it may be back in a moment"
    [told] = await r.passes(40)
    assert "replica r0" in told
    assert r.leases[1].holds(FLEET)
    assert r.ingests[0].has_left
    assert not r.ingests[1].has_left
    with pytest.raises(Fenced):
        r.leases[0].require(FAILOVER)
    assert not r.leases[0].is_free(FAILOVER)
    assert not await r.leases[0].acquire(FAILOVER)
    taken = []
    assert await r.leases[1].acquire(FAILOVER, lambda tx, is_anothers: taken.append(is_anothers))
    assert taken == [True], "the fence must rise: calls of the former may still be under way"
    r.is_cut_off[0] = False
    assert await r.passes(10) == []
    assert not r.ingests[0].has_left
    assert await r.leases[0].acquire("fo_2")
    assert not any(name.startswith(CUT_OFF) for name in await r.lease_names())
    await r.store.close()


async def test_in_an_outage_for_all_nobody_leaves_anything_neither_when_it_begins_nor_when_it_ends(
    database_url: str,
) -> None:
    r = Replicas(database_url, 3)
    await r.start()
    for number in (0, 1, 2):  # Each sees it at another moment.
        r.is_cut_off[number] = True
        await r.passes(10)
    assert await r.passes(600) == [], "that is the alert provider-away"
    for number in (2, 1, 0):
        r.is_cut_off[number] = False
        await r.passes(14)
    assert not any(ingest.has_left for ingest in r.ingests)
    assert r.leases[0].holds(FLEET)
    assert r.leases[0].holds(FAILOVER)
    await r.store.close()


async def test_it_takes_its_work_back_where_the_others_are_gone(database_url: str) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    r.is_cut_off[0] = True
    await r.passes(90)
    assert r.ingests[0].has_left
    await r.passes(40, 0)
    assert not r.ingests[0].has_left
    assert r.leases[0].holds(FLEET)
    await r.store.close()


async def test_what_a_dead_replica_said_of_itself_is_forgotten(database_url: str) -> None:
    r = Replicas(database_url, 2)
    await r.start()
    r.is_cut_off[1] = True
    assert len(await r.passes(20)) == 1
    assert await r.passes(30, 0) == []
    assert not any(name.startswith(CUT_OFF) for name in await r.lease_names())
    await r.store.close()
