"""Which replica's sight ends the alert: the last one's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from adapters.sql import SqlStore, Store
from daemon.blindness import ALERT, Blindness
from daemon.leases import Leases
from machines.lease import BLIND, LeaseTimes
from tests.test_api_stage import StillClock, settle


@dataclass
class Replicas:
    """All on one store, under one clock."""

    store: Store
    clock: StillClock
    leases: tuple[Leases, ...]
    blindness: tuple[Blindness, ...]

    async def alerts(self) -> list[str]:
        return [alert.key for alert in await self.store.transact(lambda tx: tx.open_alerts())]

    async def passes(self, seconds: int, living: tuple[int, ...]) -> None:
        for _ in range(seconds):
            await self.clock.advance(1.0)
            for number in living:
                await self.leases[number].tend()


@asynccontextmanager
async def replicas(url: str, count: int = 2) -> AsyncIterator[Replicas]:
    clock, store = StillClock(), Store(SqlStore(url), inline=True)
    store.is_shared = True
    leases = tuple(Leases(store, clock, f"r{number}", LeaseTimes()) for number in range(count))
    yield Replicas(store, clock, leases, tuple(Blindness(store, clock, one) for one in leases))
    for task in asyncio.all_tasks() - {asyncio.current_task()}:
        task.cancel()
    await store.close()


async def test_one_that_sees_does_not_close_the_alert_of_one_that_is_blind(database_url: str) -> None:
    """It was one key for all, and whoever saw first said that all was well."""
    async with replicas(database_url) as r:
        await r.passes(1, (0, 1))
        await r.blindness[0].tell((0,), "no ticks")
        await r.blindness[1].tell((1,), "no ticks")
        assert await r.alerts() == [ALERT], "one alert, and not one a replica"
        await r.blindness[0].tell((), None)
        await r.passes(30, (0, 1))
        assert await r.alerts() == [ALERT]
        await r.blindness[1].tell((), None)
        assert await r.alerts() == []


async def test_one_that_died_blind_keeps_no_alert_open(database_url: str) -> None:
    async with replicas(database_url) as r:
        await r.passes(1, (0, 1))
        await r.blindness[0].tell((0,), "no ticks")
        await r.blindness[1].tell((1,), "no ticks")
        await r.passes(3, (0,))
        await r.blindness[0].tell((), None)
        assert await r.alerts() == [ALERT]
        await r.passes(20, (0,))
        await settle()
        assert await r.alerts() == []
        leases = await r.store.transact(lambda tx: tx.leases())
        assert not [one for one in leases if one.name.startswith(BLIND)]


async def test_whoever_goes_blind_again_while_it_waits_for_the_others_has_its_alert(database_url: str) -> None:
    async with replicas(database_url) as r:
        await r.passes(1, (0, 1))
        await r.blindness[1].tell((1,), "no ticks")
        await r.blindness[0].tell((0,), "no ticks")
        await r.blindness[0].tell((), None)
        await r.blindness[0].tell((0,), "a gap")
        await r.blindness[1].tell((), None)
        await r.passes(20, (0, 1))
        assert await r.alerts() == [ALERT]
        await r.blindness[0].tell((), None)
        assert await r.alerts() == []
