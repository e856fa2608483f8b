"""The failovers: listed, watched step by step, and cancelled."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse

from adapters.sql.records import FailoverRecord
from adapters.sql.tx import Tx
from daemon.aftermath import LONGEST_COMMENT
from daemon.api.auth import API_PREFIX, Known
from daemon.api.documents import Acknowledgement, FailoverAnswer, FailoversAnswer, FailoverTimeline, RunningAnswer
from daemon.api.pages import paged
from daemon.api.parameters import MOST, Flag, IdempotencyKey, NoQuery, StrictBody, StrictQuery, Whole
from daemon.api.services import Services, Wired
from daemon.api.waiting import Preferred, accepted_response, answered, submit
from daemon.timeline import summary, timeline
from events.schema import Command
from machines.journal import Entry
from machines.model import FailoverId, MachineId
from machines.problems import Problem, invalid

router = APIRouter(prefix="/failovers", tags=["failovers"])

FailoverNumber = Annotated[str, Path(min_length=1, max_length=64)]


class FailoversQuery(StrictQuery):
    machine_id: Annotated[int, Field(ge=0, le=MOST), Whole] | None = None
    cursor: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=200), Whole] = 50

    wants_a_look: Flag = False
    """Only those that failed and that nobody acknowledged."""


class CancelBody(StrictBody):
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


@router.get("", responses={200: {"model": FailoversAnswer}})
async def list_failovers(query: Annotated[FailoversQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """The newest first, a page at a time."""
    machine, only = MachineId(query.machine_id) if query.machine_id is not None else None, query.wants_a_look
    before = FailoverId(query.cursor) if query.cursor is not None else None

    def read(tx: Tx) -> list[FailoverRecord]:
        if before is not None and tx.failover(before) is None:
            raise invalid("cursor", before, "the next_cursor of a page")
        return tx.failovers(machine, before, query.limit + 1, only)

    found = await services.store.transact(read)
    page, more = found[: query.limit], len(found) > query.limit
    cursor = page[-1].id if more else None
    return paged(
        f"{API_PREFIX}/failovers",
        {"failovers": [summary(record) for record in page], "next_cursor": cursor},
        {"machine_id": machine, "cursor": cursor, "limit": query.limit, "wants_a_look": "true" if only else None},
    )


@router.get("/{failover_id}", responses={200: {"model": FailoverTimeline}})
async def get_failover(
    failover_id: FailoverNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """Every second of it."""

    def read(tx: Tx) -> tuple[FailoverRecord | None, list[tuple[int, Entry]]]:
        wanted = FailoverId(failover_id)
        return tx.failover(wanted), tx.timeline(wanted)

    record, entries = await services.store.transact(read)
    if record is None:
        raise _unknown(failover_id)
    return JSONResponse(timeline(record, entries))


@router.post("/{failover_id}/cancel", status_code=202, responses={202: {"model": RunningAnswer}})
async def cancel(
    failover_id: FailoverNumber,
    query: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    body: CancelBody | None = None,
) -> JSONResponse:
    """Ask it to unwind; its own end is the answer, to be seen at Location."""
    record = await _cancellable(services, FailoverId(failover_id), key)
    command = Command(
        "cancel",
        machine_id=record.machine,
        command_id=key,
        reason=body.reason if body else None,
        arguments={"failover_id": failover_id},
    )
    accepted = await submit(services, command, caller)
    return accepted_response(accepted.failover_id or record.id, record.machine, {})


class RetryBody(StrictBody):
    strategy: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    """Another one than that of the failover that failed."""
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class AckBody(StrictBody):
    comment: Annotated[str, Field(min_length=1, max_length=LONGEST_COMMENT)] | None = None


@router.post(
    "/{failover_id}/retry",
    status_code=202,
    responses={200: {"model": FailoverAnswer}, 202: {"model": RunningAnswer}},
)
async def retry(
    failover_id: FailoverNumber,
    query: Annotated[NoQuery, Query()],
    request: Request,
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    prefer: Preferred,
    body: RetryBody | None = None,
) -> JSONResponse:
    """Try again what failed: a new failover of the same machine, with the same strategy and wishes. 202 at once, unless the
    client prefers to wait."""
    record, body = await _record(services, FailoverId(failover_id)), body or RetryBody()
    command = Command(
        "retry",
        machine_id=record.machine,
        command_id=key,
        strategy=body.strategy,
        reason=body.reason,
        arguments={"failover_id": failover_id},
    )
    accepted = await submit(services, command, caller)
    patience = prefer if prefer.wait_s is not None else replace(prefer, respond_async=True)
    return await answered(services, request, accepted, record.machine, patience)


@router.post("/{failover_id}/ack", responses={200: {"model": Acknowledgement}})
async def ack(
    failover_id: FailoverNumber,
    query: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    body: AckBody | None = None,
) -> JSONResponse:
    """Say that somebody knows of its end. The first who says so stands."""
    record = await _record(services, FailoverId(failover_id))
    command = Command(
        "ack",
        machine_id=record.machine,
        command_id=key,
        reason=body.comment if body else None,
        arguments={"failover_id": failover_id},
    )
    accepted = await submit(services, command, caller)
    return JSONResponse(dict(accepted.answer or {}), accepted.http_status)


async def _record(services: Services, failover: FailoverId) -> FailoverRecord:
    """Raise Problem (404)."""
    record = await services.store.transact(lambda tx: tx.failover(failover))
    if record is None:
        raise _unknown(failover)
    return record


async def _cancellable(services: Services, failover: FailoverId, key: str | None) -> FailoverRecord:
    """The record, where it runs still or where the key may be a repetition. Raise Problem (404, 409).

    A command names the machine, so it must not reach the command plane for a failover that has ended: it would cancel
    the machine's next one.
    """

    def read(tx: Tx) -> tuple[FailoverRecord | None, bool]:
        return tx.failover(failover), key is not None and tx.command(key) is not None

    record, is_known = await services.store.transact(read)
    if record is None:
        raise _unknown(failover)
    if record.ended_at is not None and not is_known:
        detail = f"failover {failover} ended at {record.ended_at.isoformat()}"
        raise Problem(409, "no_failover", detail, "there is nothing to cancel", {"failover_id": failover})
    return record


def _unknown(failover_id: str) -> Problem:
    return Problem(
        404,
        "unknown_failover",
        f"there is no failover {failover_id}",
        f"GET {API_PREFIX}/failovers lists them",
        {"failover_id": failover_id},
    )
