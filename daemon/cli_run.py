"""`failoverd run`: the daemon as a process, from its settings to a clean stop."""

from __future__ import annotations

import asyncio
import errno
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import logs
from daemon.settings import Http, Settings, SettingsError, load

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
        for line in str(error).splitlines():
            print(f"error[invalid_settings] {line}", file=sys.stderr)
        return USAGE


def _check_key(settings: Settings) -> None:
    """Without a key every question to the provider fails, and a daemon that only looks alive protects nobody."""
    if not settings.vast.api_key.get_secret_value().strip():
        raise SettingsError("vast.api_key: is empty; remedy: set FAILOVERD_VAST__API_KEY (`failoverd sim` takes any)")


async def _serve(settings: Settings) -> int:
    from adapters.sql.errors import MEND_IT, SchemaUnknown, StoreDamaged, StoreUnavailable
    from daemon.compose import compose

    try:
        daemon = await compose(settings)
    except StoreDamaged as error:
        raise SettingsError(f"database: {' '.join(str(error).split())}; remedy: {MEND_IT}") from error
    except StoreUnavailable as error:
        why = " ".join(str(error).split())
        raise SettingsError(f"database: {why}; remedy: mend `database`, or the server that it names") from error
    except SchemaUnknown as error:
        raise SettingsError(f"database: {error}; remedy: install that version, or name another database") from error
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
    except StoreDamaged as error:
        raise SettingsError(f"database: {' '.join(str(error).split())}; remedy: {MEND_IT}") from error
    except BaseExceptionGroup as group:
        cause = _cannot_listen(group)
        if cause is None:
            raise
        raise SettingsError(_where_it_cannot_listen(settings.http, cause)) from group
    return 0


def _greet(daemon: Daemon) -> None:
    """Two lines for whoever started it; everything else is a log line on stderr."""
    settings = daemon.settings
    token = "as configured (http.token)" if settings.http.token else str(settings.state_dir / "token")
    print(f"API    http://{settings.http.host}:{daemon.api.port}/api/v1", flush=True)
    print(f"token  {token}", flush=True)


def _cannot_listen(error: BaseException) -> OSError | None:
    """The cause where the API's address cannot be had, however deeply task groups have wrapped it."""
    from daemon.api.server import CannotListen

    if isinstance(error, BaseExceptionGroup):
        return next((found for inner in error.exceptions if (found := _cannot_listen(inner)) is not None), None)
    return error if isinstance(error, CannotListen) else None


def _where_it_cannot_listen(http: Http, cause: OSError) -> str:
    """Either the port or the address is at fault."""
    if cause.errno == errno.EADDRINUSE:
        return f"http.port: {http.host}:{http.port} is taken; remedy: another --http-port, or 0 for any"
    if cause.errno == errno.EACCES:
        return f"http.port: {http.port} is not ours to take; remedy: a port from 1024 on"
    return f"http.host: {http.host}: {cause.strerror}; remedy: an address of this machine, or 127.0.0.1"
