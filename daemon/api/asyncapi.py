"""GET /asyncapi.json: the event log's contract, beside the HTTP door's own at /openapi.json."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from daemon.api.parameters import NoQuery
from daemon.api.services import Wired
from events import topics
from events.asyncapi import document

router = APIRouter(tags=["log"])


_DOCUMENT: dict[int | str, dict[str, Any]] = {
    200: {"description": "The document", "content": {"application/json": {"schema": {"type": "object"}}}}
}


@router.get("/asyncapi.json", responses=_DOCUMENT, response_class=JSONResponse)
async def asyncapi(query: Annotated[NoQuery, Query()], services: Wired) -> JSONResponse:
    """AsyncAPI 3.0 of this deployment's topics; open to everybody, as the contract is no secret."""
    prefix = services.heartbeat_topic.removesuffix(topics.HEARTBEATS)
    return JSONResponse(document(services.version, prefix))
