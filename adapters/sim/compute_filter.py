"""Compute Engine's list filters (AIP-160), as far as they are understood; everything else is refused.

A filter that is not understood must not be ignored: the answer would be everything, and a wrong filter would pass its test.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_TERM = re.compile(
    r"(?P<field>labels\.[a-z][a-z0-9_-]*|name|status|zone)\s*(?P<op>=|!=|:)\s*(?P<value>\"[^\"]*\"|\*|[^\s()\"]+)"
)
Test = Callable[[Mapping[str, Any]], bool]


class BadFilter(ValueError):
    """It cannot be understood."""


def parse(text: str) -> Test:
    """One condition, or several in parentheses, which must all hold. Raise BadFilter."""
    rest = text.strip()
    if not rest.startswith("("):
        return _term(rest)
    tests: list[Test] = []
    while rest:
        inner, closed, rest = rest.removeprefix("AND ").lstrip().removeprefix("(").partition(")")
        if not closed:
            raise BadFilter(text)
        tests.append(_term(inner.strip()))
        rest = rest.strip()
        if rest and not rest.startswith(("(", "AND (")):
            raise BadFilter(text)
    return lambda row: all(test(row) for test in tests)


def _term(text: str) -> Test:
    found = _TERM.fullmatch(text)
    if found is None or (found["value"] == "*") is not (found["op"] == ":"):
        raise BadFilter(text)
    value, is_present, is_not = found["value"].strip('"'), found["op"] == ":", found["op"] == "!="

    def test(row: Mapping[str, Any]) -> bool:
        has = _value(row, found["field"])
        return has is not None if is_present else (has == value) is not is_not

    return test


def _value(row: Mapping[str, Any], name: str) -> str | None:
    if name.startswith("labels."):
        value = (row.get("labels") or {}).get(name.removeprefix("labels."))
    elif name == "zone":
        value = str(row["zone"]).rpartition("/")[2]
    else:
        value = row.get(name)
    return None if value is None else str(value)
