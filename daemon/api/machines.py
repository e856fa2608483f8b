"""The machines: registered, shown, explained and removed."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.auth import API_PREFIX, Known, beat_token
from daemon.api.control_documents import ActiveAnswer, MachineRemoved
from daemon.api.documents import ExplainAnswer, MachineAnswer, MachinesAnswer
from daemon.api.pages import paged
from daemon.api.parameters import MOST, MachineNumber, NoQuery, StrictQuery, Whole
from daemon.api.services import Services, Wired
from daemon.api.views import explanation, is_active, machine_view, serving_view
from daemon.registration import Registration
from machines.explanation import explain as why_or_why_not
from machines.model import Machine, MachineId
from machines.problems import Problem, masked, unknown_machine
from machines.states import State

router = APIRouter(prefix="/machines", tags=["machines"])


class PageQuery(StrictQuery):
    cursor: Annotated[int, Field(ge=0, le=MOST), Whole] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=500), Whole] = 100
    state: State | None = None


class ActiveQuery(StrictQuery):
    gpu_instance_id: Annotated[int, Field(ge=0, le=MOST), Whole] | None = None
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
        {"machines": [_view(services, machine, now) for machine in page], "next_cursor": cursor},
        {"cursor": cursor, "limit": query.limit, "state": state},
    )


def _view(services: Services, machine: Machine, now: datetime) -> dict[str, Any]:
    ages = services.readiness.snapshot_age_s(machine.id), services.readiness.copy_age_s(machine.id)
    silence = services.loop.silence_of(machine.id)
    heartbeat_age_s = None if silence is None or silence.sequence is None else round(silence.silent_s, 3)
    return machine_view(machine, now, *ages, heartbeat_age_s)


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
    what = "register_machine" if known is None else "change_machine"
    audit = caller.did(what, services.clock.now(), machine_id, fields=sorted(named), values=masked(named))
    machine = await services.registry.put(MachineId(machine_id), named, caller.name, audit=audit)
    view = _view(services, machine, services.clock.now())
    headers = {"Location": f"{API_PREFIX}/machines/{machine_id}"}
    token = beat_token(services.token, machine_id, machine.beat_generation)
    return JSONResponse({**view, "beat_token": token}, 200 if known is not None else 201, headers)


@router.get("/{machine_id}", responses={200: {"model": MachineAnswer}})
async def get_machine(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    machine = await services.machine(machine_id)
    return JSONResponse(_view(services, machine, services.clock.now()))


@router.delete("/{machine_id}", responses={200: {"model": MachineRemoved}})
async def delete_machine(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, caller: Known
) -> JSONResponse:
    """Forget the machine; its instance is left running."""
    audit = caller.did("remove_machine", services.clock.now(), machine_id)
    await services.registry.remove(MachineId(machine_id), audit)
    return JSONResponse({"machine_id": machine_id, "removed": True})


@router.get("/{machine_id}/explain", responses={200: {"model": ExplainAnswer}})
async def explain(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """Why it is in its state, why it does or does not fail over now rule by rule, and what would change that."""
    found = await services.loop.at_the_gate(MachineId(machine_id))
    if found is None:
        raise unknown_machine(machine_id)
    machine, facts, policy = found
    readiness = await services.readiness.readiness(machine, False)
    now = services.clock.now()
    why = why_or_why_not(machine, facts, policy, now)
    return JSONResponse(explanation(machine, why, readiness, now, policy, services.policies))


@router.get("/{machine_id}/active", responses={200: {"model": ActiveAnswer}})
async def active(
    machine_id: MachineNumber,
    query: Annotated[ActiveQuery, Query()],
    request: Request,
    services: Wired,
    _: Known,
) -> JSONResponse:
    """For load balancers: 200 where the machine's primary serves, or its CPU VM in its place; else 503. Asked of an
    instance, the answer is the primary's alone."""
    machine = await services.machine(machine_id)
    asked = query.gpu_instance_id
    facts = {"machine_id": machine.id, "state": machine.state.value, "gpu_instance_id": machine.primary}
    if is_active(machine, services.policies.of(machine)) and asked in (None, machine.primary):
        return JSONResponse({"active": True, "served_by": "instance", **facts})
    serving = machine.cpu_standby.serving if machine.cpu_standby is not None else None
    if serving is not None and asked is None:
        return JSONResponse({"active": True, "served_by": "cpu_vm", **facts, **serving_view(serving)})
    detail = f"instance {asked} is not its primary" if asked not in (None, machine.primary) else machine.because
    why = f"machine {machine.id} does not serve: {machine.state.value}: {detail}"
    raise Problem(503, "not_active", why, f"GET {API_PREFIX}/machines/{machine.id}/explain", {"active": False, **facts})
