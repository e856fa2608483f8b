"""Who is calling: a bearer token on everything under /api/v1, checked before a byte of the request is understood.

There are three kinds of token. The static one of the settings may do everything. Stored ones have a name and a scope, and
can be revoked (daemon/tokens.py). One for each machine may only tell of that machine's life: it is derived from the static
one and from how often it was revoked, so nothing has to be stored and a machine's tenant who reads it gains nothing.

How long a refusal takes tells nothing of a secret: the static token and the machines' are compared with
`hmac.compare_digest`, and a stored one is looked up by the SHA-256 of the whole of what was sent. Unknown, revoked and
expired ones get the same answer.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any

from fastapi import Depends, Request
from fastapi.routing import APIRoute
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.sql.errors import StoreUnavailable
from adapters.sql.records import AuditRecord, Door
from daemon.api.problems import problem_response
from daemon.api.scopes import NEEDED, least_scope
from daemon.tokens import PREFIX, TokenBook
from machines import access
from machines.model import MachineId
from machines.problems import Problem

API_PREFIX = "/api/v1"
WEBHOOK_PATH = f"{API_PREFIX}/webhooks/vast"
"""The one door without a token: a signature is asked for there."""
METRICS_PATH = "/metrics"
REASON_HEADER = "Failoverd-Reason"
"""Why, for those who read the audit, where a request's body has no field for it."""
CLI_AGENT = "failoverd-cli"
"""How our own commands name themselves; a claim, as every User-Agent is."""
ADMIN_NAME = "admin"
"""What the static token is called."""
LONGEST_REASON = 500
_BEAT_TOKEN = re.compile(r"fb_(0|[1-9][0-9]{0,18})_(?:([1-9][0-9]{0,8})_)?[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """The bearer of a known token, the door that was taken, and the reason that was given."""

    name: str
    scope: access.Scope = access.Scope.ADMIN
    machine_id: int | None = None
    """The one machine that a beat token speaks for."""
    door: Door = "http"
    reason: str | None = None

    def may_beat_for(self, machine_id: int) -> bool:
        return self.machine_id is None or self.machine_id == machine_id

    def did(
        self,
        what: str,
        at: datetime,
        machine_id: int | None = None,
        subject: str | None = None,
        reason: str | None = None,
        **detail: Any,
    ) -> AuditRecord:
        """What the caller changes, for the audit; a reason in the body goes before the header's."""
        machine = MachineId(machine_id) if machine_id is not None else None
        return AuditRecord(at, self.name, self.door, what, machine, subject, reason or self.reason, detail)


def beat_token(secret: str, machine_id: int, generation: int = 0) -> str:
    """The token of scope `beat` for this machine, under the static token; each revocation begins the next generation."""
    of = f"{machine_id}" if generation == 0 else f"{machine_id}:{generation}"
    digest = hmac.new(secret.encode(), f"beat:{of}".encode(), hashlib.sha256).hexdigest()[:40]
    return f"fb_{of.replace(':', '_')}_{digest}"


@dataclass(frozen=True, slots=True)
class Keys:
    """Every token that opens something."""

    secret: str = field(repr=False)
    """The static one. Empty: nobody is let in by it, nor by one that follows from it."""
    book: TokenBook
    beats_of: Callable[[MachineId], Awaitable[int]]
    """The machine's generation of beat tokens. May raise StoreUnavailable."""

    async def caller(self, token: str) -> Caller | None:
        """Who bears the token; None for an unknown one. Raise StoreUnavailable where that cannot be known."""
        if not token:
            return None
        if self.secret and _same(token, self.secret):
            return Caller(ADMIN_NAME)
        if token.startswith(PREFIX):
            found = await self.book.bearer(token)
            return None if found is None else Caller(found.name, found.scope, found.machine_id)
        return await self._machine(token) if self.secret else None

    async def _machine(self, token: str) -> Caller | None:
        found = _BEAT_TOKEN.fullmatch(token)
        if found is None:
            return None
        machine_id, generation = int(found[1]), int(found[2] or 0)
        if not _same(token, beat_token(self.secret, machine_id, generation)):
            return None  # Before anybody is asked: a stranger causes no question to the store.
        if generation != await self.beats_of(MachineId(machine_id)):
            return None
        return Caller(f"machine-{machine_id}", access.Scope.BEAT, machine_id)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class Authentication:
    """ASGI middleware: 401 without a known token, 403 where its scope is too little, 503 where nobody can know."""

    def __init__(self, app: ASGIApp, keys: Keys) -> None:
        self._app = app
        self._keys = keys

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_guarded(scope["method"], scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            state = scope.setdefault("state", {})
            state["caller"] = await self._admitted(scope)
            state["is_still_known"] = self._asker(_bearer(Headers(scope=scope).get("authorization")))
        except Problem as problem:
            await problem_response(problem, scope["path"], _challenge(problem))(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _asker(self, token: str) -> Callable[[], Awaitable[bool]]:
        """For an answer that lasts: is the token still valid? While nobody can know, it is."""

        async def is_still_known() -> bool:
            try:
                return await self._keys.caller(token) is not None
            except StoreUnavailable:
                return True

        return is_still_known

    async def _admitted(self, scope: Scope) -> Caller:
        """Raise Problem (400, 401, 403, 503)."""
        headers = Headers(scope=scope)
        given = headers.get("authorization")
        try:
            caller = await self._keys.caller(_bearer(given))
        except StoreUnavailable as error:
            remedy = "try again, or use the static token; if it lasts, look at the database: /readyz?verbose"
            raise Problem(503, "store_unavailable", str(error), remedy) from error
        if caller is None:
            detail = "the request bears no token" if given is None else "the token is unknown, revoked or expired"
            raise Problem(401, "unauthorized", detail, "send a valid token as Authorization: Bearer <token>")
        needed = _needed(scope["method"], scope["path"])
        if needed is None and caller.scope is access.Scope.BEAT:
            needed = access.Scope.READ  # What there is and what there is not is none of a tenant's business.
        if needed is not None and not caller.scope.covers(needed):
            raise _forbidden(caller.scope, needed)
        door: Door = "cli" if headers.get("user-agent", "").startswith(CLI_AGENT) else "http"
        return Caller(caller.name, caller.scope, caller.machine_id, door, _reason(scope))


def _is_guarded(method: str, path: str) -> bool:
    if (method, path) == ("POST", WEBHOOK_PATH):
        return False
    return path in (API_PREFIX, METRICS_PATH) or path.startswith(f"{API_PREFIX}/")


def _needed(method: str, path: str) -> access.Scope | None:
    return least_scope(method, path.removeprefix(API_PREFIX))


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _reason(scope: Scope) -> str | None:
    """The header as UTF-8. Raise Problem (400)."""
    name = REASON_HEADER.lower().encode()
    headers: list[tuple[bytes, bytes]] = scope["headers"]
    given = next((value for key, value in headers if key.lower() == name), None)
    if given is None:
        return None
    try:
        text = given.decode().strip()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not 1 <= len(text) <= LONGEST_REASON:
        wanted = f"1 to {LONGEST_REASON} printable characters in UTF-8, on one line"
        detail = f"{REASON_HEADER} must be {wanted}"
        raise Problem(400, "invalid_parameter", detail, f"send {wanted}", {"field": REASON_HEADER})
    return text


def _challenge(problem: Problem) -> dict[str, str]:
    """What RFC 6750 wants to be told with the refusal."""
    match problem.status:
        case 401 if "no token" in problem.detail:
            return {"WWW-Authenticate": 'Bearer realm="failoverd"'}
        case 401:
            return {"WWW-Authenticate": 'Bearer realm="failoverd", error="invalid_token"'}
        case 403:
            return {"WWW-Authenticate": f'Bearer error="insufficient_scope", scope="{problem.extra["needs"]}"'}
        case _:
            return {}


def _forbidden(held: access.Scope, needed: access.Scope) -> Problem:
    detail = f"this needs a token of scope {needed.value}, and the token's is {held.value}"
    if held is access.Scope.BEAT:
        detail = "a token of scope beat may send heartbeats and notices, and nothing else"
    remedy = f"use a token of scope {needed.value}: failoverd token create NAME --scope {needed.value}"
    return Problem(403, "forbidden", detail, remedy, {"needs": needed.value, "scope": held.value})


async def require_caller(request: Request) -> Caller:
    """A second lock, by the route that was really taken: one under /api/v1 that the middleware did not guard is closed,
    and so is one that the table of scopes does not name. Raise Problem (401, 403)."""
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, Caller):
        raise Problem(401, "unauthorized", "the request bears no token", "send it as Authorization: Bearer <token>")
    route: APIRoute = request.scope["route"]
    needed = NEEDED.get((request.method, route.path))
    if needed is None:
        detail = f"nobody may use {request.method} {route.path}: no scope is laid down for it"
        raise Problem(403, "forbidden", detail, "report it: the table of scopes lacks this route")
    if not caller.scope.covers(needed):
        raise _forbidden(caller.scope, needed)
    return caller


Known = Annotated[Caller, Depends(require_caller)]
"""The caller, as a route declares it."""
