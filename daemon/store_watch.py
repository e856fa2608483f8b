"""Is the store answering? One line in the log when it stops and one when it is well again, whoever it fails meanwhile."""

from __future__ import annotations

import structlog

from adapters.sql.errors import MEND_IT, StoreDamaged, StoreUnavailable
from machines.ports import Clock

log = structlog.get_logger(__name__)

_QUIET_S, _QUIET_REAL_S = 10.0, 3.0
"""So long without a failure it is well again: a disk that is full and a server that is read-only answer every question,
and fail only those who write, which somebody does every two seconds."""


class StoreWatch:
    """Hears of the end of every transaction."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._quiet_s = max(_QUIET_S, clock.real(_QUIET_REAL_S))
        self._began: float | None = None
        self._last = 0.0
        self._is_damaged = False
        self.problem: str | None = None
        """Why nothing can be stored now, and, where only a person helps, how."""

    def heard(self, error: StoreUnavailable | None) -> None:
        """`error` of a transaction that failed; None of one that was answered."""
        if error is not None:
            self._failed(error)
        elif self._began is not None and self._clock.monotonic() - self._last >= self._quiet_s:
            log.info("store_available_again", after_s=round(self._last - self._began, 1))
            self._began, self._is_damaged, self.problem = None, False, None

    @property
    def down_for_s(self) -> float | None:
        return None if self._began is None else self._clock.monotonic() - self._began

    def _failed(self, error: StoreUnavailable) -> None:
        self._last = self._clock.monotonic()
        is_damage = isinstance(error, StoreDamaged)
        if self._began is not None and self._is_damaged >= is_damage:
            return
        if self._began is None:
            self._began = self._last
        self._is_damaged = is_damage
        self.problem = f"{error}; remedy: {MEND_IT}" if is_damage else str(error)
        effect = "nothing begins, nothing is judged, and what runs waits"
        log.error("store_unavailable", error=self.problem, effect=effect)
