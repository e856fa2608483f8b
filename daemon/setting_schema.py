"""The configuration's JSON Schema, for editors: types and bounds by pydantic, words by the docstrings beside the fields."""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel

from daemon.setting_faults import sections_below
from daemon.settings import Settings

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema() -> dict[str, Any]:
    """As one document."""
    document = Settings.model_json_schema()
    definitions = document.get("$defs", {})
    models: list[type[BaseModel]] = [Settings, *sections_below(Settings)]
    for model in models:
        place = document if model is Settings else definitions.get(model.__name__, {})
        _explain(place, words(model))
    return {"$schema": _DIALECT, **document, "title": "failoverd's configuration"}


def words(model: type[BaseModel]) -> dict[str, str]:
    """Field -> the docstring below it, also of the classes that the model is built on."""
    found: dict[str, str] = {}
    for kind in reversed(model.__mro__):
        if kind is not BaseModel and issubclass(kind, BaseModel):
            found |= dict(_docstrings(kind))
    return found


def _docstrings(kind: type[BaseModel]) -> Iterator[tuple[str, str]]:
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(tree, ast.ClassDef)
    for statement, after in zip(tree.body, tree.body[1:], strict=False):
        if not isinstance(statement, ast.AnnAssign) or not isinstance(statement.target, ast.Name):
            continue
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant) and isinstance(after.value.value, str):
            yield statement.target.id, " ".join(after.value.value.split())


def _explain(place: dict[str, Any], told: dict[str, str]) -> None:
    for name, described in place.get("properties", {}).items():
        if name in told:
            described["description"] = told[name]
