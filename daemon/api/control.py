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
from daemon.api.auth import Known
from daemon.api.parameters import IdempotencyKey, NoQuery, StrictBody
from daemon.api.services import Check, Wired
from daemon.api.views import UNREADABLE_PAUSE, age_s, iso
from daemon.api.waiting import submit
from events.schema import Command
from machines.admission import Pause
from machines.brake import Storm
from machines.model import Debt

router = APIRouter(tags=["control"])

_LONGEST_QUEUE = 1000
"""So many places are shown."""


class PauseBody(StrictBody):
    """Automatic failover is off, for a reason and until an end."""

    minutes: Annotated[float, Field(gt=0, le=7 * 24 * 60, allow_inf_nan=False)]
    reason: Annotated[str, Field(min_length=1, max_length=500)]


class ResumeBody(StrictBody):
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


@router.post("/pause")
async def pause(
    body: PauseBody, query: Annotated[NoQuery, Query()], services: Wired, caller: Known, key: IdempotencyKey
) -> JSONResponse:
    command = Command("pause", command_id=key, reason=body.reason, arguments={"minutes": body.minutes})
    accepted = await submit(services, command, caller.name)
    return JSONResponse(dict(accepted.answer or {}), accepted.http_status)


@router.post("/resume")
async def resume(
    query: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    body: ResumeBody | None = None,
) -> JSONResponse:
    command = Command("resume", command_id=key, reason=body.reason if body else None)
    accepted = await submit(services, command, caller.name)
    return JSONResponse(dict(accepted.answer or {}), accepted.http_status)


@router.get("/fleet")
async def fleet(query: Annotated[NoQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """May automatic failovers begin, and who waits for one: the pause, the storm, the caps, and the queue in its order."""
    policy, now = services.policy, services.clock.now()

    def read(tx: Tx) -> tuple[tuple[Pause | None, bool], Storm | None, int, Sequence[QueuedRow]]:
        return tx.readable_pause(), tx.storm(), tx.count_running_automatic(), tx.queue(policy, now, _LONGEST_QUEUE)

    (pause, is_readable), storm, running, queue = await services.store.transact(read)
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


@router.get("/alerts")
async def alerts(query: Annotated[NoQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """What a person should know now, the oldest first. That the store fails cannot be stored, so it is told from memory;
    where no stored alert can be read, `incomplete` says so."""
    now, why_not = services.clock.now(), None
    found: Sequence[AlertRecord] = ()
    try:
        found = await services.store.transact(lambda tx: tx.open_alerts())
    except StoreUnavailable as error:
        why_not = f"the stored alerts cannot be read: {error}"
    rows = [_alert_view(alert, now) for alert in (*found, *_of_the_store(services.health().get("store"), now))]
    told = {"alerts": rows, "count": len(rows)}
    return JSONResponse(told if why_not is None else {**told, "incomplete": why_not})


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


@router.get("/debts")
async def debts(query: Annotated[NoQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """What must still be done, and why it was not done yet."""
    found = await services.store.transact(lambda tx: tx.open_debts())
    return JSONResponse({"debts": [_debt_view(debt) for debt in found], "count": len(found)})


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
