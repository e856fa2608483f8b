"""One replica's face of the shared store: work is done inline, in weather, and every commit is watched."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.store import SqlStore
from adapters.sql.tx import Tx
from machines.ports import Clock, Random

T = TypeVar("T")

_GIVES_UP_S = 1.0


class StoreWeather:
    """What is wrong with the database, for one replica or for all."""

    def __init__(self) -> None:
        self.is_down = False
        self.slow_s = 0.0
        """The longest that a transaction waits for its turn."""
        self.loses_replies = 0.0
        """The share of commits whose answer does not arrive."""


class SimStore(Store):
    """Many of them share one SqlStore, which outlives them all."""

    def __init__(
        self,
        sql: SqlStore,
        clock: Clock,
        random: Random,
        weathers: tuple[StoreWeather, ...],
        is_shared: bool,
        on_commit: Callable[[str], None],
    ) -> None:
        super().__init__(sql, inline=True)
        self.is_shared = is_shared
        self._clock, self._random, self._weathers, self._on_commit = clock, random, weathers, on_commit

    async def _transact(self, work: Callable[[Tx], T]) -> T:
        await self._wait_for_its_turn()
        result = await super()._transact(work)
        self._on_commit(work.__qualname__)
        lost = max(weather.loses_replies for weather in self._weathers)
        if lost > 0 and self._random.jitter() < lost:
            raise StoreUnavailable("the commit's answer was lost")
        return result

    async def _wait_for_its_turn(self) -> None:
        slow = max(weather.slow_s for weather in self._weathers)
        if slow > 0:
            await self._clock.sleep(slow * self._random.jitter())
        else:
            await self._clock.breathe()
        if any(weather.is_down for weather in self._weathers):
            await self._clock.sleep(_GIVES_UP_S)
            raise StoreUnavailable("the database does not answer")

    async def close(self) -> None:
        """The database stays."""
        self._is_closed = True

    async def _run(self, job: Callable[[], Any]) -> Any:
        return job()
