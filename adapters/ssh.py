"""AsyncsshShell: the port Shell over SSH (facts/real-servers.md, section 6).

A connection that breaks says nothing about the command: it may still be running. So an end without an exit status is
Unknown, never success, and nothing is fenced by the end of a session. The developer's own SSH configuration, agent and
known hosts stay out of it. Socket and command time-outs are real seconds: no network becomes faster.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

import asyncssh

from machines.errors import KeyNotAccepted, NotYet, Refused, StepError, Unknown
from machines.model import Endpoint
from machines.ports import Clock, Reach, ShellResult

T = TypeVar("T")

_LONGEST_GREETING = 8192
_CHUNK = 65536
_SERVER_SPEAKS = (b"SSH-", b"Exceeded MaxStartups", b"Not allowed at this time")
"""The protocol's greeting, or sshd too busy for us: both times a living sshd."""


@dataclass(frozen=True, slots=True)
class ShellSettings:
    """Seconds are real ones."""

    username: str = "root"
    reach_timeout_s: float = 5.0
    """How long a port may take to accept us and to greet."""
    connect_timeout_s: float = 10.0
    """How long the connection, the key exchange and the login may take."""
    keepalive_interval_s: float = 5.0
    keepalive_count: int = 3
    """A partition is noticed after about (count + 1) intervals."""
    try_again_s: float = 5.0
    """The delay of NotYet, in scaled seconds."""
    width: int = 20
    """How many commands, and how many probes, may be under way at once."""
    output_limit: int = 1 << 20
    """Bytes kept of each stream; the rest is read and dropped, for what runs there is not ours."""


class AsyncsshShell:
    """The adapter of the port Shell. Every call makes its own connection."""

    def __init__(
        self, private_key: asyncssh.SSHKey | Path, clock: Clock, settings: ShellSettings | None = None
    ) -> None:
        self._key = asyncssh.read_private_key(private_key) if isinstance(private_key, Path) else private_key
        self._clock = clock
        self._settings = settings or ShellSettings()
        self._commands = asyncio.Semaphore(self._settings.width)
        self._probes = asyncio.Semaphore(self._settings.width)

    @property
    def public_key(self) -> str:
        """The line for authorized_keys, and for the provider's account."""
        return self._key.export_public_key().decode().strip()

    async def reach(self, endpoint: Endpoint) -> Reach:
        """Does an SSH server greet us there? Never raises. All addresses of a name are asked; one that answers is enough."""
        async with self._probes:
            try:
                addresses = await self._within(_resolve(endpoint), self._settings.reach_timeout_s)
            except (OSError, TimeoutError, ValueError, OverflowError):
                return Reach.UNKNOWN
            found = await asyncio.gather(*(self._greeting_of(address, endpoint.port) for address in addresses))
        return next((reach for reach in (Reach.ANSWERED, Reach.REFUSED, Reach.SILENT) if reach in found), Reach.UNKNOWN)

    async def run(
        self,
        endpoint: Endpoint,
        command: str,
        host_key: str | None = None,
        timeout_s: float = 60.0,
        stdin: bytes = b"",
    ) -> ShellResult:
        """Run to the end, with `stdin` for the command to read. Without `host_key` the server is trusted on first use, and its key returned for the next
        call. Raise NotYet where nothing was run, Refused("ssh_unreachable") where the host key is another one, and
        Unknown where the connection broke or the time was up: the command may still be running."""
        async with self._commands:
            connection = await self._connect(endpoint, host_key)
            try:
                return await self._within(self._execute(connection, command, stdin), timeout_s)
            except TimeoutError as error:
                raise Unknown(f"{endpoint}: the command did not end within {timeout_s:g} s") from error
            finally:
                await self._close(connection)

    async def _connect(self, endpoint: Endpoint, host_key: str | None) -> asyncssh.SSHClientConnection:
        try:
            return await asyncssh.connect(
                endpoint.host,
                endpoint.port,
                username=self._settings.username,
                client_keys=[self._key],
                preferred_auth="publickey",
                known_hosts=None if host_key is None else ([asyncssh.import_public_key(host_key)], [], []),
                config=None,
                agent_path=None,
                connect_timeout=self._settings.connect_timeout_s,
                keepalive_interval=self._settings.keepalive_interval_s,
                keepalive_count_max=self._settings.keepalive_count,
            )
        except (asyncssh.Error, OSError, TimeoutError, ValueError) as error:
            raise self._why_not_connected(endpoint, error) from error

    def _why_not_connected(self, endpoint: Endpoint, error: Exception) -> StepError:
        """Nothing was run yet, so all but another host's key may come right by waiting."""
        said = f"{endpoint}: {type(error).__name__} {error}".strip()
        if isinstance(error, asyncssh.HostKeyNotVerifiable | asyncssh.KeyExchangeFailed | asyncssh.KeyImportError):
            # A server without a key of the pinned kind already fails in the key exchange.
            return Refused("ssh_unreachable", f"not the host that we know: {said}")
        if isinstance(error, asyncssh.PermissionDenied):
            delay = timedelta(seconds=self._settings.try_again_s)
            return KeyNotAccepted(f"our key is not accepted yet: {said}", delay)
        return self._not_yet(f"no SSH yet: {said}")

    async def _execute(self, connection: asyncssh.SSHClientConnection, command: str, stdin: bytes) -> ShellResult:
        try:
            process = await connection.create_process(
                command, stdin=asyncssh.PIPE if stdin else asyncssh.DEVNULL, encoding=None
            )
        except asyncssh.ChannelOpenError as error:
            raise self._not_yet(f"the server opens no session: {error}") from error
        except (asyncssh.Error, OSError) as error:
            raise Unknown(f"the connection broke while the command was sent: {error}") from error
        try:
            feeding = asyncio.ensure_future(_feed(process.stdin, stdin)) if stdin else None
            try:
                stdout, stderr = await asyncio.gather(self._collect(process.stdout), self._collect(process.stderr))
                await process.wait_closed()
            finally:
                if feeding is not None:
                    feeding.cancel()
        except (asyncssh.Error, OSError) as error:
            raise Unknown(f"the connection broke, the command may still run: {error}") from error
        if process.exit_status is None:
            raise Unknown("the connection ended without an exit status: the command may still run")
        key = connection.get_server_host_key()
        return ShellResult(
            process.exit_status, stdout, stderr, key.export_public_key().decode().strip() if key is not None else ""
        )

    async def _collect(self, reader: asyncssh.SSHReader[bytes]) -> str:
        kept: list[bytes] = []
        room = self._settings.output_limit
        while chunk := await reader.read(_CHUNK):
            kept.append(chunk[:room])
            room -= len(kept[-1])
        return b"".join(kept).decode("utf-8", "replace")

    async def _close(self, connection: asyncssh.SSHClientConnection) -> None:
        """A partitioned peer never confirms the end, so it is not waited for long."""
        connection.close()
        try:
            await self._within(connection.wait_closed(), 1.0)
        except (asyncssh.Error, OSError, TimeoutError):
            connection.abort()

    async def _greeting_of(self, address: str, port: int) -> Reach:
        try:
            return await self._within(_greeting(address, port), self._settings.reach_timeout_s)
        except TimeoutError:
            return Reach.SILENT
        except (ConnectionRefusedError, ConnectionResetError, BrokenPipeError):
            return Reach.REFUSED
        except (OSError, ValueError, OverflowError):
            return Reach.UNKNOWN  # No route, no file descriptor, no right to: our own side.

    async def _within(self, awaitable: Awaitable[T], seconds: float) -> T:
        """Raise TimeoutError after so many real seconds."""
        return await self._clock.wait_for(awaitable, self._clock.real(seconds))

    def _not_yet(self, why: str) -> NotYet:
        return NotYet(why, timedelta(seconds=self._settings.try_again_s))


