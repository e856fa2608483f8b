"""POST /failover/execute and /failover/test: a failover asked for by a person or a program, for real or on paper."""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.auth import Caller, Known
from daemon.api.documents import DryRunAnswer, FailoverAnswer, RunningAnswer
from daemon.api.dry_run import dry_run
from daemon.api.parameters import (
    MOST,
    Flag,
    IdempotencyKey,
    MachineNumber,
    NoQuery,
    StrictBody,
    StrictQuery,
    Whole,
)
from daemon.api.services import Services, Wired
from daemon.api.waiting import Preference, Preferred, answered, submit
from daemon.registration import Folder
from events.schema import Command
from machines.problems import Problem

router = APIRouter(prefix="/failover", tags=["failover"])

Forced = Literal["warm_pool", "cpu_standby", "both", "regional_volume"]
Host = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\s\x00-\x1f]+$")]


class ExecuteBody(StrictBody):
    """The contract's request."""

    machine_id: Annotated[int, Field(ge=0, le=MOST)]
    gpu_instance_id: Annotated[int, Field(ge=0, le=MOST)]
    ssh_host: Host
    ssh_port: Annotated[int, Field(ge=1, le=65535)]
    workspace_path: Folder = "/workspace"
    force_strategy: Forced | None = None
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None
    """Ours: why, for those who read the record."""


class TestQuery(StrictQuery):
    """The contract's parameters of a test; they come in the query string."""

    gpu_instance_id: Annotated[int, Field(ge=0, le=MOST), Whole]
    ssh_host: Host
    ssh_port: Annotated[int, Field(ge=1, le=65535), Whole]
    strategy: Forced | None = None
    dry_run: Flag = True


_ANSWERS: dict[int | str, dict[str, Any]] = {200: {"model": FailoverAnswer}, 202: {"model": RunningAnswer}}
_TEST_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"model": DryRunAnswer | FailoverAnswer},
    202: {"model": RunningAnswer},
}


@router.post("/execute", responses=_ANSWERS)
async def execute(
    body: ExecuteBody,
    _: Annotated[NoQuery, Query()],
    request: Request,
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    prefer: Preferred,
) -> JSONResponse:
    """Fail the machine over; answers when that has ended, whatever the outcome."""
    command = Command(
        "failover",
        machine_id=body.machine_id,
        command_id=key,
        gpu_instance_id=body.gpu_instance_id,
        strategy=body.force_strategy,
        reason=body.reason,
        arguments=_arguments(body),
    )
    return await _carry_out(services, request, command, caller, prefer)


def _arguments(body: ExecuteBody) -> dict[str, Any]:
    """The default of `workspace_path` says nothing against what the machine was registered with."""
    given: dict[str, Any] = {"ssh_host": body.ssh_host, "ssh_port": body.ssh_port}
    if "workspace_path" in body.model_fields_set:
        given["workspace_path"] = body.workspace_path
    return given


@router.post("/test/{machine_id}", responses=_TEST_ANSWERS)
async def test(
    machine_id: MachineNumber,
    query: Annotated[TestQuery, Query()],
    request: Request,
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    prefer: Preferred,
) -> JSONResponse:
    """What a failover would do; with `dry_run=false` a real one, marked as a drill."""
    if query.dry_run:
        machine = await services.machine(machine_id)
        return JSONResponse(await dry_run(services, machine, query.gpu_instance_id, query.strategy))
    command = Command(
        "drill",
        machine_id=machine_id,
        command_id=key,
        gpu_instance_id=query.gpu_instance_id,
        strategy=query.strategy,
        arguments={"ssh_host": query.ssh_host, "ssh_port": query.ssh_port},
    )
    return await _carry_out(services, request, command, caller, prefer)


async def _carry_out(
    services: Services, request: Request, command: Command, caller: Caller, prefer: Preference
) -> JSONResponse:
    machine_id = command.machine_id or 0
    try:
        accepted = await submit(services, command, caller)
    except Problem as problem:
        if problem.code != "protection_disabled":
            raise
        nonce = command.command_id or f"{machine_id} at {services.clock.now().isoformat()}"
        return JSONResponse(disabled_answer(machine_id, nonce, problem.detail))
    return await answered(services, request, accepted, machine_id, prefer)


def disabled_answer(machine_id: int, nonce: str, detail: str) -> dict[str, Any]:
    """The contract's 200 for a machine whose strategy is `disabled`: a failover that was refused before it began.

    `failover_id` stays a string, because the contract's types hold exactly and it says of no answer that the id may be
    null. It begins with `fo_refused_` and names this refusal: the same for every repetition under one Idempotency-Key,
    another for each other request, and unknown at /failovers, since nothing ran.
    """
    return {
        "success": False,
        "failover_id": "fo_refused_" + hashlib.sha256(nonce.encode()).hexdigest()[:10],
        "machine_id": machine_id,
        "strategy_attempted": "disabled",
        "strategy_succeeded": None,
        "new_gpu_id": None,
        "new_ssh_host": None,
        "new_ssh_port": None,
        "new_gpu_name": None,
        "warm_pool_attempt_ms": 0,
        "cpu_standby_attempt_ms": 0,
        "regional_volume_attempt_ms": 0,
        "total_ms": 0,
        "error": "protection_disabled",
        "error_detail": detail,
        "warm_pool_error": None,
        "cpu_standby_error": None,
        "regional_volume_error": None,
        "state": "failed",
        "data_age_seconds": None,
    }
