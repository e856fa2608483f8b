"""GET /failover/readiness, /failover/status and /failover/strategies: could it fail over, and how."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import JSONResponse

from daemon.api.auth import Known
from daemon.api.documents import ReadinessAnswer, StatusAnswer, StrategiesAnswer
from daemon.api.parameters import Flag, MachineNumber, NoQuery, StrictQuery
from daemon.api.services import Wired
from daemon.api.strategies import ENGLISH, PORTUGUESE, wants_english
from machines.model import Machine, Rung
from machines.readiness import Readiness
from machines.strategies.ladder import ladder

router = APIRouter(prefix="/failover", tags=["failover"])


class ReadinessQuery(StrictQuery):
    refresh: Flag = False
    """Ask the providers now."""


@router.get("/readiness/{machine_id}", responses={200: {"model": ReadinessAnswer}})
async def readiness(
    machine_id: MachineNumber, query: Annotated[ReadinessQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """What was verified at the last poll, or now."""
    machine = await services.machine(machine_id)
    found = await services.readiness.readiness(machine, query.refresh)
    return JSONResponse(readiness_body(found))


@router.get("/status/{machine_id}", responses={200: {"model": StatusAnswer}})
async def status(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """Which strategies are on, in which state, and what to do about it."""
    machine = await services.machine(machine_id)
    found = await services.readiness.readiness(machine, False)
    return JSONResponse(status_body(machine, found))


@router.get("/strategies", responses={200: {"model": StrategiesAnswer}})
async def strategies(
    query: Annotated[NoQuery, Query()], _: Known, accept_language: Annotated[str | None, Header()] = None
) -> JSONResponse:
    """The five strategies, in Portuguese unless English is asked for."""
    english = wants_english(accept_language)
    headers = {"Content-Language": "en" if english else "pt", "Vary": "Accept-Language"}
    return JSONResponse({"strategies": ENGLISH if english else PORTUGUESE}, headers=headers)


def readiness_body(found: Readiness) -> dict[str, Any]:
    """The contract's answer, with the reason for each strategy that is not ready.

    `association_exists` says that a verified copy of the workspace is tied to the machine. `cpu_vm_running` is true only
    of a VM that runs: a replacement that is rented when it is needed has none beforehand.
    """
    return {
        "machine_id": found.machine_id,
        "effective_strategy": found.setting.value,
        "warm_pool_ready": found.warm_pool_ready,
        "warm_pool_status": {
            "state": _warm_pool_state(found),
            "standby_gpu_id": found.standby,
            "why": found.warm_pool_why,
        },
        "cpu_standby_ready": found.cpu_standby_ready,
        "cpu_standby_status": {
            "association_exists": found.snapshot_age_s is not None,
            "cpu_vm_running": False,
            "snapshot_age_seconds": found.snapshot_age_s,
            "why": found.cpu_standby_why,
        },
        "overall_ready": found.overall_ready,
        "checked_at": found.checked_at.isoformat() if found.checked_at else None,
        "recommended_action": found.recommended_action,
    }


def status_body(machine: Machine, found: Readiness) -> dict[str, Any]:
    """The contract's answer, with the machine's own state."""
    rungs = ladder(found.setting)
    return {
        "machine_id": machine.id,
        "effective_strategy": found.setting.value,
        "warm_pool": {
            "enabled": Rung.WARM_POOL in rungs,
            "state": _warm_pool_state(found),
            "why": found.warm_pool_why,
        },
        "cpu_standby": {
            "enabled": Rung.CPU_STANDBY in rungs,
            "gcp_zone": None,
            "state": "active" if found.cpu_standby_ready else "not_ready",
            "snapshot_age_seconds": found.snapshot_age_s,
            "why": found.cpu_standby_why,
        },
        "regional_volume": {"enabled": Rung.REGIONAL_VOLUME in rungs},
        "overall_ready": found.overall_ready,
        "recommended_action": found.recommended_action,
        "checked_at": found.checked_at.isoformat() if found.checked_at else None,
        "auto_failover": machine.mode.value,
        "state": machine.state.value,
        "because": machine.because,
        "failover_id": machine.failover.id if machine.failover else None,
    }


def _warm_pool_state(found: Readiness) -> str:
    return "active" if found.warm_pool_ready else "not_ready"
