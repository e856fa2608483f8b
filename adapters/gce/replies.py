"""What a no of Compute Engine means (facts/real-servers.md, section 1.5).

A stockout is no HTTP error: the call is accepted, and its operation ends with an error. So two kinds of answer are read
here, and both become the same few errors. A code that nobody knows means "this zone, not now", never success.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from machines.cpu_vm import MISCONFIGURED, QUOTA_EXCEEDED, ZONE_EXHAUSTED
from machines.errors import NotYet, Refused, StepError, Unknown

_NOT_READY_AGAIN = timedelta(seconds=10)
_THROTTLED_AGAIN = timedelta(seconds=30)

_NOT_READY = frozenset({"RESOURCE_NOT_READY", "resourceNotReady", "resourceInUseByAnotherResource"})
_THROTTLED = frozenset({"RESOURCE_OPERATION_RATE_EXCEEDED", "rateLimitExceeded", "userRateLimitExceeded"})
_CONFIGURATION = frozenset(
    {"IP_SPACE_EXHAUSTED", "PERMISSIONS_ERROR", "CONDITION_NOT_MET", "INVALID_FIELD_VALUE", "conditionNotMet"}
)


def of_operation(operation: Mapping[str, Any]) -> StepError | None:
    """Why the operation failed; None where it did not."""
    error = operation.get("error")
    if not error:
        return None
    errors = error.get("errors") or [{}]
    first = errors[0]
    code = str(first.get("code") or "")
    said = f"{code or 'an error without a code'}: {first.get('message') or ''}{_reasons(first)}"
    return _by_code(code, said) or Refused(ZONE_EXHAUSTED, said)


def of_status(status: int, body: Mapping[str, Any]) -> StepError:
    """What an HTTP error means for whoever asked; never that something is not there."""
    reason, message = reason_of(body), message_of(body)
    said = f"HTTP {status} {reason}: {message}"[:500]
    known = _by_code(reason, said)
    if known is not None:
        return known
    if status == 429:
        return NotYet(said, _THROTTLED_AGAIN)
    if status == 503 and "insufficientcapacity" in f"{reason}{message}".replace(" ", "").casefold():
        return Refused(ZONE_EXHAUSTED, said)
    if status in (401, 403):
        # One refusal may pass (a key that is being rotated): it says nothing about any VM.
        return Unknown(f"{said}; remedy: check gce.credentials_file and its role (compute.instanceAdmin.v1)")
    if status in (400, 404):
        return Refused(MISCONFIGURED, said)
    return Unknown(said)


def _by_code(code: str, said: str) -> StepError | None:
    if code in _NOT_READY:
        return NotYet(said, _NOT_READY_AGAIN)
    if code in _THROTTLED:
        return NotYet(said, _THROTTLED_AGAIN)
    if code in _CONFIGURATION:
        return Refused(MISCONFIGURED, said)
    if "QUOTA" in code.upper():
        return Refused(QUOTA_EXCEEDED, said)
    return None


def reason_of(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    errors = error.get("errors") if isinstance(error, Mapping) else None
    first = errors[0] if isinstance(errors, list) and errors else {}
    return str(first.get("reason") or "") if isinstance(first, Mapping) else ""


def message_of(body: Mapping[str, Any]) -> str:
    error = body.get("error")
    return str(error.get("message") or "") if isinstance(error, Mapping) else ""


def _reasons(error: Mapping[str, Any]) -> str:
    """The structured details, which name the quota or the kind of VM."""
    found = []
    for detail in error.get("errorDetails") or ():
        info = detail.get("errorInfo") or {}
        quota = detail.get("quotaInfo") or {}
        if info.get("reason"):
            found.append(str(info["reason"]))
        if quota.get("metricName"):
            found.append(f"{quota.get('limitName') or quota['metricName']} is {quota.get('limit')}")
    return f" ({', '.join(found)})" if found else ""
