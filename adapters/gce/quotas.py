"""What a region still has room for, as `regions.get` tells it."""

from __future__ import annotations

from dataclasses import dataclass

from adapters.gce.replies import message_of
from adapters.gce.wire import ComputeWire
from machines.errors import Refused, Unknown

_ANSWER_WITHIN_S = 15.0


@dataclass(frozen=True, slots=True)
class Quota:
    metric: str
    limit: float
    usage: float


async def read_quotas(wire: ComputeWire, project: str, region: str) -> tuple[Quota, ...]:
    """Raise Refused where we are not let in or there is no such region, and Unknown."""
    status, body = await wire.ask("region", {"project": project, "region": region}, {}, None, _ANSWER_WITHIN_S)
    if status in (401, 403, 404):
        raise Refused("provider_unavailable", f"{project}, region {region}: {status} {message_of(body)}")
    rows = body.get("quotas", []) if isinstance(body, dict) else None
    if status != 200 or not isinstance(rows, list):
        raise Unknown(f"the quotas of {region} were not shown: {status} {message_of(body)}")
    found = [row for row in rows if isinstance(row, dict) and isinstance(row.get("metric"), str)]
    return tuple(Quota(row["metric"], _number(row.get("limit")), _number(row.get("usage"))) for row in found)


def _number(value: object) -> float:
    """A zero is left out of the API's JSON."""
    return float(value) if isinstance(value, int | float) else 0.0
