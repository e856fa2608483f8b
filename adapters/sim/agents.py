"""The agents that run on simulated instances: real ones, started by whoever embeds the world."""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol


class AgentHandle(Protocol):
    """One running agent. All four calls return at once and are harmless once it has ended."""

    @property
    def is_running(self) -> bool: ...

    def terminate(self) -> None:
        """Ask it to end, as SIGTERM does."""

    def kill(self) -> None:
        """End it now; it may say nothing more."""

    def pause(self) -> None:
        """Its machine hangs: it does nothing, and does not know it."""

    def resume(self) -> None: ...


class AgentStarter(Protocol):
    """Starts what the agent's command line on an instance would start."""

    def start(self, instance_id: int, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> AgentHandle:
        """`argv` is what followed `failoverd agent`; `env` and `cwd` are those of the command."""


class ProcessAgent:
    """An agent as a child process in a session of its own."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        self._process = process

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def terminate(self) -> None:
        self._signal(signal.SIGCONT)
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        self._signal(signal.SIGKILL)
        self._process.wait()  # Ends at once; a child that nobody waits for stays as a zombie.

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.poll() is None:
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                pass  # It ended between the two calls.


class ProcessStarter:
    """The default: `python -m daemon.cli agent …`, with its output in the instance's folder.

    `--detach` is left out: the world must keep hold of what it started.
    """

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "daemon.cli", "agent")) -> None:
        self._command = tuple(command)

    def start(self, instance_id: int, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> AgentHandle:
        with (cwd / "agent.log").open("ab") as log:
            process = subprocess.Popen(
                [*self._command, *(word for word in argv if word != "--detach")],
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        return ProcessAgent(process)
