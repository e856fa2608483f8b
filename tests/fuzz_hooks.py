"""What Schemathesis loads: the one check that its own do not make."""

from __future__ import annotations

from typing import Any

import schemathesis

OUTAGES = {"no_offer_matches", "not_active", "provider_unavailable", "store_unavailable", "log_unavailable", "busy"}
"""What may be told with 503 though nothing of ours is broken: a market without room, say. 500 is always a bug."""


@schemathesis.check
def no_bug_of_ours(ctx: Any, response: Any, case: Any) -> None:
    """An answer of 500 and more is an outage that is told by its code; everything else is a bug."""
    if response.status_code < 500 or case.path in ("/readyz", "/healthz"):
        return
    told = response.json()
    assert response.status_code == 503, f"{response.status_code}: {told}"
    assert told.get("code") in OUTAGES, f"503: {told}"


@schemathesis.hook
def map_body(ctx: Any, body: Any) -> Any:
    """To JSON Schema 175.0 is an integer; to us, who are strict about types, it is none."""
    return _whole(body)


def _whole(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    return [_whole(one) for one in value] if isinstance(value, list) else value
