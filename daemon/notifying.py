"""Tells the channels of incidents: what each was told is stored, so nothing is told twice and nothing is lost by a restart.

A channel that takes nothing holds up no other one, and never the control loop: it is tried again ever later, and stands as an
alert, of which the others are told.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.errors import NotYet, Refused
from machines.model import MachineId
from machines.notifications import Grouping, Level, Notification, Owed, channel_alert, machine_key, plan, refused, told
from machines.ports import Clock, Notifier, Telling

log = structlog.get_logger(__name__)

LOOK_EVERY_S = 2.0
_TIMEOUT_REAL_S = 20.0
_A_ROUND = 50
"""So many are told at one look; the next one goes on."""
_KEPT = timedelta(days=7)
_TELLS_AFTER = 3
"""Failed tries, after which a channel is an incident itself."""


@dataclass(frozen=True, slots=True)
class Channel:
    """One place that is told."""

    name: str
    kind: str
    least: Level
    notifier: Notifier


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of a message for trial."""

    channel: str
    kind: str
    error: str | None
    seconds: float


class Notifying:
    def __init__(
        self, store: Store, clock: Clock, source: str, channels: Sequence[Channel], grouping: Grouping
    ) -> None:
        """`source`: who tells it, for those who hear of several deployments."""
        self._store = store
        self._clock = clock
        self._source = source
        self._rests_until: dict[str, float] = {}
        self.on_told: Callable[[str, str], object] = lambda channel, outcome: None
        """Hears of every telling: the channel, and `taken`, `postponed` or `refused`."""
        self.use(channels, grouping)

    def use(self, channels: Sequence[Channel], grouping: Grouping) -> None:
        """From now on these. What was told to one that keeps its name stays told."""
        self._channels = {channel.name: channel for channel in channels}
        self._grouping = grouping
        self._rests_until.clear()
        self._are_others_ended = False

    async def look(self) -> None:
        """What is new, worse or over since the last look is told. Raise StoreUnavailable."""
        if not self._channels and self._are_others_ended:
            return
        now, channels = self._clock.now(), self._channels
        owed = await self._store.transact(lambda tx: self._plan(tx, now))
        self._are_others_ended = self._channels is channels  # Others may have been put in meanwhile.
        lanes: dict[str, list[Notification]] = {}
        for one in owed:
            lanes.setdefault(one.channel, []).append(one)
        await asyncio.gather(*(self._tell_all(channels[name], lane) for name, lane in lanes.items()))

    async def clean(self) -> None:
        """Forget what ended long ago."""
        before = self._clock.now() - _KEPT
        await self._store.transact(lambda tx: tx.forget_notifications(before))

    async def test(self, name: str | None = None) -> list[Tested]:
        """A message for trial to the channel of that name, or to all."""
        wanted = [one for one in self._channels.values() if name in (None, one.name)]
        return list(await asyncio.gather(*(self._test(one) for one in wanted)))

    def _plan(self, tx: Tx, now: datetime) -> list[Notification]:
        if not self._are_others_ended:
            tx.end_other_notifications(self._channels, now)
        if not self._channels:
            return []
        incidents = tx.incidents()
        standing = {one.key for one in incidents}
        for channel in self._channels.values():
            known = tx.notifications(channel.name, now - self._grouping.window)
            endings = _endings(tx, known, standing)
            tx.save_notifications(plan(channel.name, channel.least, incidents, known, self._grouping, endings, now))
        awake = [name for name in self._channels if self._rests_until.get(name, 0.0) <= self._clock.monotonic()]
        return tx.owed_notifications(awake, now, _A_ROUND)

    async def _tell_all(self, channel: Channel, lane: Sequence[Notification]) -> None:
        """In turn, until one is not taken: the rest waits with it."""
        for one in lane:
            telling = _telling(one, self._source, self._clock.now())
            failed = await self._told(channel, telling)
            self.on_told(channel.name, _outcome(failed))
            after = await self._keep(channel, one, failed)
            if failed is None:
                log.info("notified", channel=channel.name, incident=one.ref, is_over=telling.is_over)
                continue
            log.warning("not_notified", channel=channel.name, incident=one.ref, because=failed.why, tries=after.tries)
            if isinstance(failed, NotYet):
                self._rests_until[channel.name] = self._clock.monotonic() + failed.delay.total_seconds()
                return

    async def _keep(self, channel: Channel, one: Notification, failed: NotYet | Refused | None) -> Notification:
        now = self._clock.now()
        after = told(one, now) if failed is None else refused(one, failed.why, now)
        await self._store.transact(lambda tx: _settle(tx, channel, after, now))
        return after

    async def _told(self, channel: Channel, telling: Telling) -> NotYet | Refused | None:
        """None: it was taken."""
        try:
            await self._clock.wait_for(channel.notifier.tell(telling), self._clock.real(_TIMEOUT_REAL_S))
        except TimeoutError:
            return NotYet(f"it did not answer within {_TIMEOUT_REAL_S:g} s", timedelta(seconds=30))
        except (NotYet, Refused) as error:
            return error
        return None

    async def _test(self, channel: Channel) -> Tested:
        now, began = self._clock.now(), self._clock.monotonic()
        text = "A message for trial: whoever reads this would hear of incidents. Nothing is wrong."
        ref = f"test-{now:%Y%m%dT%H%M%S}"
        opened = Telling(f"{self._source}-{ref}", ref, False, Level.INFO, "failoverd test", text, now, self._source)
        failed = await self._told(channel, opened)
        if failed is None and channel.kind == "pagerduty":  # Nobody should have to close it by hand.
            closed = Telling(f"{opened.id}-end", ref, True, Level.INFO, opened.title, text, now, self._source)
            failed = await self._told(channel, closed)
        seconds = (self._clock.monotonic() - began) / self._clock.real(1.0)
        return Tested(channel.name, channel.kind, failed.why if failed else None, seconds)


def _endings(tx: Tx, known: Sequence[Notification], standing: set[str]) -> dict[str, str]:
    """Of machines that are well again, how that came."""
    found: dict[str, str] = {}
    for one in known:
        if one.ended_at is not None or one.is_summary or one.keys[0] in standing:
            continue
        _, _, number = one.keys[0].partition("machine-")
        if number.isdigit() and one.keys[0] == machine_key(int(number)):
            ending = _ending(tx, MachineId(int(number)), one.opened_at)
            if ending is not None:
                found[one.keys[0]] = ending
    return found


def _ending(tx: Tx, number: MachineId, since: datetime) -> str | None:
    ended = tx.failover_ending(number, since)
    if ended is not None:
        return ended
    machine = tx.machine(number)
    return f"machine {number} was removed" if machine is None else f"{machine.name}: is well again, without a failover"


def _telling(one: Notification, source: str, now: datetime) -> Telling:
    is_over = one.owed is Owed.END
    what = "end" if is_over else one.level.name.lower()
    title = "failoverd: over" if is_over else f"failoverd: {what}"
    return Telling(f"{source}-{one.id}-{what}", one.ref, is_over, one.level, title, one.text, now, source, one.keys)


def _outcome(failed: NotYet | Refused | None) -> str:
    if failed is None:
        return "taken"
    return "postponed" if isinstance(failed, NotYet) else "refused"


def _settle(tx: Tx, channel: Channel, after: Notification, now: datetime) -> None:
    tx.save_notifications([after])
    key = channel_alert(channel.name)
    if after.last_error is None:
        tx.resolve_alert(key, now)
    elif after.tries >= _TELLS_AFTER:
        text = f"channel {channel.name} takes no notifications: {after.last_error}; try: failoverd notify test"
        tx.raise_alert(key, text, now)
