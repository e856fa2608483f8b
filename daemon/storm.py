"""A storm: more machines are dead than may be failed over at once. Told once, and over only after a cooldown.

Meanwhile what can wait does: one candidate is rented for each failover, and no standby is armed.
"""

from __future__ import annotations

from datetime import datetime, timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.changes import OURSELVES, SUSPENDED
from machines.admission import Delayed
from machines.brake import PLACES, Storm, flapping_alert, quarantined_until
from machines.policy import Policies
from machines.ports import Clock

log = structlog.get_logger(__name__)

STORM = "storm"
"""The key of the one alert for all that wait."""
_TOLD_EVERY = timedelta(seconds=10)


def note_storm(tx: Tx, delayed: Delayed, now: datetime) -> None:
    """In the transaction of an admission that had no place to give."""
    if delayed.waits_for not in PLACES:
        return
    storm = tx.storm()
    if storm is not None and abs(now - storm.seen_at) < _TOLD_EVERY:
        return
    tx.set_storm(Storm(storm.since if storm else now, now))
    tx.raise_alert(STORM, f"more machines are dead than may be failed over at once: {delayed.because}", now)


class StormWatch:
    """Ends what time ends: the storm, a machine's quarantine, our own suspension."""

    def __init__(self, store: Store, policies: Policies, clock: Clock) -> None:
        self._store = store
        self._policies = policies
        self._clock = clock

    async def look(self) -> None:
        """Raise StoreUnavailable."""
        now = self._clock.now()
        if await self._store.transact(lambda tx: self._end(tx, now)):
            log.info("storm_over")

    def _end(self, tx: Tx, now: datetime) -> bool:
        open_alerts = {alert.key for alert in tx.open_alerts()}
        self._end_quarantines(tx, open_alerts, now)
        if SUSPENDED in open_alerts:
            pause, is_readable = tx.readable_pause()
            if is_readable and (pause is None or pause.until <= now or pause.by != OURSELVES):
                tx.resolve_alert(SUSPENDED, now)
        storm = tx.storm()
        if storm is None or not storm.is_over(now, self._policies.fleet):
            return False
        tx.set_storm(None)
        tx.resolve_alert(STORM, now)
        return True

    def _end_quarantines(self, tx: Tx, open_alerts: set[str], now: datetime) -> None:
        flapping = {key for key in open_alerts if key.endswith("-flapping")}
        if not flapping:
            return
        for machine in tx.machines():
            key = flapping_alert(machine.id)
            until = quarantined_until(machine, self._policies.of(machine))
            if key in flapping and (until is None or until <= now):
                tx.resolve_alert(key, now)
            flapping.discard(key)
        for key in flapping:  # Of machines that were removed.
            tx.resolve_alert(key, now)
