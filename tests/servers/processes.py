"""Finds and ends the processes that run on a simulated world's instances."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from adapters.sim.sandbox import RUN_ENV


def marked(folder: Path) -> list[int]:
    """The pids of what runs on instances of the world in that folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        place = variable(int(entry.name), RUN_ENV)
        if place is not None and Path(place).is_relative_to(folder):
            found.append(int(entry.name))
    return found


def variable(pid: int, name: str) -> str | None:
    mark = os.fsencode(f"{name}=")
    for pair in _read_words(Path(f"/proc/{pid}/environ")):
        if pair.startswith(mark):
            return os.fsdecode(pair.removeprefix(mark))
    return None


def words(pid: int) -> list[bytes]:
    return _read_words(Path(f"/proc/{pid}/cmdline"))


def _read_words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []  # It ended meanwhile, or belongs to somebody else.


def kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It ended meanwhile.
