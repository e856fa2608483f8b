"""`failoverd machines`: listed, shown, registered and removed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from daemon.cli_confirm import confirm
from daemon.cli_output import Answer, Column, Output, emit
from daemon.cli_show import MACHINE_COLUMNS
from daemon.client import EXIT_USAGE, ApiClient, ClientError
from daemon.screens import say

_FACTS = (Column("name", "FACT"), Column("value", "VALUE", gives_way=True))


def list_machines(api: ApiClient, state: str | None, output: Output) -> None:
    """Raise ClientError."""
    rows = api.machines(state)
    emit(Answer({"machines": rows}, rows, MACHINE_COLUMNS, after=[] if rows else ["no machine matches"]), output)


def show_machine(api: ApiClient, name: str, output: Output) -> None:
    """All that the daemon knows of it. Raise ClientError."""
    _emit_one(api.machine(name), output)


def _emit_one(machine: Mapping[str, Any], output: Output) -> None:
    if output is Output.CSV:
        emit(Answer(machine, [machine], [Column(name, name) for name in machine]), output)
        return
    facts = [{"name": name, "value": _text(value)} for name, value in machine.items() if name != "machine_id"]
    emit(Answer(dict(machine), facts, _FACTS), output)


def _text(value: Any) -> str:
    import json

    return "-" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def register(api: ApiClient, number: int, body: Mapping[str, Any], reason: str | None, output: Output) -> None:
    """Register it, or change what is named. The answer holds its agent's token. Raise ClientError."""
    if not body:
        remedy = "name something: --name, --gpu-instance-id, --set NAME=VALUE, or --file FILE"
        raise ClientError(EXIT_USAGE, "nothing_named", f"nothing is said of machine {number}", remedy)
    _emit_one(api.put(f"/machines/{number}", body, reason), output)


def body_of(named: Mapping[str, Any], pairs: Sequence[str], file: Path | None) -> dict[str, Any]:
    """The file first, then each NAME=VALUE (the value is YAML), then the options. Raise ClientError (2)."""
    body = {} if file is None else _read(file)
    for pair in pairs:
        name, sign, text = pair.partition("=")
        if not sign or not name:
            raise ClientError(EXIT_USAGE, "invalid_parameter", f"--set {pair}: it names no value", "write NAME=VALUE")
        body[name] = _yaml(text, f"--set {name}")
    return {**body, **{name: value for name, value in named.items() if value is not None}}


def _read(file: Path) -> dict[str, Any]:
    try:
        found = _yaml(file.read_text(encoding="utf-8"), str(file))
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ClientError(EXIT_USAGE, "unreadable", f"{file}: {why}", "name a readable file with --file") from error
    if not isinstance(found, dict):
        raise ClientError(EXIT_USAGE, "invalid_parameter", f"{file}: it is no mapping", "write `name: value` lines")
    return found


def _yaml(text: str, where: str) -> Any:
    import yaml

    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        why = " ".join(str(error).split())
        raise ClientError(EXIT_USAGE, "invalid_parameter", f"{where}: {why}", "write YAML or JSON") from error


_UNWATCHED = (
    "unwatched and paid for; an agent that still beats there registers the machine anew within seconds: stop it first"
)


def remove(api: ApiClient, name: str, reason: str | None, *, yes: bool) -> None:
    """The daemon forgets it; its instance is left running. Raise ClientError."""
    machine = api.machine(name)
    instance = machine["gpu_instance_id"]
    left = f"instance {instance} is left running, {_UNWATCHED}" if instance else "it has no instance"
    own = str(machine["name"])
    confirm(own, f"Machine {machine['id']} ({own}) will be forgotten; {left}", yes=yes)
    api.delete(f"/machines/{machine['id']}", reason)
    say(f"Machine {machine['id']} ({own}) was removed; {left}.")
