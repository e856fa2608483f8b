"""`failoverd history` and `report`: which failovers there were, and what they came to."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from daemon import screens
from daemon.cli_output import Answer, Column, Output, emit
from daemon.cli_show import HISTORY_COLUMNS
from daemon.client import EXIT_USAGE, ApiClient, ClientError

_AGE = re.compile(r"([0-9]{1,5}(?:\.[0-9]+)?)(m|h|d|w)", re.ASCII)
_ANY_AGE = re.compile(r"[0-9]+(?:\.[0-9]+)?[mhdw]", re.ASCII)
_SECONDS = {"m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MOST_PAGED = 100_000


@dataclass(frozen=True, slots=True)
class Filters:
    """Of the history. `since` is an age (30d) or an ISO time; `after` is the last failover of the page before."""

    machine: str | None = None
    state: str | None = None
    trigger: str | None = None
    since: str | None = None
    after: str | None = None
    limit: int | None = 50


def show_history(api: ApiClient, filters: Filters, output: Output) -> None:
    """The newest first, a page at a time; CSV, or a limit of 0, has all that the filters leave. Raise ClientError."""
    most = filters.limit or _MOST_PAGED
    try:
        found = list(islice(_matching(api, filters), most + 1))
    except ClientError as error:
        raise _in_words_of_the_command(error, filters) from error
    rows, more = found[:most], found[most:]
    cursor = rows[-1]["failover_id"] if more else None
    after = [f"there are more: failoverd history --after {cursor}"] if more else []
    if not rows:
        after = ["no failover matches"]
    emit(Answer({"failovers": rows, "next_cursor": cursor}, rows, HISTORY_COLUMNS, after=after), output)


def _in_words_of_the_command(error: ClientError, filters: Filters) -> ClientError:
    """The API speaks of its cursor, which nobody gave here."""
    if filters.after is None or error.extra.get("field") != "cursor":
        return error
    why = f"--after: {filters.after!r} is no failover that there was"
    return ClientError(EXIT_USAGE, error.code, why, "give the id of one that `failoverd history` lists", error.extra)


def _matching(api: ApiClient, filters: Filters) -> Iterator[dict[str, Any]]:
    machine = None if filters.machine is None else int(api.machine(filters.machine)["id"])
    begin = None if filters.since is None else _begin(api, filters.since)
    for row in api.all_failovers(machine, filters.after):
        started = screens.moment(row["started_at"])
        if begin is not None and started is not None and started < begin:
            return
        if filters.state in (None, row["state"]) and filters.trigger in (None, row["trigger"]):
            yield row


def _begin(api: ApiClient, since: str) -> datetime:
    """An age is counted back from the daemon's own time, which it tells with its report."""
    if seconds_of(since) is not None:
        found = screens.moment(api.get("/report", {"since": since})["since"])
    else:
        found = moment_of(since)
    assert found is not None
    return found


def seconds_of(text: str) -> float | None:
    """Of an age such as 90m, 24h, 30d or 2w; None for what is none."""
    found = _AGE.fullmatch(text)
    return None if found is None else float(found[1]) * _SECONDS[found[2]]


def moment_of(text: str) -> datetime:
    """Raise ClientError (2) where the text is no ISO time."""
    try:
        found = screens.moment(text)
    except ValueError:
        found = None
    if found is None and _ANY_AGE.fullmatch(text) is not None:
        remedy = "write five digits at most, and ten years at most: 3650d"
        raise ClientError(EXIT_USAGE, "invalid_parameter", f"--since: {text} is too long an age", remedy)
    if found is None:
        remedy = "give an age (90m, 24h, 30d, 2w) or a time (2026-11-28T12:00:00Z)"
        raise ClientError(EXIT_USAGE, "invalid_parameter", f"--since: {text!r} is neither an age nor a time", remedy)
    return found


# -- report

REPORT_COLUMNS = (
    Column("phase", "PHASE"),
    Column("count", "COUNT", right=True),
    Column("p50_seconds", "P50", lambda row: _seconds(row["p50_seconds"]), right=True),
    Column("p95_seconds", "P95", lambda row: _seconds(row["p95_seconds"]), right=True),
    Column("longest_seconds", "LONGEST", lambda row: _seconds(row["longest_seconds"]), right=True),
)


def show_report(api: ApiClient, since: str, output: Output) -> None:
    """Raise ClientError."""
    if seconds_of(since) is None:
        moment_of(since)
    found = api.get("/report", {"since": since})
    emit(Answer(found, found["phases"], REPORT_COLUMNS, before=list(_told(found))), output)


def _told(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"from {found['since'][:19]} to {found['until'][:19]}"
    rate = "-" if found["success_rate"] is None else f"{found['success_rate']:.1%}"
    yield (
        f"failovers {found['failovers']}: {found['succeeded']} succeeded, {found['failed']} failed, "
        f"{found['cancelled']} cancelled, {found['running']} run; success rate {rate}"
    )
    yield f"time to recover (MTTR) {_seconds(found['mttr_seconds'])}, p95 {_seconds(found['recovery_p95_seconds'])}"
    for name in ("by_strategy", "by_trigger", "by_error"):
        if found[name]:
            parts = ", ".join(f"{key} {number}" for key, number in found[name].items())
            yield f"{name.replace('_', ' ')}: {parts}"
    money = found["money"]
    yield (
        f"money: {screens.dollars(money['failovers'])} $ for failovers by our records; the fleet runs at "
        f"{screens.dollars(money['fleet_per_hour'])} $/h; billed from {money['billed_since']}: "
        f"{screens.dollars(money['billed'])} $"
    )
    if found["is_cut"]:
        yield f"only the newest {found['failovers']} were counted"


def _seconds(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}s" if value < 60 else screens.span(value)
