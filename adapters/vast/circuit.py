"""Is the provider there at all? A circuit that opens where nothing is answered, and then lets out only probes.

What counts is what says nothing: a lost answer, an error of the provider's own, an answer that nobody can read, a refused
key. A plain no is an answer, and a rate limit says nothing either way. It counts only of routes that name no single thing,
and only those are probes: one instance that the provider cannot start says nothing about all others.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum

import structlog

from adapters.vast.replies import KeyDead
from adapters.vast.settings import Route
from machines.errors import NotYet, Unknown
from machines.ports import Clock

_LEAST_FAILURES, _FAILING_FOR_S = 5, 10.0
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 2.0, 15.0
"""Between two probes of a route; it doubles. Whoever waits for the provider is not to wait much longer than it is away."""

log = structlog.get_logger(__name__)


class CircuitState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """A probe is out."""


@dataclass(slots=True)
class _Probe:
    """Of one route: where the provider answers nothing on one of them, it may do so on another."""

    next_at: float
    pause_s: float = _FIRST_PAUSE_S
    is_out: bool = False


class Circuit:
    """Shared by everything that calls one provider with one key. Durations are in the clock's scaled seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        """In a row."""
        self._failing_since = 0.0
        self._problem: Unknown | None = None
        """What the last failure said; None while the circuit is closed."""
        self._opened_at = 0.0
        self._answered_at = float("-inf")
        self._probes: defaultdict[Route, _Probe] = defaultdict(self._first_probe)

    @property
    def state(self) -> CircuitState:
        if self._problem is None:
            return CircuitState.CLOSED
        is_probing = any(probe.is_out for probe in self._probes.values())
        return CircuitState.HALF_OPEN if is_probing else CircuitState.OPEN

    def is_open(self) -> bool:
        """Does the provider answer nobody now, whatever is asked? A probe that is out changes nothing of that."""
        return self._problem is not None

    def was_answered_within(self, seconds: float) -> bool:
        return self._clock.monotonic() - self._answered_at <= seconds

    def check(self, route: Route) -> None:
        """May a call leave, as far as is known now? Raise NotYet for one that must not be repeated (nothing was sent), and
        for any other what the last one met: KeyDead or Unknown."""
        if self._problem is None:
            return
        if not route.is_repeatable:
            raise NotYet(f"{self._told()}; nothing was sent", timedelta(seconds=_FIRST_PAUSE_S))
        probe = self._probes[route] if _is_general(route) else None
        if probe is None or probe.is_out or self._clock.monotonic() < probe.next_at:
            kind = KeyDead if isinstance(self._problem, KeyDead) else Unknown
            raise kind(self._told())

    def _told(self) -> str:
        return f"the provider answers nobody; at last {self._problem}"

    @contextmanager
    def passage(self, route: Route) -> Iterator[None]:
        """For the time of one call. Raise as `check` does."""
        self.check(route)
        if self._problem is None:
            yield
            return
        probe = self._probes[route]
        probe.is_out, probe.next_at = True, self._clock.monotonic() + probe.pause_s
        probe.pause_s = min(_LONGEST_PAUSE_S, 2 * probe.pause_s)
        try:
            yield
        finally:
            probe.is_out = False

    def answered(self) -> None:
        """Whatever was asked: the provider is there."""
        self._answered_at = self._clock.monotonic()
        if self._problem is not None:
            log.info("provider_circuit_closed", away_s=round(self._clock.monotonic() - self._failing_since, 1))
        self._failures, self._problem = 0, None
        self._probes.clear()

    def failed(self, route: Route, problem: Unknown) -> None:
        if not _is_general(route):
            return
        now = self._clock.monotonic()
        self._failing_since = self._failing_since if self._failures else now
        self._failures += 1
        is_outage = self._failures >= _LEAST_FAILURES and now - self._failing_since >= _FAILING_FOR_S
        if is_outage and self._problem is None:
            log.warning("provider_circuit_opened", because=problem.why, failures=self._failures)
            self._opened_at = now
        if is_outage:
            self._problem = problem

    def _first_probe(self) -> _Probe:
        return _Probe(self._opened_at + _FIRST_PAUSE_S)


def _is_general(route: Route) -> bool:
    """It asks for no single thing, and may be asked again: a probe's answer may be lost."""
    return route.is_repeatable and "{id}" not in route.path
