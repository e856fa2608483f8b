"""POST /webhooks/vast: the provider's letters. They bear no token of ours; their signature lets them in."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse

from daemon.api.control_documents import LetterTaken
from daemon.api.parameters import NoQuery
from daemon.api.services import Wired

router = APIRouter(prefix="/webhooks", tags=["machines"])


@router.post("/vast", responses={200: {"model": LetterTaken}}, openapi_extra={"security": []})
async def receive_letter(request: Request, query: Annotated[NoQuery, Query()], services: Wired) -> JSONResponse:
    """A signed webhook of Vast's. It makes us look at the instance that its subject names, and proves nothing."""
    letter = await services.webhooks.receive(request.headers, await request.body())
    if letter is None:
        return JSONResponse({"accepted": True, "is_new": False})
    return JSONResponse({"accepted": True, "is_new": True, "about": letter.about.value, "instance": letter.instance})
