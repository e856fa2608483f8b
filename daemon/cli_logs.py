"""`failoverd logs`: what a machine's container has printed."""

from __future__ import annotations

import re

import typer

from daemon.cli_output import Answer, Column, Output, emit
from daemon.client import ApiClient

_ESCAPES = re.compile(r"\x1b(\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")
COLUMNS = (Column("line", "LINE"),)


def show_logs(api: ApiClient, machine: str, tail: int, host: bool, output: Output) -> None:
    """Asked of the provider now. Raise ClientError."""
    number = api.machine(machine)["id"]
    found = api.get(f"/machines/{number}/logs", {"tail": tail, "host": str(host).lower()})
    if not output.is_for_people:
        emit(Answer(found, [{"line": line} for line in found["lines"]], COLUMNS), output)
        return
    for line in found["lines"]:
        typer.echo(harmless(line))
    if not found["lines"]:
        typer.echo(f"Instance {found['gpu_instance_id']} has printed nothing.", err=True)


def harmless(line: str) -> str:
    """Without what would command the reader's terminal: whoever is in the container writes what he likes."""
    return "".join(letter for letter in _ESCAPES.sub("", line) if letter.isprintable() or letter == "\t")
