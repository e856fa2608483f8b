"""The store's asynchronous face: one writer thread, or none at all where a simulation must be deterministic."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from adapters.sql.errors import StoreUnavailable
from adapters.sql.store import SqlStore
from adapters.sql.tx import Tx

T = TypeVar("T")


class Store:
    """One transaction after the other, in the order in which they were asked for."""

    def __init__(self, sql: SqlStore, inline: bool = False) -> None:
        """`inline` runs the work in the caller's thread. The store owns `sql` and closes it."""
        self._sql = sql
        self._writer = None if inline else ThreadPoolExecutor(1, thread_name_prefix="store")
        self._is_closed = False
        self.is_shared = sql.is_shared
        """Other replicas may write to this database."""
        self.on_end: Callable[[StoreUnavailable | None], None] = lambda error: None
        """Told of every transaction's end: None is one that was answered."""
        self.failures = 0
        """Transactions that were not answered; some of them may have been made all the same."""

    async def transact(self, work: Callable[[Tx], T]) -> T:
        """Run the work in one transaction and return what it gives. Raise StoreUnavailable, and what the work raises.

        A caller that is cancelled meanwhile leaves no half transaction: work that has begun is finished on the
        thread (and committed), work still waiting for the thread may be left out.
        """
        if self._is_closed:
            raise StoreUnavailable("the store is closed")
        try:
            result = await self._transact(work)
        except StoreUnavailable as error:
            self.failures += 1
            self.on_end(error)
            raise
        self.on_end(None)
        return result

    async def _transact(self, work: Callable[[Tx], T]) -> T:
        return await self._run(lambda: self._sql.transact(work))

    async def close(self) -> None:
        """After the transactions that were asked for before. Closing twice is allowed."""
        if self._is_closed:
            return
        self._is_closed = True
        await self._run(self._sql.close)
        if self._writer is not None:
            self._writer.shutdown()

    async def _run(self, job: Callable[[], T]) -> T:
        if self._writer is None:
            return job()
        return await asyncio.get_running_loop().run_in_executor(self._writer, job)
