"""AsyncsshShell against a small SSH server inside the process, and against ports that misbehave."""

from __future__ import annotations

import asyncio
import errno
import stat
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncssh
import pytest

from adapters.ssh import AsyncsshShell, ShellSettings, load_or_create_key
from adapters.system_clock import SystemClock
from machines.errors import NotYet, Refused, Unknown
from machines.model import Endpoint
from machines.ports import Reach

PATIENT = ShellSettings(keepalive_interval_s=0.2)
HASTY = ShellSettings(reach_timeout_s=0.3, connect_timeout_s=0.5)
"""Only where silence is what is to be found: a busy computer may be slower than this."""
KEY = asyncssh.generate_private_key("ssh-ed25519", comment="failoverd")
HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
Command = Callable[[asyncssh.SSHServerProcess[str]], Awaitable[None]]


def shell(key: asyncssh.SSHKey = KEY, settings: ShellSettings = PATIENT) -> AsyncsshShell:
    return AsyncsshShell(key, SystemClock(), settings)


async def echo(process: asyncssh.SSHServerProcess[str]) -> None:
    process.stdout.write(f"ran {process.command}")
    process.stderr.write("warned")
    process.exit(3)


@asynccontextmanager
async def ssh_server(command: Command = echo, host_key: asyncssh.SSHKey = HOST_KEY) -> AsyncIterator[Endpoint]:
    authorized = asyncssh.import_authorized_keys(KEY.export_public_key().decode())
    server = await asyncssh.listen(
        "127.0.0.1", 0, server_host_keys=[host_key], authorized_client_keys=authorized, process_factory=command
    )
    async with server:
        yield Endpoint("127.0.0.1", server.get_port())


@asynccontextmanager
async def raw_server(says: bytes, hangs_up: bool = False) -> AsyncIterator[Endpoint]:
    async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(says)
        try:
            if not hangs_up:
                await asyncio.sleep(30)
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield Endpoint("127.0.0.1", server.sockets[0].getsockname()[1])
    finally:
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()
        await asyncio.sleep(0.01)


async def test_a_command_runs_to_its_end_and_the_host_key_comes_back() -> None:
    async with ssh_server() as endpoint:
        result = await shell().run(endpoint, "nvidia-smi")
    assert (result.exit_status, result.stdout, result.stderr) == (3, "ran nvidia-smi", "warned")
    assert result.host_key == HOST_KEY.export_public_key().decode().strip()


async def test_the_pinned_host_is_trusted_and_another_one_refused() -> None:
    async with ssh_server() as endpoint:
        first = await shell().run(endpoint, "x")
        assert (await shell().run(endpoint, "x", host_key=first.host_key)).host_key == first.host_key
    for other in ("ssh-ed25519", "ecdsa-sha2-nistp256"):
        async with ssh_server(host_key=asyncssh.generate_private_key(other)) as endpoint:
            with pytest.raises(Refused) as no:
                await shell().run(endpoint, "x", host_key=first.host_key)
            assert no.value.code == "ssh_unreachable"


async def test_a_pin_that_cannot_be_read_trusts_nobody() -> None:
    async with ssh_server() as endpoint:
        with pytest.raises(Refused):
            await shell().run(endpoint, "x", host_key="nonsense")


async def test_a_key_that_is_not_accepted_may_be_accepted_later() -> None:
    async with ssh_server() as endpoint:
        with pytest.raises(NotYet, match="not accepted yet"):
            await shell(asyncssh.generate_private_key("ssh-ed25519")).run(endpoint, "x")


async def test_where_nothing_answers_nothing_was_run() -> None:
    async with ssh_server() as endpoint:
        pass
    with pytest.raises(NotYet) as wait:
        await shell().run(endpoint, "x")
    assert wait.value.delay.total_seconds() == 5.0
    for says, hangs_up in ((b"", False), (b"", True), (b"HTTP/1.1 400 Bad Request\r\n", True)):
        async with raw_server(says, hangs_up) as endpoint:
            with pytest.raises(NotYet):
                await shell(settings=HASTY).run(endpoint, "x")
    with pytest.raises(NotYet):
        await shell().run(Endpoint("no-such-host.invalid", 22), "x")


async def test_a_command_that_takes_too_long_is_unknown() -> None:
    async def never(_process: asyncssh.SSHServerProcess[str]) -> None:
        await asyncio.sleep(30)

    async with ssh_server(never) as endpoint:
        with pytest.raises(Unknown, match=r"did not end within 0\.2 s"):
            await shell().run(endpoint, "x", timeout_s=0.2)


