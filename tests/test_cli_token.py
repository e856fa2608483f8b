"""`failoverd token` and `failoverd audit`, against the real API over a real socket."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from daemon.api import beat_token
from tests.test_api_server import served
from tests.test_api_stage import TOKEN, Stage, stage
from tests.test_cli import CliRunner, app


class Shell:
    """Types commands at one daemon."""

    def __init__(self, url: str, token: str) -> None:
        self.env = {"FAILOVERD_API_URL": url, "FAILOVERD_TOKEN": token}

    async def run(self, *arguments: str) -> Any:
        return await asyncio.to_thread(CliRunner().invoke, app, list(arguments), env=self.env)


@asynccontextmanager
async def shell() -> AsyncIterator[tuple[Stage, Shell]]:
    with structlog.testing.capture_logs():  # The daemon's own lines are not what a command printed.
        async with stage() as s, served(s) as (server, _, _running):
            await s.machine()
            yield s, Shell(server.url, TOKEN)


async def test_a_token_is_made_used_listed_and_revoked() -> None:
    async with shell() as (_, admin):
        made = await admin.run("token", "create", "ana", "--scope", "read", "--expires", "30d", "--reason", "a look")
        assert made.exit_code == 0, made.output
        secret = made.stdout.strip()
        assert secret.startswith("ft_")
        ana = Shell(admin.env["FAILOVERD_API_URL"], secret)
        assert (await ana.run("status")).exit_code == 0
        refused = await ana.run("token", "create", "eve", "--scope", "admin")
        assert refused.exit_code == 7
        assert "failoverd token create" in refused.output
        listed = await admin.run("token", "list")
        assert "ana" in listed.stdout
        assert "valid" in listed.stdout
        assert secret not in listed.output
        assert (await admin.run("token", "revoke", "ana")).exit_code == 0
        assert (await ana.run("status")).exit_code == 7
        shown = json.loads((await admin.run("token", "list", "-o", "json")).stdout)
        assert [one["state"] for one in shown["tokens"]] == ["revoked"]


async def test_the_audit_shows_that_the_command_line_was_the_door() -> None:
    async with shell() as (_, admin):
        await admin.run("token", "create", "ana", "--scope", "operate", "--reason", "die Nachtschicht")
        (change,) = json.loads((await admin.run("audit", "-o", "json")).stdout)["audit"]
        assert (change["by"], change["door"], change["what"]) == ("admin", "cli", "create_token")
        assert change["reason"] == "die Nachtschicht"
        table = await admin.run("audit")
        assert "create_token" in table.stdout
        assert "nothing" in (await admin.run("audit", "machine-123")).stdout


async def test_a_beat_token_is_made_by_the_machine_s_name_and_the_machine_s_own_can_be_revoked() -> None:
    async with shell() as (_, admin):
        made = await admin.run("token", "create", "sensor", "--scope", "beat", "--machine", "machine-123", "-o", "json")
        assert json.loads(made.stdout)["machine_id"] == 123
        revoked = await admin.run("token", "revoke", "--machine", "123")
        assert revoked.stdout.strip() == beat_token(TOKEN, 123, 1)


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "revoke"),
        ("token", "revoke", "ana", "--machine", "123"),
        ("token", "create", "ana"),
        ("token", "create", "ana", "--scope", "root"),
        ("token", "create", "ana", "--scope", "read", "--expires", "soon"),
    ],
)
async def test_wrong_usage_is_2(arguments: tuple[str, ...]) -> None:
    async with shell() as (_, admin):
        assert (await admin.run(*arguments)).exit_code == 2


async def test_what_is_not_there_is_4() -> None:
    async with shell() as (_, admin):
        assert (await admin.run("token", "revoke", "nobody")).exit_code == 4
