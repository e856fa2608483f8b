"""One daemon as a process of its own."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.servers.process import ServerProcess, free_port
from tests.servers.wires import Wires

FAILOVERD = (sys.executable, "-m", "daemon.cli")
START_LIMIT_S = 60.0


class Replica:
    """On a state directory of its own; it may be killed and started again. With `wires` it reaches all others by them."""

    def __init__(self, name: str, folder: Path, wires: Wires | None = None) -> None:
        self.name, self.folder, self.wires = name, folder, wires
        self.url = f"http://127.0.0.1:{free_port()}"
        self.environment: dict[str, str] = {}
        """On top of ours."""
        self._process: ServerProcess | None = None

    @property
    def process(self) -> ServerProcess:
        assert self._process is not None, "not started"
        return self._process

    @property
    def log(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    @property
    def id(self) -> str:
        """By which leases name it."""
        return (self.folder / "replica").read_text().split()[0]

    def start(self, settings: dict[str, Any], is_ready: Callable[[str], bool]) -> None:
        """Return when it says that it is ready. Raise StartFailed."""
        if self.wires is not None:
            settings = self.wires.between(settings)
        config = self.folder.parent / f"{self.name}.yaml"
        port = int(self.url.rpartition(":")[2])
        http = {**settings.get("http", {}), "port": port}
        config.write_text(yaml.safe_dump({**settings, "state_dir": str(self.folder), "http": http}))
        environment = {**clean_environment(), **self.environment}
        self._process = ServerProcess([*FAILOVERD, "run", "--config", str(config)], self.log, environment)
        self._process.start(lambda: is_ready(f"{self.url}/readyz"), START_LIMIT_S)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def said(self, words: str) -> list[str]:
        """The lines of its log that have all these words."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if all(word in line for word in words.split())]


def clean_environment() -> dict[str, str]:
    """Ours without the settings of any other daemon."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FAILOVERD_")}
