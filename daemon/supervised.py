"""Keeps systemd informed of one daemon: a sign of life from its control loop, and one line on how it stands."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from daemon.loop import Loop
from daemon.sd_notify import SystemdNotify
from machines.admission import Pause
from machines.ports import Clock

_STATUS_EVERY_S = 10.0
_SIGNS_IN_A_WATCHDOG = 10
"""So many signs of life in the time after which systemd gives up: one turn may take nine tenths of it."""


class Sight(Protocol):
    """Whether silence can be judged now; `daemon.ingest.Ingest` fits."""

    @property
    def blindness(self) -> str | None: ...


class Supervised:
    """A loop that stands still sends nothing, and is killed; what the world around it does is no reason for that."""

    def __init__(self, notify: SystemdNotify, loop: Loop, sight: Sight, store: Store, clock: Clock) -> None:
        self._notify = notify
        self._loop = loop
        self._sight = sight
        self._store = store
        self._clock = clock
        self._every_s = clock.real((notify.watchdog_s or _STATUS_EVERY_S) / _SIGNS_IN_A_WATCHDOG)
        self._sign_due = clock.monotonic()
        self._serves = False
        self._tasks: tuple[asyncio.Task[None], ...] = ()

    def ready(self) -> None:
        """The daemon serves. From now on the loop feeds the watchdog."""
        self._serves = True
        self._notify.ready("serving")
        if self._notify.address is None:
            return
        self._tasks = (asyncio.create_task(self._tell(), name="status for systemd"),)
        if self._notify.watchdog_s is not None:
            self._loop.on_turn = self._turned
            self._tasks += (asyncio.create_task(self._turn(), name="turns of an idle loop"),)

    @contextmanager
    def reloading(self) -> Iterator[None]:
        """Around a reload. One that comes before the daemon serves is not told: its end would read as ready."""
        if not self._serves:
            yield
            return
        with self._notify.reloading():
            yield

    def stopping(self, within_s: float) -> None:
        """`within_s`: real seconds after which the process ends, whatever hangs."""
        for task in self._tasks:
            task.cancel()
        self._notify.stopping("leaving: what runs is written down and goes on after the next start", within_s)

    async def _tell(self) -> None:
        while True:
            self._notify.status(await self._standing())
            await self._clock.sleep(self._clock.real(_STATUS_EVERY_S))

    async def _turn(self) -> None:
        while True:
            self._loop.turn()
            await self._clock.sleep(self._every_s)

    def _turned(self) -> None:
        """Called by the loop itself, after each of its turns."""
        now = self._clock.monotonic()
        if now >= self._sign_due:
            self._sign_due = now + self._every_s
            self._notify.alive()

    async def _standing(self) -> str:
        machines = self._loop.machines()
        running = sum(machine.failover is not None for machine in machines)
        words = [f"{len(machines)} machines", f"{running} failovers running"]
        blind = self._sight.blindness
        if blind is not None:
            words.append(f"BLIND, no silence is trusted: {blind}")
        paused = await self._paused()
        if paused is not None:
            words.append(paused)
        return "; ".join(words)

    async def _paused(self) -> str | None:
        try:
            pause, can_be_read = await self._store.transact(lambda tx: tx.readable_pause())
        except StoreUnavailable:
            return "the database does not answer"
        if not can_be_read:
            return "PAUSED, because the pause cannot be read"
        return None if pause is None or pause.until <= self._clock.now() else _of(pause)


def _of(pause: Pause) -> str:
    return f"PAUSED until {pause.until:%Y-%m-%d %H:%M} UTC by {pause.by}: {pause.reason}"
