"""Stands between the daemon and all that it acts on, names every boundary that is passed, and kills at one of them.

A boundary is the moment before or after a commit that a failover makes, or before or after a call that changes something
outside. Reads change nothing: a crash around them is one between the commits beside them. What comes by time (a lease's
renewal, a publication, a look at a suspect) is no failover's commit.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, TypeVar

import httpx

from adapters.sql.errors import StoreUnavailable
from daemon.lifecycle import Daemon
from machines.journal import WHOLE_STEP, Entry, Mark
from machines.lease import BLIND, FLEET
from machines.saga import Run, Undo

T = TypeVar("T")
_COMMITS = (
    "AttemptJournal.append",
    "Leases.acquire.",
    "Loop.",
    "Sweep._begin",
    "Sweep._pay",
    "Sweep._postpone",
    "Sweep._owe",
    "Rearm.",
    "RentedAhead.",
    "WarmPools.",
    "PoolPlaces.",
    "VolumeClaims.",
    "VolumeCopies.",
    "VolumeDebts.",
    "Replicas._owe_copy",
)
LOOK = "Runner._look."
_READS = (
    *("Loop.machine.", "Loop.load.", "Loop.catch_up."),
    *("Rearm.settle.", "WarmPools.settle.", "PoolPlaces.find.", "VolumeClaims.row_of.", "VolumeClaims._told_apart."),
)
_NO_FAILOVERS = ("Loop._register_stranger", "Loop._post_letters")
_BY_TIME = ("Heard", "Due", "Probed", "Silenced", "Noticed")
"""Signals that reach machines in no failover, too."""
DOING: ContextVar[str] = ContextVar("doing", default="beside the failover")
"""The step or the debt that the calling task works on: what runs side by side must not lend each other names."""


class Tripwire:
    """One daemon's boundaries. `target` is the one to die at; None only looks."""

    def __init__(self, target: str | None = None, is_armed: bool = False) -> None:
        self.target = target
        self.points: dict[str, None] = {}
        self.tripped = asyncio.Event()
        self.is_armed = is_armed
        """Only what comes after the machine's death is a boundary of its failover."""
        self._never = asyncio.Event()
        """Held here, so that nobody who waits for it is collected meanwhile."""
        self._calls: set[asyncio.Task[httpx.Response]] = set()

    @property
    def is_dead(self) -> bool:
        return self.tripped.is_set()

    def guard(self, daemon: Daemon) -> None:
        self._guard_store(daemon.store)
        self._guard_shell(daemon.runner.outside.shell)
        self._guard_debts(daemon.sweep)

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
            await self._never.wait()

    # -- the store

    def _guard_store(self, store: Any) -> None:
        plain = store.transact

        async def transact(work: Callable[[Any], Any]) -> Any:
            if self.is_dead:
                raise StoreUnavailable("the process was killed")
            name = commit_named(work)
            done = await (plain(work) if name is None else self.around(f"commit: {name}", lambda: plain(work)))
            if work.__qualname__.startswith(LOOK):
                follow(*done)
            return done

        store.transact = transact

    def _guard_debts(self, sweep: Any) -> None:
        plain = sweep._pay

        async def pay(debt: Any) -> None:
            DOING.set(f"debt {debt.kind.value}")
            await plain(debt)

        sweep._pay = pay

    # -- the provider and the shell

    def transport(self, inner: httpx.AsyncBaseTransport) -> httpx.AsyncBaseTransport:
        return _Guarded(self, inner)

    def _guard_shell(self, shell: Any) -> None:
        plain = shell.run

        async def run(*arguments: Any, **named: Any) -> Any:
            return await self.around(f"{DOING.get()}: ssh", lambda: plain(*arguments, **named))

        shell.run = run

    async def send(self, call: Callable[[], Awaitable[httpx.Response]]) -> httpx.Response:
        """What has left the process is not called back by its death."""
        task = asyncio.ensure_future(call())
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)
        return await asyncio.shield(task)

    async def settle(self) -> None:
        """Until the provider is through with what a dead daemon asked of it."""
        await asyncio.gather(*self._calls, return_exceptions=True)


def commit_named(work: Callable[[Any], Any]) -> str | None:
    """The name of a failover's commit; None for every other transaction."""
    place = work.__qualname__
    if place.startswith(LOOK):
        return _look_named(inspect.getclosurevars(work).nonlocals["before"])
    if not place.startswith(_COMMITS) or place.startswith(_READS + _NO_FAILOVERS):
        return None
    known = inspect.getclosurevars(work).nonlocals
    entry, signal = known.get("entry"), known.get("signal")
    if isinstance(entry, Entry):
        return _entry_named(entry, known["running"].rung.value)
    if signal is not None:
        return _signal_named(signal)
    if place.startswith("Leases."):
        name = str(known.get("name"))
        return None if name == FLEET or name.startswith(BLIND) else "lease of the failover"
    plain = place.replace(".<locals>", "").replace(".<lambda>", "").replace(".work", "")
    return f"{DOING.get()}: {plain}"


def _look_named(before: Any) -> str:
    """By what was written last: what the look begins, only its transaction knows."""
    if before is None or not before.entries:
        return "the first move of an attempt"
    return f"the move after {_entry_named(before.entries[-1], before.running.rung.value)}"


def follow(_machine: object, look: Any, move: object) -> None:
    """What the look has begun is what the task works on now."""
    if isinstance(move, Run | Undo):
        one = f"{look.running.rung.value}.{move.step.name}"
        DOING.set(f"undo of {one}" if isinstance(move, Undo) else one)


def _entry_named(entry: Entry, rung: str) -> str:
    """Two rungs may have steps of one name."""
    one = f"{rung}.{entry.step}" + ("" if entry.candidate == WHOLE_STEP else f" #{entry.candidate}")
    if entry.mark is Mark.CLAIMED:
        DOING.set(one)
    return f"{one} {entry.mark.value}"


def _signal_named(signal: object) -> str | None:
    outcome = getattr(signal, "outcome", None)
    told = type(signal).__name__ + (f" {type(outcome).__name__}" if outcome is not None else "")
    return None if told in _BY_TIME else f"{DOING.get()}: {told}"


def call_named(request: httpx.Request) -> str | None:
    if request.method == "GET" or request.url.path == "/api/v0/bundles/":
        return None
    path = re.sub(r"/\d+(?=/|$)", "/N", request.url.path)
    return f"{DOING.get()}: {request.method} {path}"


class _Guarded(httpx.AsyncBaseTransport):
    def __init__(self, wire: Tripwire, inner: httpx.AsyncBaseTransport) -> None:
        self._wire, self._inner = wire, inner

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if self._wire.is_dead:
            raise httpx.ConnectError("the process was killed")
        name = call_named(request)
        if name is None:
            return await self._send(request)
        return await self._wire.around(name, lambda: self._send(request))

    async def _send(self, request: httpx.Request) -> httpx.Response:
        return await self._wire.send(lambda: self._inner.handle_async_request(request))

    async def aclose(self) -> None:
        await self._inner.aclose()
