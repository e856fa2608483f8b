"""`failoverd run`: the daemon as a process, from its settings to a clean stop."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from daemon import logs
from daemon.sd_notify import SystemdNotify
from daemon.setting_refusals import refusals
from daemon.setting_traps import warn_of_traps
from daemon.settings import Http, Loaded, Settings, SettingsError, read
from daemon.state_folder import private_files

if TYPE_CHECKING:
    from daemon.lifecycle import Daemon

END_WITHIN_S = 10
USAGE = 2


def run_daemon(config: Path | None, http_port: int | None, log_format: str | None) -> int:
    """Until SIGTERM or SIGINT; the exit code. What is wrong with the settings is told with its remedy, and is 2."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # Until there is a daemon that can read its configuration again.

    def read_again() -> Loaded:
        loaded = read(config, log_format=log_format, http__port=http_port)
        if faults := refusals(loaded):
            raise SettingsError("\n".join(str(one) for one in faults))
        return loaded

    try:
        loaded = read_again()
        logs.configure(loaded.settings.log_format, loaded.settings.log_level)
        warn_of_traps(loaded)
        with private_files():
            return asyncio.run(_serve(loaded.settings, read_again))
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"error[invalid_settings] {line}", file=sys.stderr)
        return USAGE


async def _serve(settings: Settings, read_again: Callable[[], Loaded]) -> int:
    from adapters.sql.errors import MEND_IT, SchemaUnknown, StoreDamaged, StoreUnavailable
    from daemon.compose import compose
    from daemon.reload_parts import reload_on_hangup
    from daemon.supervised import Supervised

    notify = SystemdNotify.of_environment(os.environ, os.getpid())
    try:
        daemon = await compose(settings)
    except StoreDamaged as error:
        raise SettingsError(f"database: {' '.join(str(error).split())}; remedy: {MEND_IT}") from error
    except StoreUnavailable as error:
        why = " ".join(str(error).split())
        raise SettingsError(f"database: {why}; remedy: mend `database`, or the server that it names") from error
    except SchemaUnknown as error:
        raise SettingsError(f"database: {error}; remedy: install that version, or name another database") from error
    supervised = Supervised(notify, daemon.loop, daemon.ingest, daemon.store, daemon.clock)

    def ready() -> None:
        _greet(daemon)
        supervised.ready()

    running = asyncio.create_task(daemon.run(ready))
    stopping = asyncio.Event()

    def stop() -> None:
        """Only the first signal cancels, or a second one would cut the clean stop short."""
        if not stopping.is_set():
            stopping.set()
            supervised.stopping(END_WITHIN_S)
            signal.alarm(END_WITHIN_S)  # whatever hangs then, the process ends; the journal knows how to go on
            running.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    reload_on_hangup(daemon, read_again, supervised.reloading)
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
    print(f"API    {settings.http.scheme}://{settings.http.host}:{daemon.api.port}/api/v1", flush=True)
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
