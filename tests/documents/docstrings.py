"""The text that stands below a field in a class."""

from __future__ import annotations

import ast
import inspect
import textwrap


def of_fields(kind: type) -> dict[str, str]:
    """By field; also those of the classes that it is made of."""
    found: dict[str, str] = {}
    for one in reversed(kind.__mro__):
        if one.__module__.partition(".")[0] in ("daemon", "adapters", "machines", "events"):
            found |= _own(one)
    return found


def _own(kind: type) -> dict[str, str]:
    try:
        [node] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    except (OSError, TypeError):
        return {}
    assert isinstance(node, ast.ClassDef)
    found = {}
    for statement, below in zip(node.body, node.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant) and isinstance(below.value.value, str):
            found[statement.target.id] = " ".join(below.value.value.split())
    return found
