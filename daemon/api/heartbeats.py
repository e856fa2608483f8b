"""POST /heartbeats: the door for machines that cannot reach the broker. What they say goes the way of every heartbeat."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from daemon.api.auth import Known
from daemon.api.control_documents import BeatTaken
from daemon.api.parameters import MOST, NoQuery
from daemon.api.services import Wired
from events import codec
from events.codec import Undecodable
from events.schema import FromMachine, Heartbeat
from machines.problems import Problem

router = APIRouter(prefix="/heartbeats", tags=["machines"])

_WHERE = re.compile(r"`\$\.?([A-Za-z0-9_.\[\]]*)`|field `([A-Za-z0-9_]+)`")
_NUMBER: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": MOST}
_WHO: dict[str, Any] = {"machine_id": _NUMBER, "instance_id": _NUMBER, "boot_id": {"type": "string"}}
_SCHEMA: dict[str, Any] = {
    "anyOf": [
        {
            "title": "Heartbeat",
            "type": "object",
            "required": ["machine_id", "instance_id", "boot_id", "sequence"],
            "properties": {
                "kind": {"const": "heartbeat", "default": "heartbeat"},
                **_WHO,
                "sequence": _NUMBER,
                "interval_s": {"type": "number", "minimum": 0.05, "maximum": 86400, "default": 10.0},
                "gpu": {"type": ["string", "null"], "description": '"ok", or what is broken'},
            },
        },
        {
            "title": "Notice",
            "type": "object",
            "required": ["kind", "machine_id", "instance_id", "boot_id", "what"],
            "properties": {
                "kind": {"const": "notice"},
                **_WHO,
                "what": {"type": "string", "description": "shutdown, preemption, maintenance or contract_end"},
                "detail": {"type": "string"},
            },
        },
    ]
}


@router.post(
    "",
    status_code=202,
    responses={202: {"model": BeatTaken}},
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _SCHEMA}}}},
)
async def post_heartbeat(
    request: Request, query: Annotated[NoQuery, Query()], services: Wired, caller: Known
) -> JSONResponse:
    """One heartbeat or notice, read by the same rules as one that came over the log."""
    event = _decoded(await request.body())
    if not caller.may_beat_for(event.machine_id):
        detail = f"the token beats for machine {caller.machine_id}, not for machine {event.machine_id}"
        raise Problem(403, "forbidden", detail, "use the token that PUT /api/v1/machines/{id} answers for this machine")
    message = codec.message(
        services.heartbeat_topic,
        event,
        key=event.machine_id,
        event_id=_event_id(event),
        source=f"/machines/{event.machine_id}/instances/{event.instance_id}",
        time=services.clock.now().isoformat(),
    )
    await services.event_log.append(message)
    return JSONResponse({"accepted": True, "machine_id": event.machine_id}, 202)


def _decoded(body: bytes) -> FromMachine:
    try:
        return codec.decode_from_machine(body or None)
    except Undecodable as error:
        raise _problem(error) from error


def _problem(error: Undecodable) -> Problem:
    if error.cause == "too_large":
        return Problem(413, "too_large", error.text, "send one heartbeat in a request", {"field": "body"})
    code = "invalid_parameter" if error.cause == "invalid" else "malformed"
    return Problem(400, code, error.text, "send one heartbeat or notice as JSON", {"field": _field(error.text)})


def _field(text: str) -> str:
    """The field that the decoder names, or the body."""
    found = [match[1] or match[2] for match in _WHERE.finditer(text)]
    return next((name for name in reversed(found) if name), "body")


def _event_id(event: FromMachine) -> str:
    if isinstance(event, Heartbeat):
        return f"{event.boot_id}-{event.sequence}"
    return f"{event.boot_id}-{event.what}"
