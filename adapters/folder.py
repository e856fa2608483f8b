"""A store of objects in a plain folder: a disk that is mounted where the machines and the daemon see it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import TypeVar

from machines.errors import NotYet
from machines.ports import StoredObject

T = TypeVar("T")
_AGAIN = timedelta(seconds=5)
_PARTIAL = ".partial-"


class FolderObjects:
    """`ObjectStore` below a folder, in threads. A folder that is missing is a disk that is not mounted, and no empty store."""

    def __init__(self, folder: Path, prefix: str = "") -> None:
        self._folder, self._prefix = folder, prefix

    async def put(self, name: str, body: bytes) -> None:
        await self._do(lambda: _write(self._place(name), body))

    async def get(self, name: str) -> bytes | None:
        return await self._do(lambda: _read(self._place(name)))

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        return await self._do(lambda: tuple(sorted(self._walk(prefix), key=lambda found: found.name)))

    async def delete(self, name: str) -> None:
        await self._do(lambda: self._place(name).unlink(missing_ok=True))

    async def _do(self, work: Callable[[], T]) -> T:
        def mounted() -> T:
            if not self._folder.is_dir():
                raise FileNotFoundError(f"{self._folder} is not there: is its disk mounted?")
            return work()

        try:
            return await asyncio.to_thread(mounted)
        except OSError as error:
            raise NotYet(f"the folder of the snapshots did not answer: {error}", _AGAIN) from error

    def _place(self, name: str) -> Path:
        return self._folder / f"{self._prefix}{name}"

    def _walk(self, prefix: str) -> Iterator[StoredObject]:
        """Only below the last slash of the prefix: other machines' objects are not looked at."""
        start = self._place(prefix).parent if not prefix.endswith("/") and prefix else self._place(prefix)
        root = f"{self._folder}{os.sep}{self._prefix}"
        for folder, _, names in os.walk(start, onerror=_raise_unless_missing):
            for file in names:
                path = os.path.join(folder, file)
                name = path.removeprefix(root)
                if name.startswith(prefix) and not file.startswith(_PARTIAL):
                    found = _look_at(path)
                    if found is not None:
                        yield StoredObject(name, found.st_size, datetime.fromtimestamp(found.st_mtime, UTC))


def _write(path: Path, body: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with NamedTemporaryFile(dir=path.parent, prefix=_PARTIAL, delete=False) as file:
        try:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
            os.replace(file.name, path)
        except BaseException:
            os.unlink(file.name)
            raise


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None


def _look_at(path: str) -> os.stat_result | None:
    """None where it went away while we looked."""
    try:
        return os.stat(path)
    except FileNotFoundError:
        return None


def _raise_unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error
