"""The account's charges as the official client asks for them: `GET /api/v0/charges/` (vastai 1.9.1, show invoices-v1 --charges)."""

import base64
import binascii
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from adapters.sim.answers import Answer, failure
from adapters.sim.bills import Ledger

PAGE, MOST = 20, 100
TYPES = ("instance", "volume", "serverless")


def show_charges(ledger: Ledger, query: Mapping[str, str], now: datetime) -> Answer:
    """One page: what each thing has cost within the days that the filter names, until now at most."""
    try:
        filters = json.loads(query.get("select_filters") or "{}")
        day = filters["day"]
        start, end = (datetime.fromtimestamp(float(day[side]), UTC) for side in ("gte", "lte"))
        types = filters.get("type", {}).get("in", TYPES)
        limit = int(query.get("limit") or PAGE)
        after = _read_token(query.get("after_token"))
    except (ValueError, KeyError, TypeError, OverflowError, binascii.Error):
        return failure(400, "invalid_request", "select_filters, limit or after_token is not valid")
    upto = min(end, now)
    found = sorted((kind, number, cost) for (kind, number), cost in ledger.charges(start, upto).items())
    rows = [_row(kind, number, cost, start, upto) for kind, number, cost in found if kind in types]
    if str(query.get("latest_first")).lower() == "true":
        rows.reverse()
    shown = rows[after : after + max(1, min(limit, MOST))]
    more = after + len(shown) < len(rows)
    token = base64.b64encode(json.dumps(after + len(shown)).encode()).decode() if more else None
    return Answer({"results": shown, "count": len(shown), "total": len(rows), "next_token": token})


def _row(kind: str, number: int, cost: float, start: datetime, end: datetime) -> dict[str, Any]:
    return {
        "type": kind,
        "source": f"{kind}-{number}",
        "amount": cost,
        "start": start.timestamp(),
        "end": end.timestamp(),
        "description": f"{kind.capitalize()} {number}",
        "metadata": {},
        "items": [],
    }


def _read_token(token: str | None) -> int:
    return int(json.loads(base64.b64decode(token, validate=True))) if token else 0
