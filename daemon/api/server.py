"""The HTTP server inside the daemon's own event loop: it takes no signals, opens no log of its own, and leaves when told."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import structlog
import uvicorn
from fastapi import FastAPI

from daemon.api.services import Services
from daemon.setting_kinds import is_loopback
from machines.ports import Clock

log = structlog.get_logger(__name__)

_GRACE_S = 3
"""Real seconds for answers that are on their way when the server is told to leave."""


class CannotListen(OSError):
    """The address cannot be had."""


@dataclass(frozen=True, slots=True)
class Tls:
    """The files of a certificate and of its key."""

    certificate: Path
    key: Path


class ApiServer:
    """Serves the app on one address, once. `run` ends after `stop`."""

    def __init__(self, app: FastAPI, host: str, port: int, clock: Clock, tls: Tls | None = None) -> None:
        """`port` 0 takes a free one. Raise ValueError where others than this machine could reach it without a token."""
        services: Services = app.state.services
        if not services.token and not is_loopback(host):
            raise ValueError(f"{host} can be reached by others, and there is no token")
        self._app = app
        self._tls = tls
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
                ssl_certfile=tls.certificate if tls else None,
                ssl_keyfile=tls.key if tls else None,
            )
        )

    @property
    def port(self) -> int:
        """The port that is bound; before `run` the one that was asked for."""
        return self._port

    @property
    def url(self) -> str:
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{'https' if self._tls else 'http'}://{host}:{self._port}"

    async def started(self) -> None:
        """Return once the port is bound: who connects from now on is answered."""
        await self._started.wait()

    async def run(self) -> None:
        """Serve until `stop` or until cancelled. Raise CannotListen."""
        with self._bind() as listener:
            self._port = listener.getsockname()[1]
            self._started.set()
            log.info("api_listening", url=self.url)
            if self._tls is None and not is_loopback(self._host):
                log.warning("api_without_tls", url=self.url, effect="whoever is on the way can read tokens")
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
