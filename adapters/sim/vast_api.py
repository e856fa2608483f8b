"""Serves the world as Vast's REST API over ASGI, so that real clients talk to it (facts/vast-api.md 1, 11, 14.4, 15).

Each call passes the same gate, in this order: key, faults that come before the effect, rate limit, the time the call
takes, the act, faults that come after the effect.
"""

import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn

import httpx
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from adapters.sim.answers import Answer, bad_key, failure, success
from adapters.sim.faults import Fault, FaultKind
from adapters.sim.operations import OPERATIONS, Call, Operation
from adapters.sim.world import World
from machines.ports import Clock

ON_WIRE = "sim.on_wire"
"""Set in the scope of requests that came over a socket; in process a lost answer is raised as the client's time-out."""
INSTEAD = (FaultKind.STATUS, FaultKind.AUTH_ERROR)
SPOILED = (FaultKind.EMPTY_LIST, FaultKind.PARTIAL_LIST, FaultKind.MALFORMED, FaultKind.WRONG_ID)


class Silent(httpx.ReadTimeout):
    """There is no answer."""


class Unreached(httpx.ConnectTimeout):
    """There is no connection. Over a socket that cannot be played: there the caller hears nothing."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, whichever way it came."""

    path: str
    token: str
    params: Mapping[str, str]
    """What stands in the path's places."""
    query: Mapping[str, str]
    body: bytes
    origin: str = ""


class VastApi:
    """The routes of the API over one world. `settle` carries the effects out before the answer leaves."""

    def __init__(self, world: World, clock: Clock, settle: Callable[[], Awaitable[None]], api_key: str | None) -> None:
        self._world, self._clock, self._settle, self._api_key = world, clock, settle, api_key
        settings = world.settings
        self._durations = {
            "search_offers": settings.search_seconds,
            "search_asks": settings.search_seconds,
            "create_instance": settings.create_seconds,
            "destroy_instance": settings.destroy_seconds,
        }

    def routes(self) -> list[Route]:
        return [Route(each.path, self._endpoint(each), methods=[each.method]) for each in OPERATIONS]

    def _endpoint(self, operation: Operation) -> Callable[[Request], Awaitable[Response]]:
        async def endpoint(request: Request) -> Response:
            token = request.headers.get("authorization", "").removeprefix("Bearer").strip()
            path = request.url.path
            origin = str(request.base_url).rstrip("/")
            asked = Asked(path, token, request.path_params, dict(request.query_params), await request.body(), origin)
            try:
                return response(await self.answer(operation, asked))
            except (Silent, Unreached):
                if not request.scope.get(ON_WIRE):
                    raise
                while (await request.receive())["type"] != "http.disconnect":
                    pass
                return Response(status_code=504)

        return endpoint

    async def answer(self, operation: Operation, asked: Asked) -> Answer:
        """Raise Silent where the caller hears nothing."""
        if operation.needs_key and self._api_key is not None and asked.token != self._api_key:
            return bad_key()
        self._world.advance(self._clock.now())
        fault = self._world.faults.meet(self._world.now, operation.method, asked.path, operation.name)
        if fault is not None and fault.kind in INSTEAD:
            return fault.answer()
        if fault is not None and fault.kind is FaultKind.UNREACHABLE:
            await self._clock.sleep(fault.seconds)
            raise Unreached("The simulated provider could not be reached")
        if fault is not None and fault.kind is FaultKind.TIMEOUT_BEFORE:
            return await self._never_answer(fault)
        refusal = self._world.limits.refuse(self._world.now, asked.token, operation.name)
        if refusal is not None:
            return refusal
        await self._take_time(operation, fault)
        if fault is not None and fault.kind is FaultKind.LATER:
            self._world.core.after(self._clock.now(), fault.seconds, lambda _when: self._act_later(operation, asked))
            await self._settle()
            return success()
        answer = self._act(operation, asked)
        await self._settle()
        if fault is None:
            return answer
        return await self._with_fault(fault, answer)

    async def _take_time(self, operation: Operation, fault: Fault | None) -> None:
        seconds = self._durations.get(operation.name, 0.0)
        if fault is not None and fault.kind is FaultKind.LATENCY:
            seconds += fault.seconds
        if seconds > 0:
            await self._clock.sleep(seconds)

    def _act(self, operation: Operation, asked: Asked) -> Answer:
        self._world.advance(self._clock.now())
        return self._act_now(operation, asked, self._clock.now())

    def _act_later(self, operation: Operation, asked: Asked) -> None:
        self._act_now(operation, asked, self._clock.now())

    def _act_now(self, operation: Operation, asked: Asked, now: datetime) -> Answer:
        try:
            body = json.loads(asked.body) if asked.body else None
        except ValueError:
            return failure(400, "invalid_args", "Invalid json body")
        try:
            number, key_id = (int(asked.params.get(name, 0)) for name in ("id", "key_id"))
        except ValueError:
            return failure(400, "invalid_args", "error 400/3467: Invalid args: 'id' must be an integer")
        return operation.act(Call(self._world, now, number, key_id, asked.query, body, asked.origin))

    async def _with_fault(self, fault: Fault, answer: Answer) -> Answer:
        if fault.kind is FaultKind.TIMEOUT_AFTER:
            return await self._never_answer(fault)
        if fault.kind is FaultKind.STATUS_AFTER:
            return fault.answer()
        return fault.spoil(answer) if fault.kind in SPOILED else answer

    async def _never_answer(self, fault: Fault) -> NoReturn:
        """On a wire the silence lasts until the client goes away; in process its time-out is raised here."""
        if fault.seconds > 0:
            await self._clock.sleep(fault.seconds)
        raise Silent("The simulated provider never answered")


def response(answer: Answer) -> Response:
    """The `Content-Type` of JSON is exactly `application/json`, or the official client reads nothing (15)."""
    headers = dict(answer.headers)
    if isinstance(answer.body, str):
        return PlainTextResponse(answer.body, answer.status, headers)
    return JSONResponse(answer.body, answer.status, headers)


async def unknown_path(request: Request, _error: Exception) -> Response:
    body: dict[str, Any] = {"success": False, "error": "not_found", "msg": f"no such path: {request.url.path}"}
    return JSONResponse(body, 404)


async def wrong_method(request: Request, _error: Exception) -> Response:
    body: dict[str, Any] = {"success": False, "error": "method_not_allowed", "msg": f"not here: {request.method}"}
    return JSONResponse(body, 405)


def one_slash_form(path: str) -> str:
    return "/" + "/".join(part for part in path.split("/") if part)


class BothSlashForms:
    """Paths mean the same with and without their last slash, and with doubled ones (1, 15)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = one_slash_form(scope["path"])
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await self._app(scope, receive, send)
