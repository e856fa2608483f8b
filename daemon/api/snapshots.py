"""GET /machines/{id}/snapshots: what a restore could choose from, asked of the store now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.auth import API_PREFIX, Known
from daemon.api.documents import SnapshotsAnswer
from daemon.api.pages import TimedQuery, page_of, paged, timed
from daemon.api.parameters import MachineNumber, Whole
from daemon.api.services import Wired
from daemon.api.views import age_s

router = APIRouter(prefix="/machines", tags=["machines"])


_MOST = 10_000
"""More than any retention keeps of one machine."""


class SnapshotsQuery(TimedQuery):
    limit: Annotated[int, Field(ge=1, le=1000), Whole] = 20


@router.get("/{machine_id}/snapshots", responses={200: {"model": SnapshotsAnswer}})
async def list_snapshots(
    machine_id: MachineNumber, query: Annotated[SnapshotsQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """The machine's verified snapshots, the newest first."""
    machine = await services.machine(machine_id)
    found = await services.snapshots.verified(machine.id, _MOST)
    page, cursor = page_of(found, lambda snapshot: timed(snapshot.taken_at, snapshot.id), query, newest_first=True)
    now = services.clock.now()
    rows = [
        {
            "snapshot_id": snapshot.id,
            "machine_id": snapshot.machine,
            "taken_at": snapshot.taken_at.isoformat(),
            "age_seconds": age_s(snapshot.taken_at, now),
            "size_bytes": snapshot.size_bytes,
        }
        for snapshot in page
    ]
    told = {"snapshots": rows, "count": len(found), "next_cursor": cursor}
    path = f"{API_PREFIX}/machines/{machine_id}/snapshots"
    return paged(path, told, {"cursor": cursor, "limit": query.limit})