async def _feed(writer: asyncssh.SSHWriter[bytes], text: bytes) -> None:
    """A command that ends before it has read everything says so by its exit status."""
    try:
        for start in range(0, len(text), _CHUNK):
            writer.write(text[start : start + _CHUNK])
            await writer.drain()
        writer.write_eof()
    except (OSError, asyncssh.Error):
        pass


async def _resolve(endpoint: Endpoint) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
    return tuple(dict.fromkeys(str(address[0]) for *_, address in found))


async def _greeting(address: str, port: int) -> Reach:
    """What the server says first. Hanging up without a word is a refusal; talking in another tongue is not SSH."""
    reader, writer = await asyncio.open_connection(address, port)
    try:
        heard = b""
        while len(heard) < _LONGEST_GREETING:
            chunk = await reader.read(_LONGEST_GREETING)
            heard += chunk
            if any(line.startswith(_SERVER_SPEAKS) for line in heard.splitlines()):
                return Reach.ANSWERED
            if not chunk:
                return Reach.REFUSED
        return Reach.SILENT
    finally:
        writer.transport.abort()


class KeyUnusable(Exception):
    """The file of the private key cannot be read, made or understood; the text says why, and shows nothing of it."""


def load_or_create_key(path: Path) -> asyncssh.SSHKey:
    """The deployment's ed25519 key; made with mode 0600 where the file is missing. Blocking: for start-up only.

    Raise KeyUnusable.
    """
    try:
        return _load_or_create_key(path)
    except OSError as error:
        raise KeyUnusable(error.strerror or "it cannot be read") from error
    except asyncssh.KeyEncryptionError as error:
        raise KeyUnusable("it is locked by a passphrase") from error
    except asyncssh.KeyImportError as error:
        raise KeyUnusable("it holds no private key") from error


def _load_or_create_key(path: Path) -> asyncssh.SSHKey:
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        key = asyncssh.generate_private_key("ssh-ed25519", comment="failoverd")
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.") as file:  # Made with mode 0600.
            file.write(key.export_private_key())
            file.flush()
            os.fsync(file.fileno())
            try:
                os.link(file.name, path)  # Whole or not at all, and never over another process's key.
            except FileExistsError:
                pass
    return asyncssh.read_private_key(path)
