"""The settings of the fleet's policy: for all machines, and for one. A PUT never resets what it does not name."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any

from fastapi import APIRouter, Query
from pydantic import Field, WithJsonSchema
from starlette.responses import JSONResponse

from daemon.api.auth import Known
from daemon.api.documents import FleetSettings, MachineSettings
from daemon.api.parameters import IdempotencyKey, MachineNumber, NoQuery
from daemon.api.services import Services, Wired
from daemon.api.waiting import submit
from daemon.settings import PolicySection
from events.schema import Command
from machines.policy import NAMES, OF_A_MACHINE

router = APIRouter(prefix="/failover/settings", tags=["settings"])


def _schema(names: Iterable[str]) -> dict[str, Any]:
    """The form that a client is told: each setting with its bounds, as the configuration has them."""
    known = PolicySection.model_json_schema()["properties"]
    properties = {
        name: {"anyOf": [{key: value for key, value in known[name].items() if key != "default"}, {"type": "null"}]}
        for name in names
    }
    reason = {"anyOf": [{"type": "string", "maxLength": 500}, {"type": "null"}]}
    return {
        "type": "object",
        "properties": {**properties, "reason": reason},
        "additionalProperties": False,
        "minProperties": 1,
    }


Values = Annotated[dict[str, str | bool | int | float | None], Field(min_length=1, max_length=100)]
"""Settings by name; null takes back what was said. Beside them `reason` may stand."""
FleetBody = Annotated[Values, WithJsonSchema(_schema(NAMES))]
MachineBody = Annotated[Values, WithJsonSchema(_schema(OF_A_MACHINE))]


@router.get("", responses={200: {"model": FleetSettings}})
async def fleet_settings(query: Annotated[NoQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    return JSONResponse(services.desk.of_fleet())


@router.put("", responses={200: {"model": FleetSettings}})
async def put_fleet_settings(
    body: FleetBody, query: Annotated[NoQuery, Query()], services: Wired, caller: Known, key: IdempotencyKey
) -> JSONResponse:
    """Change the fleet's. What a running failover has begun with stays."""
    await submit(services, _command(None, body, key), caller)
    return JSONResponse(services.desk.of_fleet())


@router.get("/{machine_id}", responses={200: {"model": MachineSettings}})
async def machine_settings(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    return await _shown(services, machine_id)


@router.put("/{machine_id}", responses={200: {"model": MachineSettings}})
async def put_machine_settings(
    machine_id: MachineNumber,
    body: MachineBody,
    query: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
) -> JSONResponse:
    """Change this machine's own; the fleet's stay what they are."""
    await submit(services, _command(machine_id, body, key), caller)
    return await _shown(services, machine_id)


@router.delete("/{machine_id}", responses={200: {"model": MachineSettings}})
async def delete_machine_settings(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, caller: Known
) -> JSONResponse:
    """Take back all that was said of this machine alone: the configuration's counts for it again, else the fleet's."""
    machine = await services.machine(machine_id)
    taken = services.desk.take_back_all(machine)
    if taken:
        await submit(services, Command("set_policy", machine_id, arguments=taken), caller)
    return await _shown(services, machine_id)


def _command(machine_id: int | None, body: dict[str, Any], key: str | None) -> Command:
    values = {name: value for name, value in body.items() if name != "reason"}
    reason = body.get("reason")
    return Command(
        "set_policy", machine_id, command_id=key, reason=None if reason is None else str(reason), arguments=values
    )


async def _shown(services: Services, machine_id: int) -> JSONResponse:
    return JSONResponse(services.desk.of_machine(await services.machine(machine_id)))
