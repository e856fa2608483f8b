"""`failoverd token` and `failoverd audit`: who may do what, and who did what."""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated

import typer

from daemon.cli_options import Form, MachineName, TokenFile, Url, Why, client
from daemon.cli_output import Answer, Cell, Column, Output, Row, emit
from daemon.client import EXIT_USAGE, ClientError, because
from daemon.screens import say

app = typer.Typer(help="Make, list and revoke tokens; a token's secret is shown once.", no_args_is_help=True)

_TIMES = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _at(name: str) -> Cell:
    """A time of the API, to the second."""
    return lambda row: "-" if row[name] is None else str(row[name])[:19].replace("T", " ")


class TokenScope(StrEnum):
    """`read` < `operate` < `admin`; `beat` is one machine's."""

    READ = "read"
    OPERATE = "operate"
    ADMIN = "admin"
    BEAT = "beat"


TOKENS = (
    Column("name", "NAME"),
    Column("scope", "SCOPE"),
    Column("machine_id", "MACHINE", right=True),
    Column("state", "IS"),
    Column("expires_at", "EXPIRES", _at("expires_at")),
    Column("last_used_at", "LAST USED", _at("last_used_at")),
    Column("created_at", "CREATED", _at("created_at"), only_wide=True),
    Column("created_by", "BY", only_wide=True),
    Column("revoked_at", "REVOKED", _at("revoked_at"), only_wide=True),
    Column("revoked_by", "REVOKED BY", only_wide=True),
)
CHANGES = (
    Column("number", "NO", right=True, only_wide=True),
    Column("at", "AT", _at("at")),
    Column("by", "BY"),
    Column("door", "DOOR"),
    Column("what", "WHAT"),
    Column("machine_id", "MACHINE", right=True),
    Column("subject", "SUBJECT"),
    Column("reason", "WHY", gives_way=True),
    Column("detail", "DETAIL", only_wide=True),
)


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="Who will be seen in the audit: small letters, 0-9, . _ -")
    ],
    scope: Annotated[TokenScope, typer.Option(help="read < operate < admin; beat is one machine's heartbeats.")],
    machine: Annotated[str | None, typer.Option(help="Of the scope beat: id or name.", show_default=False)] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="30d|12h|...", help="How long it is valid.", show_default=False)
    ] = None,
    reason: Why = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Make a token and show its secret, this once."""
    with client(url, token_file) as api:
        body: dict[str, object] = {"name": name, "scope": scope.value}
        if machine is not None:
            body["machine_id"] = api.machine(machine)["id"]
        if expires is not None:
            body["expires_in_s"] = seconds(expires)
        made = api.post("/tokens", body, headers=because(reason))
    if output.is_for_people:
        say(made["token"])
        say("Nobody can show it again.  → export FAILOVERD_TOKEN=...", err=True)
    else:
        emit(Answer(made, [made], (*TOKENS, Column("token", "TOKEN"))), output)


@app.command("list")
def list_tokens(output: Form = Output.TABLE, url: Url = None, token_file: TokenFile = None) -> None:
    """Show every stored token, revoked ones too; the secrets are nowhere."""
    with client(url, token_file) as api:
        found = list(api.pages("/tokens", "tokens"))
    after = [] if found else ["There is no stored token; the one of the settings opens everything."]
    emit(Answer({"tokens": found, "count": len(found)}, found, TOKENS, after=after), output)


@app.command()
def revoke(
    name: Annotated[str | None, typer.Argument(metavar="NAME", show_default=False)] = None,
    machine: Annotated[
        str | None, typer.Option(help="The machine's own beat token; prints the next one.", show_default=False)
    ] = None,
    reason: Why = None,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Take a token back: it opens nothing from now on."""
    if (name is None) == (machine is None):
        raise typer.BadParameter("give a token's NAME, or --machine for a machine's own beat token")
    with client(url, token_file) as api:
        if name is not None:
            answer: Row = api.delete(f"/tokens/{name}", reason)
            told = f"{name} is revoked."
        else:
            found = api.machine(machine or "")
            answer = api.delete(f"/machines/{found['id']}/beat-token", reason)
            told = str(answer["beat_token"])
            say(f"The beat token of {found['name']} is revoked; give its agent this one:", err=True)
    if output.is_for_people:
        say(told)
    else:
        emit(Answer(answer, [answer], [Column(each, each) for each in answer]), output)


def audit(
    machine: Annotated[MachineName | None, typer.Argument(metavar="[MACHINE]", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="How many, the newest first.")] = 50,
    output: Form = Output.TABLE,
    url: Url = None,
    token_file: TokenFile = None,
) -> None:
    """Show who changed what, through which door and why, the newest first."""
    with client(url, token_file) as api:
        query: dict[str, object] = {"limit": limit}
        if machine is not None:
            query["machine_id"] = api.machine(machine)["id"]
        found = api.get("/audit", query)
    after = [] if found["audit"] else ["nothing was changed yet"]
    emit(Answer(found, found["audit"], CHANGES, after=after), output)


def seconds(text: str) -> int:
    """Of 90s, 15m, 12h or 30d. Raise ClientError (2)."""
    found = re.fullmatch(r"([1-9][0-9]{0,6})([smhd])", text, re.ASCII)
    if found is None:
        raise ClientError(EXIT_USAGE, "invalid_expiry", f"{text!r} is no length of time", "write 90s, 15m, 12h or 30d")
    return int(found[1]) * _TIMES[found[2]]
