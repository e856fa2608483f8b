"""What stands before the routes, as plain ASGI: a limit on bodies, and a net under bugs."""

from __future__ import annotations

import structlog
from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from daemon.api.problems import problem_response, unexpected
from machines.problems import Problem

log = structlog.get_logger(__name__)

MAX_BODY_BYTES = 256 * 1024


class BodyLimit:
    """Reads the body before the routes do, and refuses one that is too large, announced or not."""

    def __init__(self, app: ASGIApp, limit: int = MAX_BODY_BYTES) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isdigit() and int(announced) > self._limit:
            await self._refuse(scope, receive, send)
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
                await self._refuse(scope, receive, send)
                return
            if not message.get("more_body", False):
                break
        await self._app(scope, _replay(messages, receive), send)

    async def _refuse(self, scope: Scope, receive: Receive, send: Send) -> None:
        detail = f"the body is larger than {self._limit} bytes"
        problem = Problem(413, "too_large", detail, "send less in one request", {"field": "body"})
        # What is left of the body stays unread, so the connection cannot be used for another request.
        await problem_response(problem, scope["path"], {"Connection": "close"})(scope, receive, send)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """The messages that were read, then whatever comes: a disconnection is still heard."""
    waiting = iter(messages)

    async def replayed() -> Message:
        for message in waiting:
            return message
        return await receive()

    return replayed


class Net:
    """Turns a bug into a 500 problem; a client that leaves is none. Without it the server would answer in plain text and print the traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begun = False

        async def watched(message: Message) -> None:
            nonlocal begun
            begun = begun or message["type"] == "http.response.start"
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            log.debug("client_left", path=scope.get("path"))
        except Exception as error:
            if scope["type"] != "http" or begun:
                raise
            await unexpected(error, scope["path"])(scope, receive, send)
