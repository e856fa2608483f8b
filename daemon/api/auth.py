"""Who is calling: a bearer token on everything under /api/v1, checked before a byte of the request is understood.

There are two kinds of token: the static one may do everything, and one for each machine may only tell of that machine's
life. The second is derived from the first, so nothing has to be stored and a machine's tenant who reads it gains nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from daemon.api.problems import problem_response
from machines.problems import Problem

API_PREFIX = "/api/v1"
HEARTBEATS_PATH = f"{API_PREFIX}/heartbeats"
_BEAT_TOKEN = re.compile(r"fb_(0|[1-9][0-9]{0,18})_[0-9a-f]{40}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Caller:
    """The bearer of a known token."""

    name: str
    machine_id: int | None = None
    """The one machine that a beat token speaks for; None for the static token."""

    def may_beat_for(self, machine_id: int) -> bool:
        return self.machine_id is None or self.machine_id == machine_id


def beat_token(secret: str, machine_id: int) -> str:
    """The token of scope `beat` for this machine, under the static token."""
    digest = hmac.new(secret.encode(), f"beat:{machine_id}".encode(), hashlib.sha256).hexdigest()
    return f"fb_{machine_id}_{digest[:40]}"


def caller_with(token: str, secret: str) -> Caller | None:
    """Who bears the token; None for an unknown one. Without a secret nobody is known: an empty token opens nothing."""
    if not secret or not token:
        return None
    if _same(token, secret):
        return Caller("admin")
    found = _BEAT_TOKEN.fullmatch(token)
    if found is None:
        return None
    machine_id = int(found[1])
    return Caller(f"machine-{machine_id}", machine_id) if _same(token, beat_token(secret, machine_id)) else None


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class Authentication:
    """ASGI middleware: 401 without a known token, 403 where a beat token wants anything but to beat."""

    def __init__(self, app: ASGIApp, secret: str) -> None:
        self._app = app
        self._secret = secret

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not _is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get("authorization")
        caller = caller_with(_bearer(given), self._secret)
        if caller is None:
            await _unauthorized(scope["path"], given is not None)(scope, receive, send)
        elif caller.machine_id is not None and (scope["method"], scope["path"]) != ("POST", HEARTBEATS_PATH):
            await _forbidden(scope["path"])(scope, receive, send)
        else:
            scope.setdefault("state", {})["caller"] = caller
            await self._app(scope, receive, send)


def _is_guarded(path: str) -> bool:
    return path == API_PREFIX or path.startswith(f"{API_PREFIX}/")


def _bearer(authorization: str | None) -> str:
    scheme, _, token = (authorization or "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _unauthorized(path: str, was_given: bool) -> ASGIApp:
    detail = "the token is unknown" if was_given else "the request bears no token"
    problem = Problem(401, "unauthorized", detail, "send the daemon's token as Authorization: Bearer <token>")
    challenge = 'Bearer realm="failoverd"' + (', error="invalid_token"' if was_given else "")
    return problem_response(problem, path, {"WWW-Authenticate": challenge})


def _forbidden(path: str) -> ASGIApp:
    detail = "a token of scope beat may send heartbeats and notices, and nothing else"
    problem = Problem(403, "forbidden", detail, "use an operator's token for this request")
    return problem_response(problem, path, {"WWW-Authenticate": 'Bearer error="insufficient_scope"'})


async def require_caller(request: Request) -> Caller:
    """A second lock: a route under /api/v1 that the middleware did not guard is closed. Raise Problem (401)."""
    caller = getattr(request.state, "caller", None)
    if not isinstance(caller, Caller):
        raise Problem(401, "unauthorized", "the request bears no token", "send it as Authorization: Bearer <token>")
    return caller


Known = Annotated[Caller, Depends(require_caller)]
"""The caller, as a route declares it."""
