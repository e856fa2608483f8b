"""`failoverd run`: the daemon as a process, from its settings to a clean stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import logs
from daemon.settings import Settings, SettingsError, load

if TYPE_CHECKING:
    from daemon.compose import Daemon

END_WITHIN_S = 10
USAGE = 2


def run_daemon(config: Path | None, http_port: int | None, log_format: str | None) -> int:
    """Until SIGTERM or SIGINT; the exit code. What is wrong with the settings is told with its remedy, and is 2."""
    try:
        settings = load(config, log_format=log_format)
        if http_port is not None:
            settings = settings.model_copy(update={"http": settings.http.model_copy(update={"port": http_port})})
        _check_key(settings)
        logs.configure(settings.log_format, settings.log_level)
        return asyncio.run(_serve(settings))
    except SettingsError as error:
        print(f"error[invalid_settings] {error}", file=sys.stderr)
        return USAGE


def _check_key(settings: Settings) -> None:
    """Without a key every question to the provider fails, and a daemon that only looks alive protects nobody."""
    if not settings.vast.api_key.get_secret_value().strip():
        raise SettingsError("vast.api_key: is empty; remedy: set FAILOVERD_VAST__API_KEY (`failoverd sim` takes any)")


async def _serve(settings: Settings) -> int:
    from adapters.sql.errors import StoreUnavailable
    from daemon.compose import compose

    try:
        daemon = await compose(settings)
    except StoreUnavailable as error:
        raise SettingsError(f"database: {error}; remedy: mend `database`, or the server that it names") from error
    running = asyncio.create_task(daemon.run(lambda: _greet(daemon)))
    stopping = asyncio.Event()

    def stop() -> None:
        """Only the first signal cancels, or a second one would cut the clean stop short."""
        if not stopping.is_set():
            stopping.set()
            signal.alarm(END_WITHIN_S)  # whatever hangs then, the process ends; the journal knows how to go on
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    try:
        await running
    except asyncio.CancelledError:
        if not stopping.is_set():
            raise
    except BaseExceptionGroup as group:
        taken = _port_taken(group)
        if taken is None:
            raise
        where = f"{settings.http.host}:{settings.http.port}"
        raise SettingsError(f"http.port: {where} is taken; remedy: another --http-port, or 0 for any") from group
    return 0


def _greet(daemon: Daemon) -> None:
    """Two lines for whoever started it; everything else is a log line on stderr."""
    settings = daemon.settings
    token = "as configured (http.token)" if settings.http.token else str(settings.state_dir / "token")
    print(f"API    http://{settings.http.host}:{daemon.api.port}/api/v1", flush=True)
    print(f"token  {token}", flush=True)


def _port_taken(error: BaseException) -> OSError | None:
    """The cause where somebody else listens there, however deeply task groups have wrapped it."""
    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _port_taken(inner)) is not None), None)
    return error if isinstance(error, OSError) and error.errno == errno.EADDRINUSE else None
