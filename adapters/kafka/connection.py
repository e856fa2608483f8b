"""A client of the broker that is always there or being made: what lets the log outlive its broker."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

from aiokafka.errors import KafkaError

from machines.errors import LogUnavailable
from machines.ports import Clock

C = TypeVar("C")

FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 5.0
CLOSE_LIMIT_S = 5.0

OUTAGES = (KafkaError, OSError)
"""What a broker that is away looks like; OSError covers DNS and time-outs. Anything else is a bug and propagates."""


class Connection(Generic[C]):
    """Makes a client in the background, with growing pauses, until one is there; and again when it is discarded."""

    def __init__(
        self, connect: Callable[[], Awaitable[C]], close: Callable[[C], Awaitable[None]], clock: Clock
    ) -> None:
        self._connect = connect
        self._close = close
        self._clock = clock
        self._making: asyncio.Task[C] | None = None
        self._closing: set[asyncio.Task[None]] = set()
        self._why = "not started"

    def start(self) -> None:
        if self._making is None:
            self._why = "connecting"
            self._making = asyncio.create_task(self._make(pause=0.0))

    async def client(self, seconds: float) -> C:
        """The client, waiting so many real seconds for it. Raise LogUnavailable with the latest reason."""
        making = self._making
        if making is None:
            raise LogUnavailable(self._why)
        try:
            return await self._clock.wait_for(asyncio.shield(making), self._clock.real(seconds))
        except TimeoutError:
            raise LogUnavailable(self._why) from None

    def present(self) -> C | None:
        """The client, if there is one at this moment."""
        making = self._making
        if making is None or not making.done() or making.cancelled() or making.exception() is not None:
            return None
        return making.result()

    def discard(self, client: C, why: str) -> None:
        """Close this client and begin to make another; one that was discarded before is ignored."""
        if self.present() is client:
            self._why = why
            self._close_later(client)
            self._making = asyncio.create_task(self._make(pause=FIRST_PAUSE_S))

    async def stop(self) -> None:
        """Close everything; a broker that is away delays this by a few seconds at most."""
        client, making, self._making = self.present(), self._making, None
        self._why = "stopped"
        if client is not None:
            self._close_later(client)
        elif making is not None:
            making.cancel()
            await asyncio.wait([making])
        if self._closing:
            _, late = await asyncio.wait(self._closing, timeout=CLOSE_LIMIT_S)
            for task in late:
                task.cancel()

    async def _make(self, pause: float) -> C:
        while True:
            await self._clock.sleep(self._clock.real(pause))
            try:
                return await self._connect()
            except OUTAGES as error:
                self._why = str(error) or type(error).__name__
                pause = min(max(FIRST_PAUSE_S, 2 * pause), LONGEST_PAUSE_S)

    def _close_later(self, client: C) -> None:
        task = asyncio.create_task(self._close_quietly(client))
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def _close_quietly(self, client: C) -> None:
        try:
            await self._close(client)
        except OUTAGES:
            pass  # it is closed all the same; there was nobody to say goodbye to
