"""A server process of its own: started with a log, watched while it starts, stopped by its pid."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle
from pathlib import Path

STOP_LIMIT_S = 10.0
SERVER_PORTS = range(10_000, 20_000)
"""Below those that the kernel gives to clients (Linux from 32768), so that no connection takes one before its server."""
_ports = cycle(random.sample(SERVER_PORTS, len(SERVER_PORTS)))


class StartFailed(Exception):
    """The server did not come up; the message carries the end of its log."""


class ServerProcess:
    """One child in its own process group, so that Ctrl-C at the terminal reaches the tests only."""

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> None:
        self._command = tuple(command)
        self._log = log
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._process is not None, "not started"
        return self._process.pid

    def start(self, is_ready: Callable[[], bool], limit_s: float) -> None:
        """Return when it is ready. Raise StartFailed at once where the process ends before."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=None if self._environment is None else dict(self._environment),
                start_new_session=True,
            )
        deadline = time.monotonic() + limit_s
        while not is_ready():
            status = self._process.poll()
            if status is not None:
                raise StartFailed(self._report(f"ended with status {status}"))
            if time.monotonic() > deadline:
                self.kill()
                raise StartFailed(self._report(f"was not ready within {limit_s:.0f} s"))
            time.sleep(0.1)

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where it does not listen; a stopped (SIGSTOP) server is woken first."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGCONT)
        self._process.terminate()
        try:
            self._process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """SIGKILL: no time to flush anything."""
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait()

    def pause(self) -> None:
        """SIGSTOP: it hangs, its connections stay open."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def wait(self) -> int:
        assert self._process is not None, "not started"
        return self._process.wait()

    def _report(self, what: str) -> str:
        lines = self._log.read_text(errors="replace").splitlines()[-40:]
        return "\n".join([f"{self._command[0]} {what}; the end of {self._log}:", *lines])


def free_port() -> int:
    """A port that nobody listens on now, and that no other call of this process has been given."""
    return next(port for port in _ports if is_free(port))


def is_free(port: int) -> bool:
    """Connections of an earlier server that linger do not count."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
