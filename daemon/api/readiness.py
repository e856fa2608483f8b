"""GET /failover/readiness, /failover/status and /failover/strategies: could it fail over, and how."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query
from starlette.responses import JSONResponse

from daemon.api.auth import Known
from daemon.api.documents import ReadinessAnswer, StatusAnswer, StrategiesAnswer
from daemon.api.parameters import Flag, MachineNumber, NoQuery, StrictQuery
from daemon.api.services import Services, Wired
from daemon.api.strategies import ENGLISH, PORTUGUESE, wants_english
from daemon.api.views import prepared_view
from machines.model import Machine, Rung
from machines.pool import Pool, pool_of, recommended
from machines.readiness import Readiness
from machines.strategies.ladder import ladder
from machines.strategies.prepared_pool import prepared_of

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
    return JSONResponse(readiness_body(machine, found, await _pool(services, machine, found)))


@router.get("/status/{machine_id}", responses={200: {"model": StatusAnswer}})
async def status(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    """Which strategies are on, in which state, and what to do about it."""
    machine = await services.machine(machine_id)
    found = await services.readiness.readiness(machine, False)
    return JSONResponse(status_body(machine, found, await _pool(services, machine, found)))


async def _pool(services: Services, machine: Machine, found: Readiness) -> Pool:
    return pool_of(machine, found, await services.store.transact(lambda tx: tx.open_debts(machine.id)))


@router.get("/strategies", responses={200: {"model": StrategiesAnswer}})
async def strategies(
    query: Annotated[NoQuery, Query()], _: Known, accept_language: Annotated[str | None, Header()] = None
) -> JSONResponse:
    """The five strategies, in Portuguese unless English is asked for."""
    english = wants_english(accept_language)
    headers = {"Content-Language": "en" if english else "pt", "Vary": "Accept-Language"}
    return JSONResponse({"strategies": ENGLISH if english else PORTUGUESE}, headers=headers)


def readiness_body(machine: Machine, found: Readiness, pool: Pool) -> dict[str, Any]:
    """The contract's answer, with the reason for each strategy that is not ready.

    `association_exists` says that the machine has a CPU VM; where no provider of these is configured, that a verified copy
    of the workspace is tied to it. `cpu_vm_running` is true only of a VM that was seen running.
    """
    return {
        "machine_id": found.machine_id,
        "effective_strategy": found.setting.value,
        "warm_pool_ready": found.warm_pool_ready,
        "warm_pool_status": {
            "state": pool.state.value,
            "standby_gpu_id": found.standby,
            "why": found.warm_pool_why,
            "next": pool.next,
            "prepared": prepared_view(prepared_of(machine)),
        },
        "cpu_standby_ready": found.cpu_standby_ready,
        "cpu_standby_status": {
            "association_exists": found.has_association,
            "cpu_vm_running": found.cpu_vm_running,
            "snapshot_age_seconds": found.snapshot_age_s,
            "copy_age_seconds": found.copy_age_s,
            "why": found.cpu_standby_why,
        },
        "regional_volume_ready": found.regional_volume_ready,
        "regional_volume_status": {
            "replica_age_seconds": found.replica_age_s,
            "why": found.regional_volume_why,
        },
        "overall_ready": found.overall_ready,
        "checked_at": found.checked_at.isoformat() if found.checked_at else None,
        "recommended_action": recommended(machine, found, pool),
    }


def status_body(machine: Machine, found: Readiness, pool: Pool) -> dict[str, Any]:
    """The contract's answer, with the machine's own state."""
    rungs = ladder(found.setting)
    return {
        "machine_id": machine.id,
        "effective_strategy": found.setting.value,
        "warm_pool": {
            "enabled": Rung.WARM_POOL in rungs,
            "state": pool.state.value,
            "why": found.warm_pool_why,
            "next": pool.next,
        },
        "cpu_standby": {
            "enabled": Rung.CPU_STANDBY in rungs,
            "gcp_zone": found.gcp_zone,
            "state": "active" if found.cpu_standby_ready else "not_ready",
            "snapshot_age_seconds": found.snapshot_age_s,
            "copy_age_seconds": found.copy_age_s,
            "why": found.cpu_standby_why,
        },
        "regional_volume": {
            "enabled": Rung.REGIONAL_VOLUME in rungs,
            "state": "active" if found.regional_volume_ready else "not_ready",
            "replica_age_seconds": found.replica_age_s,
            "why": found.regional_volume_why,
        },
        "overall_ready": found.overall_ready,
        "recommended_action": recommended(machine, found, pool),
        "checked_at": found.checked_at.isoformat() if found.checked_at else None,
        "auto_failover": machine.mode.value,
        "state": machine.state.value,
        "because": machine.because,
        "failover_id": machine.failover.id if machine.failover else None,
    }
