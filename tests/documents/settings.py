"""Every setting of the daemon: in the file, and by its environment variable."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic_core import PydanticUndefined

from daemon.setting_faults import model_of, variable_of
from daemon.settings import Settings
from machines.policy import Policy
from tests.documents import docstrings
from tests.documents.markdown import code, table, wrapped


async def page() -> str:
    head = """
    Flags go before environment variables, those before systemd's credentials, those before one YAML file, and what none of them says has its
    default. The variable of `http.port` is `FAILOVERD_HTTP__PORT`, the credential of `vast.api_key` is `vast__api_key`; lists and whole
    sections are given as JSON.
    """
    parts = ["# Settings", wrapped(head)]
    plain = {name: field for name, field in Settings.model_fields.items() if model_of(field) is None}
    parts.append(table(HEADS, _rows(Settings, plain, ())))
    for path, model in _sections(Settings, ()):
        parts += [f"## {'.'.join(path)}", wrapped(inspect.cleandoc(vars(model).get("__doc__") or ""))]
        own = {name: field for name, field in model.model_fields.items() if model_of(field) is None}
        parts.append(table(HEADS, _rows(model, own, path)))
    return "\n\n".join(part for part in parts if part)


HEADS = ("setting", "variable", "type", "default", "what it is")


def _sections(model: type[BaseModel], path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], type[BaseModel]]]:
    for name, field in model.model_fields.items():
        section = model_of(field)
        if section is not None:
            yield (*path, name), section
            yield from _sections(section, (*path, name))


def _rows(model: type[BaseModel], fields: dict[str, Any], path: tuple[str, ...]) -> list[tuple[str, ...]]:
    told = docstrings.of_fields(model)
    if path == ("policy",):
        told = docstrings.of_fields(Policy) | told
    return [
        (
            code(".".join((*path, name))),
            code(variable_of((*path, name))),
            _kind(field.annotation),
            _default(field),
            told.get(name) or field.description or "",
        )
        for name, field in fields.items()
    ]


def _kind(annotation: Any) -> str:
    """In the words of a YAML file."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _kind(parts[0])
    if origin in (Union, UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in parts if part is not NoneType))
    if origin is Literal:
        return ", ".join(code(str(part)) for part in parts)
    if origin in (list, tuple):
        return f"list of {_kind(parts[0])}"
    if origin is dict:
        return "names with values"
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return ", ".join(code(str(one.value)) for one in annotation)
    return _WORDS.get(annotation, getattr(annotation, "__name__", str(annotation)))


_WORDS = {str: "text", int: "whole number", float: "number", bool: "true or false", Path: "path", SecretStr: "secret"}


def _default(field: Any) -> str:
    value = field.get_default(call_default_factory=False)
    match value:
        case _ if value is PydanticUndefined:
            return "" if field.default_factory else "required"
        case None:
            return ""
        case SecretStr():
            return ""
        case Enum():
            return code(str(value.value))
        case Path():
            return code(value.as_posix())
        case _:
            return code(str(value))
