"""Where settings are said, as layers: each a tree of values, and for every place in it where a person would look for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from daemon.setting_faults import Fault, Path


class Source(StrEnum):
    """The kinds of layers, the one that goes before all others first."""

    FLAG = "flag"
    ENVIRONMENT = "environment"
    CREDENTIAL = "credential"
    FILE = "file"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a value was said."""

    source: Source
    text: str
    """A flag, a variable, a credential, or a file with a line."""

    def __str__(self) -> str:
        return self.text


DEFAULT = Origin(Source.DEFAULT, "default")


@dataclass(frozen=True, slots=True)
class Layer:
    """What one source says."""

    values: dict[str, Any] = field(default_factory=dict)
    origins: Mapping[Path, Origin] = field(default_factory=dict)
    """Of the places that were named; what lies below one has its origin."""
    faults: tuple[Fault, ...] = ()

    def says(self, place: Path) -> bool:
        return _at(self.values, place) is not _NOTHING

    def origin(self, place: Path) -> Origin | None:
        """Of the place, of what lies around it, or of something in it."""
        for length in range(len(place), 0, -1):
            if place[:length] in self.origins:
                return self.origins[place[:length]]
        return next((origin for path, origin in self.origins.items() if path[: len(place)] == place), None)


@dataclass(frozen=True, slots=True)
class Layers:
    """All of them, the one that goes before the others first."""

    layers: Sequence[Layer]
    nowhere: Origin
    """What is blamed where no layer says anything."""

    def merged(self) -> dict[str, Any]:
        """Field by field."""
        values: dict[str, Any] = {}
        for layer in reversed(self.layers):
            values = _merged(values, layer.values)
        return values

    @property
    def faults(self) -> list[Fault]:
        return [fault for layer in self.layers for fault in layer.faults]

    def origin(self, place: Path) -> Origin:
        """Where the value that holds was said: what is no section where others have one is what stays of them (`merged`)."""
        saying = [layer for layer in self.layers if layer.says(place)]
        for layer in sorted(saying, key=lambda one: isinstance(_at(one.values, place), dict)):
            found = layer.origin(place)
            if found is not None:
                return found
        return DEFAULT

    def blamed(self, place: Path) -> Origin:
        """Where a fault at this place is to be mended: what is missing is missing in its section, best of all the file's."""
        said = self.origin(place)
        if said is not DEFAULT:
            return said
        for length in range(len(place) - 1, 0, -1):
            for layer in reversed(self.layers):
                found = layer.origin(place[:length]) if layer.says(place[:length]) else None
                if found is not None:
                    return found
        return self.nowhere


_NOTHING = object()


def _at(tree: Any, place: Path) -> Any:
    """What stands there, or _NOTHING."""
    for part in place:
        if isinstance(tree, dict) and part in tree:
            tree = tree[part]
        elif isinstance(tree, list) and part.isdigit() and int(part) < len(tree):
            tree = tree[int(part)]
        else:
            return _NOTHING
    return tree


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged field by field; what is no section where one must be stays, to be refused."""
    merged = dict(below)
    for name, value in above.items():
        before = merged.get(name)
        if isinstance(value, dict) and before is not None:
            merged[name] = _merged(before, value) if isinstance(before, dict) else before
        else:
            merged[name] = value
    return merged
