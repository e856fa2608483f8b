"""An SSH server for one simulated container: real commands in a real shell, SFTP and scp, public keys only.

Two habits of asyncssh decide its form (facts/real-servers.md 6.1): output is pumped by hand and the exit is sent after
its end, or rsync loses data; and the SFTP server exits its channel itself, or OpenSSH's client reports 255.
"""

import asyncio
import os
import signal
import socket
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import asyncssh

CHUNK = 65536


class Container(Protocol):
    """What the server asks of the container that it stands in."""

    root: Path

    def environment(self) -> Mapping[str, str]: ...
    def rewrite(self, text: str) -> str: ...
    def authorized_keys(self) -> list[str]: ...
    def command_began(self, group: int) -> None: ...
    def command_ended(self, group: int) -> None: ...
    def connected(self, connection: asyncssh.SSHServerConnection) -> None: ...
    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None: ...


class _Door(asyncssh.SSHServer):
    """Lets root in with one of the container's keys."""

    def __init__(self, container: Container) -> None:
        self._container = container
        self._connection: asyncssh.SSHServerConnection | None = None

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._container.connected(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._container.disconnected(self._connection)

    def begin_auth(self, username: str) -> bool:
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return username == "root" and key.public_data in _blobs(self._container.authorized_keys())


def _blobs(keys: list[str]) -> set[bytes]:
    blobs = set()
    for text in keys:
        try:
            blobs.add(asyncssh.import_public_key(text).public_data)
        except asyncssh.KeyImportError:
            continue  # The account may hold anything that the owner pasted.
    return blobs


class _Files(asyncssh.SFTPServer):
    """SFTP inside the container's root."""

    def __init__(self, channel: "asyncssh.SSHServerChannel[bytes]", root: Path) -> None:
        super().__init__(channel, chroot=os.fsencode(root))

    def exit(self) -> None:
        self.channel.exit(0)


async def listen(container: Container, key: asyncssh.SSHKey, listening: socket.socket) -> asyncssh.SSHAcceptor:
    """Serve the container on a listening socket, which now belongs to the acceptor, or is closed where there is none."""

    async def process_factory(process: "asyncssh.SSHServerProcess[bytes]") -> None:
        await _serve_command(container, process)

    def sftp_factory(channel: Any) -> asyncssh.SFTPServer:
        return _Files(channel, container.root)

    opening = asyncio.ensure_future(
        asyncssh.listen(
            sock=listening,
            server_factory=lambda: _Door(container),
            server_host_keys=[key],
            process_factory=process_factory,
            sftp_factory=sftp_factory,
            allow_scp=True,
            encoding=None,
            config=None,
            keepalive_interval=0,
            compression_algs=None,
            line_editor=False,
        )
    )
    try:
        return await asyncio.shield(opening)
    except asyncio.CancelledError:
        (await opening).close()  # It reads its options in a thread, and forgets the socket where it is cancelled there.
        raise
    except BaseException:
        listening.close()
        raise


async def _serve_command(container: Container, process: "asyncssh.SSHServerProcess[bytes]") -> None:
    command = process.command
    text = ["/bin/sh"] if command is None else ["/bin/sh", "-c", container.rewrite(command)]
    child = await asyncio.create_subprocess_exec(
        *text,
        cwd=container.root,
        env=dict(container.environment()),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        start_new_session=True,
    )
    container.command_began(child.pid)
    feeding = asyncio.ensure_future(_feed(process, child))
    closing = asyncio.ensure_future(_kill_when_closed(process, child))
    try:
        assert child.stdout is not None
        assert child.stderr is not None
        await asyncio.gather(_pump(child.stdout, process.stdout), _pump(child.stderr, process.stderr))
        status = await child.wait()
    finally:
        feeding.cancel()
        closing.cancel()
        container.command_ended(child.pid)
        await asyncio.gather(feeding, closing, return_exceptions=True)
    _exit(process, status)


def _exit(process: "asyncssh.SSHServerProcess[bytes]", status: int) -> None:
    if status < 0:
        process.exit_with_signal(signal.Signals(-status).name.removeprefix("SIG"))
    else:
        process.exit(status)


async def _feed(process: "asyncssh.SSHServerProcess[bytes]", child: asyncio.subprocess.Process) -> None:
    assert child.stdin is not None
    try:
        while data := await process.stdin.read(CHUNK):
            child.stdin.write(data)
            await child.stdin.drain()
    except (OSError, asyncssh.Error, asyncssh.BreakReceived, asyncssh.SignalReceived):
        pass  # The command no longer reads, or the client is gone.
    child.stdin.close()


async def _pump(source: asyncio.StreamReader, target: Any) -> None:
    """Carry output until its end; where the client is gone, read on, or the command would hang on a full pipe."""
    while data := await source.read(CHUNK):
        try:
            target.write(data)
            await target.drain()
        except (OSError, asyncssh.Error):
            continue


async def _kill_when_closed(process: "asyncssh.SSHServerProcess[bytes]", child: asyncio.subprocess.Process) -> None:
    await process.channel.wait_closed()
    if child.returncode is None:
        kill_group(child.pid, signal.SIGKILL)


def kill_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        pass  # It has ended.


def reset(connection: asyncssh.SSHServerConnection) -> None:
    """End a connection as a host without power does: no farewell, and an RST where the client speaks again."""
    raw = connection.get_extra_info("socket")
    if raw is not None:
        try:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        except OSError:
            pass  # Already closed.
    connection.abort()
