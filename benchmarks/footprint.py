"""What a process holds: memory, files, tasks, and every table that the daemon keeps in memory.

The tables are found by walking the daemon's own objects, so that a new one is seen without being named here.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from daemon.lifecycle import Daemon

_ROOMS = ("daemon.", "machines.", "adapters.")
_NOT_OURS = ("adapters.sim", "daemon.settings")
"""The simulated provider lives in the same process and is no part of the daemon; settings do not change."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True, slots=True)
class Footprint:
    rss_mib: float
    """Of the whole process: the simulated world and its agents are in it."""
    objects: int
    """Live Python containers of the whole process: what a leak adds to, without the allocator's noise."""
    files: int
    tasks: int
    tables: Mapping[str, int]
    """Entries, by the path of attributes that leads to the container."""


def measure(daemon: Daemon) -> Footprint:
    gc.collect()
    return Footprint(
        rss_mib(), len(gc.get_objects()), len(os.listdir("/proc/self/fd")), len(asyncio.all_tasks()), tables(daemon)
    )


def rss_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE / 2**20


def tables(daemon: Daemon) -> dict[str, int]:
    """The size of every container of the daemon that holds anything; equal places of a row of objects count together."""
    found: Counter[str] = Counter()
    seen: set[int] = set()
    waiting = deque((field.name, getattr(daemon, field.name)) for field in dataclasses.fields(daemon))
    while waiting:
        path, thing = waiting.popleft()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, dict | list | set | deque):
            found[path] += len(thing)
            inner = thing.values() if isinstance(thing, dict) else thing
            waiting.extend((f"{path}[]", one) for one in tuple(inner) if _is_open(one) or isinstance(one, list | dict))
        elif isinstance(thing, asyncio.Queue):
            found[path] += thing.qsize()
        elif _is_open(thing):
            waiting.extend((f"{path}.{name}", value) for name, value in _attributes(thing))
    return {path: size for path, size in sorted(found.items()) if size}


def _is_open(thing: Any) -> bool:
    """One of our objects that can change: a frozen one holds no table."""
    module = type(thing).__module__
    if not module.startswith(_ROOMS) or module.startswith(_NOT_OURS):
        return False
    parameters = getattr(type(thing), "__dataclass_params__", None)
    return parameters is None or not parameters.frozen


def _attributes(thing: Any) -> Iterator[tuple[str, Any]]:
    for kind in type(thing).__mro__:
        slots: Sequence[str] = kind.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if hasattr(thing, name):
                yield name, getattr(thing, name)
    yield from getattr(thing, "__dict__", {}).items()
