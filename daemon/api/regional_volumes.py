"""The routes of /failover/regional-volume: made, listed, shown, deleted, failed over to, and a search for a GPU beside one."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, HTTPException, Path, Query, Request
from pydantic import BeforeValidator, Field
from starlette.responses import JSONResponse

from adapters.sql.records import FailoverRecord
from adapters.sql.tx import Tx
from daemon import regional
from daemon.answers import milliseconds
from daemon.api.auth import API_PREFIX, Known
from daemon.api.documents import (
    OfferSearchAnswer,
    RunningAnswer,
    VolumeAnswer,
    VolumeBeingMade,
    VolumeDeleted,
    VolumeFailoverAnswer,
    VolumeMade,
    VolumesAnswer,
)
from daemon.api.pages import NumberedQuery, numbered, page_of, paged
from daemon.api.parameters import MOST, IdempotencyKey, NoQuery, StrictQuery, Whole
from daemon.api.services import Services, Wired
from daemon.api.waiting import Preference, Preferred, accepted_response, submit, watched, watched_failover
from daemon.asked import Accepted, problem_of
from daemon.market_fields import Region
from events.schema import Command
from machines.model import FailoverId, InstanceId, MachineId, Offer, OfferQuery, Setting, VolumeId, Workload
from machines.problems import Problem
from machines.volumes import RegionalVolume, VolumeStatus

router = APIRouter(prefix="/failover/regional-volume", tags=["regional volumes"])

_LIST = f"{API_PREFIX}/failover/regional-volume/list"
_OTHERS = ("create", "failover", "list")
_DELETION_S = 90
"""Real seconds for which a deletion is watched where the client says nothing."""
_DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,30})?", re.ASCII)


def _decimal(value: Any) -> Any:
    if isinstance(value, str):
        if _DECIMAL.fullmatch(value) is None:
            is_below = _DECIMAL.fullmatch(value.removeprefix("-")) is not None
            raise ValueError(f"it must be {'above 0' if is_below else 'a number'}, such as 0.45")
        return float(value)
    return value


async def _is_a_volume(request: Request) -> None:
    """The other routes beside {volume_id} know other methods. Raise HTTPException (405)."""
    if request.path_params["volume_id"] in _OTHERS:
        raise HTTPException(405)


VolumeNumber = Annotated[int, Path(ge=1, le=MOST), Whole]


class FailoverBody(regional.VolumeWishes):
    """The contract's request."""

    old_instance_id: Annotated[int, Field(ge=0, le=MOST)]


class SearchQuery(StrictQuery):
    max_price: Annotated[float, Field(ge=0.0001, le=1000), BeforeValidator(_decimal)] | None = None
    gpu_name: Annotated[str, Field(min_length=1, max_length=64)] | None = None


_MADE: dict[int | str, dict[str, Any]] = {200: {"model": VolumeMade}, 202: {"model": VolumeBeingMade}}
_FAILED_OVER: dict[int | str, dict[str, Any]] = {200: {"model": VolumeFailoverAnswer}, 202: {"model": RunningAnswer}}
_DELETED: dict[int | str, dict[str, Any]] = {200: {"model": VolumeDeleted}, 202: {"model": VolumeDeleted}}


@router.post("/create", responses=_MADE)
async def create(
    body: regional.NewVolume,
    _: Annotated[NoQuery, Query()],
    request: Request,
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    prefer: Preferred,
) -> JSONResponse:
    """Make an empty volume on a host of the region; answers when it is there."""
    arguments = body.model_dump(exclude_none=True)
    accepted = await submit(services, Command("create_volume", command_id=key, arguments=arguments), caller)
    if accepted.answer is not None:
        return JSONResponse(dict(accepted.answer), 200, prefer.applied)
    seconds = None if prefer.patience_s is None else services.clock.real(prefer.patience_s)
    row = await watched(request, services.commands.answer_to(accepted.command_id, seconds), _closing("the volume"))
    if row is None or row.answered_at is None:
        return JSONResponse({"success": True, "state": "creating"}, 202, {"Location": _LIST, **prefer.applied})
    if row.status == "refused":
        raise problem_of(row)
    return JSONResponse(dict(row.answer or {}), 200, prefer.applied)


