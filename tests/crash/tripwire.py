"""Stands between the daemon and all that it acts on, names every boundary that is passed, and kills at one of them.

A boundary is the moment before or after a commit that a failover makes, or before or after a call that changes something
outside. Reads change nothing: a crash around them is one between the commits beside them.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx

from adapters.sql.errors import StoreUnavailable
from machines.journal import Entry, Mark

T = TypeVar("T")
_COMMITS = ("AttemptJournal.append", "Loop.", "Sweep._pay", "Sweep._postpone", "Rearm.")
_READS = ("Loop.machine.", "Loop.load.")


class Tripwire:
    """One daemon's boundaries. `target` is the one to die at; None only looks."""

    def __init__(self, target: str | None = None) -> None:
        self.target = target
        self.points: dict[str, None] = {}
        self.tripped = asyncio.Event()
        self.is_armed = False
        """Only what comes after the machine's death is a boundary of its failover."""
        self._step = "before any step"

    @property
    def is_dead(self) -> bool:
        return self.tripped.is_set()

    async def around(self, name: str, call: Callable[[], Awaitable[T]]) -> T:
        await self._pass(f"before {name}")
        try:
            result = await call()
        except Exception:
            await self._pass(f"after {name} (it failed)")
            raise
        await self._pass(f"after {name}")
        return result

    async def _pass(self, point: str) -> None:
        """A process that was killed does nothing more: whoever stands here stays until the task is taken away."""
        if self.is_armed:
            self.points.setdefault(point)
            if point == self.target and not self.is_dead:
                self.tripped.set()
        if self.is_dead:
            await asyncio.Event().wait()

    # -- the store

    def guard_store(self, store: Any) -> None:
        plain = store.transact

        async def transact(work: Callable[[Any], Any]) -> Any:
            if self.is_dead:
                raise StoreUnavailable("the process was killed")
            name = self._commit_named(work)
            return await (plain(work) if name is None else self.around(name, lambda: plain(work)))

        store.transact = transact

    def _commit_named(self, work: Callable[[Any], Any]) -> str | None:
        place = work.__qualname__
        if not place.startswith(_COMMITS) or place.startswith(_READS):
            return None
        known = inspect.getclosurevars(work).nonlocals
        entry, signal = known.get("entry"), known.get("signal")
        if isinstance(entry, Entry):
            if entry.mark is Mark.STARTED:
                self._step = entry.step
            return f"commit: {entry.step} {entry.mark.value}"
        if signal is not None:
            # Signals of every kind reach machines that are in no failover, too.
            outcome = getattr(signal, "outcome", None)
            told = type(signal).__name__ + (f" {type(outcome).__name__}" if outcome is not None else "")
            return f"commit: {told}" if told not in ("Heard", "Due", "Probed", "Silenced", "Noticed") else None
        return f"commit: {place.replace('.<locals>', '').replace('.<lambda>', '').replace('.work', '')}"

    # -- the provider and the shell

    def transport(self, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Guarded(self, inner)

    def guard_shell(self, shell: Any) -> None:
        plain = shell.run

        async def run(*arguments: Any, **named: Any) -> Any:
            return await self.around(f"{self._step}: ssh", lambda: plain(*arguments, **named))

        shell.run = run

    def call_named(self, request: httpx.Request) -> str | None:
        if request.method == "GET" or request.url.path == "/api/v0/bundles/":
            return None
        path = re.sub(r"\d{2,}", "N", request.url.path)
        return f"{self._step}: {request.method} {path}"


class _Guarded(httpx.AsyncBaseTransport):
    def __init__(self, wire: Tripwire, inner: httpx.AsyncBaseTransport) -> None:
        self._wire, self._inner = wire, inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._wire.is_dead:
            raise httpx.ConnectError("the process was killed")
        name = self._wire.call_named(request)
        if name is None:
            return await self._inner.handle_async_request(request)
        return await self._wire.around(name, lambda: self._inner.handle_async_request(request))

    async def aclose(self) -> None:
        await self._inner.aclose()
