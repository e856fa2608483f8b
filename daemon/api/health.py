"""/livez, /readyz and /healthz, open to everybody: is a restart the remedy, and can requests be served."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query
from starlette.responses import JSONResponse

from adapters.sql.errors import StoreUnavailable
from daemon.api.control_documents import HealthAnswer
from daemon.api.parameters import StrictQuery
from daemon.api.services import Check, Services, Wired

router = APIRouter(tags=["health"])


_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": HealthAnswer}, 503: {"model": HealthAnswer}}


class HealthQuery(StrictQuery):
    verbose: Literal["", "true", "1"] | None = None
    """Name every check."""


@router.get("/livez", responses=_ANSWERS)
async def livez(query: Annotated[HealthQuery, Query()], services: Wired) -> JSONResponse:
    """200 while the daemon itself works, whatever has become of the world around it; 503 where a restart helps."""
    vital = {name: check for name, check in _checks(services).items() if check.vital}
    return _answer(vital, services.version, query.verbose is not None)


@router.get("/readyz", responses=_ANSWERS)
async def readyz(query: Annotated[HealthQuery, Query()], services: Wired) -> JSONResponse:
    """200 where everything that the daemon needs answers."""
    checks = _checks(services)
    if "store" not in checks or checks["store"].ok:
        checks["store"] = await _store(services)
    return _answer(checks, services.version, query.verbose is not None)


@router.get("/healthz", responses=_ANSWERS)
async def healthz(query: Annotated[HealthQuery, Query()], services: Wired) -> JSONResponse:
    """The same as /readyz, for those who ask by this name."""
    return await readyz(query, services)


def _checks(services: Services) -> dict[str, Check]:
    found = services.health().items()
    return {name: Check(True, check) if isinstance(check, str) else check for name, check in found}


async def _store(services: Services) -> Check:
    try:
        await services.store.transact(lambda tx: None)
    except StoreUnavailable as error:
        return Check(False, str(error))
    return Check(True, "it answers")


def _answer(checks: Mapping[str, Check], version: str, verbose: bool) -> JSONResponse:
    """Only an operator who asks is told details; the doors are open, so they say nothing by themselves."""
    ok = all(check.ok for check in checks.values())
    body: dict[str, Any] = {"status": "ok" if ok else "failing", "version": version}
    if verbose:
        body["checks"] = {name: _shown(check) for name, check in checks.items()}
    return JSONResponse(body, 200 if ok else 503)


def _shown(check: Check) -> dict[str, Any]:
    shown: dict[str, Any] = {"ok": check.ok, "detail": check.detail}
    return shown if check.ok else {**shown, "for_seconds": None if check.for_s is None else round(check.for_s, 3)}
