"""The provider's query language: `{field: {op: value}}` over rows, with operands that may be strings.

Used by the search for offers and volumes and by the `select_filters` of the instance list (facts/vast-api.md 2.1, 4.2).
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

Row = Mapping[str, Any]


class BadQuery(ValueError):
    """The conditions are no conditions; the provider answers 400."""


def _coerced(operand: Any, value: Any) -> Any:
    """Bring an operand to the type of the row's value: the official client sends numbers as strings."""
    if type(operand) is type(value):
        return operand
    if isinstance(value, bool):
        return operand.strip().lower() in ("true", "1") if isinstance(operand, str) else bool(operand)
    if isinstance(value, int | float) and isinstance(operand, str):
        try:
            return float(operand)
        except ValueError:
            return operand
    if isinstance(value, str) and isinstance(operand, int | float) and not isinstance(operand, bool):
        return str(operand)
    return operand


def _compare(test: Callable[[Any, Any], bool]) -> Callable[[Any, Any], bool]:
    def apply(value: Any, operand: Any) -> bool:
        try:
            return value is not None and test(value, _coerced(operand, value))
        except TypeError:
            return False

    return apply


def _listed(value: Any, operand: Any) -> bool:
    if not isinstance(operand, list | tuple):
        raise BadQuery("in and notin want a list")
    return any(value == _coerced(item, value) for item in operand)


OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    "eq": lambda value, operand: bool(value == _coerced(operand, value)),
    "neq": lambda value, operand: bool(value != _coerced(operand, value)),
    "gt": _compare(lambda value, operand: value > operand),
    "gte": _compare(lambda value, operand: value >= operand),
    "lt": _compare(lambda value, operand: value < operand),
    "lte": _compare(lambda value, operand: value <= operand),
    "in": _listed,
    "notin": lambda value, operand: not _listed(value, operand),
}


def holds(value: Any, condition: Any) -> bool:
    """Whether a value meets all operators of a condition; a bare value means equality."""
    if not isinstance(condition, Mapping):
        return OPERATORS["eq"](value, condition)
    for name, operand in condition.items():
        if name not in OPERATORS:
            raise BadQuery(f"unknown operator {name}")
        if not OPERATORS[name](value, operand):
            return False
    return True


def ordered(rows: Iterable[dict[str, Any]], order: Any) -> list[dict[str, Any]]:
    """Sort by `[[field, "asc"|"desc"], …]`; rows without the field come last, and unknown fields change nothing."""
    result = list(rows)
    if not isinstance(order, list):
        raise BadQuery("order must be a list")
    for key in reversed(order):
        field, direction = (key[0], key[-1]) if isinstance(key, list) and key else (key, "asc")
        known = [row for row in result if row.get(field) is not None]
        unknown = [row for row in result if row.get(field) is None]
        known.sort(key=lambda row: row[field], reverse=direction == "desc")
        result = known + unknown
    return result
