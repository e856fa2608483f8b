"""The machines: registered, shown, explained and removed."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse

from adapters.sql.tx import Tx
from daemon.api.auth import API_PREFIX, Known, beat_token
from daemon.api.documents import MachineAnswer, MachinesAnswer
from daemon.api.parameters import MOST, MachineNumber, NoQuery, StrictQuery, WholeNumber
from daemon.api.services import Wired
from daemon.api.views import explanation, is_active, machine_view
from daemon.registry import Registration
from machines.admission import Pause
from machines.model import MachineId
from machines.problems import Problem
from machines.states import State

router = APIRouter(prefix="/machines", tags=["machines"])


class PageQuery(StrictQuery):
    cursor: Annotated[WholeNumber, Field(ge=0, le=MOST)] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[WholeNumber, Field(ge=1, le=500)] = 100
    state: State | None = None


class ActiveQuery(StrictQuery):
    gpu_instance_id: Annotated[WholeNumber, Field(ge=0, le=MOST)] | None = None
    """Ask of this instance: only the machine's present primary is active."""


@router.get("", responses={200: {"model": MachinesAnswer}})
async def list_machines(query: Annotated[PageQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """By id, a page at a time."""
    after = MachineId(query.cursor) if query.cursor is not None else None
    found = await services.store.transact(lambda tx: tx.page(after, query.limit + 1, query.state))
    page, more = found[: query.limit], len(found) > query.limit
    now = services.clock.now()
    cursor = str(page[-1].id) if more else None
    state = query.state.value if query.state else None
    return paged(
        f"{API_PREFIX}/machines",
        {"machines": [machine_view(machine, now) for machine in page], "next_cursor": cursor},
        {"cursor": cursor, "limit": query.limit, "state": state},
    )


def paged(path: str, body: dict[str, Any], following: dict[str, Any]) -> JSONResponse:
    """The page, with a Link to the next one where there is one (RFC 8288)."""
    if body["next_cursor"] is None:
        return JSONResponse(body)
    named = {name: value for name, value in following.items() if value is not None}
    return JSONResponse(body, headers={"Link": f'<{path}?{urlencode(named)}>; rel="next"'})


@router.put("/{machine_id}", responses={200: {"model": MachineAnswer}, 201: {"model": MachineAnswer}})
async def put_machine(
    machine_id: MachineNumber,
    body: Registration,
    _: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
) -> JSONResponse:
    """Register the machine or change it; what is not named stays. The answer holds its agent's token."""
    known = await services.store.transact(lambda tx: tx.machine(MachineId(machine_id)))
    named = body.model_dump(exclude_unset=True)
    machine = await services.registry.put(MachineId(machine_id), named, caller.name)
    view = machine_view(machine, services.clock.now())
    headers = {"Location": f"{API_PREFIX}/machines/{machine_id}"}
    token = beat_token(services.token, machine_id)
    return JSONResponse({**view, "beat_token": token}, 200 if known is not None else 201, headers)


@router.get("/{machine_id}", responses={200: {"model": MachineAnswer}})
async def get_machine(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    machine = await services.machine(machine_id)
    return JSONResponse(machine_view(machine, services.clock.now()))


@router.delete("/{machine_id}")
async def delete_machine(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """Forget the machine; its instance is left running."""
    await services.registry.remove(MachineId(machine_id))
    return JSONResponse({"machine_id": machine_id, "removed": True})


@router.get("/{machine_id}/explain")
async def explain(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """Why it is in its state, and what would change that."""
    machine = await services.machine(machine_id)
    readiness = await services.readiness.readiness(machine, False)
    pause, is_readable = await services.store.transact(_pause)
    now = services.clock.now()
    return JSONResponse(explanation(machine, readiness, pause, is_readable, now, services.policy))


def _pause(tx: Tx) -> tuple[Pause | None, bool]:
    return tx.readable_pause()


@router.get("/{machine_id}/active")
async def active(
    machine_id: MachineNumber,
    query: Annotated[ActiveQuery, Query()],
    request: Request,
    services: Wired,
    _: Known,
) -> JSONResponse:
    """For load balancers: 200 where the machine's primary serves, else 503."""
    machine = await services.machine(machine_id)
    asked = query.gpu_instance_id
    facts = {"machine_id": machine.id, "state": machine.state.value, "gpu_instance_id": machine.primary}
    if is_active(machine, services.policy) and asked in (None, machine.primary):
        return JSONResponse({"active": True, **facts})
    detail = f"instance {asked} is not its primary" if asked not in (None, machine.primary) else machine.because
    why = f"machine {machine.id} does not serve: {machine.state.value}: {detail}"
    raise Problem(503, "not_active", why, f"GET {API_PREFIX}/machines/{machine.id}/explain", {"active": False, **facts})
