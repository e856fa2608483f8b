"""What a reply of Vast means. Status codes alone lie: a 200 may be a failure, and a 404 a dead key.

The rule is to decide by `success`, then `error`, then `msg`/`message`/`detail`/text, then the status
(facts/vast-api.md, 1.1 to 1.3). Fields of a successful body are never searched for error words: a label may hold them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from enum import Enum

import httpx
import msgspec

from machines.errors import Unknown


class KeyDead(Unknown):
    """The provider no longer knows our key. Nothing can be concluded about any rental: freeze, and tell a person."""


class Kind(Enum):
    """The classes of facts/vast-api.md, 1.3."""

    OK = "ok"
    KEY_DEAD = "key dead"
    DENIED = "unauthorized"
    """A 401 that says no more: of a few operations a no to what they name, of any other a dead key (sections 6 and 8)."""
    NO_OFFER = "offer gone"
    GONE = "instance gone"
    QUEUED = "start queued"
    MONEY = "money"
    THROTTLED = "throttled"
    TRANSIENT = "transient"
    REFUSED = "refused"
    BROKEN = "no answer to what was asked"


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    kind: Kind
    error: str
    message: str
    body: object
    headers: Mapping[str, str]

    @property
    def fields(self) -> Mapping[str, object]:
        """The body, where it is an object."""
        return self.body if isinstance(self.body, dict) else {}

    def __str__(self) -> str:
        words = ": ".join(part for part in (self.error, self.message) if part)
        return f"HTTP {self.status} {words}".strip()[:500]


_KEY_PHRASES = (
    "invalid user key",
    "please log in again",
    "unauthenticated or blacklisted user",
    "authentication credentials were not provided",
)
_UNAUTHORIZED = "unauthorized"
_THROTTLE_CODES = ("rate_limit_exceeded", "httptoomanyrequests", "search_quota_exceeded")
_MONEY_CODES = ("insufficient_credit", "missing_billing", "spend_rate_limit")
_THRESHOLD = re.compile(r"threshold\s*=\s*([0-9]+(?:\.[0-9]+)?)")
_INSTANCE_NOT_FOUND = re.compile(r"instance \d+ not found|instance with that id does not exist")


def read_reply(response: httpx.Response) -> Reply:
    """Parse and classify; never raises."""
    body = _body(response.content)
    error, message = _words(body, response)
    kind = _classify(response.status_code, body, error.casefold(), message.casefold())
    return Reply(response.status_code, kind, error, message, body, response.headers)


def _body(content: bytes) -> object:
    """None where it is no JSON; the provider's server may also write NaN, which only the slower reader takes."""
    try:
        return msgspec.json.decode(content)
    except (ValueError, RecursionError):
        pass
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _words(body: object, response: httpx.Response) -> tuple[str, str]:
    if not isinstance(body, dict):
        return "", "" if isinstance(body, list) else response.text.strip()
    error = body.get("error")
    message = next((body[key] for key in ("msg", "message", "detail") if body.get(key)), "")
    return error if isinstance(error, str) else "", message if isinstance(message, str) else json.dumps(message)


def _classify(status: int, body: object, error: str, message: str) -> Kind:
    success = body.get("success") if isinstance(body, dict) else None
    if status < 300 and isinstance(body, dict | list) and (success is True or (success is not False and not error)):
        return Kind.OK
    if status == 429 or error in _THROTTLE_CODES or message.startswith("api requests too frequent"):
        return Kind.THROTTLED
    if error == "auth_error" or any(phrase in message for phrase in _KEY_PHRASES):
        return Kind.KEY_DEAD
    if status == 401:
        return Kind.DENIED if _UNAUTHORIZED in (error, message) else Kind.KEY_DEAD
    if status >= 500:  # Whatever a failing server says, the call may have had its effect.
        return Kind.TRANSIENT
    if error == "deprecated_endpoint":
        return Kind.BROKEN
    return _by_code(error, message) or _by_status(status, success is False or bool(error))


def _by_code(error: str, message: str) -> Kind | None:
    said = f"{error} {message}"
    if error == "resources_unavailable":
        return Kind.QUEUED
    if error in _MONEY_CODES or "you lack credit" in message or any(code in message for code in _MONEY_CODES):
        return Kind.MONEY
    if "no_such_ask" in said:
        return Kind.NO_OFFER
    if "no_such_instance" in said or _INSTANCE_NOT_FOUND.search(message):
        return Kind.GONE
    if error == "server_error":
        return Kind.TRANSIENT
    return None


def _by_status(status: int, says_no: bool) -> Kind:
    if status == 408:
        return Kind.TRANSIENT
    if status >= 400 or (status < 300 and says_no):
        return Kind.REFUSED
    return Kind.BROKEN


def wait_s(reply: Reply, now: datetime) -> float | None:
    """How long the provider wants to be left alone after a 429, in seconds; None where it does not say.

    Header Retry-After, else `retry_after` in the body, else the number behind `threshold=`; a spent search quota ends
    at X-RateLimit-Reset, else at the next midnight in UTC (facts/vast-api.md, 11.1, 11.2).
    """
    if reply.error.casefold() == "search_quota_exceeded":
        return _until_quota_resets(reply, now)
    asked = _header_wait(reply.headers.get("Retry-After", ""), now)
    if asked is None:
        asked = _seconds(reply.fields.get("retry_after"))
    if asked is None and (found := _THRESHOLD.search(f"{reply.error} {reply.message}")):
        asked = float(found[1])
    return asked


def _until_quota_resets(reply: Reply, now: datetime) -> float:
    reset = _seconds(reply.headers.get("X-RateLimit-Reset"))
    if reset is not None and reset > now.timestamp():
        return reset - now.timestamp()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0) + timedelta(days=1)
    return (midnight - now).total_seconds()


def _header_wait(value: str, now: datetime) -> float | None:
    seconds = _seconds(value)
    if seconds is not None or not value:
        return seconds
    try:
        return max(0.0, (parsedate_to_datetime(value) - now).total_seconds())
    except (ValueError, TypeError):
        return None


def _seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return seconds if 0.0 <= seconds < 1e12 else None
