"""Is the provider there at all? A circuit that opens where nothing is answered, and then lets one probe out at a time.

What counts is what says nothing: a lost answer, an error of the provider's own, an answer that nobody can read, a refused
key. A plain no is an answer, and a rate limit says nothing either way. It takes several of them in a row and some time, so
that one instance that the provider cannot start closes the way to no other.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from enum import Enum

import structlog

from adapters.vast.replies import KeyDead
from machines.errors import NotYet, StepError, Unknown
from machines.ports import Clock

_LEAST_FAILURES, _FAILING_FOR_S = 5, 10.0
_FIRST_PROBE_S, _LONGEST_PROBE_S = 2.0, 15.0
"""The pause before a probe doubles: whoever waits for the provider is not to wait much longer than it is away."""

log = structlog.get_logger(__name__)


class CircuitState(Enum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """A probe is out."""


class Circuit:
    """Shared by everything that calls one provider with one key. Durations are in the clock's scaled seconds."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._failures = 0
        """In a row."""
        self._failing_since = 0.0
        self._problem: StepError | None = None
        """What the last failure said; None while the circuit is closed."""
        self._pause_s = 0.0
        self._probe_at = 0.0
        self._is_probing = False

    @property
    def state(self) -> CircuitState:
        if self._problem is None:
            return CircuitState.CLOSED
        return CircuitState.HALF_OPEN if self._is_probing else CircuitState.OPEN

    def is_open(self) -> bool:
        """Does the provider answer nobody now, whatever is asked? A probe that is out changes nothing of that."""
        return self._problem is not None

    def check(self, is_repeatable: bool) -> None:
        """May a call leave, as far as is known now? Raise NotYet for a call that must not be repeated (nothing was sent),
        and for any other what the last one met: KeyDead or Unknown."""
        if self._problem is None:
            return
        wait_s = self._probe_at - self._clock.monotonic()
        if not is_repeatable:
            # A probe's answer may be lost, so it is only what may be asked twice.
            raise NotYet(f"{self._problem}; nothing was sent", timedelta(seconds=max(1.0, wait_s)))
        if self._is_probing or wait_s > 0:
            kind = KeyDead if isinstance(self._problem, KeyDead) else Unknown
            raise kind(str(self._problem))

    @contextmanager
    def passage(self, is_repeatable: bool) -> Iterator[None]:
        """For the time of one call. Raise as `check` does."""
        self.check(is_repeatable)
        is_probe = self._problem is not None
        self._is_probing = self._is_probing or is_probe
        try:
            yield
        finally:
            if is_probe:
                self._is_probing = False

    def answered(self) -> None:
        """Whoever was answered: the provider is there."""
        if self._problem is not None:
            log.info("provider_circuit_closed", away_s=round(self._clock.monotonic() - self._failing_since, 1))
        self._failures, self._problem, self._pause_s = 0, None, 0.0

    def failed(self, problem: StepError) -> None:
        now = self._clock.monotonic()
        self._failing_since = self._failing_since if self._failures else now
        self._failures += 1
        if self._problem is None:
            if self._failures < _LEAST_FAILURES or now - self._failing_since < _FAILING_FOR_S:
                return
            log.warning("provider_circuit_opened", because=str(problem), failures=self._failures)
        elif not self._is_probing:
            return  # A call that had left before it opened.
        self._problem = problem
        self._pause_s = min(_LONGEST_PROBE_S, 2 * self._pause_s or _FIRST_PROBE_S)
        self._probe_at = now + self._pause_s
