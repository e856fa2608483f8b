"""Keeps all callers together under the provider's thresholds: one lane per endpoint and method, first come first served.

A rejected call pushes the provider's bucket into debt, so waiting beforehand is cheaper than being told
(facts/vast-api.md, 11.1).
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Protocol

from adapters.vast.settings import Route, VastSettings
from machines.errors import NotYet
from machines.ports import Clock

_ROUNDING_S = 1e-6


@dataclass(slots=True)
class _Lane:
    free_at: float = float("-inf")
    waiting: int = 0
    crowd_s: float = 0.0
    """How long the last turn was waited for behind other replicas."""
    queue: asyncio.Lock = field(default_factory=asyncio.Lock)


class Turns(Protocol):
    """The turns of everybody who calls the provider with the same key."""

    async def book(self, route: str, spacing_s: float, most_s: float) -> float:
        """Take the next turn of the route, so long after the one before; in how many (scaled) seconds it comes. One that
        comes later than in `most_s` is not taken. 0 where nobody can be asked."""
        ...

    async def hold(self, route: str, seconds: float) -> None:
        """Nobody takes a turn of the route for about so many (scaled) seconds."""
        ...


class Pacer:
    """Waits are in the clock's scaled seconds."""

    def __init__(self, clock: Clock, settings: VastSettings, turns: Turns | None = None) -> None:
        self._clock = clock
        self._turns = turns
        self._settings = settings
        self._lanes: defaultdict[Route, _Lane] = defaultdict(_Lane)

    async def turn(self, route: Route) -> None:
        """Return when the route may be called. Raise NotYet where the provider closed it for longer than we wait."""
        lane = self._lanes[route]
        lane.waiting += 1
        try:
            await self._turn(lane, route)
        finally:
            lane.waiting -= 1

    def wait_s(self, route: Route) -> float:
        """How long one more caller would wait, those before him counted."""
        lane = self._lanes[route]
        spacing = route.interval_s + self._settings.slack_s
        return max(0.0, lane.free_at - self._clock.monotonic()) + lane.waiting * spacing + lane.crowd_s

    async def _turn(self, lane: _Lane, route: Route) -> None:
        async with lane.queue:
            await self._until_free(lane, route)
            while self._turns is not None:
                # Booked only by the first of our own queue: one who dies takes no more than one turn with him.
                spacing = route.interval_s + self._settings.shared_slack_s
                crowd_s = await self._turns.book(_name(route), spacing, self._settings.max_wait_s)
                self._check_wait(crowd_s, route)
                lane.crowd_s = crowd_s
                await self._clock.sleep(crowd_s)
                if not self._is_held(lane):
                    break
                await self._until_free(lane, route)  # Held meanwhile: that turn passes unused.
            lane.free_at = max(lane.free_at, self._clock.monotonic() + route.interval_s + self._settings.slack_s)

    def _is_held(self, lane: _Lane) -> bool:
        return lane.free_at - self._clock.monotonic() > _ROUNDING_S

    async def _until_free(self, lane: _Lane, route: Route) -> None:
        while self._is_held(lane):
            wait = lane.free_at - self._clock.monotonic()
            self._check_wait(wait, route)
            await self._clock.sleep(wait)

    def _check_wait(self, wait: float, route: Route) -> None:
        if wait > self._settings.max_wait_s:
            raise NotYet(f"rate limited on {_name(route)}", timedelta(seconds=wait))

    def hold(self, route: Route, seconds: float) -> None:
        """We want no call of this route for so long."""
        lane = self._lanes[route]
        lane.free_at = max(lane.free_at, self._clock.monotonic() + seconds)

    async def hold_all(self, route: Route, seconds: float) -> None:
        """The provider wants no call of this route for so long, from anybody."""
        self.hold(route, seconds)
        if self._turns is not None:
            await self._turns.hold(_name(route), seconds)


def _name(route: Route) -> str:
    return f"{route.method} {route.path}"
