"""What `failoverd config ...` does: on the files of this machine, without a daemon."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from daemon.setting_faults import SettingsError
from daemon.setting_starter import STARTER

DONE, USAGE, REFUSED = 0, 2, 5


def init(path: Path) -> int:
    """Write the starting file, where there is none; only its owner can read it, for it will hold secrets."""
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(STARTER)
    except FileExistsError:
        return _refused(
            "file_exists", f"{path} is there already, and is left as it is", "name another file, or move it"
        )
    except OSError as error:
        return _refused("cannot_write", f"{path}: {error.strerror}", "name a file in a folder that you may write")
    print(f"{path} is written: every machine begins in observe mode, and nothing is rented")
    print(f"  next  fill in vast.api_key and your machines, then: failoverd config check {path}")
    return DONE


def check(path: Path | None, as_json: bool, strict: bool) -> int:
    """Faults make 2, also what only `run` would find; warnings do so where `strict` says it."""
    from daemon.setting_refusals import refusals, unusable_places
    from daemon.setting_traps import traps
    from daemon.settings import read

    faults: list[str] = []
    warnings: list[str] = []
    try:
        loaded = read(path)
        faults = [str(one) for one in (*refusals(loaded), *unusable_places(loaded))]
        warnings = [str(one) for one in traps(loaded)]
    except SettingsError as error:
        faults = str(error).splitlines()
    is_well = not faults and not (strict and warnings)
    if as_json:
        print(json.dumps({"ok": is_well, "errors": faults, "warnings": warnings}, indent=2))
        return DONE if is_well else USAGE
    for line in faults:
        print(f"error[invalid_settings] {line}", file=sys.stderr)
    for line in warnings:
        print(f"warning {line}", file=sys.stderr)
    if not faults:
        told = f", {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
        print(f"{path or 'defaults and environment'}: no faults{told}")
    return DONE if is_well else USAGE


def show(path: Path | None, with_origin: bool, as_json: bool) -> int:
    """The values that hold; what is secret is starred out."""
    import yaml

    from daemon.setting_show import as_tree, shown
    from daemon.settings import read

    try:
        loaded = read(path)
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"error[invalid_settings] {line}", file=sys.stderr)
        return USAGE
    if not with_origin:
        tree = as_tree(loaded.settings)
        print(json.dumps(tree, indent=2) if as_json else yaml.safe_dump(tree, sort_keys=False, width=120).rstrip())
        return DONE
    rows = shown(loaded)
    if as_json:
        told = {
            leaf.name: {"value": leaf.told, "source": origin.source.value, "origin": origin.text}
            for leaf, origin in rows
        }
        print(json.dumps(told, indent=2))
        return DONE
    lines = [(f"{leaf.name}: {_in_short(leaf.told)}", str(origin)) for leaf, origin in rows]
    width = min(max(len(said) for said, _ in lines), 60)
    for said, where in lines:
        print(f"{said:<{width}}  # {where}")
    return DONE


def schema() -> int:
    from daemon.setting_schema import schema as document

    print(json.dumps(document(), indent=2))
    return DONE


def _in_short(value: Any) -> str:
    return value if isinstance(value, str) and value.isprintable() and value else json.dumps(value, ensure_ascii=False)


def _refused(code: str, what: str, remedy: str) -> int:
    print(f"error[{code}] {what}\n  remedy  {remedy}", file=sys.stderr)
    return REFUSED
