"""GET /report: what the failovers since a time came to, in figures."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from adapters.sql.tx import Tx
from daemon.api.auth import Known
from daemon.api.documents import ReportAnswer
from daemon.api.parameters import StrictQuery
from daemon.api.services import Wired
from daemon.figures import figures
from machines.charges import month_of
from machines.problems import invalid

router = APIRouter(tags=["control"])

_MOST = 20_000
"""So many failovers are counted, the newest."""
_AGE = re.compile(r"([0-9]{1,5}(?:\.[0-9]{1,3})?)(m|h|d|w)", re.ASCII)
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_LONGEST = timedelta(days=3660)


class ReportQuery(StrictQuery):
    since: str = "30d"
    """An age (90m, 24h, 30d, 2w) or an ISO 8601 time."""


@router.get("/report", responses={200: {"model": ReportAnswer}})
async def report(query: Annotated[ReportQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """How many failovers, how often they succeeded, how long they and their phases took, and what they cost."""
    now = services.clock.now()
    since = begin(query.since, now)
    month = month_of(since)

    def read(tx: Tx) -> dict[str, Any]:
        records = tx.failovers_since(since, _MOST + 1)
        counted = records[:_MOST]
        times = tx.step_times([record.id for record in counted])
        spent = sum(record.spent or 0.0 for record in counted)
        billed = sum(cost.amount for cost in tx.costs(month))
        return {
            "since": since.isoformat(),
            "until": now.isoformat(),
            **figures(counted, ((name, time.total_seconds()) for name, time in times)),
            "is_cut": len(records) > _MOST,
            "money": {
                "failovers": round(spent, 4),
                "fleet_per_hour": round(tx.fleet_price_per_hour(), 4),
                "billed_since": month,
                "billed": round(billed, 4),
            },
        }

    return JSONResponse(await services.store.transact(read))


def begin(text: str, now: datetime) -> datetime:
    """The time that is meant. Raise Problem (400)."""
    wanted = "an age (90m, 24h, 30d, 2w) or an ISO 8601 time, within the last ten years"
    found = _AGE.fullmatch(text)
    try:
        if found is not None:
            since = now - timedelta(**{_UNITS[found[2]]: float(found[1])})
        else:
            since = datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise invalid("since", text, wanted) from None
    since = since if since.tzinfo is not None else since.replace(tzinfo=UTC)
    if not now - _LONGEST <= since <= now:
        raise invalid("since", text, wanted)
    return since
