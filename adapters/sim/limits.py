"""Rate limits: a least interval between two calls of one operation by one key (facts/vast-api.md 11)."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from adapters.sim.answers import Answer, too_frequent
from adapters.sim.settings import WorldSettings


@dataclass(slots=True)
class RateLimits:
    """Remembers when each key may call each operation again."""

    settings: WorldSettings
    _open_at: dict[tuple[str, str], datetime] = field(default_factory=dict)

    def refuse(self, now: datetime, identity: str, operation: str) -> Answer | None:
        """The 429 for a call that comes too early, or None; only an admitted call starts the interval."""
        interval = self.settings.intervals.get(operation, 0.0)
        if interval <= 0:
            return None
        opens = self._open_at.get((identity, operation), now)
        if now >= opens:
            self._open_at[identity, operation] = now + timedelta(seconds=interval)
            return None
        opens += timedelta(seconds=self.settings.penalty_seconds)
        self._open_at[identity, operation] = opens
        return too_frequent(self.settings.too_frequent_form, (opens - now).total_seconds(), interval)
