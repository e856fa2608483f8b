"""What each channel is to be told of the incidents that stand: once for each, again where it gets worse, and its end.

An incident is known by its key; what is the matter with one machine is one incident, whatever becomes of it. Many at once
are told as one summary. Pure: what is stored and what stands now go in, what is to be stored comes out.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, IntEnum


class Level(IntEnum):
    INFO = 1
    WARNING = 2
    CRITICAL = 3


@dataclass(frozen=True, slots=True)
class Incident:
    """Something that stands now, and that a person may want to know."""

    key: str
    level: Level
    text: str
    ref: str
    """Of this time that it stands: a failover's id, or the alert's."""
    since: datetime


class Owed(Enum):
    """What a channel is still to be told."""

    OPEN = "open"
    """That it stands, or that it is worse than was told."""
    END = "end"


@dataclass(frozen=True, slots=True)
class Notification:
    """What one channel is told of one incident, or of many as a summary, from its beginning to its end."""

    id: int
    """0: not stored yet."""
    channel: str
    keys: tuple[str, ...]
    ref: str
    """By this the receiver knows that two messages are about the same."""
    level: Level
    text: str
    opened_at: datetime
    owed: Owed | None = Owed.OPEN
    told_at: datetime | None = None
    """When the channel last took one."""
    due_at: datetime | None = None
    tries: int = 0
    """In vain, of what is owed now."""
    last_error: str | None = None
    ended_at: datetime | None = None
    """Nothing more is to be told."""
    is_summary: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """More than `count` new ones within the window become one summary."""

    count: int
    window: timedelta


_CRITICAL = frozenset(
    {
        "account-credit",
        "automatic-action-suspended",
        "budget",
        "observer-blind",
        "provider-away",
        "provider-key",
        "storm",
    }
)


def level_of(alert: str) -> Level:
    """Of an alert, by its key. That of a machine is as bad as its machine's state, which is not said here."""
    return Level.CRITICAL if alert in _CRITICAL else Level.WARNING


def machine_key(machine: int) -> str:
    """Of everything that is the matter with one machine."""
    return f"machine-{machine}"


def channel_alert(name: str) -> str:
    """The key of the alert that a channel takes nothing; that channel is not told."""
    return f"channel-{name}"


def plan(
    channel: str,
    least: Level,
    incidents: Sequence[Incident],
    known: Iterable[Notification],
    grouping: Grouping,
    endings: Mapping[str, str],
    now: datetime,
) -> list[Notification]:
    """Of one channel what is new or otherwise than `known`: its notifications that have not ended, and those of the window.

    `endings`: of incidents that are over what became of them.
    """
    standing = {one.key: one for one in incidents if one.level >= least and one.key != channel_alert(channel)}
    every = list(known)
    live = [one for one in every if one.ended_at is None]
    recent = sum(now - one.opened_at < grouping.window for one in every if not one.is_summary)
    told = {key for one in live for key in one.keys}
    new = [one for key, one in standing.items() if key not in told]
    changed = [after for one in live if (after := _followed(one, standing, endings, now)) != one]
    if not new:
        return changed
    summary = next((one for one in live if one.is_summary and one.owed is not Owed.END), None)
    if summary is not None and now - summary.opened_at < grouping.window:
        return [one for one in changed if one.id != summary.id] + [_joined(summary, new, standing, grouping)]
    if recent + len(new) > grouping.count:
        return [*changed, _summary(channel, new, now)]
    return [*changed, *(Notification(0, channel, (one.key,), one.ref, one.level, one.text, now) for one in new)]


def _followed(
    one: Notification, standing: Mapping[str, Incident], endings: Mapping[str, str], now: datetime
) -> Notification:
    """The notification as what it is about now stands."""
    still = [standing[key] for key in one.keys if key in standing]
    if not still:
        return _over(one, endings, now)
    if one.is_summary and one.owed is None:  # Told of: whatever of it is over is news if it comes again.
        one = replace(one, keys=tuple(incident.key for incident in still))
    if one.owed is Owed.END:  # It stands again before its end was told.
        one = replace(one, owed=None if one.told_at else Owed.OPEN, tries=0, due_at=None)
    level = max(incident.level for incident in still)
    text = _summary_text(still, len(one.keys)) if one.is_summary else still[0].text
    if level > one.level:
        return replace(one, level=level, text=text, owed=Owed.OPEN, tries=0, due_at=None)
    return replace(one, text=text) if one.owed is Owed.OPEN else one


def _over(one: Notification, endings: Mapping[str, str], now: datetime) -> Notification:
    if one.owed is Owed.END:
        return one
    if one.told_at is None and one.tries == 0:
        return replace(one, owed=None, ended_at=now)  # Over before anybody could hear of it.
    ended = endings.get(one.keys[0], f"over: {one.text}")
    if one.is_summary:
        ended = f"over: {one.text.removeprefix('over: ').partition(' at once:')[0]}"
    return replace(one, text=ended, owed=Owed.END, tries=0, due_at=None)


def _summary(channel: str, new: Sequence[Incident], now: datetime) -> Notification:
    worst = max(one.level for one in new)
    keys = tuple(one.key for one in new)
    text = _summary_text(new, len(new))
    return Notification(0, channel, keys, f"many-{new[0].ref}", worst, text, now, is_summary=True)


def _joined(
    summary: Notification, new: Sequence[Incident], standing: Mapping[str, Incident], grouping: Grouping
) -> Notification:
    """Where the summary was told already, those that came after it are told when the window ends, or at once if worse."""
    keys = (*summary.keys, *(one.key for one in new))
    still = [standing[key] for key in keys if key in standing]
    level = max(summary.level, *(one.level for one in new))
    due_at = summary.due_at if summary.owed is Owed.OPEN else summary.opened_at + grouping.window
    if level > summary.level:
        due_at = None
    text = _summary_text(still, len(keys))
    return replace(summary, keys=keys, level=level, text=text, owed=Owed.OPEN, due_at=due_at)


def _summary_text(incidents: Sequence[Incident], count: int) -> str:
    first = sorted(incidents, key=lambda one: (-one.level, one.since, one.key))[:_NAMED]
    listed = "".join(f"\n- {one.text}" for one in first)
    more = len(incidents) - len(first)
    return f"{_counted(count)} at once:{listed}" + (f"\n- and {more} more: failoverd status" if more else "")


def _counted(count: int) -> str:
    return f"{count} incident{'s' if count != 1 else ''}"


_NAMED = 5


def told(one: Notification, now: datetime) -> Notification:
    """The channel has taken what was owed."""
    ended_at = now if one.owed is Owed.END else None
    return replace(one, owed=None, told_at=now, due_at=None, tries=0, last_error=None, ended_at=ended_at)


def refused(one: Notification, why: str, now: datetime) -> Notification:
    """It has not: again after a while, ever later. An end that nobody takes for a day is let go."""
    delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(one.tries, 10))
    if one.owed is Owed.END and one.tries >= _MOST_TRIES_OF_AN_END:
        return replace(one, owed=None, last_error=why, ended_at=now)
    return replace(one, tries=one.tries + 1, due_at=now + delay, last_error=why)


_FIRST_DELAY = timedelta(seconds=10)
_LONGEST_DELAY = timedelta(minutes=15)
_MOST_TRIES_OF_AN_END = 100
