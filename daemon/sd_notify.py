"""What systemd is told of a service: ready, alive, reloading, leaving (the protocol of sd_notify(3)).

One datagram for each message, to the socket that `NOTIFY_SOCKET` names; where there is none, nobody listens and nothing
is sent. Nothing here waits: a full or vanished socket loses a message, never a failover.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from adapters.system_clock import monotonic_usec

log = structlog.get_logger(__name__)

_MOST_OF_A_STATUS = 400
"""Characters; `systemctl status` shows one line."""


@dataclass(frozen=True, slots=True)
class SystemdNotify:
    """Who is told, and how often it wants a sign of life."""

    address: str | None = None
    watchdog_s: float | None = None
    """Real seconds without `alive` after which the process is killed; None where no watchdog runs."""

    @classmethod
    def of_environment(cls, environment: Mapping[str, str], pid: int) -> SystemdNotify:
        """As systemd says it to the process that it started. A watchdog that is meant for another process is not ours."""
        address = environment.get("NOTIFY_SOCKET") or None
        if address is None or address[0] not in "/@":
            return cls()
        usec = environment.get("WATCHDOG_USEC", "")
        is_ours = environment.get("WATCHDOG_PID", str(pid)) == str(pid)
        return cls(address, int(usec) / 1e6 if usec.isdigit() and int(usec) > 0 and is_ours else None)

    def ready(self, status: str) -> None:
        """It serves; also the end of a reload."""
        self._send("READY=1", _status(status))

    def status(self, text: str) -> None:
        self._send(_status(text))

    def alive(self) -> None:
        self._send("WATCHDOG=1")

    def stopping(self, status: str, within_s: float) -> None:
        """It drains, and wants so many seconds from now; say it again to be given more."""
        self._send("STOPPING=1", _status(status), f"EXTEND_TIMEOUT_USEC={round(within_s * 1e6)}")

    @contextmanager
    def reloading(self, status: str = "reading the configuration anew") -> Iterator[None]:
        """Around a reload: `systemctl reload` returns when it is over, however it ended."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={monotonic_usec()}", _status(status))
        try:
            yield
        finally:
            self._send("READY=1")

    def _send(self, *lines: str) -> None:
        if self.address is None:
            return
        # An abstract socket's name begins with a NUL, which no environment can hold.
        where = "\0" + self.address[1:] if self.address.startswith("@") else self.address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to_systemd:
                to_systemd.setblocking(False)
                to_systemd.sendto("\n".join(lines).encode(), where)
        except OSError as error:
            log.debug("systemd_not_told", message=lines[0], because=str(error))


def _status(text: str) -> str:
    return "STATUS=" + " ".join(text.split())[:_MOST_OF_A_STATUS]
