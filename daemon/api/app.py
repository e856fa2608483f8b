"""The HTTP door as one ASGI application."""

from __future__ import annotations

import asyncio

from fastapi import APIRouter, Depends, FastAPI

from daemon.api import (
    asyncapi,
    audit,
    control,
    dead_letters,
    docs,
    errors,
    events,
    failover,
    failovers,
    health,
    heartbeats,
    logs,
    machines,
    metrics,
    notifications,
    openapi,
    policies,
    problems,
    readiness,
    regional_volumes,
    report,
    scopes,
    snapshots,
    tokens,
    webhooks,
)
from daemon.api.auth import API_PREFIX, Authentication, Keys, require_caller
from daemon.api.guards import BodyLimit, Net
from daemon.api.limits import RateLimit, Seats
from daemon.api.parameters import no_repetition
from daemon.api.services import Services


def create_app(services: Services) -> FastAPI:
    """Every route, with its guards. The app opens no socket and starts no task; it needs no lifespan.

    Raise LookupError where the table of scopes lacks a route.
    """
    app = described(services.version)
    app.state.services = services
    app.state.closing = asyncio.Event()
    app.state.seats = Seats(services.limits.waiting)
    # The last one added is the first one asked: who is calling, then how often, then how much, then what.
    app.add_middleware(BodyLimit)
    app.add_middleware(RateLimit, limits=services.limits, clock=services.clock)
    app.add_middleware(Authentication, keys=Keys(services.token, services.tokens, services.registry.beat_generation))
    app.add_middleware(Net, new_id=lambda: f"r_{services.random.token(16)}")
    return app


def described(version: str) -> FastAPI:
    """The routes and their document alone: nothing answers yet. Raise LookupError as create_app does."""
    app = FastAPI(
        title="failoverd",
        version=version,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=openapi.operation_id,
    )
    api = APIRouter(prefix=API_PREFIX, dependencies=[Depends(require_caller), Depends(no_repetition)])
    for group in (
        failover,
        regional_volumes,
        readiness,
        machines,
        failovers,
        heartbeats,
        control,
        events,
        report,
        snapshots,
        logs,
        dead_letters,
        policies,
        tokens,
        audit,
        notifications,
    ):
        scopes.check(group.router.routes)
        api.include_router(group.router)
    app.include_router(api)
    app.include_router(webhooks.router, prefix=API_PREFIX, dependencies=[Depends(no_repetition)])
    for open_group in (health, metrics, docs, errors, asyncapi):
        app.include_router(open_group.router)
    problems.install(app)
    openapi.install(app)
    return app