@router.post("/failover", responses=_FAILED_OVER)
async def failover(
    body: FailoverBody,
    _: Annotated[NoQuery, Query()],
    request: Request,
    services: Wired,
    caller: Known,
    key: IdempotencyKey,
    prefer: Preferred,
) -> JSONResponse:
    """Fail the machine of the old instance over to a GPU that has the volume; answers when that has ended."""
    machine = await _machine(services, body.old_instance_id, key)
    command = Command(
        "failover",
        machine_id=machine,
        command_id=key,
        gpu_instance_id=body.old_instance_id,
        strategy=Setting.REGIONAL_VOLUME.value,
        arguments={"regional_volume": body.model_dump(exclude={"old_instance_id"}, exclude_unset=True)},
    )
    accepted = await submit(services, command, caller)
    return await _failed_over(services, request, accepted, body, prefer)


async def _machine(services: Services, instance: int, key: str | None) -> MachineId:
    """A repetition under its key is of the machine that it was of, which has another instance by now. Raise Problem (404)."""

    def read(tx: Tx) -> MachineId:
        known = tx.command(key) if key is not None else None
        if known is not None and known.machine_id is not None and known.body.get("gpu_instance_id") == instance:
            return known.machine_id
        return regional.machine_of(tx, InstanceId(instance)).id

    return await services.store.transact(read)


async def _failed_over(
    services: Services, request: Request, accepted: Accepted, body: FailoverBody, prefer: Preference
) -> JSONResponse:
    assert accepted.failover_id is not None
    record = await watched_failover(services, request, accepted.failover_id, prefer.patience_s)
    if record is None or record.ended_at is None:
        machine = record.machine if record is not None else MachineId(0)
        return accepted_response(accepted.failover_id, machine, prefer.applied)
    region = await services.store.transact(lambda tx: _region(tx, body.volume_id))
    return JSONResponse(failover_answer(record, body, body.region or region), 200, prefer.applied)


def _region(tx: Tx, handle: int) -> str:
    row = tx.regional_volume(VolumeId(handle))
    return row.region if row is not None else ""


def failover_answer(record: FailoverRecord, body: FailoverBody, region: str) -> dict[str, Any]:
    """The contract's body; `success:false` is a failover that ran and replaced nothing."""
    new, success = record.new, bool(record.success)
    age = record.data_age_s
    message = "Failover completed successfully" if success else f"Failover failed: {record.code}: {record.why}"
    if success and age:
        message = f"{message}; its data is {age:.0f} s old: what was written since is lost"
    return {
        "success": success,
        "volume_id": body.volume_id,
        "old_instance_id": body.old_instance_id,
        "new_instance_id": new.instance if new else None,
        "new_gpu_name": new.gpu_name.replace(" ", "_") if new else None,
        "region": region,
        "failover_time_seconds": milliseconds(record.started_at, record.ended_at) / 1000,
        "message": message,
        "ssh_host": new.ssh.host if new else None,
        "ssh_port": new.ssh.port if new else None,
        "failover_id": FailoverId(record.id),
        "machine_id": record.machine,
        "error": None if success else record.code,
        "data_age_seconds": age,
    }


