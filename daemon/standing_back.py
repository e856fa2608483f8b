"""A replica to which alone the provider gives no answer leaves its work to those that it answers.

Whoever was answered lately holds a lease that says so, which is renewed with its others and runs out with its life. A replica
that is cut off, and sees such a lease of another one, lets its failovers and the fleet's jobs lapse, so that the other takes
them over as it would from a dead one, and leaves the consumer group where the other hears it. In an outage of the provider
itself nobody holds one, so there is nobody to leave anything to.
"""

from __future__ import annotations

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from adapters.vast import Circuit
from daemon.ingest import Ingest
from daemon.leases import Leases
from machines.lease import ANSWERED, BLIND, STANDS_BACK
from machines.ports import Clock

log = structlog.get_logger(__name__)

ALERT = "replica-cut-off"
LOOK_EVERY_S, TELL_EVERY_S = 5.0, 30.0
_FRESH_S = 3 * LOOK_EVERY_S
"""Who stands back asks at every look (daemon/provider_watch.py)."""
_CUT_OFF_FOR_S, _OTHERS_WELL_FOR_S, _BACK_FOR_S = 120.0, 60.0, 60.0
"""An outage begins for each replica at another moment, up to a minute and a half apart where calls hang, and ends so within a
minute (a probe that hangs, and the pause after it); and a way that opens for moments only is none."""


class StandingBack:
    """Periodic jobs on a shared store: every replica looks, the one with the fleet's jobs tells."""

    def __init__(
        self, store: Store, leases: Leases, ingest: Ingest, circuit: Circuit, clock: Clock, asks_every_s: float
    ) -> None:
        """`asks_every_s`: at least so often the provider is asked something, by every replica."""
        self._store = store
        self._leases = leases
        self._ingest = ingest
        self._circuit = circuit
        self._lately_s = 1.5 * asks_every_s
        self._cut_off, self._back, self._others_well = _Lasting(clock), _Lasting(clock), _Lasting(clock)
        self._stands_back = False
        self._clock = clock

    async def look(self) -> None:
        """Raise StoreUnavailable."""
        try:
            await self._look()
        except StoreUnavailable:
            for one in (self._cut_off, self._back, self._others_well):
                one.see(False)  # What was not seen did not last.
            raise

    async def _look(self) -> None:
        await self._hold(ANSWERED, self._circuit.was_answered_within(self._lately_s))
        is_open = self._circuit.is_open()
        well, hearing = set[str](), set[str]()
        if is_open or self._stands_back:
            well, hearing = await self._store.transact(self._others)
        self._cut_off.see(is_open)
        self._back.see(not is_open and self._circuit.was_answered_within(_FRESH_S))
        self._others_well.see(bool(well))
        stands_back = self._is_to_stand_back(bool(well))
        await self._hold(STANDS_BACK, stands_back)
        if stands_back != self._stands_back:
            log.warning("replica_stands_back" if stands_back else "replica_takes_part_again", others=sorted(well))
        self._stands_back = stands_back
        self._leases.stand_back(stands_back)
        self._ingest.stand_back(stands_back and bool(hearing))

    def _is_to_stand_back(self, others_are_well: bool) -> bool:
        if self._stands_back:
            return others_are_well and not self._back.has_lasted(_BACK_FOR_S)
        return self._cut_off.has_lasted(_CUT_OFF_FOR_S) and self._others_well.has_lasted(_OTHERS_WELL_FOR_S)

    async def _hold(self, kind: str, is_so: bool) -> None:
        """The lease of that kind says it of this replica."""
        name = kind + self._leases.replica
        if is_so:
            await self._leases.acquire(name)
        elif self._leases.holds(name):
            self._leases.forget(name)
            await self._store.transact(lambda tx: tx.drop_lease(name))

    def _others(self, tx: Tx) -> tuple[set[str], set[str]]:
        """The other replicas that the provider answers, and those of them that hear heartbeats."""
        well = {one.holder for one in self._leases.of_others(tx, ANSWERED)}
        return well, well - {one.holder for one in self._leases.of_others(tx, BLIND)}

    async def tell(self) -> None:
        """Raise StoreUnavailable."""
        await self._store.transact(self._tell)

    def _tell(self, tx: Tx) -> None:
        gone = {one.holder for one in self._leases.of_others(tx, STANDS_BACK)}
        if gone:
            tx.raise_alert(ALERT, _told(gone), self._clock.now())
        else:
            tx.resolve_alert(ALERT, self._clock.now())


class _Lasting:
    """Since when something has been so at every look."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since: float | None = None

    def see(self, is_so: bool) -> None:
        if not is_so:
            self._since = None
        elif self._since is None:
            self._since = self._clock.monotonic()

    def has_lasted(self, seconds: float) -> bool:
        return self._since is not None and self._clock.monotonic() - self._since >= seconds


def _told(gone: set[str]) -> str:
    return (
        f"the provider gives replica {', '.join(sorted(gone))} no answer, and others it does: what that replica did has gone to "
        "them; remedy: look at the network and the key of its host (`failoverd doctor` there), or stop it"
    )
