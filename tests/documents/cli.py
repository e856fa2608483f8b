"""Every command with its arguments and options."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator
from typing import Any

from typer.main import get_command

from daemon import agent_settings
from daemon.cli_app import app
from tests.documents.markdown import code, table, wrapped

OWN_PARSER = {"agent": agent_settings.parse}
"""Programs of their own, which parse what follows their name."""


async def page() -> str:
    parts = ["# Command line", wrapped(str(app.info.help)), wrapped(str(app.info.epilog))]
    for path, command in _commands(get_command(app), ()):
        parts += _section(path, command)
    return "\n\n".join(part for part in parts if part)


def _commands(command: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that is not hidden, groups before what is in them."""
    below = getattr(command, "commands", None)
    if path:
        yield path, command
    for name in sorted(below or {}):
        if not below[name].hidden:
            yield from _commands(below[name], (*path, name))


def _section(path: tuple[str, ...], command: Any) -> list[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option" and not one.hidden]
    names = "COMMAND" if getattr(command, "commands", None) else " ".join(_argument(one) for one in arguments)
    options = [one for one in options if one.name != "help"]
    parts = [
        f"## failoverd {' '.join(path)}",
        wrapped(command.help or ""),
        f"```\nfailoverd {' '.join(path)} {names}".rstrip() + "\n```",
    ]
    if path[-1] in OWN_PARSER:
        return [*parts[:2], f"```\n{_help_of(OWN_PARSER[path[-1]])}```"]
    if arguments:
        parts.append(table(("argument", "what it is"), [(code(_argument(one)), one.help or "") for one in arguments]))
    if options:
        context = command.make_context(path[-1], [], resilient_parsing=True)
        parts.append(table(("option", "what it is"), [_option(one, context) for one in options]))
    return parts


def _argument(argument: Any) -> str:
    return str(argument.metavar or argument.name.upper())


def _option(option: Any, context: Any) -> tuple[str, str]:
    """As `--help` shows it: the names with what they take, and the text with the default."""
    names, told = option.get_help_record(context)
    return code(" ".join(names.split())), told


def _help_of(parse: Any) -> str:
    """What `--help` prints, at a fixed width."""
    printed = io.StringIO()
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = "110"
    try:
        with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
            parse(["--help"], {})
    finally:
        os.environ.pop("COLUMNS")
        if before is not None:
            os.environ["COLUMNS"] = before
    return printed.getvalue()
