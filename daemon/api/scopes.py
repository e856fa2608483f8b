"""The least scope that each route needs, in one table. A route that is missing here is closed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from machines.access import Scope

_READ, _OPERATE, _ADMIN = Scope.READ, Scope.OPERATE, Scope.ADMIN
NEEDED: Mapping[tuple[str, str], Scope] = {
    ("POST", "/heartbeats"): Scope.BEAT,
    ("POST", "/failover/execute"): _OPERATE,
    ("GET", "/failover/readiness/{machine_id}"): _READ,
    ("GET", "/failover/status/{machine_id}"): _READ,
    ("POST", "/failover/test/{machine_id}"): _OPERATE,
    ("GET", "/failover/strategies"): _READ,
    ("POST", "/failover/regional-volume/create"): _OPERATE,
    ("POST", "/failover/regional-volume/failover"): _OPERATE,
    ("GET", "/failover/regional-volume/list"): _READ,
    ("GET", "/failover/regional-volume/search/{region}"): _READ,
    ("GET", "/failover/regional-volume/{volume_id}"): _READ,
    ("DELETE", "/failover/regional-volume/{volume_id}"): _OPERATE,
    ("GET", "/machines"): _READ,
    ("GET", "/machines/{machine_id}"): _READ,
    ("PUT", "/machines/{machine_id}"): _OPERATE,
    ("DELETE", "/machines/{machine_id}"): _ADMIN,
    ("GET", "/machines/{machine_id}/explain"): _READ,
    ("GET", "/machines/{machine_id}/active"): _READ,
    ("DELETE", "/machines/{machine_id}/beat-token"): _OPERATE,
    ("GET", "/failovers"): _READ,
    ("GET", "/failovers/{failover_id}"): _READ,
    ("POST", "/failovers/{failover_id}/cancel"): _OPERATE,
    ("POST", "/pause"): _OPERATE,
    ("POST", "/resume"): _OPERATE,
    ("POST", "/notify/test"): _OPERATE,
    ("GET", "/fleet"): _READ,
    ("GET", "/alerts"): _READ,
    ("GET", "/debts"): _READ,
    ("GET", "/orphans"): _READ,
    ("GET", "/costs"): _READ,
    ("GET", "/events"): _READ,
    ("GET", "/metrics"): _READ,
    ("GET", "/audit"): _READ,
    ("GET", "/report"): _READ,
    ("GET", "/machines/{machine_id}/snapshots"): _READ,
    ("GET", "/machines/{machine_id}/logs"): _OPERATE,
    ("POST", "/failovers/{failover_id}/retry"): _OPERATE,
    ("POST", "/failovers/{failover_id}/ack"): _OPERATE,
    ("GET", "/failover/settings"): _READ,
    ("PUT", "/failover/settings"): _ADMIN,
    ("GET", "/failover/settings/{machine_id}"): _READ,
    ("PUT", "/failover/settings/{machine_id}"): _OPERATE,
    ("DELETE", "/failover/settings/{machine_id}"): _OPERATE,
    ("GET", "/dead-letters"): _ADMIN,
    ("POST", "/dead-letters/{letter_id}/replay"): _ADMIN,
    ("POST", "/tokens"): _ADMIN,
    ("GET", "/tokens"): _ADMIN,
    ("DELETE", "/tokens/{name}"): _ADMIN,
}
"""By method and path below /api/v1, and /metrics beside it. `admin` is what makes or takes away access, changes the whole fleet's rules, or gives a
machine up."""


def check(routes: Iterable[BaseRoute]) -> None:
    """Of the routes below /api/v1. Raise LookupError where one has no entry."""
    lacking = sorted(name for route in routes for name in _without_scope(route))
    if lacking:
        raise LookupError(f"no scope is laid down for {', '.join(lacking)}")


def _without_scope(route: BaseRoute) -> list[str]:
    if not isinstance(route, APIRoute):
        return [repr(route)]  # Nobody would ask for the caller's scope there.
    return [f"{method} {route.path}" for method in route.methods or () if (method, route.path) not in NEEDED]


def least_scope(method: str, below: str) -> Scope | None:
    """Of the route that a request for this path below /api/v1 goes to; None where the table has none."""
    exact = NEEDED.get((method, below))
    if exact is not None:
        return exact
    return next((scope for pattern, scope in _PATTERNS.get(method, ()) if pattern.fullmatch(below)), None)


def _patterns() -> dict[str, list[tuple[re.Pattern[str], Scope]]]:
    found: dict[str, list[tuple[re.Pattern[str], Scope]]] = {}
    for (method, path), scope in NEEDED.items():
        if "{" in path:
            pattern = re.compile(re.sub(r"\\\{\w+\\\}", "[^/]+", re.escape(path)))
            found.setdefault(method, []).append((pattern, scope))
    return found


_PATTERNS = _patterns()
