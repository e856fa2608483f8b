"""What the provider says: a status, a body, and the error bodies of facts/vast-api.md word for word."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer; a `str` body is sent as plain text, everything else as JSON."""

    body: Any
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)


def success(**fields: Any) -> Answer:
    return Answer({"success": True, **fields})


def failure(status: int, error: str, msg: str, **fields: Any) -> Answer:
    return Answer({"success": False, "error": error, "msg": msg, **fields}, status)


def bad_key() -> Answer:
    """A wrong key really comes back as 404 with an `auth_error` body, not as 401 (1.2)."""
    return failure(404, "auth_error", "Invalid user key")


def no_such_instance(instance_id: int) -> Answer:
    return failure(404, "no_such_instance", f"Instance {instance_id} not found.")


def no_such_ask(ask_id: int, status: int = 404) -> Answer:
    """The offer is gone: 404 for an unknown one, 410 for one that cannot start now, and a 400 that looks like both."""
    texts = {
        400: f"error 400/3467: no_such_ask Instance type by id {ask_id} is not available.",
        404: f"error 404/3603: no_such_ask Instance type by id {ask_id} is not available.",
        410: f"error 410/3907: no_such_ask Instance type by id {ask_id} is no longer available.",
    }
    error = "invalid_args" if status == 400 else "no_such_ask"
    return failure(status, error, texts[status], ask_id=ask_id)


def too_frequent(form: int, wait: float, interval: float) -> Answer:
    """A 429 in one of the five forms of 11.2; the wait is told only where that form tells it."""
    text = f"API requests too frequent endpoint threshold={interval}"
    match form:
        case 1:
            return Answer(f"API requests too frequent: endpoint threshold={interval}", 429)
        case 2:
            return Answer({"detail": text}, 429)
        case 3:
            return failure(429, "rate_limit_exceeded", text)
        case 5:
            body = {"success": False, "error": "search_quota_exceeded", "msg": "Daily search quota exceeded."}
            return Answer(body, 429, {"X-RateLimit-Reset": str(ceil(wait))})
        case _:
            body = {"error": "HTTPTooManyRequests", "msg": "API requests too frequent"}
            return Answer({**body, "retry_after": max(1, ceil(wait)), "limit": 5, "remaining": 0}, 429)
