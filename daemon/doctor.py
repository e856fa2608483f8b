"""`failoverd doctor`: does everything that the configuration names answer, and is it what a failover will need?

Each finding is one line; what is wrong has a remedy and an exit code, and the first wrong one's is the command's. Nothing is
rented, made or changed, except that the store of snapshots is given a small object and deletes it again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from adapters.system_clock import SystemClock
from daemon import logs
from daemon.setting_faults import SettingsError
from daemon.settings import Loaded, read
from machines.errors import FailoverdError

DONE, USAGE, REFUSED, FAILED, AUTH, UNREACHABLE = 0, 2, 5, 6, 7, 8
_TIMEOUT_S = 45.0


class Grade(Enum):
    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line."""

    check: str
    grade: Grade
    detail: str
    remedy: str | None = None
    exit_code: int = DONE


def ok(check: str, detail: str) -> Finding:
    return Finding(check, Grade.OK, detail)


def skipped(check: str, detail: str) -> Finding:
    return Finding(check, Grade.SKIPPED, detail)


def unwise(check: str, detail: str, remedy: str) -> Finding:
    return Finding(check, Grade.WARNING, detail, remedy)


def failed(check: str, detail: str, remedy: str, exit_code: int = REFUSED) -> Finding:
    return Finding(check, Grade.FAILED, detail, remedy, exit_code)


Check = Callable[[Loaded, SystemClock], Awaitable[Sequence[Finding]]]


async def examine(loaded: Loaded, checks: Sequence[tuple[str, Check]]) -> list[Finding]:
    """All at once, in their order; one that breaks or hangs is a finding, and spoils no other."""
    clock = SystemClock()
    found = await asyncio.gather(*(_one(name, check, loaded, clock) for name, check in checks))
    return [finding for findings in found for finding in findings]


async def _one(name: str, check: Check, loaded: Loaded, clock: SystemClock) -> Sequence[Finding]:
    try:
        return await clock.wait_for(check(loaded, clock), _TIMEOUT_S)
    except TimeoutError:
        return [
            failed(name, f"no answer within {_TIMEOUT_S:.0f} s", "see that it can be reached from here", UNREACHABLE)
        ]
    except (FailoverdError, OSError) as error:
        return [failed(name, " ".join(str(error).split()), "see that it can be reached from here", UNREACHABLE)]


def run_doctor(config: Path | None, as_json: bool) -> int:
    from daemon.doctor_checks import CHECKS

    logs.configure(level="error")  # What libraries say of it is said better by the findings.
    try:
        loaded = read(config)
    except SettingsError as error:
        findings = [_fault(line) for line in str(error).splitlines()]
    else:
        findings = asyncio.run(examine(loaded, CHECKS))
    return report(findings, as_json)


def _fault(line: str) -> Finding:
    said, _, remedy = line.partition("; remedy: ")
    return failed("settings", said, remedy or "see: failoverd config check", USAGE)


def report(findings: Sequence[Finding], as_json: bool) -> int:
    """Print them; the exit code."""
    code = next((one.exit_code for one in findings if one.grade is Grade.FAILED), DONE)
    if as_json:
        import json

        print(
            json.dumps({"ok": code == DONE, "exit_code": code, "findings": [_row(one) for one in findings]}, indent=2)
        )
        return code
    width = max(len(one.check) for one in findings)
    for one in findings:
        print(f"{_MARKS[one.grade]:<5} {one.check:<{width}}  {one.detail}")
        if one.remedy:
            print(f"{'':<5} {'':<{width}}  remedy  {one.remedy}")
    count = sum(one.grade is Grade.FAILED for one in findings)
    unwise_ones = sum(one.grade is Grade.WARNING for one in findings)
    print(f"{len(findings)} checks: {count} failed, {unwise_ones} warning{'' if unwise_ones == 1 else 's'}")
    return code


_MARKS = {Grade.OK: "ok", Grade.WARNING: "WARN", Grade.FAILED: "FAIL", Grade.SKIPPED: "-"}


def _row(one: Finding) -> dict[str, Any]:
    return {**asdict(one), "grade": one.grade.value}
