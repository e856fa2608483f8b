"""The flesh of one instance: a folder, an SSH port, processes and an agent, which live and die with its container."""

import asyncio
import os
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from pathlib import Path
from typing import Any

import asyncssh

from adapters.sim.agents import AgentHandle, AgentStarter
from adapters.sim.instances import Instance
from adapters.sim.sandbox import ONSTART, RUN_ENV, Sandbox
from adapters.sim.sockets import LoopbackPorts
from adapters.sim.ssh_server import kill_group, listen, reset

WATCH_SECONDS = (0.0, 0.05, 0.1, 0.1, 0.25, 0.5, 1.0)
"""Real seconds between looks for an agent that a command has asked for, perhaps from its background."""
GRACE_SECONDS = 2.0
"""Real seconds from SIGTERM to SIGKILL where a container is stopped."""
Sleep = Callable[[float], Awaitable[None]]


class Body:
    """One container in the flesh. Its methods are the effects of the world upon it."""

    def __init__(
        self, instance: Instance, sandbox: Sandbox, ports: LoopbackPorts, starter: AgentStarter, sleep: Sleep
    ) -> None:
        self._instance, self._sandbox, self._ports = instance, sandbox, ports
        self._starter, self._sleep = starter, sleep
        self.root: Path = sandbox.root
        self._key = asyncssh.generate_private_key("ssh-ed25519")
        self._acceptor: asyncssh.SSHAcceptor | None = None
        self._mute: socket.socket | None = None
        self._connections: set[asyncssh.SSHServerConnection] = set()
        self._groups: set[int] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.agent: AgentHandle | None = None
        self._ran_commands = False

    # -- what the SSH server asks -------------------------------------------------------------------------------

    def environment(self) -> Mapping[str, str]:
        return self._sandbox.environment()

    def rewrite(self, text: str) -> str:
        return self._sandbox.rewrite(text)

    def authorized_keys(self) -> list[str]:
        return self._instance.authorized_keys

    def command_began(self, group: int) -> None:
        self._ran_commands = True
        self._groups.add(group)

    def command_ended(self, group: int) -> None:
        self._groups.discard(group)
        self._do(self._watch_for_agent())

    def connected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.add(connection)

    def disconnected(self, connection: asyncssh.SSHServerConnection) -> None:
        self._connections.discard(connection)

    # -- effects ------------------------------------------------------------------------------------------------

    def create(self) -> None:
        self._sandbox.lay_out()

    def boot(self, turn: asyncio.Semaphore) -> None:
        """The container runs: its start script, as it stands on the disk now, runs beside everything else."""
        self._sandbox.show_gpu(works=True)
        self._sandbox.take_request()  # What was asked for in an earlier life is void.
        if (self.root / ONSTART).exists():
            self._do(self._run_onstart(turn, self._instance.starts))

    async def open_ssh(self) -> None:
        if self._instance.ssh_open and not self._instance.is_frozen and self._acceptor is None:
            self._acceptor = await listen(self, self._key, self._ports.listen(self._instance.id))

    async def halt(self, *, hard: bool) -> None:
        """The container ends: the port is closed at once; processes get a last word unless the power is gone."""
        self._close_doors()
        agent, self.agent = self.agent, None
        groups = self._living_groups()
        if hard:
            self._kill(agent, groups)
            return
        if agent is not None:
            agent.terminate()
        for group in groups:
            kill_group(group, signal.SIGCONT)
            kill_group(group, signal.SIGTERM)
        if groups or (agent is not None and agent.is_running):
            self._do(self._kill_late(agent, groups))

    async def _kill_late(self, agent: AgentHandle | None, groups: set[int]) -> None:
        """Only what was there at the halt: at a high speed the container may long be up again."""
        try:
            await self._sleep(GRACE_SECONDS)
        finally:
            self._kill(agent, groups & self._living_groups())

    def _kill(self, agent: AgentHandle | None, groups: set[int]) -> None:
        if agent is not None and agent.is_running:
            agent.kill()
        for group in groups:
            kill_group(group, signal.SIGKILL)

    def break_gpu(self) -> None:
        self._sandbox.show_gpu(works=False)

    def wipe(self) -> None:
        self._sandbox.wipe()

    async def freeze(self) -> None:
        """Everything stands still: the port still takes connections, and nobody ever speaks on them."""
        was_open = self._acceptor is not None
        for connection in self._connections:
            _pause(connection)
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        if was_open:
            self._mute = self._ports.listen(self._instance.id)
        if self.agent is not None:
            self.agent.pause()
        for group in self._living_groups():
            kill_group(group, signal.SIGSTOP)

    async def thaw(self) -> None:
        self._unmute()
        for connection in self._connections:
            _resume(connection)
        if self.agent is not None:
            self.agent.resume()
        for group in self._living_groups():
            kill_group(group, signal.SIGCONT)
        await self.open_ssh()

    async def close(self) -> None:
        """The world ends: nothing of this body outlives it."""
        self._close_doors()
        agent, self.agent = self.agent, None
        self._kill(agent, self._living_groups())
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def erase(self) -> None:
        await self.close()
        self._sandbox.erase()

    # -- parts --------------------------------------------------------------------------------------------------

    @property
    def workspace(self) -> Callable[[str], Path]:
        return self._sandbox.place

    def _close_doors(self) -> None:
        self._unmute()
        if self._acceptor is not None:
            self._acceptor.close()
            self._acceptor = None
        for connection in list(self._connections):
            reset(connection)
        self._connections.clear()

    def _unmute(self) -> None:
        if self._mute is not None:
            self._mute.close()
            self._mute = None

    async def _run_onstart(self, turn: asyncio.Semaphore, start: int) -> None:
        async with turn:
            if not self._instance.is_up or self._instance.starts != start:
                return
            with (self.root / "onstart.log").open("ab") as log:
                text = self._sandbox.rewrite((self.root / ONSTART).read_text())
                child = await asyncio.create_subprocess_exec(
                    "/bin/sh", "-c", text,
                    cwd=self.root, env=self._sandbox.environment(),
                    stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
                    start_new_session=True,
                )  # fmt: skip
            self.command_began(child.pid)
        try:
            await child.wait()
        finally:
            self.command_ended(child.pid)

    async def _watch_for_agent(self) -> None:
        for seconds in WATCH_SECONDS:
            await self._sleep(seconds)
            if self._instance.is_up:
                self._start_requested_agent()

    def _start_requested_agent(self) -> None:
        """A second request replaces the first agent."""
        request = self._sandbox.take_request()
        if request is None:
            return
        if self.agent is not None:
            self.agent.kill()
        self.agent = self._starter.start(self._instance.id, request.argv, request.env, request.cwd)

    def _living_groups(self) -> set[int]:
        """The process groups of this container, also of commands that went into the background on their own."""
        return self._groups | (_marked_groups(self._sandbox.run) if self._ran_commands else set())

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _marked_groups(run: Path) -> set[int]:
    """Groups of processes that bear the container's mark in their environment; none where the system shows none."""
    mark, groups = os.fsencode(f"{RUN_ENV}={run}"), set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if mark in (entry / "environ").read_bytes().split(b"\0"):
                groups.add(os.getpgid(int(entry.name)))
        except OSError:
            continue  # It ended meanwhile, or belongs to somebody else.
    return groups - {os.getpgid(0)}


def _pause(connection: asyncssh.SSHServerConnection) -> None:
    transport = getattr(connection, "_transport", None)
    if transport is not None:
        transport.pause_reading()


def _resume(connection: asyncssh.SSHServerConnection) -> None:
    transport = getattr(connection, "_transport", None)
    if transport is not None:
        transport.resume_reading()
