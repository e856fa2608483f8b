"""Failovers and their attempts in a transaction: begun, ended, and read for people."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, func, insert, or_, select, tuple_, update

from adapters.sql.records import AttemptRecord, FailoverRecord
from adapters.sql.rows import attempt_from, failover_from, plain
from adapters.sql.statements import Statements
from adapters.sql.tables import ATTEMPTS, DEBTS, FAILOVERS, MACHINES
from machines.admission import AUTOMATIC
from machines.budget import FleetSpending, Reservation
from machines.errors import Stale
from machines.model import Evidence, FailoverId, Machine, MachineId, Replacement, Rung, Running, Setting

_c = FAILOVERS.c
_INSERT = insert(FAILOVERS)
_END = update(FAILOVERS).where(_c.id == bindparam("wanted"), _c.ended_at.is_(None))
_ONE = select(FAILOVERS).where(_c.id == bindparam("wanted"))
_NEWEST: Select[Any] = select(FAILOVERS).order_by(_c.started_at.desc(), _c.id.desc())
_WON = _NEWEST.where(_c.machine_id == bindparam("wanted"), _c.strategy_succeeded.is_not(None)).limit(1)
_RUNNING = select(_c.id, _c.machine_id).where(_c.ended_at.is_(None)).order_by(_c.started_at, _c.id)
_AUTOMATIC_RUNNING = (
    select(func.count())
    .select_from(FAILOVERS)
    .where(_c.ended_at.is_(None), _c.reason.in_(sorted(reason.value for reason in AUTOMATIC)))
)
_SPEND = update(FAILOVERS).where(_c.id == bindparam("wanted"))
_PRICES = select(func.coalesce(func.sum(MACHINES.c.price_per_hour), 0.0))
_RESERVED = select(func.coalesce(func.sum(_c.reserved_per_hour), 0.0)).where(_c.ended_at.is_(None))
_SPENT = select(func.coalesce(func.sum(func.coalesce(_c.spent, _c.reserved)), 0.0)).where(
    or_(_c.ended_at.is_(None), _c.started_at >= bindparam("since"))
)
_ACKNOWLEDGE = update(FAILOVERS).where(_c.id == bindparam("wanted"), _c.acked_at.is_(None))
_WANT_A_LOOK = (_c.acked_at.is_(None), _c.ended_at.is_not(None), _c.success.is_(False), _c.code != "cancelled")
_COUNT_THEM = select(func.count()).select_from(FAILOVERS).where(*_WANT_A_LOOK)
_RESERVED_AHEAD = select(
    func.coalesce(func.sum(DEBTS.c.reserved_per_hour), 0.0), func.coalesce(func.sum(DEBTS.c.reserved), 0.0)
).where(DEBTS.c.closed_at.is_(None))
_BEGIN_ATTEMPT = insert(ATTEMPTS)
_END_ATTEMPT = update(ATTEMPTS).where(
    ATTEMPTS.c.failover_id == bindparam("wanted"),
    ATTEMPTS.c.number == bindparam("which"),
    ATTEMPTS.c.ended_at.is_(None),
)
_ATTEMPTS_OF = (
    select(ATTEMPTS)
    .where(ATTEMPTS.c.failover_id.in_(bindparam("wanted", expanding=True)))
    .order_by(ATTEMPTS.c.failover_id, ATTEMPTS.c.number)
)


class FailoverStatements(Statements):
    def begin_failover(
        self,
        machine: Machine,
        running: Running,
        setting: Setting,
        why: str,
        asked_by: str,
        command_id: str | None,
        evidence: Evidence | None,
    ) -> None:
        """`machine.primary` is what is to be replaced. Raise Stale where the machine has a running failover: the
        database allows one (architecture, section 4.7)."""
        values = {
            "id": running.id,
            "machine_id": machine.id,
            "reason": running.reason.value,
            "setting": setting.value,
            "because": why,
            "asked_by": asked_by,
            "command_id": command_id,
            "evidence": plain(evidence),
            "old_instance": machine.primary,
            "running": plain(running),
            "started_at": running.started_at,
        }
        if not self._insert_new(_INSERT, values):
            raise Stale(f"machine {machine.id} has a running failover, or {running.id} was begun before")
        self._unbegun.discard(running.id)

    def reserve(self, failover: FailoverId, wanted: Reservation) -> None:
        """What the failover that has just begun may come to."""
        self._connection.execute(
            _SPEND, {"wanted": failover, "reserved": wanted.total, "reserved_per_hour": wanted.per_hour}
        )

    def settle_spending(self, failover: FailoverId, spent: float) -> None:
        """What it came to by our records; the reservation ends with it."""
        self._connection.execute(_SPEND, {"wanted": failover, "spent": spent})

    def fleet_spending(self, since: datetime) -> FleetSpending:
        """For admission, after `lock_admission`."""
        machines = self._connection.execute(_PRICES).scalar_one()
        reserved = self._connection.execute(_RESERVED).scalar_one()
        total = self._connection.execute(_SPENT, {"since": since}).scalar_one()
        ahead_per_hour, ahead = self._connection.execute(_RESERVED_AHEAD).one()
        return FleetSpending(float(machines) + float(reserved) + float(ahead_per_hour), float(total) + float(ahead))

    def end_failover(
        self,
        failover: FailoverId,
        success: bool,
        strategy_succeeded: Rung | None,
        code: str | None,
        why: str | None,
        new: Replacement | None,
        at: datetime,
    ) -> bool:
        """False where it had ended before (or never was): the first end stands."""
        values = {
            "wanted": failover,
            "success": success,
            "strategy_succeeded": None if strategy_succeeded is None else strategy_succeeded.value,
            "code": code,
            "why": why,
            "new": plain(new),
            "ended_at": at,
        }
        return self._connection.execute(_END, values).rowcount == 1

    def failover(self, failover: FailoverId) -> FailoverRecord | None:
        records = self._with_attempts(self._connection.execute(_ONE, {"wanted": failover}).all())
        return records[0] if records else None

    def failovers(
        self,
        machine: MachineId | None = None,
        before: FailoverId | None = None,
        limit: int = 50,
        wants_a_look: bool = False,
    ) -> list[FailoverRecord]:
        """The newest first; `before` is the last one of the page before. `wants_a_look`: only those that failed and that
        nobody acknowledged."""
        wanted = _NEWEST.limit(limit)
        if wants_a_look:
            wanted = wanted.where(*_WANT_A_LOOK)
        if machine is not None:
            wanted = wanted.where(_c.machine_id == machine)
        if before is not None:
            place = select(_c.started_at, _c.id).where(_c.id == before)
            wanted = wanted.where(tuple_(_c.started_at, _c.id) < place.scalar_subquery())
        return self._with_attempts(self._connection.execute(wanted).all())

    def acknowledge(self, failover: FailoverId, by: str, comment: str | None, at: datetime) -> bool:
        """False where somebody was first."""
        values = {"wanted": failover, "acked_at": at, "acked_by": by, "ack_comment": comment}
        return self._connection.execute(_ACKNOWLEDGE, values).rowcount == 1

    def count_unacknowledged(self) -> int:
        """How many failed, and nobody has said yet that they know."""
        return self._connection.execute(_COUNT_THEM).scalar_one()

    def last_won(self, machine: MachineId) -> FailoverRecord | None:
        """The last failover that gave the machine a new instance."""
        rows = self._connection.execute(_WON, {"wanted": machine}).all()
        return failover_from(rows[0], ()) if rows else None

    def running_failovers(self) -> list[tuple[FailoverId, MachineId]]:
        """Those that have not ended, the oldest first."""
        return [(row.id, row.machine_id) for row in self._connection.execute(_RUNNING)]

    def count_running_automatic(self) -> int:
        """How many failovers of our own making are running; for admission, after `lock_admission`."""
        return self._connection.execute(_AUTOMATIC_RUNNING).scalar_one()

    def begin_attempt(self, failover: FailoverId, number: int, rung: Rung, at: datetime) -> bool:
        """False where it had begun before: a runner that finds it after a crash goes on with it."""
        values = {"failover_id": failover, "number": number, "rung": rung.value, "started_at": at}
        return self._insert_new(_BEGIN_ATTEMPT, values)

    def end_attempt(
        self, failover: FailoverId, number: int, at: datetime, code: str | None = None, why: str | None = None
    ) -> bool:
        """False where it had ended before: the first end stands."""
        values = {"wanted": failover, "which": number, "ended_at": at, "code": code, "why": why}
        return self._connection.execute(_END_ATTEMPT, values).rowcount == 1

    def _with_attempts(self, rows: Sequence[Row[Any]]) -> list[FailoverRecord]:
        attempts: defaultdict[FailoverId, list[AttemptRecord]] = defaultdict(list)
        if rows:
            for row in self._connection.execute(_ATTEMPTS_OF, {"wanted": [row.id for row in rows]}):
                attempts[row.failover_id].append(attempt_from(row))
        return [failover_from(row, tuple(attempts[row.id])) for row in rows]
