"""How long ago a time of day was, where the time of day may have been stepped since.

Stored moments are times of day, because nothing else means anything to another process; durations are counted by the
monotonic clock (facts/scenarios.md, S9). A process that looks at both clocks knows each step that it lived through and
can undo it. What it cannot know is a step before its own beginning, nor how wrong another replica's clock is.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise

_A_STEP = timedelta(seconds=1)
"""Less than that is how clocks are slewed."""
CLOCKS_DIFFER_S = 5.0
"""Two replicas' clocks may be so far apart; that is no step."""
_STEPS_KEPT = 32
_STRANGERS_KEPT = 1024


@dataclass(frozen=True, slots=True)
class _Span:
    """Between two steps: from this monotonic second on, the time of day was `zero` plus the monotonic clock."""

    began: float
    zero: datetime


class Elapsed:
    """What one process knows of its own two clocks; `note` is told of every look at the time of day."""

    def __init__(self) -> None:
        self._spans: list[_Span] = []
        self._looked = 0.0
        """When the time of day was last looked at; a step that is seen happened after that."""
        self._strangers: dict[datetime, float] = {}
        """Moments that this process's clock never showed, and when it was first asked for each."""

    def note(self, now: datetime, monotonic: float) -> None:
        zero = now - timedelta(seconds=monotonic)
        if not self._spans or abs(zero - self._spans[-1].zero) > _A_STEP:
            # What lies before the first span that is kept is counted as if it belonged to that one.
            began = self._looked if self._spans else monotonic
            self._spans = [*self._spans, _Span(began, zero)][-_STEPS_KEPT:]
        self._looked = monotonic

    def since(
        self, at: datetime, now: datetime, monotonic: float, unseen_at_most: timedelta | None = None
    ) -> timedelta:
        """Never negative. Where a step back made two moments of one, it is the later of them; where `at` is in nobody's
        past (another clock showed it), it counts from when it was first asked for. `unseen_at_most` bounds what is
        counted of the time before this process began."""
        self.note(now, monotonic)
        moment = self._moment(at, monotonic)
        if moment is None:
            moment = self._strangers.setdefault(at, monotonic)
            if len(self._strangers) > _STRANGERS_KEPT:
                del self._strangers[next(iter(self._strangers))]
        if unseen_at_most is not None:
            moment = max(moment, self._spans[0].began - unseen_at_most.total_seconds())
        return timedelta(seconds=max(0.0, monotonic - moment))

    def _moment(self, at: datetime, monotonic: float) -> float | None:
        """The monotonic second at which the time of day was `at`; None where it never was."""
        ends = [later.began for _, later in pairwise(self._spans)] + [monotonic]
        for span, end in zip(reversed(self._spans), reversed(ends), strict=True):
            moment = (at - span.zero).total_seconds()
            is_first = span is self._spans[0]
            if moment <= end + CLOCKS_DIFFER_S and (is_first or moment >= span.began - CLOCKS_DIFFER_S):
                return moment
        return None
