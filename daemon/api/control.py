"""The operator's levers and lamps: pause, resume, what is wrong now, and what is still owed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse

from adapters.sql.crowd_tx import QueuedRow
from adapters.sql.errors import StoreUnavailable
from adapters.sql.records import AlertRecord
from adapters.sql.tx import Tx
from daemon.api.auth import API_PREFIX, Known
from daemon.api.control_documents import (
    AlertsAnswer,
    CostsAnswer,
    DebtsAnswer,
    FleetAnswer,
    OrphansAnswer,
    PauseAnswer,
)
from daemon.api.pages import NumberedQuery, RowsQuery, TimedQuery, numbered, page_of, paged, timed
from daemon.api.parameters import MOST, IdempotencyKey, NoQuery, StrictBody
from daemon.api.services import Check, Wired
from daemon.api.views import age_s, iso
from daemon.api.waiting import submit
from events.schema import Command
from machines.admission import UNREADABLE_PAUSE, Pause
from machines.brake import Storm
from machines.charges import month_of
from machines.lost import LostKind, LostThing, Standing
from machines.model import Debt, Rest

router = APIRouter(tags=["control"])

_LONGEST_QUEUE = 1000
"""So many places are shown."""
_A_LOST_THING = f"^({'|'.join(kind.value for kind in LostKind)}) .+$"

MachineToo = Annotated[int, Field(ge=0, le=MOST)] | None


class PauseBody(StrictBody):
    """Automatic failover is off, for a reason and until an end: of the whole fleet, or of one machine."""

    machine_id: MachineToo = None
    minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60, allow_inf_nan=False)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class ResumeBody(StrictBody):
    machine_id: MachineToo = None
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


@router.post("/pause", responses={200: {"model": PauseAnswer}})
async def pause(
    body: PauseBody, query: Annotated[NoQuery, Query()], services: Wired, caller: Known, key: IdempotencyKey
) -> JSONResponse:
    arguments = {"minutes": body.minutes}
    command = Command("pause", body.machine_id, command_id=key, reason=body.reason, arguments=arguments)
    accepted = await submit(services, command, caller)
    return JSONResponse(dict(accepted.answer or {}), accepted.http_status)


@router.post("/resume", responses={200: {"model": PauseAnswer}})
async def resume(
    query: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    body: ResumeBody | None = None,
) -> JSONResponse:
    body = body or ResumeBody()
    command = Command("resume", body.machine_id, command_id=key, reason=body.reason)
    accepted = await submit(services, command, caller)
    return JSONResponse(dict(accepted.answer or {}), accepted.http_status)


@router.get("/fleet", responses={200: {"model": FleetAnswer}})
async def fleet(query: Annotated[NoQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """May automatic failovers begin, and who waits for one: the pause, the storm, the caps, and the queue in its order."""
    policy, now = services.policies.fleet, services.clock.now()

    def read(tx: Tx) -> tuple[tuple[Pause | None, bool], Storm | None, int, Sequence[QueuedRow], int]:
        queue, unseen = tx.queue(policy, now, _LONGEST_QUEUE), tx.count_unacknowledged()
        return tx.readable_pause(), tx.storm(), tx.count_running_automatic(), queue, unseen

    (pause, is_readable), storm, running, queue, unseen = await services.store.transact(read)
    return JSONResponse(
        {
            "automatic_failover": "on" if is_readable and not _stands(pause, now) else "paused",
            "pause": _pause_view(pause, is_readable, now),
            "storm": {"since": iso(storm.since), "seen_at": iso(storm.seen_at)} if storm else None,
            "automatic_running": running,
            "caps": {
                "fleet": policy.max_concurrent,
                "host": policy.max_per_host,
                "provider": policy.max_per_provider,
            },
            "auto_failover": policy.auto_failover.value,
            "paused_machines": [
                {"machine_id": one.id, "name": one.name, **_rest_view(one.rest)}
                for one in services.loop.machines()
                if one.rest is not None and one.rest.until > now
            ],
            "would_fail_over": [one.id for one in services.loop.machines() if one.observed_at is not None],
            "unacknowledged": unseen,
            "queue": [_queue_view(place, row, now) for place, row in enumerate(queue, 1)],
            "count": len(queue),
        }
    )


def _stands(pause: Pause | None, now: datetime) -> bool:
    return pause is not None and pause.until > now


def _pause_view(pause: Pause | None, is_readable: bool, now: datetime) -> dict[str, Any] | None:
    if not is_readable:
        return {"reason": UNREADABLE_PAUSE, "until": None, "by": None}
    if pause is None or not _stands(pause, now):
        return None
    return {"reason": pause.reason, "until": iso(pause.until), "by": pause.by}


def _rest_view(rest: Rest) -> dict[str, Any]:
    return {"reason": rest.reason, "until": iso(rest.until), "by": rest.by}


def _queue_view(place: int, row: QueuedRow, now: datetime) -> dict[str, Any]:
    return {
        "position": place,
        "machine_id": row.machine,
        "name": row.name,
        "priority": row.priority,
        "since": iso(row.since),
        "since_seconds": age_s(row.since, now),
        "waits_for": row.waits_for.value,
        "because": row.because,
    }


@router.get("/alerts", responses={200: {"model": AlertsAnswer}})
async def alerts(query: Annotated[TimedQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """What a person should know now, the oldest first. That the store fails cannot be stored, so it is told from memory;
    where no stored alert can be read, `incomplete` says so."""
    now, why_not = services.clock.now(), None
    found: Sequence[AlertRecord] = ()
    try:
        found = await services.store.transact(lambda tx: tx.open_alerts())
    except StoreUnavailable as error:
        why_not = f"the stored alerts cannot be read: {error}"
    rows = (*found, *_of_the_store(services.health().get("store"), now))
    page, cursor = page_of(rows, lambda alert: timed(alert.opened_at, alert.key), query)
    told = {"alerts": [_alert_view(alert, now) for alert in page], "count": len(rows), "next_cursor": cursor}
    return _page("alerts", told if why_not is None else {**told, "incomplete": why_not}, query)


def _page(name: str, body: dict[str, Any], query: RowsQuery) -> JSONResponse:
    return paged(f"{API_PREFIX}/{name}", body, {"cursor": body["next_cursor"], "limit": query.limit})


def _of_the_store(check: Check | str | None, now: datetime) -> tuple[AlertRecord, ...]:
    if not isinstance(check, Check) or check.ok:
        return ()
    return (AlertRecord("store-unavailable", check.detail, now - timedelta(seconds=check.for_s or 0.0), now, 1),)


def _alert_view(alert: AlertRecord, now: datetime) -> dict[str, Any]:
    return {
        "key": alert.key,
        "text": alert.text,
        "opened_at": iso(alert.opened_at),
        "age_seconds": age_s(alert.opened_at, now),
        "repeated_at": iso(alert.repeated_at),
        "count": alert.count,
    }


@router.get("/debts", responses={200: {"model": DebtsAnswer}})
async def debts(query: Annotated[NumberedQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """What must still be done, and why it was not done yet."""
    found = await services.store.transact(lambda tx: tx.open_debts())
    page, cursor = page_of(found, lambda debt: numbered(debt.id or 0), query)
    told = {"debts": [_debt_view(debt) for debt in page], "count": len(found), "next_cursor": cursor}
    return _page("debts", told, query)


class OrphansQuery(RowsQuery):
    cursor: Annotated[str, Field(pattern=_A_LOST_THING, max_length=300)] | None = None


@router.get("/orphans", responses={200: {"model": OrphansAnswer}})
async def orphans(query: Annotated[OrphansQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """What is paid for and belongs to no machine, as the fleet's last looks saw it, and what it costs a day."""
    now = services.clock.now()
    found = await services.store.transact(lambda tx: tx.lost_things())
    costs = [thing.price_per_day for thing in found if thing.standing is not Standing.FOREIGN]
    page, cursor = page_of(found, lambda thing: f"{thing.kind.value} {thing.id}", query)
    told = {
        "orphans": [_lost_view(thing, now) for thing in page],
        "count": len(found),
        "cost_per_day": round(sum(cost for cost in costs if cost is not None), 4),
        "without_price": sum(cost is None for cost in costs),
        "next_cursor": cursor,
    }
    return _page("orphans", told, query)


