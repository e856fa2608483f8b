"""What the configuration file says, with the line of every name in it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Iterator

import yaml

from daemon.setting_faults import Fault, Path, SettingsError
from daemon.setting_layers import Layer, Origin, Source

_MOST_PLACES = 2_000_000
"""A fleet of 5,000 machines has some 200,000."""


def read(path: pathlib.Path) -> Layer:
    """What is not filled in (`policy:` with everything below it commented out) is not given. Raise SettingsError where it
    cannot be read at all."""
    loader = yaml.SafeLoader(_text(path))
    try:
        node = loader.get_single_node()
        _refuse_what_has_no_end(node, path)
        doubles = tuple(_doubles(node, path, ())) if node is not None else ()
        found = loader.construct_document(node) if node is not None else None
    except yaml.YAMLError as error:
        raise SettingsError(_no_yaml(path, error)) from error
    except RecursionError as error:
        raise SettingsError(f"{path}: is too deep; remedy: no setting lies deeper than ten levels") from error
    finally:
        loader.dispose()
    if node is None or found is None:
        return Layer()
    if not isinstance(found, dict):
        kind = type(found).__name__
        raise SettingsError(f"{path}: must hold a mapping, not a {kind}; remedy: write `name: value` lines")
    values = {str(name): value for name, value in found.items() if value is not None}
    lines = dict(_lines(node, ()))
    return Layer(values, {place: Origin(Source.FILE, f"{path}:{line}") for place, line in lines.items()}, doubles)


def _text(path: pathlib.Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        why = f"{path}: cannot be read: {error.strerror}; remedy: name another file"
        raise SettingsError(why) from error
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is no text; remedy: save it as UTF-8") from error


def _refuse_what_has_no_end(node: yaml.Node | None, path: pathlib.Path) -> None:
    """An alias within its own anchor, or aliases of aliases that come to more than anybody wrote. Raise SettingsError."""
    above: set[int] = set()
    ways: list[tuple[yaml.Node, bool]] = [(node, False)] if node is not None else []
    places = 0
    while ways:
        here, is_left = ways.pop()
        if is_left:
            above.discard(id(here))
            continue
        places += 1
        if id(here) in above or places > _MOST_PLACES:
            what = (
                "contains itself" if id(here) in above else f"comes to more than {_MOST_PLACES} values with its aliases"
            )
            remedy = "write out what the alias (*) stands for"
            raise SettingsError(f"{path}:{here.start_mark.line + 1}: {what}; remedy: {remedy}")
        if isinstance(here, yaml.CollectionNode):
            above.add(id(here))
            ways.append((here, True))
            ways += [(child, False) for child in _below(here)]


def _below(node: yaml.CollectionNode) -> Iterator[yaml.Node]:
    for item in node.value:
        yield from item if isinstance(item, tuple) else (item,)


def _lines(node: yaml.Node, place: Path) -> Iterator[tuple[Path, int]]:
    """Every place with its line, counted from 1. A key that was merged in with `<<` has that of its anchor."""
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            below = (*place, str(key.value))
            yield below, key.start_mark.line + 1
            yield from _lines(value, below)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            below = (*place, str(number))
            yield below, item.start_mark.line + 1
            yield from _lines(item, below)


def _doubles(node: yaml.Node, path: pathlib.Path, place: Path) -> Iterator[Fault]:
    """YAML's readers take the last of two that have the same name, and say nothing."""
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            yield from _doubles(item, path, (*place, str(number)))
    if not isinstance(node, yaml.MappingNode):
        return
    seen: dict[str, int] = {}
    for key, value in node.value:
        name, line = str(key.value), key.start_mark.line + 1
        if name in seen and name != "<<":
            text = f"stands there twice, first in line {seen[name]}"
            yield Fault(f"{path}:{line}", ".".join((*place, name)), text, "keep one of the two")
        seen.setdefault(name, line)
        yield from _doubles(value, path, (*place, name))


def _no_yaml(path: pathlib.Path, error: yaml.YAMLError) -> str:
    """Where, and what; without the line itself or a word of it, which may be a secret."""
    if isinstance(error, RecursionError) or not isinstance(error, yaml.MarkedYAMLError) or error.problem_mark is None:
        return f"{path}: is not YAML; remedy: save it as UTF-8 text without control characters"
    mark, problem = error.problem_mark, error.problem or "it cannot be understood"
    has_tab = "'\\t'" in problem
    told = re.sub(r"'[^']{2,}'", "...", problem)
    remedy = "indent with blanks: YAML takes no tabs" if has_tab else "mend that line, or the one before it"
    return f"{path}:{mark.line + 1}: is not YAML from column {mark.column + 1} on: {told}; remedy: {remedy}"
