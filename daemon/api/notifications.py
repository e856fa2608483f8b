"""Whether those who are to be told of incidents can be reached."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.auth import Known
from daemon.api.control_documents import TrialAnswer
from daemon.api.parameters import NoQuery, StrictBody
from daemon.api.services import Wired
from machines.problems import Problem

router = APIRouter(tags=["control"])


class NotifyTestBody(StrictBody):
    channel: Annotated[str, Field(min_length=1, max_length=32)] | None = None
    """Its name; all of them where none is named."""


@router.post("/notify/test", responses={200: {"model": TrialAnswer}})
async def try_channels(
    query: Annotated[NoQuery, Query()], services: Wired, _: Known, body: NotifyTestBody | None = None
) -> JSONResponse:
    """Send each channel a message for trial, and say what came of it: 200 also where one did not take it (`ok` is false)."""
    name = body.channel if body else None
    found = await services.notifying.test(name) if services.notifying else []
    if not found:
        detail = f"no channel is called {name}" if name else "no channel is configured"
        raise Problem(404, "unknown_channel", detail, "see notify.channels in: failoverd config show FILE")
    rows = [
        {"channel": one.channel, "kind": one.kind, "ok": one.error is None, "error": one.error, "seconds": one.seconds}
        for one in found
    ]
    return JSONResponse({"ok": all(one.error is None for one in found), "channels": rows, "count": len(rows)})
