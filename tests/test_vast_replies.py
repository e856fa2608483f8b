"""What replies mean: every row of facts/vast-api.md 1.3, and the waits that the five 429 bodies ask for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from adapters.vast.replies import Kind, read_reply, wait_s

NOW = datetime(2026, 11, 1, 23, 0, tzinfo=UTC)

ROWS = [
    (200, {"success": True}, Kind.OK),
    (200, {"offers": []}, Kind.OK),
    (200, [{"id": 1}], Kind.OK),
    (200, {"success": True, "instances": [{"label": "auth_error", "status_msg": "Invalid user key"}]}, Kind.OK),
    (401, {"success": False, "error": "auth_error", "msg": "Invalid user key"}, Kind.KEY_DEAD),
    (404, {"success": False, "error": "auth_error", "msg": "Invalid user key"}, Kind.KEY_DEAD),
    (404, {"detail": "Invalid user key"}, Kind.KEY_DEAD),
    (404, {"msg": "Your session has expired. Please log in again."}, Kind.KEY_DEAD),
    (404, "Invalid user key", Kind.KEY_DEAD),
    (401, "Unauthenticated or blacklisted user", Kind.KEY_DEAD),
    (401, {"detail": "Authentication credentials were not provided."}, Kind.KEY_DEAD),
    (200, {"success": False, "error": "auth_error"}, Kind.KEY_DEAD),
    (401, "", Kind.KEY_DEAD),
    (401, "Unauthorized", Kind.DENIED),
    (401, {"error": "Unauthorized"}, Kind.DENIED),
    (401, {"success": False, "error": "unauthorized", "msg": "not yours"}, Kind.DENIED),
    (401, {"success": False, "error": "unauthorized", "msg": "Invalid user key"}, Kind.KEY_DEAD),
    (404, {"success": False, "error": "no_such_ask", "msg": "No ask by id 7 is available."}, Kind.NO_OFFER),
    (410, {"success": False, "error": "no_such_ask", "msg": "error 410/3907: no_such_ask"}, Kind.NO_OFFER),
    (400, {"success": False, "error": "invalid_args", "msg": "error 404/3603: no_such_ask x"}, Kind.NO_OFFER),
    (404, {"success": False, "error": "no_such_instance", "msg": "Instance 7 not found."}, Kind.GONE),
    (404, {"msg": "Instance 7 not found."}, Kind.GONE),
    (200, {"success": False, "error": "resources_unavailable", "msg": "state change queued."}, Kind.QUEUED),
    (400, {"success": False, "error": "insufficient_credit"}, Kind.MONEY),
    (400, {"success": False, "error": "missing_billing", "msg": "You lack credit, see the billing page."}, Kind.MONEY),
    (400, {"success": False, "msg": "You lack credit, see the billing page."}, Kind.MONEY),
    (400, {"success": False, "error": "spend_rate_limit"}, Kind.MONEY),
    (429, "API requests too frequent", Kind.THROTTLED),
    (200, {"success": False, "error": "rate_limit_exceeded", "msg": "API requests too frequent"}, Kind.THROTTLED),
    (502, "<html>Bad Gateway</html>", Kind.TRANSIENT),
    (503, {"success": False, "error": "no_such_instance"}, Kind.TRANSIENT),
    (504, "", Kind.TRANSIENT),
    (400, {"success": False, "error": "server_error", "msg": "Something went wrong"}, Kind.TRANSIENT),
    (410, {"success": False, "error": "deprecated_endpoint", "msg": "Use v1"}, Kind.BROKEN),
    (200, "<html>hello</html>", Kind.BROKEN),
    (200, 17, Kind.BROKEN),
    (308, "", Kind.BROKEN),
    (400, {"success": False, "error": "invalid_args", "msg": "invalid instance_id"}, Kind.REFUSED),
    (200, {"success": False, "error": "invalid_id", "msg": "Is the container started?"}, Kind.REFUSED),
    (200, {"error": "whatever"}, Kind.REFUSED),
    (404, {"detail": "Not Found"}, Kind.REFUSED),
]


def reply_of(status: int, body: Any, headers: dict[str, str] | None = None) -> Any:
    content = {"text": body} if isinstance(body, str) else {"json": body}
    return read_reply(httpx.Response(status, headers=headers, **content))


@pytest.mark.parametrize(("status", "body", "kind"), ROWS)
def test_a_reply_is_classified_as_the_fact_sheet_says(status: int, body: Any, kind: Kind) -> None:
    assert reply_of(status, body).kind is kind


THRESHOLD = "API requests too frequent endpoint threshold="
BODY_4 = {"error": "HTTPTooManyRequests", "msg": "API requests too frequent", "retry_after": 3, "limit": 5}
WAITS = [
    ("API requests too frequent", {}, None),
    ("API requests too frequent: endpoint threshold=2.0", {}, 2.0),
    ({"detail": f"{THRESHOLD}2.5"}, {}, 2.5),
    ({"success": False, "error": "rate_limit_exceeded", "msg": f"{THRESHOLD}3.0"}, {}, 3.0),
    (BODY_4, {}, 3.0),
    (BODY_4, {"Retry-After": "7"}, 7.0),
    (BODY_4, {"Retry-After": "Sun, 01 Nov 2026 23:00:20 GMT"}, 20.0),
    (BODY_4, {"Retry-After": "soon"}, 3.0),
    ({"error": "search_quota_exceeded"}, {"X-RateLimit-Reset": str(NOW.timestamp() + 900)}, 900.0),
    ({"error": "search_quota_exceeded", "retry_after": 1}, {}, 3600.0),
]


@pytest.mark.parametrize(("body", "headers", "seconds"), WAITS)
def test_a_429_says_how_long_to_wait(body: Any, headers: dict[str, str], seconds: float | None) -> None:
    reply = reply_of(429, body, headers)
    assert reply.kind is Kind.THROTTLED
    assert wait_s(reply, NOW) == seconds


def test_a_body_that_cannot_be_parsed_never_raises() -> None:
    deep = httpx.Response(200, content=b"[" * 200_000)
    assert read_reply(deep).kind is Kind.BROKEN
    assert read_reply(httpx.Response(200, content=b"\xff\xfe")).kind is Kind.BROKEN
