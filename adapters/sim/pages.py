"""Cuts the instance list into pages with tokens, filters and orders it (facts/vast-api.md 4.2)."""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cmp_to_key
from typing import Any

from adapters.sim.answers import Answer, failure, success
from adapters.sim.query import BadQuery, holds

PAGE = 25
STORED = frozenset(
    [
        "id",
        "label",
        "actual_status",
        "intended_status",
        "cur_state",
        "next_state",
        "gpu_name",
        "verification",
        "machine_id",
        "host_id",
        "image_uuid",
        "start_date",
        "end_date",
        "is_bid",
        "geolocation",
        "bundle_id",
        "status_msg",
    ]
)
"""Only stored columns can be filtered and ordered by; computed ones such as `dph_total` are 400."""
Keys = Sequence[tuple[str, bool]]


class Refused(Exception):
    """A parameter that the provider answers with an error body."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.body["msg"])
        self.answer = answer


def page_of(rows: list[dict[str, Any]], query: Mapping[str, str]) -> Answer:
    """One page of rows, as `GET /api/v1/instances/` answers it."""
    try:
        keys = _order(_parsed(query, "order_by", []))
        found = _filtered(rows, _parsed(query, "select_filters", {}))
        found.sort(key=cmp_to_key(lambda one, other: _compare(one, other, keys)))
        token = query.get("after_token")
        rest = found if not token else _after(found, _read_token(token, keys), keys)
        columns = _parsed(query, "select_cols", ["*"])
    except Refused as refused:
        return refused.answer
    limit = _limit(query.get("limit"))
    shown = rest[:limit]
    return success(
        instances_found=len(shown),
        total_instances=len(found),
        label_counts=dict(Counter(str(row["label"]) for row in found if row["label"] is not None)),
        next_token=_write_token(shown[-1], keys) if len(rest) > limit else None,
        instances=[_select(row, columns) for row in shown],
    )


def named_in(query: Mapping[str, str]) -> frozenset[int] | None:
    """The ids that the filter names, where it names them; None where any rental may be meant."""
    try:
        wanted = json.loads(query.get("select_filters") or "{}")["id"]["in"]
        return frozenset(int(number) for number in wanted)
    except (ValueError, KeyError, TypeError):
        return None


def _limit(value: str | None) -> int:
    try:
        number = PAGE if value is None else int(value)
    except ValueError:
        number = PAGE
    return 5 if number <= 0 else min(number, PAGE)


def _parsed(query: Mapping[str, str], name: str, default: Any) -> Any:
    try:
        value = json.loads(query[name]) if query.get(name) else default
    except ValueError:
        raise Refused(failure(400, "invalid_request", f"{name} is not valid JSON")) from None
    if not isinstance(value, type(default)):
        raise Refused(failure(400, "invalid_request", f"{name} is not valid"))
    return value


def _stored(column: Any) -> str:
    if column not in STORED:
        raise Refused(failure(400, "invalid_request", f"{column} is not a valid search key"))
    return str(column)


def _order(order: list[Any]) -> Keys:
    """`[{"col", "dir"}]` as (column, descending); `id` is always the tie-breaker."""
    keys = [(_stored(key.get("col")), key.get("dir") == "desc") for key in order if isinstance(key, dict)]
    return [*(key for key in keys if key[0] != "id"), next((key for key in keys if key[0] == "id"), ("id", False))]


def _filtered(rows: list[dict[str, Any]], filters: Mapping[str, Any]) -> list[dict[str, Any]]:
    conditions = {_stored(column): condition for column, condition in filters.items()}
    try:
        return [row for row in rows if all(holds(row[column], condition) for column, condition in conditions.items())]
    except BadQuery as error:
        raise Refused(failure(400, "invalid_request", str(error))) from None


def _compare(one: Mapping[str, Any], other: Mapping[str, Any], keys: Keys) -> int:
    """Order two rows; null comes last."""
    for column, descending in keys:
        left, right = one.get(column), other.get(column)
        if left == right:
            continue
        if left is None or right is None:
            return 1 if left is None else -1
        return (1 if left > right else -1) * (-1 if descending else 1)
    return 0


def _after(rows: list[dict[str, Any]], last: Mapping[str, Any], keys: Keys) -> list[dict[str, Any]]:
    """What comes after the token's row, also where that row is gone meanwhile."""
    try:
        return [row for row in rows if _compare(row, last, keys) > 0]
    except TypeError:
        raise Refused(failure(400, "invalid_token", "Invalid after_token")) from None


def _write_token(row: Mapping[str, Any], keys: Keys) -> str:
    values = {column: row.get(column) for column, _ in keys}
    return base64.b64encode(json.dumps({"values": values}).encode()).decode()


def _read_token(token: str, keys: Keys) -> Mapping[str, Any]:
    try:
        values = json.loads(base64.b64decode(token, validate=True))["values"]
    except (binascii.Error, ValueError, KeyError, TypeError):
        values = None
    if not isinstance(values, dict) or set(values) != {column for column, _ in keys}:
        raise Refused(failure(400, "invalid_token", "Invalid after_token"))
    return values


def _select(row: dict[str, Any], columns: Sequence[Any]) -> dict[str, Any]:
    return row if "*" in columns else {str(column): row.get(str(column)) for column in columns}
