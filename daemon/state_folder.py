"""The state directory: one daemon at a time, and what tells it from other replicas on the same database."""

from __future__ import annotations

import fcntl
import os
import stat
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
            path.mkdir(parents=True, exist_ok=True)
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
        return cls(path, _replica_id(path, random), lock)

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


def write_secret(path: Path, text: str) -> None:
    """A new file that only we can read. Raise FileExistsError."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, stat.S_IRUSR | stat.S_IWUSR), "w") as file:
        file.write(text)


def _replica_id(path: Path, random: Random) -> str:
    """Made once, and kept: after a restart the daemon knows its own leases again."""
    file = path / "replica"
    if not file.exists():
        write_secret(file, "replica-" + random.token(10))
    return file.read_text().strip()
