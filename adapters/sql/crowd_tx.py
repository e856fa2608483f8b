"""The brakes in a transaction: who runs, who waits and in which order, the storm, and what the budgets count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, and_, bindparam, case, func, or_, select, update

from adapters.sql.failovers_tx import FailoverStatements
from adapters.sql.tables import FAILOVERS, MACHINES, PAUSES, THE_ONE
from machines.admission import AUTOMATIC
from machines.brake import Crowd, Spent, Storm
from machines.elapsed import CLOCKS_DIFFER_S
from machines.model import Machine, MachineId, Mode, Setting, WaitsFor
from machines.policy import Policy
from machines.states import State

_m, _f, _p = MACHINES.c, FAILOVERS.c, PAUSES.c
_AUTOMATIC = sorted(reason.value for reason in AUTOMATIC)
_IN_FAILOVER = _m.failover_id.is_not(None)
_BUSY = select(
    func.count(case((_m.state != State.WARM_POOL_ATTEMPT.value, 1))),
    func.count(case((_m.host == bindparam("host"), 1))),
).where(_IN_FAILOVER)

_SUSPECT = and_(
    _m.state == State.DETECTING.value,
    _m.mode == Mode.ON.value,
    _m.setting != Setting.DISABLED.value,
    _m.failover_id.is_(None),
)
_ASKS = _m.queue_asked_at >= bindparam("asking_since")
_MORE_IMPORTANT = _m.priority > bindparam("priority")
_MINE: ColumnElement[Any] = bindparam("queued_at", type_=_m.queued_at.type)
_IN_FRONT = or_(
    _MORE_IMPORTANT,
    and_(
        _m.priority == bindparam("priority"),
        or_(_m.queued_at < _MINE, and_(_m.queued_at == _MINE, _m.id < bindparam("own"))),
    ),
)
_SILENT_OF_LATE = _m.since.between(bindparam("silent_since"), bindparam("latest"))
_MAY_TURN_OUT_DEAD = and_(_m.waits_for.is_(None), _SILENT_OF_LATE, _MORE_IMPORTANT)


def _ahead(*waits_for: WaitsFor) -> ColumnElement[Any]:
    waits = and_(_m.waits_for.in_([one.value for one in waits_for]), _ASKS, _IN_FRONT)
    return func.count(case((or_(waits, _MAY_TURN_OUT_DEAD), 1)))


_LINE = select(
    _ahead(WaitsFor.PLACE, WaitsFor.RESUME),
    _ahead(WaitsFor.PLACE, WaitsFor.RESUME, WaitsFor.RENTAL),
    func.count(case((_ASKS, 1))),
).where(_SUSPECT, _m.id != bindparam("own"))
_QUEUE = (
    select(_m.id, _m.name, _m.priority, _m.queued_at, _m.waits_for, _m.because)
    .where(_SUSPECT, _ASKS)
    .order_by(_m.priority.desc(), _m.queued_at, _m.id)
    .limit(bindparam("most"))
)
_LAST_END = select(func.max(_f.ended_at)).where(_f.machine_id == bindparam("wanted"), _f.reason.in_(_AUTOMATIC))
_STORM = select(_p.storm_since, _p.storm_seen_at).where(_p.one == THE_ONE)
_SET_STORM = update(PAUSES).where(_p.one == THE_ONE)
_BUDGET_FROM = select(_p.budget_from).where(_p.one == THE_ONE)
_ENDED = select(_f.success, _f.code, _f.running).where(_f.ended_at > bindparam("start"), _f.reason.in_(_AUTOMATIC))
_STILL_ASKS = 3
"""One that has let so many of its turns to ask go by is no longer waited for."""


@dataclass(frozen=True, slots=True)
class QueuedRow:
    """One place in the queue, for people."""

    machine: MachineId
    name: str
    priority: int
    since: datetime
    waits_for: WaitsFor
    because: str


class CrowdStatements(FailoverStatements):
    def crowd(self, machine: Machine, policy: Policy, now: datetime) -> Crowd:
        """What else runs and waits; for admission, after `lock_admission`."""
        running = self.count_running_automatic()
        renting, on_host = self._connection.execute(_BUSY, {"host": machine.host}).one()
        values = {
            "own": machine.id,
            "priority": machine.priority,
            "queued_at": machine.queued.since if machine.queued else now,
            "asking_since": _asking_since(policy, now),
            "silent_since": now - timedelta(seconds=policy.gather_s),
            # What began later than now began before a clock was stepped.
            "latest": now + timedelta(seconds=CLOCKS_DIFFER_S),
        }
        ahead, ahead_renting, waiting = self._connection.execute(_LINE, values).one()
        return Crowd(running, renting, on_host, ahead, ahead_renting, waiting)

    def queue(self, policy: Policy, now: datetime, limit: int) -> Sequence[QueuedRow]:
        """The dead machines that wait, in the order in which places are given."""
        rows = self._connection.execute(_QUEUE, {"asking_since": _asking_since(policy, now), "most": limit})
        return [_queued_row(row) for row in rows]

    def last_automatic_end(self, machine: MachineId) -> datetime | None:
        """When the machine's last automatic failover ended; None while it has had none."""
        found: datetime | None = self._connection.execute(_LAST_END, {"wanted": machine}).scalar_one()
        return found

    def storm(self) -> Storm | None:
        row = self._connection.execute(_STORM).one_or_none()
        return None if row is None or row.storm_since is None else Storm(row.storm_since, row.storm_seen_at)

    def set_storm(self, storm: Storm | None) -> None:
        values = {"storm_since": storm.since if storm else None, "storm_seen_at": storm.seen_at if storm else None}
        self._connection.execute(_SET_STORM, values)

    def spent(self, policy: Policy, now: datetime) -> Spent:
        """How automatic failovers ended within the window, since a pause was last lifted."""
        start = now - timedelta(seconds=policy.budget_window_s)
        forgiven = self._connection.execute(_BUDGET_FROM).scalar_one_or_none()
        rows = self._connection.execute(_ENDED, {"start": start if forgiven is None else max(start, forgiven)}).all()
        failed = sum(1 for row in rows if not row.success and row.code != "cancelled")
        return Spent(len(rows), failed, sum(1 for row in rows if row.running.get("primary_spoke")))


def _asking_since(policy: Policy, now: datetime) -> datetime:
    return now - timedelta(seconds=_STILL_ASKS * (policy.retry_admission_s + policy.first_probe_again_s))


def _queued_row(row: Row[*tuple[Any, ...]]) -> QueuedRow:
    return QueuedRow(row.id, row.name, row.priority, row.queued_at, WaitsFor(row.waits_for), row.because)
