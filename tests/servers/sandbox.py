"""A machine to log in to on 127.0.0.1, whose home is a folder: real commands in a real shell over real SSH."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import asyncssh

from adapters.sim.ssh_server import kill_group, listen
from adapters.ssh import AsyncsshShell
from adapters.system_clock import SystemClock
from machines.model import Endpoint


class SandboxMachine:
    """`~` is its folder; absolute paths are the computer's own."""

    def __init__(self, folder: Path, key: asyncssh.SSHKey) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.root = folder
        self.key = key
        self.groups: set[int] = set()
        self.endpoint = Endpoint("127.0.0.1", 0)
        self.shell = AsyncsshShell(key, SystemClock())
        self._connections: set[asyncssh.SSHServerConnection] = set()

    def environment(self) -> Mapping[str, str]:
        return {"HOME": str(self.root), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}

    def rewrite(self, text: str) -> str:
        return text

    def authorized_keys(self) -> list[str]:
        return [self.key.export_public_key().decode()]

    def command_began(self, group: int) -> None:
        self.groups.add(group)

    def command_ended(self, group: int) -> None:
        self.groups.discard(group)

    def connected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.add(connection)

    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.discard(connection)

    def cut(self) -> None:
        """Every connection ends without a farewell."""
        for connection in list(self._connections):
            connection.abort()


@asynccontextmanager
async def sandbox_machine(folder: Path) -> AsyncIterator[SandboxMachine]:
    machine = SandboxMachine(folder, asyncssh.generate_private_key("ssh-ed25519"))
    listening = socket.create_server(("127.0.0.1", 0))
    machine.endpoint = Endpoint("127.0.0.1", listening.getsockname()[1])
    acceptor = await listen(machine, asyncssh.generate_private_key("ssh-ed25519"), listening)
    try:
        yield machine
    finally:
        acceptor.close()
        machine.cut()
        for group in machine.groups:
            kill_group(group, signal.SIGKILL)