async def test_a_connection_that_breaks_is_unknown_and_never_success() -> None:
    async def cut(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("half")
        process.channel.get_connection().abort()

    async with ssh_server(cut) as endpoint:
        with pytest.raises(Unknown):
            await shell().run(endpoint, "x")


async def test_a_session_that_ends_without_an_exit_status_is_unknown() -> None:
    async def close(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stdout.write("all")
        process.channel.close()

    async with ssh_server(close) as endpoint:
        with pytest.raises(Unknown, match="without an exit status"):
            await shell().run(endpoint, "x")


async def test_a_command_that_a_signal_killed_has_failed() -> None:
    async def die(process: asyncssh.SSHServerProcess[str]) -> None:
        process.exit_with_signal("KILL")

    async with ssh_server(die) as endpoint:
        assert (await shell().run(endpoint, "x")).exit_status == -1


async def test_a_flood_of_output_is_read_and_cut() -> None:
    async def flood(process: asyncssh.SSHServerProcess[str]) -> None:
        for _ in range(50):
            process.stdout.write("x" * 100_000)
            await process.stdout.drain()
        process.exit(0)

    async with ssh_server(flood) as endpoint:
        result = await shell(settings=ShellSettings(output_limit=1000)).run(endpoint, "x")
    assert len(result.stdout) == 1000


async def test_no_more_commands_than_allowed_run_at_once() -> None:
    running = most = 0

    async def count(process: asyncssh.SSHServerProcess[str]) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.05)
        running -= 1
        process.exit(0)

    async with ssh_server(count) as endpoint:
        one = shell(settings=ShellSettings(width=3))
        await asyncio.gather(*(one.run(endpoint, "x") for _ in range(9)))
    assert most == 3


async def test_an_ssh_server_answers_and_a_closed_port_refuses() -> None:
    async with ssh_server() as endpoint:
        assert await shell().reach(endpoint) is Reach.ANSWERED
        assert await shell().reach(Endpoint("localhost", endpoint.port)) is Reach.ANSWERED
    assert await shell().reach(endpoint) is Reach.REFUSED
    assert await shell().reach(Endpoint("localhost", endpoint.port)) is Reach.REFUSED


GREETINGS = [
    (b"", False, Reach.SILENT),
    (b"", True, Reach.REFUSED),
    (b"HTTP/1.1 400 Bad Request\r\n", False, Reach.SILENT),
    (b"welcome\r\nSSH-2.0-dropbear\r\n", False, Reach.ANSWERED),
    (b"Exceeded MaxStartups\r\n", True, Reach.ANSWERED),
    (b"Not allowed at this time\r\n", True, Reach.ANSWERED),
    (b"x" * 10_000, False, Reach.SILENT),
]


@pytest.mark.parametrize(("says", "hangs_up", "reach"), GREETINGS)
async def test_only_a_greeting_is_an_answer(says: bytes, hangs_up: bool, reach: Reach) -> None:
    async with raw_server(says, hangs_up) as endpoint:
        settings = HASTY if reach is Reach.SILENT else PATIENT
        assert await shell(settings=settings).reach(endpoint) is reach


OWN_FAILURES = [errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.EPERM]


@pytest.mark.parametrize("number", OWN_FAILURES)
async def test_our_own_failure_says_nothing_about_the_target(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(*_arguments: Any, **_named: Any) -> None:
        raise OSError(number, "ours")

    monkeypatch.setattr(asyncio, "open_connection", fail)
    assert await shell().reach(Endpoint("127.0.0.1", 1)) is Reach.UNKNOWN


@pytest.mark.parametrize("host", ["no-such-host.invalid", "", "a" * 300, "bad\0host"])
async def test_a_name_that_does_not_resolve_says_nothing_about_the_target(host: str) -> None:
    assert await shell().reach(Endpoint(host, 22)) in (Reach.UNKNOWN, Reach.REFUSED)


async def test_a_port_that_cannot_be_is_our_own_failure() -> None:
    assert await shell().reach(Endpoint("127.0.0.1", 70_000)) is Reach.UNKNOWN


def test_the_key_file_is_made_once_for_us_alone(tmp_path: Path) -> None:
    path = tmp_path / "state" / "id_ed25519"
    first = load_or_create_key(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert load_or_create_key(path).export_public_key() == first.export_public_key()
    assert [found.name for found in path.parent.iterdir()] == ["id_ed25519"]
    again = AsyncsshShell(path, SystemClock()).public_key
    assert again == first.export_public_key().decode().strip()
    assert again.startswith("ssh-ed25519 ")
