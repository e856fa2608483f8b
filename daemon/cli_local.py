"""The commands that need no daemon: the configuration, the database, and the doctor. Each imports what it needs when it runs."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

config_app = typer.Typer(no_args_is_help=True, help="Write, check and show the configuration; asks no daemon.")


class Form(StrEnum):
    TEXT = "text"
    JSON = "json"


ConfigFile = Annotated[
    Path | None,
    typer.Argument(metavar="[FILE]", help="Without one: credentials, environment and defaults.", show_default=False),
]
ConfigOption = Annotated[Path | None, typer.Option("--config", help="The daemon's YAML file.", show_default=False)]
FormOption = Annotated[Form, typer.Option("--output", "-o", help="How to print the answer.")]


@config_app.command("init")
def config_init(
    file: Annotated[Path, typer.Argument(metavar="[FILE]", help="Where to.")] = Path("failoverd.yaml"),
) -> None:
    """Write a commented file to begin with: machines are observed, nothing is done for them. Refuses to overwrite."""
    from daemon.cli_config import init

    raise typer.Exit(init(file))


@config_app.command("check")
def config_check(
    file: ConfigFile = None,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as faults.")] = False,
    output: FormOption = Form.TEXT,
) -> None:
    """Say what is wrong, each with its line and its remedy, and warn of what is allowed but unwise."""
    from daemon.cli_config import check

    raise typer.Exit(check(file, output is Form.JSON, strict))


@config_app.command("show")
def config_show(
    file: ConfigFile = None,
    origin: Annotated[bool, typer.Option("--origin", help="Say where each value was said.")] = False,
    output: FormOption = Form.TEXT,
) -> None:
    """Show the values that hold, secrets masked."""
    from daemon.cli_config import show

    raise typer.Exit(show(file, origin, output is Form.JSON))


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON Schema of the configuration, for editors."""
    from daemon.cli_config import schema

    raise typer.Exit(schema())


db_app = typer.Typer(no_args_is_help=True, help="The schema of the daemon's database; asks no daemon.")


@db_app.command("current")
def db_current(config: ConfigOption = None, output: FormOption = Form.TEXT) -> None:
    """Say which revision the schema has; 5 where it is not the one that this program wants."""
    from daemon.cli_db import show_current

    raise typer.Exit(show_current(config, output is Form.JSON))


@db_app.command("upgrade")
def db_upgrade(config: ConfigOption = None, output: FormOption = Form.TEXT) -> None:
    """Bring the schema to the newest revision, as a whole or not at all. (The daemon does so at its start.)"""
    from daemon.cli_db import upgrade_schema

    raise typer.Exit(upgrade_schema(config, output is Form.JSON))


def doctor(config: ConfigOption = None, output: FormOption = Form.TEXT) -> None:
    """Look at all that the configuration names: does it answer, and will it do for a failover? Each fault has its remedy.

    Exit codes: 0 nothing is wrong; else that of the first fault: 2 settings, 5 refused, 7 not allowed, 8 out of reach."""
    from daemon.doctor import run_doctor

    raise typer.Exit(run_doctor(config, output is Form.JSON))
