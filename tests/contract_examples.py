"""The contract's own examples, read from its document: every request that it shows, and the answer that it promises."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

DOCUMENT = Path(__file__).parent / "data" / "failover-api.seed.md"
_ROUTE = re.compile(r"^### (GET|POST|DELETE|PUT) (/\S+)$", re.MULTILINE)
_BLOCK = re.compile(r"```(json|bash)\n(.*?)```", re.DOTALL)
_CURL_BODY = re.compile(r"-d '(\{.*?\})'", re.DOTALL)
_CURL_URL = re.compile(r"\"?(https://[^\s\"]+)\"?")


@dataclass(frozen=True, slots=True)
class Example:
    """One request as the document shows it. `path` is below /failover, with the document's own ids in the query and body."""

    method: str
    path: str
    body: Any
    query: dict[str, str]
    answer: Any
    """None where the document shows none."""

    @property
    def route(self) -> str:
        return f"{self.method} {self.path}"


def examples() -> tuple[Example, ...]:
    """In the document's order: for each route its JSON request, if there is one, and then its curl line."""
    text = DOCUMENT.read_text(encoding="utf-8")
    routes = list(_ROUTE.finditer(text))
    ends = [route.start() for route in routes[1:]] + [len(text)]
    return tuple(
        example
        for route, end in zip(routes, ends, strict=True)
        for example in _of_route(route[1], route[2].removeprefix("/failover"), text[route.end() : end])
    )


def _of_route(method: str, path: str, section: str) -> Iterator[Example]:
    blocks = list(_BLOCK.finditer(section))
    shown = [json.loads(block[2]) for block in blocks if block[1] == "json"]
    has_request = "**Request:**" in section
    answer = shown[-1] if "**Response" in section else None
    if has_request:
        yield Example(method, path, shown[0], {}, answer)
    for block in blocks:
        if block[1] == "bash":
            yield _of_curl(method, path, block[2], answer)
    if not has_request and not any(block[1] == "bash" for block in blocks):
        yield Example(method, path, None, {}, answer)


def _of_curl(method: str, path: str, line: str, answer: Any) -> Example:
    found, address = _CURL_BODY.search(line), _CURL_URL.search(line)
    assert address is not None
    assert ("-X POST" in line) == (method == "POST")
    body = json.loads(found[1]) if found is not None else None
    return Example(method, path, body, dict(parse_qsl(urlsplit(address[1]).query)), answer)
