"""GET /metrics: what Prometheus scrapes. It names machines and prices, so a token is asked for."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from daemon.api.auth import METRICS_PATH, Known
from daemon.api.parameters import NoQuery
from daemon.api.services import Wired

router = APIRouter(tags=["health"])

_PAGE: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Metrics as Prometheus reads them, or as OpenMetrics where that is asked for.",
        "content": {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
    }
}


@router.get(METRICS_PATH, responses=_PAGE, response_class=Response)
async def metrics(query: Annotated[NoQuery, Query()], request: Request, services: Wired, _: Known) -> Response:
    """Everything that is counted, and how everything stands now."""
    page, media_type = await services.metrics.render(request.headers.get("accept", ""))
    return Response(page, headers={"Content-Type": media_type})
