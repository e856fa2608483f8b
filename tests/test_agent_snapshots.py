"""The agent's schedule of snapshots: when one is taken, what is told of it, and what must never reach the beats."""

from __future__ import annotations

import asyncio
import json
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.system_clock import SystemClock
from daemon import agent_snapshots
from daemon.agent_snapshots import SnapshotSchedule

PROGRAM = """
import json, pathlib, sys, time
folder = pathlib.Path(sys.argv[0]).parent
with (folder / "runs").open("a") as runs: runs.write("x")
"""


class Played:
    """A schedule whose snapshots are taken by a program of the test's own."""

    def __init__(self, folder: Path, program: str, every_s: float = 0.3, limit_s: float = 30.0) -> None:
        self.folder = folder
        (folder / "program.py").write_text(PROGRAM + textwrap.dedent(program))
        self.order(every_s, limit_s)
        command = (sys.executable, str(folder / "program.py"))
        self.schedule = SnapshotSchedule(folder, SystemClock(), 7001, command)

    def order(self, every_s: float, limit_s: float = 30.0, fence: int = 1) -> None:
        order = {"every_s": every_s, "limit_s": limit_s, "fence": fence}
        (self.folder / "snapshots.json").write_text(json.dumps(order))

    @property
    def runs(self) -> int:
        file = self.folder / "runs"
        return len(file.read_text()) if file.exists() else 0

    @property
    def report(self) -> dict[str, Any]:
        file = self.folder / "snapshot.json"
        return json.loads(file.read_text()) if file.exists() else {}

    async def until(self, look: Callable[[], Any]) -> None:
        """The schedule runs until it is so."""
        running = asyncio.create_task(self.schedule.run())
        try:
            for _ in range(400):
                if look() or running.done():
                    break
                await asyncio.sleep(0.05)
            assert look()
        finally:
            running.cancel()
            await asyncio.wait({running})


@pytest.fixture(autouse=True)
def _looks_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent_snapshots, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(agent_snapshots, "RETRY_S", 0.3)


GOOD = 'print(json.dumps({"id": "one", "taken_at": "2026-11-28T12:00:00+00:00", "size_bytes": 5, "seconds": 1.0}))'


async def test_one_is_taken_at_each_interval_and_told_of(tmp_path: Path) -> None:
    played = Played(tmp_path, GOOD)
    await played.until(lambda: played.runs >= 3 and played.report)
    assert (played.report["id"], played.report["error"], played.report["instance"]) == ("one", None, 7001)


async def test_without_an_order_none_is_taken(tmp_path: Path) -> None:
    played = Played(tmp_path, GOOD)
    (tmp_path / "snapshots.json").unlink()
    running = asyncio.create_task(played.schedule.run())
    await asyncio.sleep(0.5)
    running.cancel()
    await asyncio.wait({running})
    assert played.runs == 0


async def test_a_failure_keeps_the_last_good_one_in_mind_and_is_tried_again(tmp_path: Path) -> None:
    played = Played(tmp_path, GOOD)
    await played.until(lambda: played.report)
    (tmp_path / "program.py").write_text(PROGRAM + 'print(json.dumps({"error": "the bucket is away"})); sys.exit(1)')
    runs = played.runs
    await played.until(lambda: played.report.get("error") and played.runs > runs + 1)
    assert (played.report["id"], played.report["error"]) == ("one", "the bucket is away")


async def test_an_outdated_instance_stops_until_it_has_another_order(tmp_path: Path) -> None:
    played = Played(tmp_path, 'print(json.dumps({"error": "another instance is the machine now"})); sys.exit(3)')
    running = asyncio.create_task(played.schedule.run())
    for _ in range(100):
        if played.report:
            break
        await asyncio.sleep(0.05)
    await asyncio.sleep(1.0)
    assert played.runs == 1
    played.order(0.3, fence=2)
    for _ in range(100):
        if played.runs == 2:
            break
        await asyncio.sleep(0.05)
    running.cancel()
    await asyncio.wait({running})
    assert played.runs == 2


async def test_one_that_hangs_is_ended_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(
        tmp_path,
        """
        import signal, subprocess
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        child = subprocess.Popen(["sleep", "600"])
        (folder / "child").write_text(str(child.pid))
        time.sleep(600)
        """,
        limit_s=-59.5,  # its own limit, and the minute that the schedule adds
    )
    monkeypatch.setattr(agent_snapshots, "_GRACE_S", 0.2)
    await played.until(lambda: "was ended" in str(played.report.get("error")))
    assert await asyncio.to_thread(_is_gone, (tmp_path / "child").read_text())


async def test_one_that_says_nothing_is_a_failure(tmp_path: Path) -> None:
    played = Played(tmp_path, "sys.exit(9)")
    await played.until(lambda: "status 9" in str(played.report.get("error")))


async def test_an_agent_that_was_restarted_waits_for_its_turn(tmp_path: Path) -> None:
    played = Played(tmp_path, GOOD, every_s=3600)
    now = SystemClock().now().isoformat()
    (tmp_path / "snapshot.json").write_text(json.dumps({"instance": 7001, "error": None, "taken_at": now}))
    assert 3590 < played.schedule._first_in((tmp_path / "snapshots.json").read_bytes()) <= 3600
    (tmp_path / "snapshot.json").write_text(json.dumps({"instance": 6999, "error": None, "taken_at": now}))
    assert played.schedule._first_in((tmp_path / "snapshots.json").read_bytes()) < 31


def _is_gone(pid: str) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True
