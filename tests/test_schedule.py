"""Periodic jobs under a time of day that is stepped while they run."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from tests.servers.process import ServerProcess
from tests.servers.stepped_clock import SteppedClock

JOBS = """
import asyncio, sys
from adapters.system_clock import SystemClock
from daemon.schedule import Schedule

async def note():
    with open(sys.argv[1], "a") as runs:
        runs.write("x")

async def main():
    schedule = Schedule(SystemClock())
    schedule.every(0.2, "note", note)
    schedule.start()
    await asyncio.sleep(3600)

asyncio.run(main())
"""
LIMIT_S = 30.0


@pytest.mark.parametrize("step_s", [-3600, 3600], ids=["back", "forwards"])
def test_jobs_go_on_when_the_time_of_day_is_stepped(tmp_path: Path, step_s: int) -> None:
    clock, runs = SteppedClock(tmp_path), tmp_path / "runs"
    command = [sys.executable, "-c", JOBS, str(runs)]
    process = ServerProcess(command, tmp_path / "log", {**os.environ, **clock.environment})

    def count() -> int:
        return runs.stat().st_size if runs.exists() else 0

    try:
        process.start(lambda: count() >= 2, LIMIT_S)
        clock.step(step_s)
        time.sleep(3.0)  # The process sees the step within a second, and its watch within another.
        before = count()
        deadline = time.monotonic() + LIMIT_S
        while count() < before + 5 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert count() >= before + 5
    finally:
        process.stop()
