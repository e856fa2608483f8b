"""A replica to which alone the provider gives no answer leaves its work to those that it answers.

While it is cut off it holds a lease that says so, which is renewed with its others and runs out with its life. Where another
replica that lives holds none, this one lets its failovers and the fleet's jobs lapse, so that the other takes them over as it
would from a dead one, and leaves the consumer group. In an outage of the provider itself there is nobody to leave them to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.ingest import Ingest
from daemon.leases import Leases
from machines.lease import CUT_OFF, FLEET, POLICY, Lease
from machines.ports import Clock

log = structlog.get_logger(__name__)

ALERT = "replica-cut-off"
EVERY_S = 5.0
_CUT_OFF_FOR_S, _OTHERS_WELL_FOR_S = 60.0, 30.0
"""An outage begins and ends for each replica at another moment: the next probe may be 15 s away (adapters/vast/circuit.py)."""


class StandingBack:
    """A periodic job of every replica on a shared store. `is_cut_off`: does the provider answer this one nothing?"""

    def __init__(
        self, store: Store, leases: Leases, ingest: Ingest, is_cut_off: Callable[[], bool], clock: Clock
    ) -> None:
        self._store = store
        self._leases = leases
        self._ingest = ingest
        self._is_cut_off = is_cut_off
        self._clock = clock
        self._lease = CUT_OFF + leases.replica
        self._cut_off_since: float | None = None
        self._others_well_since: float | None = None
        self._stands_back = False

    async def look(self) -> None:
        """Raise StoreUnavailable."""
        is_cut_off = self._is_cut_off()
        if is_cut_off:
            await self._leases.acquire(self._lease)
        elif self._leases.holds(self._lease):
            self._leases.forget(self._lease)
            await self._store.transact(lambda tx: tx.drop_lease(self._lease))
        others_are_well = False
        if is_cut_off or self._leases.holds(FLEET):
            others_are_well = await self._store.transact(lambda tx: self._compare(tx, is_cut_off))
        self._cut_off_since = self._since(is_cut_off, self._cut_off_since)
        self._others_well_since = self._since(others_are_well, self._others_well_since)
        self._turn(
            self._has_lasted(self._cut_off_since, _CUT_OFF_FOR_S)
            and self._has_lasted(self._others_well_since, _OTHERS_WELL_FOR_S)
        )

    def _since(self, is_so: bool, before: float | None) -> float | None:
        if not is_so:
            return None
        return self._clock.monotonic() if before is None else before

    def _has_lasted(self, since: float | None, seconds: float) -> bool:
        return since is not None and self._clock.monotonic() - since >= seconds

    def _turn(self, stands_back: bool) -> None:
        if stands_back != self._stands_back:
            log.warning("replica_stands_back" if stands_back else "replica_takes_part_again")
        self._stands_back = stands_back
        self._leases.stand_back(stands_back)
        self._ingest.stand_back(stands_back)

    def _compare(self, tx: Tx, is_cut_off: bool) -> bool:
        """Is there another replica that the provider answers? Whoever does the fleet's jobs tells of those that it does
        not answer."""
        standing = tx.leases()
        living = [one for one in standing if self._leases.is_anothers(one)]
        cut_off = _holders(living, CUT_OFF)
        if self._leases.holds(FLEET):
            for over in standing:
                if (
                    over.name.startswith(CUT_OFF)
                    and over not in living
                    and not (is_cut_off and over.name == self._lease)
                ):
                    tx.drop_lease(over.name)
            if cut_off and not is_cut_off:
                tx.raise_alert(ALERT, _told(cut_off), self._clock.now())
            else:
                tx.resolve_alert(ALERT, self._clock.now())
        return bool(_holders(living, POLICY) - cut_off)


def _holders(leases: Sequence[Lease], kind: str) -> set[str]:
    """Every replica on a shared store holds one of POLICY."""
    return {one.holder for one in leases if one.name.startswith(kind)}


def _told(cut_off: set[str]) -> str:
    return (
        f"the provider gives replica {', '.join(sorted(cut_off))} no answer, and others it does: what that replica did goes to "
        "them; remedy: look at the network and the key of its host (`failoverd doctor` there), or stop it"
    )
