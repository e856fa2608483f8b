"""What a scenario demands in so many words: checked on the transcript, also where the transcript is written anew."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.scenarios.script import Unreadable, numbers, seconds

_LINE = re.compile(r"(\d+):(\d+)  (.*)$")
_FAILOVERS = re.compile(r"(at most )?(\d+|no) (automatic )?failovers?(?: of machines? ([\d,\- ]+))?$")
_ALERTS = re.compile(r"(\d+|no) alerts? (\S+)(?: within (\d+ ?s) of (.+))?$")
_CALLS = re.compile(
    r"(at most )?(\d+|no) (create|destroy|stop|start|reboot|create volume|clone volume|delete volume) calls?$"
)
_SAID = re.compile(r"said: (.+)$")
_UNSAID = re.compile(r"never said: (.+)$")
_NOT_BEFORE = re.compile(r"no failover( of machine \d+)? before (.+)$")
_AUTOMATIC = ("(heartbeat_lost)", "(notice)", "(fault)")


def broken(musts: Sequence[str], lines: Sequence[str]) -> list[str]:
    """The demands that are not met. Raise Unreadable for one that nobody understands."""
    return [must for must in musts if not _is_met(must, lines)]


def _is_met(must: str, lines: Sequence[str]) -> bool:
    if found := _FAILOVERS.match(must):
        begun = [line for line in lines if re.search(r"failover fo-\d+ of machine \d+ begins", line)]
        if found[3]:
            begun = [line for line in begun if line.endswith(_AUTOMATIC)]
        if found[4]:
            wanted = set(numbers(found[4]))
            begun = [line for line in begun if int(re.findall(r"of machine (\d+) begins", line)[0]) in wanted]
        return _fits(len(begun), found[1], found[2])
    if found := _ALERTS.match(must):
        raised = [line for line in lines if f"alert {found[2]}: " in line]
        in_time = found[3] is None or _delay(raised, lines, found[4]) <= seconds(found[3])
        return _fits(len(raised), None, found[1]) and in_time
    if found := _CALLS.match(must):
        return _fits(sum(bool(re.search(rf"  {found[3]} \S+: ", line)) for line in lines), found[1], found[2])
    if found := _NOT_BEFORE.match(must):
        place = next((place for place, line in enumerate(lines) if line.endswith(f"* {found[2]}")), len(lines))
        return not any(f"{found[1] or ''} begins (" in line for line in lines[:place])
    if found := _UNSAID.match(must):
        return not any(found[1] in line for line in lines)
    if found := _SAID.match(must):
        return any(found[1] in line for line in lines)
    raise Unreadable(f"nobody knows what is demanded by {must!r}")


def _fits(count: int, at_most: str | None, wanted: str) -> bool:
    number = 0 if wanted == "no" else int(wanted)
    return count <= number if at_most else count == number


def _delay(raised: Sequence[str], lines: Sequence[str], event: str) -> float:
    """From the event to the first of them."""
    begun = next((line for line in lines if line.endswith(f"* {event}")), None)
    return _at(raised[0]) - _at(begun) if raised and begun is not None else float("inf")


def _at(line: str) -> int:
    found = _LINE.match(line)
    assert found is not None, line
    return int(found[1]) * 60 + int(found[2])
