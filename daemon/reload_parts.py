"""Which settings a running daemon takes at a reload, and which of its parts takes them."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager

import structlog

from adapters.sql.errors import StoreUnavailable
from daemon import logs
from daemon.lifecycle import Daemon
from daemon.reloading import Part, Reloading
from daemon.setting_parts import configured_machines, endpoints
from daemon.settings import Loaded, Settings

log = structlog.get_logger(__name__)


def parts_of(daemon: Daemon) -> tuple[Part, ...]:
    async def level(_: Settings, new: Settings) -> None:
        logs.set_level(new.log_level)

    async def witnesses(_: Settings, new: Settings) -> None:
        daemon.prober.use_witnesses(endpoints(new.ssh.witnesses))

    async def channels(_: Settings, new: Settings) -> None:
        if daemon.outlets is not None:
            daemon.outlets.use(new.notify)

    async def policy(_: Settings, new: Settings) -> None:
        await daemon.desk.configure(new.policy, configured_machines(new))

    async def machines(before: Settings, new: Settings) -> None:
        """New and changed ones are registered, as at a start; none is removed, for that would leave it unprotected."""
        await daemon.desk.configure(new.policy, configured_machines(new))
        await daemon.configured.register([entry for entry in new.machines if entry not in before.machines])
        gone_from_it = sorted({entry.id for entry in before.machines} - {entry.id for entry in new.machines})
        daemon.configured.drop(gone_from_it)
        for gone in gone_from_it:
            log.warning("machine_stays_registered", machine=gone, remedy=f"DELETE /api/v1/machines/{gone} removes it")

    async def key(_: Settings, new: Settings) -> None:
        """A key that was changed at the provider; every client that bears one bears the new one from its next call on."""
        for client in daemon.http:
            if "Authorization" in client.headers:
                client.headers["Authorization"] = f"Bearer {new.vast.api_key.get_secret_value()}"

    return (
        Part(("vast.api_key",), key),
        Part(("log_level",), level),
        Part(("ssh.witnesses",), witnesses),
        Part(("notify.",), channels),
        Part(("policy.",), policy),
        Part(("machines",), machines),
    )


async def tell_failed(daemon: Daemon, failed: Mapping[str, str]) -> None:
    """One alert while a part has not taken what was read; over with the next reload that all of them take."""
    key, now = f"reload-{daemon.leases.replica}", daemon.clock.now()
    what = "; ".join(f"{part} ({why})" for part, why in failed.items())
    text = f"the configuration was read again and not taken by: {what}; remedy: reload once more (SIGHUP), or restart"
    try:
        await daemon.store.transact(lambda tx: tx.raise_alert(key, text, now) if failed else tx.resolve_alert(key, now))
    except StoreUnavailable as error:
        log.warning("alert_not_stored", key=key, text=text, because=str(error))


def reload_on_hangup(
    daemon: Daemon, read: Callable[[], Loaded], told: Callable[[], AbstractContextManager[None]]
) -> None:
    """From now on SIGHUP reads the configuration again; `told` is entered for as long as that takes."""
    reloading = Reloading(read, daemon.settings, parts_of(daemon), lambda failed: tell_failed(daemon, failed))
    running: set[asyncio.Task[None]] = set()

    async def reload() -> None:
        with told():
            try:
                await reloading.reload()
            except Exception as error:  # Nobody waits for this task.
                log.exception("settings_not_reloaded", because=str(error), effect="the old ones hold")

    def begin() -> None:
        task = asyncio.create_task(reload(), name="reload")
        running.add(task)
        task.add_done_callback(running.discard)

    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, begin)
