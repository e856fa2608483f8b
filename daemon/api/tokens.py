"""The stored tokens: made, listed and revoked. A secret is in the one answer that makes it, and nowhere else."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import JSONResponse

from adapters.sql.records import TokenRecord
from daemon.api.auth import ADMIN_NAME, API_PREFIX, Known, beat_token
from daemon.api.documents import BeatTokenAnswer, NewTokenAnswer, TokenRevoked, TokensAnswer
from daemon.api.pages import paged
from daemon.api.parameters import MOST, IdempotencyKey, MachineNumber, NoQuery, StrictBody, StrictQuery, Whole
from daemon.api.services import Wired
from daemon.api.views import iso
from daemon.tokens import keyed
from machines.access import Scope
from machines.model import MachineId
from machines.problems import Problem, invalid

router = APIRouter(tags=["tokens"])

_NAME = r"^[a-z0-9][a-z0-9._-]{0,62}$"
_RESERVED = (ADMIN_NAME, "failoverd", "configuration")
_MACHINES = "machine-"
"""How machines are called in the audit; nobody else may bear such a name."""

TokenName = Annotated[str, Path(pattern=_NAME)]


class TokenBody(StrictBody):
    """`name` is who will be seen in the audit."""

    name: Annotated[str, Field(pattern=_NAME)]
    scope: Annotated[Scope, Field(strict=False)]
    machine_id: Annotated[int, Field(ge=0, le=MOST)] | None = None
    """Of a token of scope `beat`: the one machine that it speaks for."""
    expires_in_s: Annotated[float, Field(gt=0, le=10 * 365 * 86400, allow_inf_nan=False)] | None = None
    """Without it, it is valid until it is revoked."""
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


class TokensQuery(StrictQuery):
    cursor: Annotated[int, Field(ge=1, le=MOST), Whole] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=1000), Whole] = 500


@router.post("/tokens", status_code=201, responses={201: {"model": NewTokenAnswer}})
async def create_token(
    body: TokenBody, query: Annotated[NoQuery, Query()], services: Wired, caller: Known, key: IdempotencyKey
) -> JSONResponse:
    """A new token. Only a digest of its secret is stored: it is shown this once, and again only to the same request under
    the same Idempotency-Key."""
    _check(body)
    now = services.clock.now()
    expires = None if body.expires_in_s is None else now + timedelta(seconds=body.expires_in_s)
    machine = None if body.machine_id is None else MachineId(body.machine_id)
    secret = keyed(services.token, key) if key is not None and services.token else None
    audit = caller.did(
        "create_token", now, body.machine_id, body.name, body.reason, scope=body.scope.value, expires_at=iso(expires)
    )
    token, secret = await services.tokens.create(body.name, body.scope, machine, expires, audit, secret)
    headers = {"Location": f"{API_PREFIX}/tokens", "Cache-Control": "no-store"}
    return JSONResponse({**_view(token, now), "token": secret}, 201, headers)


def _check(body: TokenBody) -> None:
    """Raise Problem (400)."""
    if body.name in _RESERVED or body.name.startswith(_MACHINES):
        wanted = f"a name that is none of the daemon's own ({', '.join(_RESERVED)}, {_MACHINES}...)"
        raise invalid("name", body.name, wanted)
    if (body.scope is Scope.BEAT) != (body.machine_id is not None):
        detail = "machine_id belongs to the scope beat, which is bound to one machine, and to no other"
        remedy = "give both machine_id and scope beat, or neither"
        raise Problem(400, "invalid_parameter", detail, remedy, {"field": "machine_id"})


@router.get("/tokens", responses={200: {"model": TokensAnswer}})
async def list_tokens(query: Annotated[TokensQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """The newest first, revoked and expired ones too; without their secrets, which nobody has."""
    now = services.clock.now()
    found = await services.tokens.newest(query.cursor, query.limit + 1)
    page = found[: query.limit]
    cursor = str(page[-1].number) if len(found) > query.limit else None
    told = {"tokens": [_view(token, now) for token in page], "count": len(page), "next_cursor": cursor}
    return paged(f"{API_PREFIX}/tokens", told, {"cursor": cursor, "limit": query.limit})


@router.delete("/tokens/{name}", responses={200: {"model": TokenRevoked}})
async def revoke_token(
    name: TokenName, query: Annotated[NoQuery, Query()], services: Wired, caller: Known
) -> JSONResponse:
    """It opens nothing from now on; at other replicas within a second."""
    await services.tokens.revoke(name, caller.did("revoke_token", services.clock.now(), subject=name))
    return JSONResponse({"name": name, "revoked": True})


@router.delete("/machines/{machine_id}/beat-token", responses={200: {"model": BeatTokenAnswer}})
async def revoke_beat_token(
    machine_id: MachineNumber, query: Annotated[NoQuery, Query()], services: Wired, caller: Known
) -> JSONResponse:
    """The machine's own token opens nothing from now on. The answer has the next one: give it to the machine's agent,
    whose beats over HTTP are refused until then."""
    audit = caller.did("revoke_beat_token", services.clock.now(), machine_id)
    machine = await services.registry.revoke_beats(MachineId(machine_id), audit)
    token = beat_token(services.token, machine_id, machine.beat_generation)
    return JSONResponse(
        {"machine_id": machine_id, "revoked": True, "beat_token": token}, headers={"Cache-Control": "no-store"}
    )


def _view(token: TokenRecord, now: datetime) -> dict[str, Any]:
    return {
        "name": token.name,
        "scope": token.scope.value,
        "machine_id": token.machine_id,
        "state": _state(token, now),
        "created_at": iso(token.created_at),
        "created_by": token.created_by,
        "expires_at": iso(token.expires_at),
        "last_used_at": iso(token.last_used_at),
        "revoked_at": iso(token.revoked_at),
        "revoked_by": token.revoked_by,
    }


def _state(token: TokenRecord, now: datetime) -> str:
    if token.revoked_at is not None:
        return "revoked"
    return "valid" if token.opens_at(now) else "expired"
