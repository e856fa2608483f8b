"""What systemd hands over as credentials: the file `vast__api_key` in $CREDENTIALS_DIRECTORY sets vast.api_key.

No prefix, two underscores between the parts of a name. A setting that names a file (`ssh__key_file`) is given the
credential's own path; every other one is its text. Every file there must be a setting: a misspelt one that was passed over
would leave a daemon without its key.
"""

from __future__ import annotations

import json
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel

from daemon.setting_faults import Fault, Path, all_paths, field_at, holds_file, is_list, model_of
from daemon.setting_layers import Layer, Origin, Source

VARIABLE = "CREDENTIALS_DIRECTORY"
_LARGEST = 1024 * 1024


def read(variables: Mapping[str, str], model: type[BaseModel]) -> Layer:
    """Never raises: what cannot be used is a fault."""
    folder = variables.get(VARIABLE)
    if not folder:
        return Layer()
    try:
        names = sorted(one.name for one in os.scandir(folder) if not one.name.startswith("."))
    except OSError as error:
        remedy = f"mend ${VARIABLE}, or unset it: systemd sets it where the unit has LoadCredential="
        return Layer(faults=(Fault(f"${VARIABLE}", folder, f"cannot be read: {error.strerror}", remedy),))
    values: dict[str, Any] = {}
    origins: dict[Path, Origin] = {}
    faults = []
    for name in names:
        path = tuple(name.lower().split("__"))
        try:
            value = _value(pathlib.Path(folder, name), path, model)
        except _Unfit as unfit:
            faults.append(Fault(f"credential {name}", ".".join(path), unfit.text, unfit.remedy))
            continue
        _put(values, path, value)
        origins[path] = Origin(Source.CREDENTIAL, f"credential {name}")
    return Layer(values, origins, tuple(faults))


class _Unfit(Exception):
    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.text, self.remedy = text, remedy


def _value(file: pathlib.Path, path: Path, model: type[BaseModel]) -> Any:
    field = field_at(model, path)
    if field is None or model_of(field) is not None:
        raise _Unfit("is no setting", _meant(path, model))
    if holds_file(field):
        return str(file)
    try:
        text = file.read_text(encoding="utf-8") if file.stat().st_size <= _LARGEST else None
    except UnicodeDecodeError:
        text = None
    except OSError as error:
        raise _Unfit(f"cannot be read: {error.strerror}", "let the daemon's user read it") from error
    if text is None:
        raise _Unfit("is no short text", "give a file with the value alone, as UTF-8")
    # An editor ends the last line, and no secret ends with one.
    text = re.sub(r"[\r\n]+\Z", "", text)
    if not is_list(field):
        return text
    try:
        return json.loads(text)
    except ValueError as error:
        raise _Unfit("is no JSON", "give the list as JSON") from error


def _meant(path: Path, model: type[BaseModel]) -> str:
    known = ["__".join(one) for one in all_paths(model)]
    close = get_close_matches("__".join(path), known, 1, 0.7)
    rename = "name it as the setting, with two underscores between the parts, like LoadCredential=vast__api_key:/path"
    return f"did you mean {close[0]}? {rename}" if close else rename


def _put(tree: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
    tree[path[-1]] = value
