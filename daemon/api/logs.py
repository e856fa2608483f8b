"""GET /machines/{id}/logs: what the container of its primary has printed, as the provider brings it from the host now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.auth import Known
from daemon.api.documents import LogsAnswer
from daemon.api.parameters import Flag, MachineNumber, StrictQuery, Whole
from daemon.api.services import Wired
from machines.problems import Problem

router = APIRouter(prefix="/machines", tags=["machines"])


class LogsQuery(StrictQuery):
    tail: Annotated[int, Field(ge=1, le=1000), Whole] = 100
    """So many lines, the last ones."""
    host: Flag = False
    """What the host's daemon said of the container instead: why it did not come up."""


@router.get("/{machine_id}/logs", responses={200: {"model": LogsAnswer}})
async def read_logs(
    machine_id: MachineNumber, query: Annotated[LogsQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """What its container printed. A host that is dead brings nothing: 503."""
    machine = await services.machine(machine_id)
    if machine.primary is None:
        detail = f"machine {machine_id} has no instance whose logs could be read"
        raise Problem(409, "no_instance", detail, f"look at GET /api/v1/machines/{machine_id}/explain")
    text = await services.cloud.logs(machine.primary, query.tail, query.host)
    told = {"machine_id": machine_id, "gpu_instance_id": machine.primary, "lines": text.splitlines()}
    return JSONResponse(told, headers={"Cache-Control": "no-store"})
