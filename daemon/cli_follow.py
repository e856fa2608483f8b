"""What follows an accepted failover: watched to its end, or left running. Its exit code never calls running "failed"."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import count
from math import ceil
from typing import Any

from daemon.cli_output import Answer, Output, Row, emit, pause
from daemon.cli_show import HISTORY_COLUMNS, TIMELINE_EVERY_S, follow_failover, is_away, through_outages
from daemon.client import EXIT_FAILED, EXIT_PENDING, EXIT_REFUSED, ApiClient, ClientError
from daemon.screens import say

_LONGEST_OUTAGE_S = 60.0
"""So long in all the daemon may be away while it is followed."""


@dataclass(frozen=True, slots=True)
class Following:
    """`timeout_s` is how long it is followed, in real seconds; None is to its end."""

    output: Output
    wait: bool = True
    timeout_s: float | None = None


def follow_answer(api: ApiClient, answer: Mapping[str, Any], how: Following) -> int:
    """The exit code of a command that the daemon has answered."""
    if "success" in answer:
        return _ended_at_once(answer, how)
    failover = str(answer["failover_id"])
    if how.wait:
        return _follow(api, failover, how)
    if how.output.is_for_people:
        say(f"{failover} was accepted and is running.  → failoverd show {failover} -f")
    else:
        emit(_as_row(answer), how.output)
    return EXIT_PENDING


def _ended_at_once(answer: Mapping[str, Any], how: Following) -> int:
    """A failover that was refused before it began (protection_disabled), or an answer that was there already."""
    if not how.output.is_for_people:
        emit(_as_row(answer), how.output)
    elif answer["success"]:
        say(f"{answer['failover_id']} succeeded: the new instance is {answer['new_gpu_id']}.")
    if answer["success"]:
        return 0
    is_refused = answer["error"] == "protection_disabled"
    say(f"error[{answer['error']}] {answer.get('error_detail') or ''}", err=True)
    shown = f"look at it: failoverd show {answer['failover_id']}"
    remedy = "name a strategy: --strategy cpu_standby" if is_refused else shown
    say(f"  remedy  {remedy}", err=True)
    return EXIT_REFUSED if is_refused else EXIT_FAILED


def _follow(api: ApiClient, failover: str, how: Following) -> int:
    newest = {"failover_id": failover, "state": "running"}
    try:
        newest.update(_watch(api, failover, how))
    except KeyboardInterrupt:
        pass
    except ClientError as error:
        if not is_away(error):
            raise
        # It was accepted: that nobody can be asked of it now is not its end.
        say(f"{error.detail}; {failover} was accepted, and goes on when the daemon is back.", err=True)
    if not how.output.is_for_people:
        emit(_as_row(newest), how.output)
    if newest["state"] == "running":
        say(f"{failover} is still running.  → failoverd show {failover} -f", err=True)
        return EXIT_PENDING
    return 0 if newest["state"] == "succeeded" else EXIT_FAILED


def _watch(api: ApiClient, failover: str, how: Following) -> dict[str, Any]:
    """Raise ClientError, also where the daemon has been away for long."""
    patience, away = _patience(how.timeout_s), _patience(_LONGEST_OUTAGE_S)

    def outage() -> bool:
        return away() and patience()

    def look() -> dict[str, Any]:
        return through_outages(lambda: api.failover(failover), outage)

    if how.output.is_for_people:
        return follow_failover(api, failover, live=True, patience=patience, outage=outage)
    newest = look()
    while newest["state"] == "running" and patience():
        pause(TIMELINE_EVERY_S)
        newest = look()
    return newest


def _as_row(failover: Row) -> Answer:
    return Answer(dict(failover), [failover], HISTORY_COLUMNS)


def _patience(timeout_s: float | None) -> Callable[[], bool]:
    """Asked once before each pause; counts the pauses, since no clock of ours need be read for that."""
    pauses = None if timeout_s is None else ceil(timeout_s / TIMELINE_EVERY_S)
    taken = count()
    return lambda: pauses is None or next(taken) < pauses
