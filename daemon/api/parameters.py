"""Strict parameters: nothing is coerced, nothing unknown is passed over.

A query string is text, so its numbers and flags have exactly one way to be written; JSON bodies have types, and keep them.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import Depends, Header, Path, Request
from pydantic import BaseModel, BeforeValidator, ConfigDict

from machines.problems import Problem, invalid

MOST = (1 << 62) - 1
"""The largest id that every part of the system can hold."""
_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,99})", re.ASCII)
"""Longer than any id, so that one that is too large is told the largest."""
_KEY = re.compile(r"[\x21-\x7e]{1,200}", re.ASCII)
_FLAGS = {"true": True, "True": True, "false": False, "False": False}


class StrictBody(BaseModel):
    """A JSON body: no number for a boolean, no text for a number, no field that is not known."""

    model_config = ConfigDict(strict=True, extra="forbid")


class StrictQuery(BaseModel):
    """A query string without unknown names."""

    model_config = ConfigDict(extra="forbid")


class NoQuery(StrictQuery):
    """A route that knows no parameters refuses them all: a misspelt one must not be passed over."""


def _whole(value: Any) -> Any:
    if isinstance(value, str):
        if _WHOLE.fullmatch(value) is None:
            raise ValueError("it must be a whole number")
        return int(value)
    return value


def _flag(value: Any) -> Any:
    if isinstance(value, str):
        if value not in _FLAGS:
            raise ValueError("it must be true or false")
        return _FLAGS[value]
    return value


WholeNumber = Annotated[int, BeforeValidator(_whole)]
"""An int in a path or a query string."""
Flag = Annotated[bool, BeforeValidator(_flag)]
"""true, false, True or False in a query string."""
MachineNumber = Annotated[WholeNumber, Path(ge=0, le=MOST)]
"""The machine's id in a path."""


async def no_repetition(request: Request) -> None:
    """A parameter that is given twice has no one meaning: dry_run=true&dry_run=false. Raise Problem (400)."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise invalid(name, request.query_params.getlist(name), "given once")


async def _idempotency_key(
    given: Annotated[str | None, Header(alias="Idempotency-Key", description="Same key and body, same answer.")] = None,
) -> str | None:
    """The key bare, or as the quoted string of the Internet-Draft. Raise Problem (400)."""
    if given is None:
        return None
    key = given.strip()
    if len(key) > 1 and key.startswith('"') and key.endswith('"'):
        key = key[1:-1]
    if _KEY.fullmatch(key) is None:
        wanted = "1 to 200 printable ASCII characters without blanks"
        detail = f"Idempotency-Key must be {wanted}"
        raise Problem(400, "invalid_parameter", detail, f"send {wanted}", {"field": "Idempotency-Key"})
    return key


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
"""The command id that the client chose; None lets the command plane choose one."""
