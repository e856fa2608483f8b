"""What stands before the routes, as plain ASGI: a limit on bodies, and a net under bugs."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from typing import Any

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.problems import problem_response, unexpected
from events.codec import not_text
from machines.problems import Problem

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024
_MOST_SWALLOWED = 8 * 1024 * 1024
_SWALLOWED_S = 2.0
"""Real seconds."""
_NUL = "a NUL character"
_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:/+=-]{1,128}", re.ASCII)


class BodyLimit:
    """Reads the body before the routes do, and refuses one that is too large, announced or not; a request with a NUL or half
    a surrogate pair in it, which PostgreSQL and UTF-8 keep in no text; and a body that gives a field twice, of which JSON's
    readers take one and say nothing."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._limit:
            if "expect" not in Headers(scope=scope):
                await _swallow(receive)
            await self._refuse(scope, receive, send)
            return
        if "\x00" in scope["path"] or b"%00" in scope["query_string"]:
            await _refuse_not_text("path" if "\x00" in scope["path"] else "query", _NUL, scope, receive, send)
            return
        messages: list[Message] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                log.debug("client_left", path=scope["path"], received_bytes=size)
                return  # There is nobody to be answered, and half a body is no request.
            messages.append(message)
            size += len(message.get("body", b""))
            if size > self._limit:
                if message.get("more_body", False):
                    await _swallow(receive)
                await self._refuse(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        body = b"".join(message.get("body", b"") for message in messages)
        wrong = not_text(body)
        if wrong is not None:
            await _refuse_not_text(_field_that_is_not_text(body), wrong, scope, receive, send)
            return
        twice = given_twice(body)
        if twice is not None:
            problem = Problem(400, "invalid_parameter", f"{twice}: it is given twice", "send it once", {"field": twice})
            await problem_response(problem, scope["path"])(scope, receive, send)
            return
        await self._app(scope, _replay(messages, receive), send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is larger than {self._limit} bytes"
        problem = Problem(413, "too_large", detail, "send less in one request", {"field": "body"})
        # What may be left of the body stays unread, so the connection cannot be used for another request.
        await problem_response(problem, scope["path"], {"Connection": "close"})(scope, receive, send)


async def _swallow(receive: Receive) -> None:
    """Some of the rest: a client whose connection is closed while it still sends never sees its answer."""
    size = 0
    try:
        async with asyncio.timeout(_SWALLOWED_S):
            while size < _MOST_SWALLOWED:
                message = await receive()
                if message["type"] == "http.disconnect" or not message.get("more_body", False):
                    return
                size += len(message.get("body", b""))
    except TimeoutError:
        return


def _field_that_is_not_text(body: bytes) -> str:
    """The first one; the body as a whole where it cannot be read."""
    try:
        return _place_of_no_text(json.loads(body)) or "body"
    except (ValueError, RecursionError):
        return "body"


def given_twice(body: bytes) -> str | None:
    """The first name that stands twice in one JSON object; None where none does, or where the body is no JSON."""

    def once(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        if len(set(names)) < len(names):
            raise _Twice(next(name for name in names if names.count(name) > 1))

    if body.count(b":") < 2:
        return None
    try:
        json.loads(body.decode(), object_pairs_hook=once)
    except _Twice as found:
        return str(found)
    except (ValueError, RecursionError):
        return None
    return None


class _Twice(Exception):
    """Bears the name."""


def _place_of_no_text(value: Any) -> str | None:
    """Its path; "" for the value itself, None where all is text."""
    if isinstance(value, str):
        return "" if _NOT_TEXT.search(value) is not None else None
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, one in inner:
        found = _place_of_no_text(one)
        if found is not None:
            return f"{name}.{found}".rstrip(".")
        if isinstance(name, str) and _NOT_TEXT.search(name) is not None:
            return ""  # A name that cannot be told.
    return None


async def _refuse_not_text(field: str, wrong: str, scope: Scope, receive: Receive, send: Send) -> None:
    detail = f"the {field} holds {wrong}, which no text may have"
    code = "malformed" if field in ("path", "query", "body") else "invalid_parameter"
    problem = Problem(400, code, detail, "send it without \\u0000, %00 and halves of surrogate pairs", {"field": field})
    await problem_response(problem, scope["path"])(scope, receive, send)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """The messages that were read, then whatever comes: a disconnection is still heard."""
    waiting = iter(messages)

    async def replayed() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replayed


class Net:
    """Turns a bug into a 500 problem; a client that leaves is none. Without it the server would answer in plain text and
    print the traceback. Every answer bears its request's id, which the log lines of the request bear too."""

    def __init__(self, app: ASGIApp, new_id: Callable[[], str]) -> None:
        self._app = app
        self._new_id = new_id

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False
        request_id = _request_id(scope) or self._new_id()

        async def watched(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            await send(message)

        try:
            with structlog.contextvars.bound_contextvars(request_id=request_id):
                await self._app(scope, receive, watched)
        except ClientDisconnect:
            log.debug("client_left", path=scope.get("path"))
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            await unexpected(error, scope["path"])(scope, receive, watched)


def _request_id(scope: Scope) -> str | None:
    """The client's own, where it can stand in a log line."""
    given = Headers(scope=scope).get("x-request-id", "") if scope["type"] == "http" else ""
    return given if _REQUEST_ID.fullmatch(given) else None
