"""Holds exchanges with Compute Engine against Google's own description of its API (the discovery document).

The document comes with the wheel google-api-python-client, which only tests install.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

import googleapiclient
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ROOT = "/compute/v1/"
_DECIMAL = re.compile(r"-?[0-9]+")


@dataclass
class Exchange:
    """One request and its answer, as they went over the wire."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: Any
    status: int = 0
    answer: Any = None


@dataclass
class Recorder:
    """In front of an application: keeps every exchange with Compute Engine that was answered."""

    app: ASGIApp
    exchanges: list[Exchange] = field(default_factory=list)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].startswith(ROOT):
            await self.app(scope, receive, send)
            return
        asked, answered, status = bytearray(), bytearray(), 0

        async def hear() -> Message:
            message = await receive()
            asked.extend(message.get("body", b""))
            return message

        async def say(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            answered.extend(message.get("body", b""))
            if message["type"] == "http.response.body" and not message.get("more_body"):
                self.exchanges.append(self._exchange(scope, bytes(asked), status, bytes(answered)))
            await send(message)

        await self.app(scope, hear, say)

    @staticmethod
    def _exchange(scope: Scope, asked: bytes, status: int, answered: bytes) -> Exchange:
        query = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        body = json.loads(asked) if asked else None
        is_json = answered.startswith(b"{")
        return Exchange(
            scope["method"], scope["path"], query, headers, body, status, json.loads(answered) if is_json else None
        )


@cache
def _document() -> dict[str, Any]:
    place = Path(googleapiclient.__file__).parent / "discovery_cache/documents/compute.v1.json"
    found: dict[str, Any] = json.loads(place.read_text())
    return found


@cache
def _methods() -> tuple[tuple[str, re.Pattern[str], dict[str, Any]], ...]:
    found = []
    for resource in _document()["resources"].values():
        for method in resource.get("methods", {}).values():
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", method["path"])
            found.append((method["httpMethod"], re.compile(pattern), method))
    return tuple(found)


def violations(exchange: Exchange) -> list[str]:
    """What of it the document does not know."""
    at = f"{exchange.method} {exchange.path}"
    for verb, pattern, method in _methods():
        found = pattern.fullmatch(exchange.path.removeprefix(ROOT))
        if verb == exchange.method and found is not None:
            return [f"{at}: {fault}" for fault in _faults(method, found.groupdict(), exchange)]
    return [f"{at}: there is no such method"]


def _faults(method: dict[str, Any], path: Mapping[str, str], exchange: Exchange) -> Iterator[str]:
    parameters = {**_document().get("parameters", {}), **method["parameters"]}
    for name, value in {**path, **exchange.query}.items():
        if name not in parameters:
            yield f"no parameter {name}"
        elif (pattern := parameters[name].get("pattern")) and not re.fullmatch(pattern, value):
            yield f"parameter {name}={value} does not match {pattern}"
    missing = [name for name, one in method["parameters"].items() if one.get("required") and name not in path]
    yield from (f"parameter {name} is missing" for name in missing)
    if exchange.body is not None:
        yield from _wrong(method.get("request", {}), exchange.body, "request")
    if exchange.status == 200:
        yield from _wrong(method.get("response", {}), exchange.answer, "answer")


def _wrong(schema: Mapping[str, Any], value: Any, at: str) -> Iterator[str]:
    if "$ref" in schema:
        schema = _document()["schemas"][schema["$ref"]]
    kind = schema.get("type")
    if kind == "object":
        yield from _wrong_object(schema, value, at)
    elif kind == "array":
        if not isinstance(value, list):
            yield f"{at} is no list"
            return
        for number, item in enumerate(value):
            yield from _wrong(schema["items"], item, f"{at}[{number}]")
    elif kind == "string" and not isinstance(value, str):
        yield f"{at} is {value!r}, not a text"
    elif kind == "boolean" and not isinstance(value, bool):
        yield f"{at} is {value!r}, not a flag"
    elif kind in ("integer", "number") and (isinstance(value, bool) or not isinstance(value, int | float)):
        yield f"{at} is {value!r}, not a number"
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{at} is {value!r}, not one of {schema['enum']}"
    elif schema.get("format") in ("int64", "uint64") and not _DECIMAL.fullmatch(str(value)):
        yield f"{at} is {value!r}, not a decimal number"


def _wrong_object(schema: Mapping[str, Any], value: Any, at: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{at} is no object"
        return
    known, others = schema.get("properties", {}), schema.get("additionalProperties")
    for name, one in value.items():
        if name in known:
            yield from _wrong(known[name], one, f"{at}.{name}")
        elif others is not None:
            yield from _wrong(others, one, f"{at}.{name}")
        else:
            yield f"{at}.{name} is not known"
