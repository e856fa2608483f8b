"""Every setting with the value that holds and where that was said; what is or may be a secret is masked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from adapters.sql.urls import without_secrets
from daemon.setting_faults import Path as Place
from daemon.setting_layers import Origin
from daemon.settings import Loaded, Settings

MASK = "**********"
_MASKED = frozenset({"image_login", "onstart", "env"})
"""Of machines: they hold tokens, or may."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """One setting."""

    place: Place
    value: Any
    """As it is, to be compared; never to be printed."""
    told: Any
    """The same for people and JSON, masked."""

    @property
    def name(self) -> str:
        return ".".join(self.place)


def leaves(settings: Settings) -> list[Leaf]:
    """In the order of the sections."""
    return list(_of_model(settings, ()))


def shown(loaded: Loaded) -> list[tuple[Leaf, Origin]]:
    """With where each was said."""
    return [(leaf, loaded.layers.origin(leaf.place)) for leaf in leaves(loaded.settings)]


def as_tree(settings: Settings) -> dict[str, Any]:
    """The whole configuration, masked, in the form of the file."""
    tree: dict[str, Any] = _tree(settings)
    return tree


def _of_model(model: BaseModel, place: Place) -> Iterator[Leaf]:
    is_item = bool(place) and place[-1].isdigit()
    for name in type(model).model_fields:
        if is_item and name not in model.model_fields_set:
            continue  # Of a machine only what was said: what was not said keeps its value.
        value = getattr(model, name)
        below = (*place, name)
        if isinstance(value, BaseModel):
            yield from _of_model(value, below)
        elif isinstance(value, list) and value and isinstance(value[0], BaseModel):
            for number, item in enumerate(value):
                yield from _of_model(item, (*below, str(number)))
        else:
            yield Leaf(below, value, _told(name, value))


def _tree(value: Any, name: str = "") -> Any:
    if isinstance(value, BaseModel):
        is_item = name.isdigit()
        return {
            field: _tree(getattr(value, field), field)
            for field in type(value).model_fields
            if not is_item or field in value.model_fields_set
        }
    if isinstance(value, list) and value and isinstance(value[0], BaseModel):
        return [_tree(item, str(number)) for number, item in enumerate(value)]
    return _told(name, value)


def _told(name: str, value: Any) -> Any:
    match value:
        case SecretStr():
            return MASK if value.get_secret_value() else ""
        case Mapping() if name in _MASKED:
            return dict.fromkeys(value, MASK)
        case str() if name in _MASKED:
            return MASK
        case str() if name == "database":
            return without_secrets(value)
        case Path():
            return str(value)
        case _:
            return value
