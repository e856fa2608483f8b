"""What is wrong with a setting, as one line: where it was said, its name, what it must be, and what mends it.

A value is shown only where it cannot be a secret: numbers, flags and short words of fields that hold such. Of everything
else only the kind is told.
"""

from __future__ import annotations

import json
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Protocol, TypeAlias, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticCustomError

Path: TypeAlias = tuple[str, ...]
PREFIX = "FAILOVERD_"
_LONGEST_WORD = 24


class SettingsError(Exception):
    """The configuration cannot be used: a line for each fault, with its field and what mends it."""


class SaidAt(Protocol):
    """`daemon.setting_layers.Origin` fits."""

    @property
    def source(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Fault:
    """One line for a person."""

    where: str
    """The file with the line, the environment variable, or the credential."""
    name: str
    wrong: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.where}: {self.name}: {self.wrong}; remedy: {self.remedy}"


def variable_of(path: Path) -> str:
    """The environment variable that sets this place."""
    return PREFIX + "__".join(path).upper()


def wrong(text: str, remedy: str, field: str | None = None) -> PydanticCustomError:
    """For validators: what is wrong, without the value, and what mends it. `field` names one below the validated model."""
    return PydanticCustomError("wrong", "{text}", {"text": text, "remedy": remedy, "field": field})


def fault(error: ErrorDetails, model: type[BaseModel], origin_of: Callable[[Path], SaidAt]) -> Fault:
    """What pydantic found, in our words. `origin_of` says where a path was set, or should have been."""
    context = error.get("ctx", {})
    path = tuple(str(part) for part in error["loc"])
    if error["type"] == "wrong" and context["field"]:
        path = (*path, context["field"])
    said = origin_of(path)
    where, is_variable = str(said), said.source == "environment"
    name = ".".join(path) or "the whole"
    match error["type"]:
        case "wrong":
            return Fault(where, name, context["text"], context["remedy"])
        case "extra_forbidden":
            return Fault(where, name, "is not known", _known(path, model, where if is_variable else None))
        case _:
            field = field_at(model, path)
            if field is None or not path:
                return Fault(where, name, "cannot be understood", "see the table of settings in README.md")
            if field_at(model, path[:-1]) is field:  # an item of a list or of a mapping
                item = "a section" if _item_model(field) is not None else "a text"
                return Fault(where, name, f"must be {item}{_found(error['input'], field)}", "mend that item")
            example = _example(path, field, is_variable)
            if error["type"] == "missing":
                return Fault(where, name, "is missing", f"add it: {example}")
            text = f"must be {wanted(field)}{_found(error['input'], field)}"
            if error["type"] in ("too_short", "string_too_short") and not error["input"]:
                text = "must not be empty"
            return Fault(where, name, text, f"write it like {example}")


# -- where a path leads


def field_at(model: type[BaseModel], path: Sequence[str]) -> FieldInfo | None:
    """The field there; of an item of a list, the item's field. None where there is none."""
    below: type[BaseModel] | None = model
    found: FieldInfo | None = None
    for part in path:
        if found is not None and (_is_mapping(found) or (is_list(found) and part.isdigit())):
            continue
        if below is None or part not in below.model_fields:
            return None
        found = below.model_fields[part]
        below = model_of(found) or _item_model(found)
    return found


