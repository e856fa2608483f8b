"""The files of a workspace with their digests, as a snapshot's manifest names them. Blocking.

A file whose place, size and times are those of the last look has the digest that it had then. Its inode's change time
cannot be set by a program, so nobody writes a file without it.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_CHUNK = 1 << 20


class Look(NamedTuple):
    """What tells that a file is the one that was read. (A tuple: there are many, and they are kept as JSON.)"""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int


@dataclass(frozen=True, slots=True)
class Seen:
    look: Look
    digest: str


def look_at(path: str | Path) -> Look | None:
    """None where no regular file is there."""
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return _look(found)


def _look(found: os.stat_result) -> Look | None:
    if not stat.S_ISREG(found.st_mode):
        return None
    return Look(found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino)


def scan(workspace: Path, known: Mapping[str, Seen]) -> dict[str, Seen]:
    """Every regular file, by its path relative to the workspace. One that changes while it is read is left out: the
    snapshot will say what it was."""
    found: dict[str, Seen] = {}
    for path, look in _walk(str(workspace), ""):
        before = known.get(path)
        if before is not None and before.look == look:
            found[path] = before
            continue
        digest = _digest(f"{workspace}/{path}")
        if digest is not None and look_at(f"{workspace}/{path}") == look:
            found[path] = Seen(look, digest)
    return found


def _walk(folder: str, prefix: str) -> Iterator[tuple[str, Look]]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return  # It went away, or is not ours to read: restic says so, if it matters.
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(entry.path, f"{prefix}{entry.name}/")
            continue
        look = look_at(entry.path)
        if look is not None:
            yield f"{prefix}{entry.name}", look


def _digest(path: str) -> str | None:
    digest = hashlib.sha256()
    try:
        with open(path, "rb", buffering=0) as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
    except OSError:
        return None
    return digest.hexdigest()
