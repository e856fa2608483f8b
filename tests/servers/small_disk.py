"""A disk of a few megabytes that a test can fill to the last byte, and empty again."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SIZE = 4 * 1024 * 1024
CHUNK = b"\0" * 65536


@dataclass(frozen=True)
class SmallDisk:
    folder: Path

    def fill(self) -> None:
        """Not a byte more can be written."""
        with (self.folder / "ballast").open("wb", buffering=0) as ballast:
            for size in (len(CHUNK), 4096, 1):
                try:
                    while ballast.write(CHUNK[:size]) == size:
                        pass
                except OSError:
                    continue

    def free(self) -> None:
        (self.folder / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[SmallDisk]:
    """Mounted on the folder. Only who may mount has one: elsewhere the test is skipped, which its reason says."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip(f"no disk to be filled: mounting one needs root ({mounted.stderr.strip()})")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
