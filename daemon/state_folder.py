"""The state directory: one daemon at a time, and what tells it from other replicas on the same database."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

from daemon.settings import SettingsError
from machines.ports import Random


class StateFolder:
    """Held from `claim` until `close`; the lock goes with the process, however that ends."""

    def __init__(self, path: Path, replica: str, lock: int) -> None:
        self.path = path
        self.replica = replica
        self._lock: int | None = lock

    @classmethod
    def claim(cls, path: Path, random: Random) -> StateFolder:
        """Raise SettingsError where another daemon has it, or it cannot be written."""
        try:
            make_folder(path)
            lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, stat.S_IRUSR | stat.S_IWUSR)
        except OSError as error:
            remedy = "name a directory that failoverd may write"
            raise SettingsError(f"state_dir: {path}: {error.strerror}; remedy: {remedy}") from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            owner = os.read(lock, 32).decode(errors="replace").strip()
            os.close(lock)
            raise SettingsError(
                f"state_dir: {path} is in use by another failoverd (pid {owner or 'unknown'}); "
                "remedy: stop that one, or give this one a state_dir of its own"
            ) from error
        os.ftruncate(lock, 0)
        os.write(lock, f"{os.getpid()}\n".encode())
        _close_to_others(path)
        return cls(path, _replica_id(path, _place(lock), random), lock)

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> StateFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@contextmanager
def private_files() -> Iterator[None]:
    """What this process makes meanwhile only its user can read: the database holds machines' environments and logins."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


def make_folder(path: Path) -> None:
    """Where there is none: a folder that was made by somebody keeps the mode that they gave it."""
    path.mkdir(mode=stat.S_IRWXU, parents=True, exist_ok=True)


def _close_to_others(path: Path) -> None:
    """SQLite's files in a folder of before they were made so; its journals have the mode of the database."""
    for file in path.glob("failoverd.db*"):
        if file.stat().st_mode & 0o077:
            with suppress(OSError):  # Another user's: the doctor tells of it.
                file.chmod(stat.S_IRUSR | stat.S_IWUSR)


def write_secret(path: Path, text: str) -> None:
    """A new file that only we can read. Raise FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR), "w") as file:
        file.write(text)


def _replica_id(path: Path, place: str, random: Random) -> str:
    """Kept with the place that it was made for: after a restart the daemon knows its own leases again, and a copy of the
    directory is another replica."""
    file = path / "replica"
    kept = file.read_text().split() if file.exists() else []
    if len(kept) == 2 and kept[1] == place:
        return kept[0]
    replica = "replica-" + random.token(10)
    file.unlink(missing_ok=True)
    write_secret(file, f"{replica} {place}\n")
    return replica


def _place(lock: int) -> str:
    """This file on this file system, since this boot of the machine: no copy has the same, nor has a clone of the machine."""
    found, boot = os.fstat(lock), Path("/proc/sys/kernel/random/boot_id")
    return f"{found.st_dev}:{found.st_ino}:{boot.read_text().strip() if boot.exists() else ''}"
