"""The agent's other duty: while the machine's order for snapshots lies beside its status file, one is taken at each interval.

Each is taken by a process of its own (`daemon/snapshot_process.py`), so that beats never wait for it and its memory is
given back. What came of the last one is written down for whoever can log in.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
import zlib
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from daemon.agent import line

if TYPE_CHECKING:
    from machines.ports import Clock

ORDER, REPORT = "snapshots.json", "snapshot.json"
LOOK_EVERY_S = 5.0
FIRST_WITHIN_S = 30.0
"""A fleet that was given its orders at once does not begin at once."""
RETRY_S = 300.0
"""After one that failed, unless the interval is shorter."""
_GRACE_S = 10.0
_OUTDATED = 3
COMMAND = (sys.executable, "-m", "daemon.snapshot_process")

log = logging.getLogger("failoverd.agent")


class SnapshotSchedule:
    """One for each agent. Ends with its task."""

    def __init__(self, folder: Path, clock: Clock, instance: int, command: Sequence[str] = COMMAND) -> None:
        self._folder, self._clock, self._instance = folder, clock, instance
        speed = clock.real(1.0)
        self._command = (*command, *([] if speed == 1.0 else ["--speed", f"{speed:g}"]))
        self._said: str | None = None
        self._outdated: bytes | None = None
        """The order under which this instance was told that it is the machine no more."""

    async def run(self) -> None:
        """Until cancelled. An order that changes is followed at the next look."""
        order: bytes | None = None
        due = 0.0
        while True:
            found = self._read_order()
            if found != order:
                order = found
                due = self._clock.monotonic() + self._first_in(order)
            if order is not None and order != self._outdated and self._clock.monotonic() >= due:
                due = self._clock.monotonic() + await self._take(order)
            await self._clock.sleep(self._clock.real(LOOK_EVERY_S))

    def _read_order(self) -> bytes | None:
        try:
            return (self._folder / ORDER).read_bytes()
        except OSError:
            return None

    def _first_in(self, order: bytes | None) -> float:
        """Soon, at a place of this machine's own; where this instance took one already, when the next is due."""
        rules = _rules(order)
        try:
            report = json.loads((self._folder / REPORT).read_text())
            if report["instance"] == self._instance and report["error"] is None:
                age = (self._clock.now() - datetime.fromisoformat(report["taken_at"])).total_seconds()
                return max(0.0, rules["every_s"] - max(0.0, age))  # a clock may have been stepped back since
        except (OSError, ValueError, KeyError, TypeError):
            pass  # It took none yet, or does not know.
        share = zlib.crc32(order or b"") / 2**32
        return share * min(FIRST_WITHIN_S, rules["every_s"] / 4)

    async def _take(self, order: bytes) -> float:
        """Seconds until the next."""
        rules, began = _rules(order), self._clock.monotonic()
        code, said = await self._run(rules["limit_s"])
        report: dict[str, Any] = {
            "instance": self._instance,
            "error": None,
            "at": self._clock.now().isoformat(),
            **said,
        }
        self._write(report)
        self._tell(report["error"], report)
        if code == _OUTDATED:
            self._outdated = order
        took = self._clock.monotonic() - began
        every: float = rules["every_s"]
        return max(1.0, (every if report["error"] is None else min(every, RETRY_S)) - took)

    async def _run(self, limit_s: float) -> tuple[int, dict[str, Any]]:
        """Exit code, and what it said; no code of its own where it was ended."""
        process = await asyncio.create_subprocess_exec(
            *self._command, "--order", str(self._folder / ORDER),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            start_new_session=True,
        )  # fmt: skip
        try:
            # It keeps its own limit; this is for one that does not come to that.
            said, _ = await self._clock.wait_for(process.communicate(), self._clock.real(limit_s + 60.0))
        except TimeoutError:
            return -1, {"error": f"it did not end within {limit_s:g} s, and was ended"}
        finally:
            await self._end(process)
        try:
            return process.returncode or 0, dict(json.loads(said.splitlines()[-1]))
        except (ValueError, IndexError):
            return process.returncode or 0, {"error": f"it ended with status {process.returncode} and said nothing"}

    async def _end(self, process: asyncio.subprocess.Process) -> None:
        """It and all that it started."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            if process.returncode is not None:
                return
            try:
                os.killpg(process.pid, number)
            except ProcessLookupError:
                return
            try:
                await self._clock.wait_for(process.wait(), self._clock.real(_GRACE_S))
            except TimeoutError:
                continue

    def _write(self, report: dict[str, Any]) -> None:
        """The last good one stays known beside the last error."""
        path = self._folder / REPORT
        if report["error"] is not None:
            try:
                report = {**json.loads(path.read_text()), "error": report["error"], "at": report["at"]}
            except (OSError, ValueError):
                pass  # There was none.
        try:
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(json.dumps(report) + "\n", encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            log.warning(line("snapshot_report_not_written", problem=str(error)))

    def _tell(self, problem: str | None, report: dict[str, Any]) -> None:
        """One line for each that was taken, and one where failing begins, changes or ends."""
        if problem is None:
            log.info(line("snapshot_taken", **{name: report.get(name) for name in ("id", "size_bytes", "seconds")}))
        elif problem != self._said:
            log.warning(line("snapshot_not_taken", problem=problem))
        self._said = problem


def _rules(order: bytes | None) -> dict[str, float]:
    """How often, and how long one may take. An order that cannot be read is left to the process that says so."""
    try:
        found = json.loads(order or b"{}")
        return {"every_s": float(found["every_s"]), "limit_s": float(found["limit_s"])}
    except (ValueError, KeyError, TypeError):
        return {"every_s": 3600.0, "limit_s": 3600.0}
