"""The HTTP door as one ASGI application."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, FastAPI

from daemon.api import control, failover, failovers, health, heartbeats, machines, openapi, problems, readiness
from daemon.api.auth import API_PREFIX, Authentication, require_caller
from daemon.api.guards import BodyLimit, Net
from daemon.api.parameters import no_repetition
from daemon.api.services import Services


def create_app(services: Services) -> FastAPI:
    """Every route, with its guards. The app opens no socket and starts no task; it needs no lifespan."""
    app = FastAPI(title="failoverd", version=services.version, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.services = services
    app.state.closing = asyncio.Event()
    api = APIRouter(prefix=API_PREFIX, dependencies=[Depends(require_caller), Depends(no_repetition)])
    for group in (failover, readiness, machines, failovers, heartbeats, control):
        api.include_router(group.router)
    app.include_router(api)
    app.include_router(health.router)
    problems.install(app)
    openapi.install(app)
    # The last one added is the first one asked: who is calling, then how much, then what.
    app.add_middleware(BodyLimit)
    app.add_middleware(Authentication, secret=services.token)
    app.add_middleware(Net)
    return app
