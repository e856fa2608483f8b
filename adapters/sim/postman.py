"""Carries the world's webhook letters over HTTP: ten seconds each, no redirects (facts/vast-api.md 12)."""

import asyncio
from collections.abc import Callable, Iterable

import httpx

from adapters.sim.webhooks import Letter

TIMEOUT_SECONDS = 10.0


class Postman:
    """Letters travel beside one another; how each went is told."""

    def __init__(self, came_back: Callable[[Letter, int | None], None]) -> None:
        self._came_back = came_back
        self._client: httpx.AsyncClient | None = None
        self._under_way: set[asyncio.Task[None]] = set()

    def carry(self, letters: Iterable[Letter]) -> None:
        for letter in letters:
            task = asyncio.create_task(self._carry(letter))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def close(self) -> None:
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)
        if self._client is not None:
            await self._client.aclose()
            self._client = None

    async def _carry(self, letter: Letter) -> None:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_SECONDS, trust_env=False)
        try:
            answer = await self._client.post(letter.url, content=letter.body, headers=dict(letter.headers))
        except httpx.HTTPError:
            self._came_back(letter, None)
        else:
            self._came_back(letter, answer.status_code)
