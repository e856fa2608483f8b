"""A time of day that can be stepped under a running process, by libfaketime; its monotonic clock stays as it is."""

from __future__ import annotations

import os
from pathlib import Path

from tests.servers.ladder import unavailable

LIBRARIES = "/usr/lib/*/faketime/libfaketimeMT.so.1"
CACHED_REAL_S = 1
"""A step is seen by the process so much later at most."""


class SteppedClock:
    """`environment` belongs to the process. Skips or fails the test where the library is missing."""

    def __init__(self, folder: Path) -> None:
        found = sorted(Path("/").glob(LIBRARIES.lstrip("/")))
        if not found:
            unavailable("no clock to be stepped: install libfaketime (Debian: faketime)")
        self._library = found[0]
        self._file = folder / "clock"
        self.ahead_s = 0
        """Of the real time of day."""
        self.step(0)

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self._library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_CACHE_DURATION": str(CACHED_REAL_S),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            # Its mending of waits with a monotonic deadline breaks Python's own: threads then starve one another.
            "FAKETIME_FORCE_MONOTONIC_FIX": "0",
        }

    def step(self, seconds: int) -> None:
        self.ahead_s += seconds
        new = self._file.with_suffix(".new")
        new.write_text(f"{self.ahead_s:+d}\n")
        os.replace(new, self._file)
