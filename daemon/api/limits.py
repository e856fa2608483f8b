"""What one caller may ask of the daemon: so many requests, and so many that wait for a failover's end."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil

from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.auth import Caller
from daemon.api.problems import RETRY_AFTER_S, problem_response
from machines.ports import Clock
from machines.problems import Problem

_MOST_CALLERS = 10_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Of the HTTP door."""

    per_second: float = 100.0
    """Requests of one token, in the clock's own seconds."""
    burst: int = 500
    """So many at once, where it was quiet before."""
    waiting: int = 100
    """Requests of all that wait for the end of what they asked for."""


class Buckets:
    """A token bucket for each caller; the one that was silent longest is forgotten where there are too many."""

    def __init__(self, limits: Limits, clock: Clock) -> None:
        self._limits, self._clock = limits, clock
        self._filled: OrderedDict[str, tuple[float, float]] = OrderedDict()
        """By caller: what is left, and when that was so."""

    def take(self, caller: str) -> float:
        """0 where the request may pass, else after how many real seconds the next one may."""
        now = self._clock.monotonic()
        left, at = self._filled.pop(caller, (float(self._limits.burst), now))
        left = min(self._limits.burst, left + (now - at) * self._limits.per_second)
        may_pass = left >= 1.0
        self._filled[caller] = (left - 1.0 if may_pass else left, now)
        if len(self._filled) > _MOST_CALLERS:
            self._filled.popitem(last=False)
        return 0.0 if may_pass else (1.0 - left) / self._limits.per_second / self._clock.real(1.0)


class RateLimit:
    """ASGI middleware: 429 for a caller who asks too often. Who nobody knows was refused before."""

    def __init__(self, app: ASGIApp, limits: Limits, clock: Clock) -> None:
        self._app, self._per_second = app, limits.per_second
        self._buckets = Buckets(limits, clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        caller = scope.get("state", {}).get("caller") if scope["type"] == "http" else None
        if not isinstance(caller, Caller) or (wait_s := self._buckets.take(caller.name)) <= 0:
            await self._app(scope, receive, send)
            return
        detail = f"the token {caller.name} sent more than {self._per_second:g} requests a second"
        remedy = f"wait for {ceil(wait_s)} s, as Retry-After says; http.requests_per_s sets the limit"
        problem = Problem(429, "rate_limited", detail, remedy)
        await problem_response(problem, scope["path"], {"Retry-After": str(ceil(wait_s))})(scope, receive, send)


class Seats:
    """Who waits holds a connection and two tasks, so there is a bound."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._taken = 0

    @contextmanager
    def one(self) -> Iterator[None]:
        """For as long as the request waits. Raise Problem (503) where all are taken; nothing was begun then."""
        if self._taken >= self._most:
            detail = f"{self._most} requests wait for an end already; nothing was begun"
            remedy = f"send Prefer: respond-async and look at Location, or ask again after {RETRY_AFTER_S} s"
            raise Problem(503, "too_many_waiting", detail, remedy)
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1
