"""SIGHUP: the configuration is read again, what changed is logged, and what can change while the daemon runs does.

A configuration with a fault changes nothing. What needs a restart is named each time, until it is restarted or taken back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from daemon.setting_faults import SettingsError
from daemon.setting_show import Leaf, leaves
from daemon.settings import Loaded, Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Part:
    """Settings that can change while the daemon runs, and who takes them."""

    prefixes: tuple[str, ...]
    take: Callable[[Settings, Settings], Awaitable[None]]
    """Given what held before, and what holds from now on."""


@dataclass(frozen=True, slots=True)
class Change:
    """One setting that reads otherwise than before; a secret is starred out."""

    name: str
    before: object
    after: object


async def _nobody(failed: Mapping[str, str]) -> None:
    pass


class Reloading:
    """One at a time: a signal that comes meanwhile is a reload after it."""

    def __init__(
        self,
        read: Callable[[], Loaded],
        now: Settings,
        parts: tuple[Part, ...],
        tell: Callable[[Mapping[str, str]], Awaitable[None]] = _nobody,
    ) -> None:
        """`tell` hears after each reload which parts failed and why; of none where all is well."""
        self._read = read
        self._tell = tell
        self._failed: dict[str, Settings] = {}
        """The parts that have not taken what was read, and what they went by before."""
        self._started_with = now
        self._now = now
        self._parts = parts
        self._turn = asyncio.Lock()

    async def reload(self) -> bool:
        """False where there is a fault, and everything stays as it is."""
        async with self._turn:
            try:
                loaded = await asyncio.to_thread(self._read)
            except SettingsError as error:
                for line in str(error).splitlines():
                    log.error("settings_not_reloaded", because=line, effect="the old ones hold")
                return False
            await self._take(loaded.settings)
            return True

    async def _take(self, new: Settings) -> None:
        found = changes(self._now, new)
        for change in found:
            log.info("setting_changed", setting=change.name, before=change.before, after=change.after)
        await self._give_to_parts(new, found)
        live = tuple(prefix for part in self._parts for prefix in part.prefixes)
        waiting = [one.name for one in changes(self._started_with, new) if not one.name.startswith(live)]
        self._now = new
        if waiting:
            log.warning("settings_need_a_restart", settings=waiting, effect="until then the old ones hold")
        log.info("settings_reloaded", changed=len(found), need_restart=len(waiting))

    async def _give_to_parts(self, new: Settings, found: Sequence[Change]) -> None:
        """One that fails keeps no other from it, and is given the same again at the next reload."""
        failed: dict[str, str] = {}
        for part in self._parts:
            name = ", ".join(part.prefixes)
            before = self._failed.pop(name, None)
            if before is None and not any(change.name.startswith(part.prefixes) for change in found):
                continue
            try:
                await part.take(before or self._now, new)
            except Exception as error:
                log.exception("settings_not_taken", settings=name, because=str(error))
                self._failed[name] = before or self._now
                failed[name] = str(error) or type(error).__name__
        await self._tell(failed)


def changes(before: Settings, after: Settings) -> list[Change]:
    """In the order of the names. A machine is known by its id and a channel by its name, not by their places."""
    old, new = _by_name(before), _by_name(after)
    return [
        Change(name, _told(old.get(name)), _told(new.get(name)))
        for name in sorted({*old, *new})
        if _value(old.get(name)) != _value(new.get(name))
    ]


def _by_name(settings: Settings) -> dict[str, Leaf]:
    found = {}
    for leaf in leaves(settings):
        match leaf.place:
            case ("machines", number, *rest):
                found[".".join((f"machines[{settings.machines[int(number)].id}]", *rest))] = leaf
            case ("notify", "channels", number, *rest):
                found[".".join((f"notify.channels[{settings.notify.channels[int(number)].name}]", *rest))] = leaf
            case _:
                found[leaf.name] = leaf
    return found


def _value(leaf: Leaf | None) -> object:
    return None if leaf is None else (leaf.value,)


def _told(leaf: Leaf | None) -> object:
    return "(not given)" if leaf is None else leaf.told
