"""Replicas that go by different files are told of; whose file counts is the one that does the fleet's jobs."""

from __future__ import annotations

from adapters.sql.executor import Store
from adapters.sql.store import SqlStore
from daemon.leases import Leases
from daemon.policy_book import PolicyBook
from daemon.same_policy import ALERT, SamePolicy
from daemon.settings import PolicySection
from machines.lease import POLICY
from tests.test_api_stage import StillClock


class Replicas:
    def __init__(self, url: str, *files: PolicySection) -> None:
        self.clock, self.store = StillClock(), Store(SqlStore(url), inline=True)
        self.store.is_shared = True
        self.books = [PolicyBook(file) for file in files]
        self.leases = [Leases(self.store, self.clock, f"r{number}") for number in range(len(files))]
        self.looks = [
            SamePolicy(self.store, leases, book, self.clock)
            for leases, book in zip(self.leases, self.books, strict=True)
        ]

    async def passes(self, seconds: int, *living: int) -> list[str]:
        for second in range(seconds):
            await self.clock.advance(1.0)
            for number in living:
                await self.leases[number].tend()
                if second % 10 == 0:
                    await self.looks[number].look()
        return [alert.text for alert in await self.store.transact(lambda tx: tx.open_alerts()) if alert.key == ALERT]


async def test_replicas_with_different_files_are_told_of_until_they_have_the_same(database_url: str) -> None:
    r = Replicas(database_url, PolicySection(), PolicySection(auto_failover="off"))
    [text] = await r.passes(22, 0, 1)
    assert "replicas r1 go by another `policy`" in text
    r.books[1].configure(PolicySection())
    assert await r.passes(22, 0, 1) == []
    await r.store.close()


async def test_one_that_is_gone_differs_from_nobody(database_url: str) -> None:
    r = Replicas(database_url, PolicySection(), PolicySection(max_concurrent=2))
    assert len(await r.passes(22, 0, 1)) == 1
    assert await r.passes(35, 0) == []
    leases = await r.store.transact(lambda tx: tx.leases())
    assert [one.holder for one in leases if one.name.startswith(POLICY)] == ["r0"]
    await r.store.close()


async def test_the_same_file_is_no_difference(database_url: str) -> None:
    r = Replicas(database_url, PolicySection(max_concurrent=2), PolicySection(max_concurrent=2))
    assert await r.passes(22, 0, 1) == []
    await r.store.close()