@router.get("/list", responses={200: {"model": VolumesAnswer}})
async def list_volumes(query: Annotated[NumberedQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """Every regional volume that this deployment made, or that a machine with this strategy lies on."""
    rows = await services.store.transact(lambda tx: tx.regional_volumes())
    mains = [row for row in rows if _is_main(row)]
    page, cursor = page_of(mains, lambda row: numbered(row.handle or 0), query)
    told = {"volumes": await _views(services, page, rows), "count": len(mains), "next_cursor": cursor}
    return paged(_LIST, told, {"cursor": cursor, "limit": query.limit})


@router.get("/search/{region}", responses={200: {"model": OfferSearchAnswer}})
async def search(region: Region, query: Annotated[SearchQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """The cheapest GPU that can be rented in the region now."""
    policy = services.policies.fleet
    cap = policy.max_price if query.max_price is None else min(query.max_price, policy.max_price)
    wanted = OfferQuery(query.gpu_name, 1, Workload().disk_gb, cap, policy.min_reliability, region)
    offers = await services.cloud.search(wanted)
    return JSONResponse({"found": bool(offers), "offer": _offer_view(offers[0]) if offers else None})


@router.get("/{volume_id}", responses={200: {"model": VolumeAnswer}}, dependencies=[Depends(_is_a_volume)])
async def get_volume(
    volume_id: VolumeNumber, query: Annotated[NoQuery, Query()], services: Wired, _: Known
) -> JSONResponse:
    rows = await services.store.transact(lambda tx: (regional.volume_named(tx, volume_id), tx.regional_volumes()))
    (shown,) = await _views(services, [rows[0]], rows[1])
    return JSONResponse(shown)


@router.delete("/{volume_id}", responses=_DELETED, dependencies=[Depends(_is_a_volume)])
async def delete_volume(
    volume_id: VolumeNumber,
    _: Annotated[NoQuery, Query()],
    request: Request,
    services: Wired,
    caller: Known,
    prefer: Preferred,
) -> JSONResponse:
    """Delete the volume and its copies; 409 while anything has it mounted."""
    row = await services.store.transact(lambda tx: regional.volume_named(tx, volume_id))
    listed, now = await services.volumes.volumes(), services.clock.now()
    missing = row.volume if row.volume not in listed else None
    if missing is not None:
        await services.volumes.expect_gone(missing)

    def begin(tx: Tx) -> int:
        if row.status is not VolumeStatus.DELETING:
            tx.audit(caller.did("delete_volume", now, row.machine, str(volume_id)))
        return regional.begin_deletion(tx, volume_id, listed, missing, now)

    number = await services.store.transact(begin)
    patience = _DELETION_S if prefer.patience_s is None else prefer.patience_s
    work = _until_gone(services, number, services.clock.real(patience))
    is_gone = await watched(request, work, _closing("the deletion"))
    body = {"success": True, "volume_id": volume_id, "status": "deleted" if is_gone else "deleting"}
    return JSONResponse(body, 200 if is_gone else 202, prefer.applied)


async def _until_gone(services: Services, number: int, seconds: float) -> bool:
    """The provider has taken the deletion of the volume and of its copies."""
    deadline, nap = services.clock.monotonic() + seconds, services.clock.real(0.5)
    while True:
        rows = await services.store.transact(lambda tx: (tx.volume_row(number), tx.replicas_of(number)))
        if rows[0] is None and not rows[1]:
            return True
        left = deadline - services.clock.monotonic()
        if left <= 0:
            return False
        await services.clock.sleep(min(left, nap))


def _is_main(row: RegionalVolume) -> bool:
    """Made, no replica, and none whose place a replica has taken."""
    return row.replica_of is None and row.handle is not None


async def _views(
    services: Services, wanted: Sequence[RegionalVolume], rows: Sequence[RegionalVolume]
) -> list[dict[str, Any]]:
    """Raise StepError where the provider does not answer: what is attached is not guessed."""
    listed: Mapping[VolumeId, Any] = await services.volumes.volumes(max_age_s=10.0) if wanted else {}
    now = services.clock.now()
    return [
        regional.volume_view(row, listed, [one for one in rows if one.replica_of == row.number], now) for row in wanted
    ]


def _offer_view(offer: Offer) -> dict[str, Any]:
    return {
        "offer_id": offer.id,
        "gpu_name": offer.gpu_name.replace(" ", "_"),
        "num_gpus": offer.num_gpus,
        "price_per_hour": offer.price_per_hour,
        "reliability": offer.reliability,
        "geolocation": offer.region,
    }


def _closing(what: str) -> Problem:
    return Problem(503, "shutting_down", f"the daemon is going down; {what} goes on when it is back", "ask again")
