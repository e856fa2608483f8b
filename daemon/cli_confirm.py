"""Before a dangerous verb acts: the machine's name is typed, or a script has said --yes."""

from __future__ import annotations

import sys

import typer

from daemon.client import EXIT_USAGE, ClientError
from daemon.screens import say


def confirm(name: str, what: str, *, yes: bool) -> None:
    """`what` is a sentence about what will happen. Raise ClientError (2) where nobody agreed; nothing was done then."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise ClientError(EXIT_USAGE, "not_confirmed", f"{what}, and nobody can be asked", "add --yes")
    say(f"{what}.", err=True)
    if typer.prompt(f"Type its name ({name}) to go on", err=True) != name:
        raise ClientError(
            EXIT_USAGE, "not_confirmed", "that is not its name; nothing was done", "try again, or add --yes"
        )
