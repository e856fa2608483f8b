"""Who may work on what: leases between replicas, judged by the watcher's own monotonic clock.

No time of day is stored: a holder counts its lease up, and whoever watches measures how long the count has stood still
(as Kubernetes does; a stored expiry would make every replica's wall clock a part of the safety). The holder stops by
its own clock before anybody else may begin; where it was paused over that moment, the fence refuses what it still writes.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

FLEET = "fleet"
"""The lease of the jobs that run once for the whole fleet; every lease without a name here is named after its failover."""
BLIND = "blind:"
"""So begins the lease that a replica holds while it hears nothing that it could judge by."""
POLICY = "policy:"
"""So begins the lease that tells by which policy of its configuration a replica goes."""
ANSWERED = "answered:"
"""So begins the lease that a replica holds while the provider answers it."""
STANDS_BACK = "stands-back:"
"""So begins the lease that a replica holds while it leaves its work to others."""


@dataclass(frozen=True, slots=True)
class Lease:
    name: str
    holder: str
    """The id of a replica."""
    renewals: int
    """Rises with every renewal."""


def is_work(name: str) -> bool:
    """Is it the lease of something that one replica does for all: a failover, or the fleet's jobs?"""
    return ":" not in name


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """All in seconds of the replica's clock."""

    length_s: float = 10.0
    """So long a lease must stand still before another replica takes it."""
    margin_s: float = 2.0
    """So much earlier its holder stops acting on it."""
    renew_every_s: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.renew_every_s * 2 < self.length_s - self.margin_s < self.length_s:
            raise ValueError("two renewals must fit into a lease before its margin, and the margin must be positive")


class LeaseWatch:
    """Since when each lease of the others has stood still, as this replica saw it."""

    def __init__(self, times: LeaseTimes) -> None:
        self._times = times
        self._seen: dict[str, tuple[Lease, float]] = {}

    def see(self, leases: Iterable[Lease], now: float) -> None:
        """All leases that stand in the store now; `now` is monotonic."""
        before = self._seen
        self._seen = {}
        for lease in leases:
            known = before.get(lease.name)
            self._seen[lease.name] = known if known is not None and known[0] == lease else (lease, now)

    def is_free(self, name: str, replica: str, now: float) -> bool:
        """May the replica try to take it: nobody has it, it is its own, or its holder has stood still for too long?"""
        known = self._seen.get(name)
        return known is None or known[0].holder == replica or self._stands_still(known, now)

    def may_take(self, lease: Lease, replica: str, now: float) -> bool:
        """The same for the row as it stands in the taker's transaction: a count that moved is a living holder."""
        if lease.holder == replica:
            return True
        known = self._seen.get(lease.name)
        return known is not None and known[0] == lease and self._stands_still(known, now)

    def _stands_still(self, known: tuple[Lease, float], now: float) -> bool:
        return now - known[1] >= self._times.length_s
