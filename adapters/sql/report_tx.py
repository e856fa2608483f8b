"""Figures over many failovers in a transaction: which there were since a time, and how long each of their steps took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, func, select

from adapters.sql.failovers_tx import FailoverStatements
from adapters.sql.records import FailoverRecord
from adapters.sql.tables import FAILOVERS, JOURNAL, MACHINES
from machines.journal import WHOLE_STEP, Mark
from machines.model import FailoverId

_f, _j = FAILOVERS.c, JOURNAL.c
_SINCE: Select[Any] = select(FAILOVERS).order_by(_f.started_at.desc(), _f.id.desc())
_STEPS = (
    select(
        _j.failover_id,
        _j.attempt,
        _j.step,
        func.min(_j.at).filter(_j.mark == Mark.STARTED.value).label("began"),
        func.max(_j.at).filter(_j.mark == Mark.DONE.value).label("done"),
    )
    .where(_j.candidate == WHOLE_STEP, _j.mark.in_((Mark.STARTED.value, Mark.DONE.value)))
    .group_by(_j.failover_id, _j.attempt, _j.step)
)
_PER_HOUR = select(func.coalesce(func.sum(MACHINES.c.price_per_hour), 0.0))
_AT_ONCE = 500
"""Ids in one statement."""


class ReportStatements(FailoverStatements):
    def failovers_since(self, since: datetime, limit: int) -> list[FailoverRecord]:
        """Those that began then or later, the newest first."""
        wanted = _SINCE.where(_f.started_at >= since).limit(limit)
        return self._with_attempts(self._connection.execute(wanted).all())

    def step_times(self, failovers: Sequence[FailoverId]) -> list[tuple[str, timedelta]]:
        """Of every step that was done, in every attempt of these failovers: its name, and from its first start to its end."""
        return [time for some in _portions(failovers) for time in self._step_times(some)]

    def _step_times(self, failovers: Sequence[FailoverId]) -> Iterable[tuple[str, timedelta]]:
        for row in self._connection.execute(_STEPS.where(_j.failover_id.in_(failovers))):
            if row.began is not None and row.done is not None:
                yield row.step, row.done - row.began

    def fleet_price_per_hour(self) -> float:
        """$/h of all primaries whose price is known."""
        return float(self._connection.execute(_PER_HOUR).scalar_one())


def _portions(ids: Sequence[FailoverId]) -> Iterable[Sequence[FailoverId]]:
    return (ids[start : start + _AT_ONCE] for start in range(0, len(ids), _AT_ONCE))
