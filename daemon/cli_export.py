"""`failoverd export`: the contracts of both doors, and files for other programs, made from the code without a daemon."""

from __future__ import annotations

from enum import StrEnum
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer

from daemon.cli_output import as_yaml, print_json, write

app = typer.Typer(no_args_is_help=True, help="Print what other programs need: contracts, units, rules, dashboards.")


class DocumentForm(StrEnum):
    JSON = "json"
    YAML = "yaml"


Form = Annotated[DocumentForm, typer.Option("--output", "-o", help="How to print it.")]


@app.command()
def openapi(output: Form = DocumentForm.JSON) -> None:
    """Print the HTTP door's contract (OpenAPI 3.1), as /openapi.json has it."""
    from daemon.api.app import described

    _print(described(metadata.version("failoverd")).openapi(), output)


@app.command()
def asyncapi(
    prefix: Annotated[str, typer.Option(help="Before the names of the topics, as `topics.prefix` says.")] = "",
    bootstrap: Annotated[str, typer.Option(metavar="HOST:PORT", help="The broker.")] = "127.0.0.1:9092",
    output: Form = DocumentForm.JSON,
) -> None:
    """Print the event log's contract (AsyncAPI 3.0), as /asyncapi.json has it."""
    from events.asyncapi import document

    _print(document(metadata.version("failoverd"), prefix, bootstrap), output)


def _print(document: object, output: DocumentForm) -> None:
    if output is DocumentForm.YAML:
        write(as_yaml(document))
    else:
        print_json(document)


class Unit(StrEnum):
    DAEMON = "daemon"
    AGENT = "agent"


@app.command("systemd")
def systemd(
    which: Annotated[Unit, typer.Argument(metavar="[daemon|agent]", help="Of the daemon, or of a GPU machine.")] = (
        Unit.DAEMON
    ),
    write: Annotated[
        Path | None, typer.Option("--write", metavar="FOLDER", help="Write both there, as /etc/systemd/system.")
    ] = None,
) -> None:
    """Print a unit file of systemd, or write both."""
    from daemon import units

    if write is None:
        typer.echo(units.unit(units.SYSTEMD[0] if which is Unit.DAEMON else units.SYSTEMD[1]), nl=False)
        return
    for name in units.SYSTEMD:
        _written(write / name, units.unit(name))
    typer.echo("next: systemctl daemon-reload && systemctl enable --now failoverd")


@app.command("rules")
def rules() -> None:
    """Print the alert rules for Prometheus."""
    from daemon import units

    typer.echo(units.rules(), nl=False)


@app.command("dashboard")
def dashboard() -> None:
    """Print the dashboard for Grafana."""
    from daemon import units

    typer.echo(units.dashboard(), nl=False)


def _written(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        typer.echo(f"error[cannot_write] {path}: {error.strerror}", err=True)
        typer.echo("  remedy  name a folder that is there and may be written: --write FOLDER", err=True)
        raise typer.Exit(2) from None
    typer.echo(f"wrote {path}")