def model_of(field: FieldInfo) -> type[BaseModel] | None:
    """The section that the field holds, if it holds one."""
    kind = _kind(field)
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def sections_below(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Every section in the model, at any depth, and of lists the items."""
    found = []
    for field in model.model_fields.values():
        section = model_of(field) or _item_model(field)
        if section is not None:
            found += [section, *sections_below(section)]
    return found


def is_list(field: FieldInfo) -> bool:
    return get_origin(_kind(field)) is list


def holds_file(field: FieldInfo) -> bool:
    """Does the field name a file or a folder?"""
    return _kind(field) is pathlib.Path


def _is_mapping(field: FieldInfo) -> bool:
    return get_origin(_kind(field)) is dict


def _item_model(field: FieldInfo) -> type[BaseModel] | None:
    item = get_args(_kind(field))[0] if is_list(field) else None
    return item if isinstance(item, type) and issubclass(item, BaseModel) else None


def _kind(field: FieldInfo) -> Any:
    """The field's type without None and without what is annotated."""
    kind = field.annotation
    if get_origin(kind) in (Union, UnionType):
        kind = next(one for one in get_args(kind) if one is not NoneType)
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


# -- what it must be


def wanted(field: FieldInfo) -> str:
    """What the field takes, in words."""
    if field.description:
        return field.description
    kind = _kind(field)
    section = model_of(field)
    if section is not None:
        return f"a section with {', '.join(section.model_fields)}"
    if get_origin(kind) is Literal:
        return f"one of {', '.join(str(one) for one in get_args(kind))}"
    if get_origin(kind) is list:
        return "a list"
    if kind in (int, float):
        return ("a whole number" if kind is int else "a number") + _bounds(field.metadata)
    return {bool: "true or false", dict: "a section of texts"}.get(get_origin(kind) or kind, "a text")


def _bounds(metadata: Iterable[Any]) -> str:
    said = []
    for bound in metadata:
        match bound:
            case Ge(least):
                said.append(f"from {least}")
            case Gt(least):
                said.append(f"above {least}")
            case Le(most):
                said.append(f"to {most}" if said and said[0].startswith("from") else f"up to {most}")
            case Lt(most):
                said.append(f"below {most}")
    return " " + " ".join(said) if said else ""


def _found(value: Any, field: FieldInfo) -> str:
    kind = _kind(field)
    if kind in (int, float, bool) and isinstance(value, bool | int | float):
        return f" (found {json.dumps(value)})"
    if get_origin(kind) is Literal and isinstance(value, str) and len(value) <= _LONGEST_WORD and value.isidentifier():
        return f" (found {value})"
    return f" (found {_KINDS.get(type(value), 'something else')})"


_KINDS: Mapping[type, str] = {
    str: "a text",
    bool: "true or false",
    int: "a number",
    float: "a number",
    list: "a list",
    dict: "a section",
    NoneType: "nothing",
}


# -- what mends it


def _example(path: Path, field: FieldInfo, is_variable: bool) -> str:
    value = _example_value(field)
    if any(part.isdigit() for part in path):
        return f"`{path[-1]}: {value}`" if not is_variable else f'"{path[-1]}": {value}'
    return f"{variable_of(path)}={value}" if is_variable else f"`{path[-1]}: {value}`"


def _example_value(field: FieldInfo) -> str:
    if field.examples:
        return str(field.examples[0])
    kind = _kind(field)
    if get_origin(kind) is Literal:
        return str(field.default if field.default in get_args(kind) else get_args(kind)[0])
    if field.default is not None and isinstance(field.default, str | int | float | pathlib.Path):
        return str(field.default)
    if model_of(field) is not None or _is_mapping(field):
        return "{...}"
    if is_list(field):
        return "[...]"
    return {int: "1", float: "1.5", bool: "true", SecretStr: "..."}.get(kind, "text")


def _known(path: Path, model: type[BaseModel], variable: str | None) -> str:
    """The name that could have been meant, and all that are known there; as a variable where one of that name was set."""
    above = field_at(model, path[:-1])
    section = (model_of(above) or _item_model(above) or model) if above is not None else model
    names = sorted(section.model_fields)
    if variable is None:
        return _did_you_mean(get_close_matches(path[-1], names, 1), names)
    everything = [variable_of(one) for one in all_paths(model)]
    beside = [variable_of((*path[:-1], name)) + _ELLIPSIS[_is_section(section, name)] for name in names]
    return _did_you_mean(get_close_matches(variable, everything, 1, 0.75), beside)


_ELLIPSIS = ("", "__...")


def _is_section(model: type[BaseModel], name: str) -> bool:
    return model_of(model.model_fields[name]) is not None


def _did_you_mean(meant: Sequence[str], known: Sequence[str]) -> str:
    listed = f"known are {', '.join(known)}"
    return f"did you mean {meant[0]}? {listed}" if meant else listed


def all_paths(model: type[BaseModel]) -> list[Path]:
    """Every setting below the model; a section counts by what is in it."""
    paths: list[Path] = []
    for name, field in model.model_fields.items():
        section = model_of(field)
        paths += [(name, *below) for below in all_paths(section)] if section is not None else [(name,)]
    return paths
