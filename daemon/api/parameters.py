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
_KEY = r"""([\x21\x23-\x7e][\x21-\x7e]{0,199}|"[\x21-\x7e]{1,200}")"""
"""Bare, or as the quoted string of the Internet-Draft."""
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


Whole = BeforeValidator(_whole)
"""Beside the bounds of an int in a path or a query string, and behind them, or the document would not tell them."""
Flag = Annotated[bool, BeforeValidator(_flag)]
"""true, false, True or False in a query string."""
MachineNumber = Annotated[int, Path(ge=0, le=MOST), Whole]
"""The machine's id in a path."""


async def no_repetition(request: Request) -> None:
    """A parameter that is given twice has no one meaning: dry_run=true&dry_run=false. Raise Problem (400)."""
    names = [name for name, _ in request.query_params.multi_items()]
    for name in names:
        if names.count(name) > 1:
            raise invalid(name, request.query_params.getlist(name), "given once")


async def _idempotency_key(
    given: Annotated[
        str | None,
        Header(
            alias="Idempotency-Key",
            description="Same key and body, same answer; also after a restart.",
            json_schema_extra={"pattern": f"^{_KEY}$"},
        ),
    ] = None,
) -> str | None:
    """Raise Problem (400)."""
    if given is None:
        return None
    key = given.strip()
    if re.fullmatch(_KEY, key, re.ASCII) is None:
        wanted = "1 to 200 printable ASCII characters without blanks"
        detail = f"Idempotency-Key must be {wanted}"
        raise Problem(400, "invalid_parameter", detail, f"send {wanted}", {"field": "Idempotency-Key"})
    return key[1:-1] if key.startswith('"') else key


IdempotencyKey = Annotated[str | None, Depends(_idempotency_key)]
"""The command id that the client chose; None lets the command plane choose one."""
