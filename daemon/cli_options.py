"""What the commands share: their common options, the client that they get, and how a refusal is told."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli_output import Output
from daemon.client import DEFAULT_TOKEN_FILE, TOKEN_ENV, URL_ENV, ApiClient, ClientError, door
from daemon.screens import say


def machine_names(incomplete: str) -> list[str]:
    """What a shell offers in place of a machine: the names that the daemon knows, or nothing where it does not answer."""
    try:
        with ApiClient(door(None, None), timeout_s=2.0) as api:
            return [row["name"] for row in api.machines() if row["name"].startswith(incomplete)]
    except ClientError:
        return []


Url = Annotated[str | None, typer.Option("--url", help=f"The daemon's address ({URL_ENV}).", show_default=False)]
TokenFile = Annotated[
    Path | None,
    typer.Option("--token-file", help=f"Default: {TOKEN_ENV}, else {DEFAULT_TOKEN_FILE}.", show_default=False),
]
Form = Annotated[Output, typer.Option("--output", "-o", help="How to print the answer.")]
MachineName = Annotated[
    str, typer.Argument(metavar="MACHINE", help="A machine's id or name.", autocompletion=machine_names)
]
Follow = Annotated[bool, typer.Option("--follow", "-f", help="Until it has ended.")]
Why = Annotated[str | None, typer.Option("--reason", help="Why, for those who read the record.", show_default=False)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for the machine's name.")]

INTERRUPTED = 130
"""As a shell shows the end by SIGINT."""


@contextmanager
def client(url: str | None, token_file: Path | None) -> Iterator[ApiClient]:
    """The client of one command; a refusal ends the command with its text and its exit code, Ctrl-C with 130."""
    try:
        with ApiClient(door(url, token_file)) as api:
            yield api
    except ClientError as error:
        say(explain(error), err=True)
        raise typer.Exit(error.exit_code) from None
    except KeyboardInterrupt:
        say("interrupted: what was asked of the daemon may still be done", err=True)
        raise typer.Exit(INTERRUPTED) from None


def explain(error: ClientError) -> str:
    """A refusal as three lines at most: what, why, and what mends it."""
    lines = [f"error[{error.code}] {error.detail}"]
    if error.remedy:
        lines.append(f"  remedy  {error.remedy}")
    return "\n".join(lines)
