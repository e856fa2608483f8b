"""A real sshd on 127.0.0.1 that lets one fresh key in as the present user."""

from __future__ import annotations

import getpass
import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.ladder import SSHD, Way, sshd_rung, unavailable
from tests.servers.process import ServerProcess, StartFailed, free_port

CONFIGURATION = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_ed25519
AuthorizedKeysFile {folder}/authorized_keys {folder}/home/.ssh/authorized_keys
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
PermitRootLogin prohibit-password
SetEnv FAILOVERD_TEST_HOME={folder}/home{own_home}
Subsystem sftp internal-sftp
"""


class Sshd:
    """A machine to log in to. HOME is the account's own unless the machine has `own_home`; commands find their sandbox in
    FAILOVERD_TEST_HOME either way."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, *, own_home: bool = False) -> None:
        self._own_home = f" HOME={folder}/home" if own_home else ""
        self.folder = folder
        self.port = 0
        self.user = getpass.getuser()
        self.home = folder / "home"
        self.key_file = folder / "user_ed25519"
        self._process: ServerProcess | None = None

    @property
    def process(self) -> ServerProcess:
        """To be paused, killed and started again."""
        assert self._process is not None, "not started"
        return self._process

    @property
    def known_hosts(self) -> str:
        """The host's key as a line of a known_hosts file."""
        return f"[{self.host}]:{self.port} {(self.folder / 'host_ed25519.pub').read_text()}"

    def start(self) -> None:
        """Also again after a kill: same keys, same port."""
        if not self.key_file.exists():
            self._make_keys()
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(exist_ok=True)
        try:
            self._start(self.port or free_port())
        except StartFailed as error:
            if "Address already in use" not in str(error):
                raise
            self._start(free_port())

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def _start(self, port: int) -> None:
        self.port = port
        configuration = self.folder / "sshd_config"
        configuration.write_text(CONFIGURATION.format(port=port, folder=self.folder, own_home=self._own_home))
        # sshd starts itself again for each connection, so it wants its absolute path.
        self._process = ServerProcess([str(SSHD), "-D", "-e", "-f", str(configuration)], self.folder / "sshd.log")
        self._process.start(lambda: _greets(port), limit_s=10.0)

    def _make_keys(self) -> None:
        self.home.mkdir(parents=True, exist_ok=True)
        for name in ("host_ed25519", "user_ed25519"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.folder / name)]
            subprocess.run(command, check=True, timeout=20)
        (self.folder / "authorized_keys").write_bytes((self.folder / "user_ed25519.pub").read_bytes())


@contextmanager
def sshd_server(folder: Path, *, own_home: bool = False) -> Iterator[Sshd]:
    rung = sshd_rung()
    if rung.way is Way.NONE:
        unavailable(rung.what)
    server = Sshd(folder, own_home=own_home)
    try:
        server.start()
        yield server
    finally:
        server.stop()


def _greets(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
    except OSError:
        return False
