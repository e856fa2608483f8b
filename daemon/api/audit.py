"""The audit: who changed what, through which door and why."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse

from adapters.sql.records import AuditRecord
from daemon.api.auth import API_PREFIX, Known
from daemon.api.documents import AuditAnswer
from daemon.api.pages import paged
from daemon.api.parameters import MOST, StrictQuery, Whole
from daemon.api.services import Wired
from daemon.api.views import iso
from machines.model import MachineId

router = APIRouter(tags=["control"])


class AuditQuery(StrictQuery):
    machine_id: Annotated[int, Field(ge=0, le=MOST), Whole] | None = None
    cursor: Annotated[int, Field(ge=1, le=MOST), Whole] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500), Whole] = 100


@router.get("/audit", responses={200: {"model": AuditAnswer}})
async def list_audit(query: Annotated[AuditQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """Every change, the newest first, a page at a time; of one machine where it is named."""
    machine = None if query.machine_id is None else MachineId(query.machine_id)
    found = await services.store.transact(lambda tx: tx.audited(machine, query.cursor, query.limit + 1))
    page, more = found[: query.limit], len(found) > query.limit
    cursor = str(page[-1].number) if more else None
    return paged(
        f"{API_PREFIX}/audit",
        {"audit": [_view(record) for record in page], "next_cursor": cursor},
        {"machine_id": machine, "cursor": cursor, "limit": query.limit},
    )


def _view(record: AuditRecord) -> dict[str, Any]:
    return {
        "number": record.number,
        "at": iso(record.at),
        "by": record.asked_by,
        "door": record.door,
        "what": record.what,
        "machine_id": record.machine_id,
        "subject": record.subject,
        "reason": record.reason,
        "detail": dict(record.detail),
    }
