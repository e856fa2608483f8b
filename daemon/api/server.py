"""The HTTP server inside the daemon's own event loop: it takes no signals, opens no log of its own, and leaves when told."""

from __future__ import annotations

import asyncio
import errno
import ipaddress
import socket
from collections.abc import Generator
from contextlib import contextmanager

import structlog
import uvicorn
from fastapi import FastAPI

from daemon.api.services import Services
from machines.ports import Clock

log = structlog.get_logger(__name__)

_GRACE_S = 3
"""Real seconds for answers that are on their way when the server is told to leave."""


class CannotListen(OSError):
    """The address cannot be had."""


class ApiServer:
    """Serves the app on one address, once. `run` ends after `stop`."""

    def __init__(self, app: FastAPI, host: str, port: int, clock: Clock) -> None:
        """`port` 0 takes a free one. Raise ValueError where others than this machine could reach it without a token."""
        services: Services = app.state.services
        if not services.token and not is_loopback(host):
            raise ValueError(f"{host} can be reached by others: set a token, or bind 127.0.0.1")
        self._app = app
        self._host = host
        self._clock = clock
        self._port = port
        self._started = asyncio.Event()
        self._server = _Server(
            uvicorn.Config(
                app,
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=_GRACE_S,
            )
        )

    @property
    def port(self) -> int:
        """The port that is bound; before `run` the one that was asked for."""
        return self._port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self._port}"

    async def started(self) -> None:
        """Return once the port is bound: who connects from now on is answered."""
        await self._started.wait()

    async def run(self) -> None:
        """Serve until `stop` or until cancelled. Raise CannotListen."""
        with self._bind() as listener:
            self._port = listener.getsockname()[1]
            self._started.set()
            log.info("api_listening", url=self.url)
            await self._serve(listener)

    def _bind(self) -> socket.socket:
        """Bound here and not by uvicorn, which would end the whole process where the address is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        try:
            return socket.create_server((self._host, self._port), family=family, backlog=512)
        except OSError as error:
            raise CannotListen(error.errno, (error.strerror or str(error)).partition(" (while")[0]) from error
        except UnicodeError as error:
            raise CannotListen(errno.EADDRNOTAVAIL, "it is no name of a host") from error

    async def _serve(self, listener: socket.socket) -> None:
        serving = asyncio.create_task(self._server.serve([listener]), name="http server")
        try:
            await asyncio.shield(serving)
        except asyncio.CancelledError:
            # Cancelled in the middle, uvicorn would drop its connections without a word.
            self.stop()
            await self._clock.wait_for(serving, self._clock.real(2.0 * _GRACE_S))
            raise

    def stop(self) -> None:
        """Take no more requests, release those that wait for a failover, and let `run` return."""
        self._app.state.closing.set()
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """Signals belong to the daemon."""

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        yield


def is_loopback(host: str) -> bool:
    """Only an address that is surely this machine's own; a name other than localhost may be anything."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