class CostsQuery(NumberedQuery):
    since: Annotated[str, Field(pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])$")] | None = None
    """A month; the present one where none is named."""


@router.get("/costs", responses={200: {"model": CostsAnswer}})
async def costs(query: Annotated[CostsQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """What each machine has cost by the provider's own bill, from a month on: its instances, the candidates of its failovers,
    its standbys and its volumes. Under no machine stands what our records do not explain."""
    now = services.clock.now()
    since = query.since or month_of(now)
    found, read_at = await services.store.transact(lambda tx: (tx.costs(since), tx.bill_read_at()))
    of_machines = [cost for cost in found if cost.machine is not None]
    page, cursor = page_of(of_machines, lambda cost: numbered(cost.machine or 0), query)
    told = {
        "since": since,
        "machines": [
            {"machine_id": cost.machine, "cost": round(cost.amount, 4), "things": cost.things} for cost in page
        ],
        "unexplained": round(sum(cost.amount for cost in found if cost.machine is None), 4),
        "total": round(sum(cost.amount for cost in found), 4),
        "read_at": iso(read_at),
        "age_seconds": age_s(read_at, now),
        "next_cursor": cursor,
    }
    return paged(f"{API_PREFIX}/costs", told, {"since": query.since, "cursor": cursor, "limit": query.limit})


def _lost_view(thing: LostThing, now: datetime) -> dict[str, Any]:
    return {
        "kind": thing.kind.value,
        "id": thing.id,
        "standing": thing.standing.value,
        "label": thing.label,
        "machine_id": thing.machine,
        "cost_per_day": None if thing.price_per_day is None else round(thing.price_per_day, 4),
        "size_gb": thing.size_gb,
        "detail": thing.detail,
        "first_seen_at": iso(thing.first_seen_at),
        "age_seconds": age_s(thing.first_seen_at, now),
    }


def _debt_view(debt: Debt) -> dict[str, Any]:
    return {
        "id": debt.id,
        "kind": debt.kind.value,
        "machine_id": debt.machine,
        "failover_id": debt.failover,
        "gpu_instance_id": debt.instance,
        "label": debt.label,
        "claimed_at": iso(debt.claimed_at),
        "because": debt.because,
        "tries": debt.tries,
        "due_at": iso(debt.due_at),
        "last_error": debt.last_error,
    }
