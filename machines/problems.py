"""Refusals of commands, as the contract names them: a stable code, its HTTP status, and what mends it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass(eq=False)
class Problem(Exception):
    """One refusal, the same at every door. Not frozen: Python itself writes the traceback into an exception. `extra` goes into the problem document (RFC 9457)."""

    status: int
    code: str
    detail: str
    remedy: str
    extra: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"


STATUS_OF = {
    "failover_in_progress": 409,
    "stale_instance": 409,
    "no_primary": 409,
    "instance_in_use": 409,
    "not_suspect": 409,
    "not_failed": 409,
    "unknown_machine": 404,
    "unknown_failover": 404,
    "invalid_parameter": 400,
    "malformed": 400,
    "expired": 409,
    "idempotency_key_reused": 422,
}


def invalid(field_name: str, found: object, wanted: str) -> Problem:
    """A parameter that cannot be taken, with its name and what it must be: `wanted` goes on after "it must be"."""
    detail = f"{field_name}: {as_json(found)} is not allowed; it must be {wanted}"
    remedy = f"mend {field_name}: it must be {wanted}"
    return Problem(400, "invalid_parameter", detail, remedy, {"field": field_name})


def as_json(found: object) -> str:
    """A value as whoever sent it wrote it: null and not None, true and not True. A long one is cut."""
    text = json.dumps(found, ensure_ascii=False, default=str)
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


_MOST_SHOWN = 80
SECRETS = frozenset({"image_login", "env", "onstart"})
NOT_SHOWN = "(not shown)"


def presentable(field_name: str, found: object) -> object:
    """What was sent, unless it may be the customer's secret: a refusal is stored, and goes to a topic that others read."""
    if found is None or isinstance(found, bool) or field_name.partition(".")[0] not in SECRETS:
        return found
    return NOT_SHOWN


def masked(found: Any) -> Any:
    """What was sent, to be read by others: without the customer's secrets, however deep."""
    if isinstance(found, dict):
        return {
            name: NOT_SHOWN if name in SECRETS and value is not None else masked(value) for name, value in found.items()
        }
    return [masked(value) for value in found] if isinstance(found, list | tuple) else found


def unfit(field_name: str, found: object, why: str, wanted: str) -> Problem:
    """A parameter of the right form that must not be taken all the same; `why` is a clause about it."""
    detail = f"{field_name}: {as_json(found)} is not allowed: {why}"
    return Problem(400, "invalid_parameter", detail, f"send {wanted} as {field_name}", {"field": field_name})


def unreadable(why: str, field_name: str | None) -> Problem:
    """A command whose value cannot be taken as it is."""
    remedy = f"mend {field_name}" if field_name else "send one JSON object"
    extra = {"field": field_name} if field_name else {}
    return Problem(400, "invalid_parameter", why, f"{remedy} and send it under a new id", extra)


def unknown_machine(machine_id: int) -> Problem:
    return Problem(
        404,
        "unknown_machine",
        f"machine {machine_id} is not registered",
        f"register it: failoverd machines register {machine_id}, or PUT /api/v1/machines/{machine_id}",
        {"machine_id": machine_id},
    )
