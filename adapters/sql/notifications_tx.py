"""Incidents and what each channel was told of them, in a transaction."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, or_, select, update

from adapters.sql.rows import Values
from adapters.sql.statements import Statements
from adapters.sql.tables import ALERTS, FAILOVERS, MACHINES, NOTIFICATIONS
from machines.admission import AUTOMATIC
from machines.model import Reason
from machines.notifications import Incident, Level, Notification, Owed, channel_alert, level_of, machine_key
from machines.states import State

_c, _f = NOTIFICATIONS.c, FAILOVERS.c
_ALERTS = (
    select(ALERTS.c.id, ALERTS.c.key, ALERTS.c.text, ALERTS.c.opened_at)
    .where(ALERTS.c.resolved_at.is_(None))
    .order_by(ALERTS.c.opened_at, ALERTS.c.id)
)
_FAILED = select(MACHINES.c.id).where(MACHINES.c.state == State.FAILED.value)
_RUNNING = (
    select(_f.id, _f.machine_id, _f.reason, _f.because, _f.started_at, MACHINES.c.name)
    .join(MACHINES, MACHINES.c.id == _f.machine_id, isouter=True)
    .where(_f.ended_at.is_(None))
    .order_by(_f.started_at, _f.id)
)
_LAST_ENDED = (
    select(_f.started_at, _f.ended_at, _f.success, _f.strategy_succeeded, _f.new, _f.why, MACHINES.c.name)
    .join(MACHINES, MACHINES.c.id == _f.machine_id, isouter=True)
    .where(_f.machine_id == bindparam("wanted"), _f.ended_at >= bindparam("since"))
    .order_by(_f.ended_at.desc())
    .limit(1)
)
_OF_CHANNEL = (
    select(NOTIFICATIONS)
    .where(_c.channel == bindparam("wanted"), or_(_c.ended_at.is_(None), _c.opened_at >= bindparam("since")))
    .order_by(_c.id)
)
_OWED = (
    select(NOTIFICATIONS)
    .where(
        _c.ended_at.is_(None),
        _c.owed.is_not(None),
        _c.channel.in_(bindparam("channels", expanding=True)),
        or_(_c.due_at.is_(None), _c.due_at <= bindparam("now")),
    )
    .order_by(_c.level.desc(), _c.id)
    .limit(bindparam("most"))
)
_INSERT = insert(NOTIFICATIONS)
_SAVE = update(NOTIFICATIONS).where(_c.id == bindparam("wanted"))
_FORGET = delete(NOTIFICATIONS).where(_c.ended_at < bindparam("before"))


class NotificationStatements(Statements):
    def incidents(self) -> list[Incident]:
        """All that stands now, the oldest first: the open alerts, and the failovers that run. A machine's are one."""
        failed = {machine_key(number) for number in self._connection.execute(_FAILED).scalars()}
        found = {
            row.key: Incident(
                row.key,
                Level.CRITICAL if row.key in failed else level_of(row.key),
                row.text,
                f"alert-{row.id}",
                row.opened_at,
            )
            for row in self._connection.execute(_ALERTS)
        }
        for row in self._connection.execute(_RUNNING):
            one = _failover_incident(row)
            alert = found.get(one.key)
            if alert is not None:
                one = Incident(one.key, max(alert.level, one.level), one.text, one.ref, min(alert.since, one.since))
            found[one.key] = one
        return sorted(found.values(), key=lambda one: (one.since, one.key))

    def failover_ending(self, machine: int, since: datetime) -> str | None:
        """In words, how the machine's last failover ended that did so since then."""
        row = self._connection.execute(_LAST_ENDED, {"wanted": machine, "since": since}).one_or_none()
        if row is None:
            return None
        name, took_s = row.name or f"machine {machine}", (row.ended_at - row.started_at).total_seconds()
        if row.success and row.new:
            way = f" by {row.strategy_succeeded}" if row.strategy_succeeded else ""
            return f"{name}: serves on instance {row.new['instance']}{way}, {took_s:.0f} s after the failover began"
        if row.success:
            return f"{name}: serves again, {took_s:.0f} s after the failover began"
        return f"{name}: the failover ended without a replacement, and the machine is well: {row.why or 'not needed'}"

    def notifications(self, channel: str, since: datetime) -> list[Notification]:
        """Those that have not ended, and those that were opened since then."""
        rows = self._connection.execute(_OF_CHANNEL, {"wanted": channel, "since": since})
        return [_notification_from(row) for row in rows]

    def owed_notifications(self, channels: Collection[str], now: datetime, most: int) -> list[Notification]:
        """Whose time has come, the worst first."""
        wanted = {"channels": list(channels), "now": now, "most": most}
        return [_notification_from(row) for row in self._connection.execute(_OWED, wanted)]

    def save_notifications(self, changed: Iterable[Notification]) -> None:
        """New ones, and others by their id."""
        for one in changed:
            values = _values(one)
            if one.id:
                self._connection.execute(_SAVE, {"wanted": one.id, **values})
            else:
                self._connection.execute(_INSERT, values)

    def end_other_notifications(self, channels: Collection[str], now: datetime) -> None:
        """Those of channels that are no more; and the alert that such a channel takes nothing, which no telling would end."""
        others = update(NOTIFICATIONS).where(_c.ended_at.is_(None), _c.channel.not_in(list(channels)))
        self._connection.execute(others, {"owed": None, "ended_at": now})
        known = [channel_alert(name) for name in channels]
        is_of_another = ALERTS.c.key.startswith(channel_alert(""), autoescape=True) & ALERTS.c.key.not_in(known)
        stale = update(ALERTS).where(ALERTS.c.resolved_at.is_(None), is_of_another)
        self._connection.execute(stale, {"resolved_at": now})

    def forget_notifications(self, before: datetime) -> None:
        self._connection.execute(_FORGET, {"before": before})


def _failover_incident(row: Any) -> Incident:
    """A drill, or what somebody asked for, is news to those only who want to hear of everything."""
    level = Level.WARNING if Reason(row.reason) in AUTOMATIC else Level.INFO
    name = row.name or f"machine {row.machine_id}"
    text = f"{name}: failover {row.id} runs: {row.because or row.reason}"
    return Incident(machine_key(row.machine_id), level, text, row.id, row.started_at)


def _values(one: Notification) -> Values:
    return {
        "channel": one.channel,
        "keys": list(one.keys),
        "ref": one.ref,
        "level": int(one.level),
        "text": one.text,
        "opened_at": one.opened_at,
        "owed": one.owed.value if one.owed else None,
        "told_at": one.told_at,
        "due_at": one.due_at,
        "tries": one.tries,
        "last_error": one.last_error,
        "ended_at": one.ended_at,
        "is_summary": one.is_summary,
    }


def _notification_from(row: Row[Any]) -> Notification:
    return Notification(
        id=row.id,
        channel=row.channel,
        keys=tuple(row._mapping["keys"]),  # `keys` is also a method of every row
        ref=row.ref,
        level=Level(row.level),
        text=row.text,
        opened_at=row.opened_at,
        owed=Owed(row.owed) if row.owed else None,
        told_at=row.told_at,
        due_at=row.due_at,
        tries=row.tries,
        last_error=row.last_error,
        ended_at=row.ended_at,
        is_summary=row.is_summary,
    )
