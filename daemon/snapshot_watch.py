"""Tells a person where a machine's snapshots have stopped coming, or are dated by a clock that is ahead, which would hide
that they have: nobody else would notice before they are needed."""

from __future__ import annotations

import asyncio
from datetime import datetime

import structlog

from adapters.sql.executor import Store
from adapters.sql.records import SnapshotGrant
from adapters.sql.tx import Tx
from daemon.loop import Loop
from daemon.snapshot_grants import late_alert, raise_alert_of
from daemon.snapshot_keeping import SnapshotRules
from machines.errors import StepError
from machines.model import MachineId
from machines.ports import Clock, SnapshotStore

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_INTERVALS = 3
"""So many of them may pass without a new one, and the time that one may take."""
_AHEAD_S = 60.0
"""So far may the clock of an instance be ahead of ours."""


class SnapshotWatch:
    """One periodic job of the fleet."""

    def __init__(self, store: Store, loop: Loop, snapshots: SnapshotStore, rules: SnapshotRules, clock: Clock) -> None:
        self._store, self._loop, self._snapshots, self._clock = store, loop, snapshots, clock
        self._longest_s = _INTERVALS * rules.every_s + rules.limit_s

    async def look(self) -> None:
        """At every machine whose primary was told to take them."""
        primaries = {machine.id: machine.primary for machine in self._loop.machines() if machine.failover is None}
        grants = await self._store.transact(lambda tx: tx.snapshot_grants())
        told = [grant for grant in grants if grant.digest and primaries.get(grant.machine) == grant.instance]
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(grant: SnapshotGrant) -> None:
            async with slots:
                await self._look_at(grant)

        await asyncio.gather(*(one(grant) for grant in told))

    async def _look_at(self, grant: SnapshotGrant) -> None:
        machine, now = grant.machine, self._clock.now()
        try:
            newest = await self._snapshots.newest(machine, now)
        except StepError as error:
            log.info("snapshots_not_looked_at", machine=machine, because=str(error))
            return
        since = max(newest.taken_at, grant.granted_at) if newest is not None else grant.granted_at
        is_late = (now - since).total_seconds() > self._longest_s
        is_ahead = newest is not None and (newest.taken_at - now).total_seconds() > _AHEAD_S
        text = _told(machine, newest.taken_at if newest is not None else None, now)
        key = late_alert(machine)

        def tell(tx: Tx) -> None:
            if is_late or is_ahead:
                raise_alert_of(tx, machine, key, text, now)
            else:
                tx.resolve_alert(key, now)

        await self._store.transact(tell)


def _told(machine: MachineId, taken_at: datetime | None, now: datetime) -> str:
    if taken_at is not None and taken_at > now:
        ahead = (taken_at - now).total_seconds()
        return (
            f"machine {machine} dates its snapshots {ahead:.0f} s ahead of our clock: while it is wrong, nobody sees where they "
            "stop coming, nor how old they are; remedy: set the clock of its host"
        )
    have = (
        "has no snapshot"
        if taken_at is None
        else f"has no snapshot younger than {(now - taken_at).total_seconds():.0f} s"
    )
    return f"machine {machine} {have}: on the machine, ~/.failoverd/snapshot.json says why"
