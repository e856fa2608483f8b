"""`failoverd status`, `show` and `states`: answers of the daemon on a terminal, or as documents for programs."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, TypeAlias, TypeVar

from daemon import screens
from daemon.cli_output import Answer, Column, Output, emit, pause, show
from daemon.client import EXIT_NOT_FOUND, EXIT_UNREACHABLE, ApiClient, ClientError
from daemon.screens import say

STATUS_EVERY_S = 2.0
TIMELINE_EVERY_S = 0.5
T = TypeVar("T")
Patience: TypeAlias = Callable[[], bool]
"""Whether to look once more; asked before each pause."""

# -- status

MACHINE_COLUMNS = (
    Column("id", "MACHINE", right=True),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("because", "BECAUSE", only_wide=True),
    Column("since", "SINCE", lambda row: screens.span(row.get("since_seconds"))),
    Column("heartbeat_age_seconds", "BEAT", screens.beat, right=True),
    Column("gpu_instance_id", "INSTANCE"),
    Column("ssh_host", "SSH HOST", only_wide=True),
    Column("ssh_port", "SSH PORT", only_wide=True),
    Column("gpu_name", "GPU"),
    Column("num_gpus", "GPUS", only_wide=True),
    Column("price_per_hour", "$/H", lambda row: screens.dollars(row.get("price_per_hour")), right=True),
    Column("strategy", "STRATEGY"),
    Column("auto_failover", "AUTO"),
    Column("priority", "PRIORITY", right=True, only_wide=True),
    Column("fence", "FENCE", right=True, only_wide=True),
    Column(
        "snapshot_age_seconds", "DATA", lambda row: screens.span(row.get("snapshot_age_seconds")) or "-", right=True
    ),
    Column("failover_id", "FAILOVER", only_wide=True),
    Column("last_failover_id", "LAST FAILOVER"),
)


def show_status(api: ApiClient, output: Output, *, watch: bool, short: bool = False) -> None:
    """Once, or again and again until Ctrl-C. Raise ClientError."""
    show(
        lambda: (_short(api) if short else status_of(api), not watch), output, STATUS_EVERY_S, live=watch, endless=True
    )


def status_of(api: ApiClient) -> Answer:
    """Every machine with its last failover, and what is wrong with the daemon itself."""
    machines, alerts, not_ready, fleet = api.machines(), api.alerts(), api.not_ready(), api.get("/fleet")
    notices = list(notices_of(fleet))
    known = _last_failovers(api, machines)
    rows = [{**row, "last_failover": known.get(_last_id(row))} for row in machines]
    of_the_fleet = {name: fleet[name] for name in _OF_THE_FLEET}
    document = {"machines": rows, "alerts": alerts, "not_ready": not_ready, "fleet": of_the_fleet}
    return Answer(
        document,
        rows,
        MACHINE_COLUMNS,
        before=[f"ATTENTION  {alert['text']}" for alert in alerts],
        after=[screens.total(machines), *notices],
        screen=lambda: screens.status_screen(machines, known, alerts, not_ready, notices),
    )


_OF_THE_FLEET = ("automatic_failover", "auto_failover", "pause", "paused_machines", "unacknowledged")


def notices_of(fleet: Mapping[str, Any]) -> Iterator[str]:
    """What a person should know of automatic failover: that it does not happen, or that one failed unseen."""
    if pause := pause_of(fleet):
        yield pause
    if fleet["auto_failover"] != "on":
        yield f"automatic failover is set to {fleet['auto_failover']}  → failoverd settings show"
    yield from rests_of(fleet)
    if fleet["unacknowledged"]:
        yield f"failed, and nobody has said that they know: {fleet['unacknowledged']}  → failoverd ack FAILOVER"


def pause_of(fleet: Mapping[str, Any]) -> str | None:
    """That the whole fleet is paused, until when and why; None where it is not."""
    if not (pause := fleet["pause"]):
        return None
    end = f" until {pause['until']} by {pause['by']}" if pause["until"] else ""
    return f"automatic failover is paused{end}: {pause['reason']}"


def rests_of(fleet: Mapping[str, Any], machine: int | None = None) -> Iterator[str]:
    """The same of each machine that is paused alone, or of this one."""
    for one in fleet["paused_machines"]:
        if machine in (None, one["machine_id"]):
            yield f"{one['name']} alone is paused until {one['until']} by {one['by']}: {one['reason']}"


def _short(api: ApiClient) -> Answer:
    """One line for a prompt: how many machines, what asks for a person, and who is paused."""
    machines, alerts, fleet = api.machines(), api.alerts(), api.get("/fleet")
    moving = sum(1 for row in machines if row.get("failover_id"))
    well = sum(1 for row in machines if row["state"] in screens.CALM_STATES)
    row: dict[str, Any] = {
        "machines": len(machines),
        "well": well,
        "failing_over": moving,
        "not_well": max(0, len(machines) - well - moving),
        "alerts": len(alerts),
        "is_paused": bool(fleet["pause"]),
        "paused_machines": [str(one["name"]) for one in fleet["paused_machines"]],
    }
    told = [f"{row[name]} {name.replace('_', ' ')}" for name in ("failing_over", "not_well", "alerts") if row[name]]
    told += _paused(fleet)
    line = " · ".join([f"{well}/{len(machines)} well", *told])
    return Answer(row, [row], [Column(name, name.upper()) for name in row], screen=lambda: screens.plain(line))


def _paused(fleet: Mapping[str, Any]) -> Iterator[str]:
    names = [str(one["name"]) for one in fleet["paused_machines"]]
    if fleet["pause"]:
        yield "the fleet is paused"
    if names:
        more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
        yield f"{', '.join(names[:_MOST_NAMED])}{more} paused"


_MOST_NAMED = 3
"""In one line."""


def _last_failovers(api: ApiClient, machines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest failovers in one call; an older one is shown by its id alone rather than asked for one by one."""
    if not any(_last_id(row) for row in machines):
        return {}
    return {row["failover_id"]: row for row in api.failovers(limit=200)}


def _last_id(row: Mapping[str, Any]) -> str:
    return str(row.get("failover_id") or row.get("last_failover_id") or "")


# -- show

HISTORY_COLUMNS = (
    Column("failover_id", "FAILOVER"),
    Column("machine_id", "MACHINE", right=True),
    Column("state", "STATE"),
    Column("trigger", "TRIGGER"),
    Column("strategy_attempted", "TRIED", only_wide=True),
    Column("strategy_succeeded", "STRATEGY"),
    Column("started_at", "STARTED", lambda row: str(row.get("started_at") or "-")[:19]),
    Column("ended_at", "ENDED", only_wide=True),
    Column(
        "total_ms",
        "TOOK",
        lambda row: screens.span(screens.seconds_between(row.get("started_at"), row.get("ended_at"))),
        right=True,
    ),
    Column("data_age_seconds", "DATA", lambda row: screens.span(row.get("data_age_seconds")) or "-", right=True),
    Column("old_gpu_instance_id", "OLD", only_wide=True),
    Column("new_gpu_instance_id", "NEW", only_wide=True),
    Column("price_per_hour", "$/H", lambda row: screens.dollars(row.get("price_per_hour")), right=True, only_wide=True),
    Column("asked_by", "BY", only_wide=True),
    Column("error", "ERROR"),
    Column("because", "BECAUSE", only_wide=True),
)
STEP_COLUMNS = (
    Column("attempt", "ATTEMPT", right=True),
    Column("strategy", "STRATEGY"),
    Column("name", "STEP"),
    Column("status", "STATUS"),
    Column("started_at", "STARTED"),
    Column("ended_at", "ENDED"),
    Column("seconds", "SECONDS", right=True),
    Column("tries", "TRIES", right=True),
    Column("error", "ERROR"),
)


def show_failover(api: ApiClient, what: str, output: Output, *, follow: bool) -> None:
    """`what` is a failover's id, a machine's id or name, or `last`. Raise ClientError."""
    failover = find_failover(api, what)
    if output is Output.TABLE:
        follow_failover(api, failover, live=follow)
        return
    newest = api.failover(failover)
    while follow and newest["state"] == "running":
        pause(TIMELINE_EVERY_S)
        newest = through_outages(lambda: api.failover(failover), forever)
    emit(_steps_of(newest), output)


def forever() -> bool:
    """The patience of who watches until Ctrl-C."""
    return True


def is_away(error: ClientError) -> bool:
    """Whether the daemon, or something that it needs, may answer later."""
    return error.exit_code == EXIT_UNREACHABLE or error.extra.get("status") == 503


def through_outages(ask: Callable[[], T], patience: Patience) -> T:
    """What it gives; a daemon that is away is asked again as long as the patience lasts. Raise ClientError."""
    is_told = False
    while True:
        try:
            return ask()
        except ClientError as error:
            if not is_away(error) or not patience():
                raise
            if not is_told:
                say(f"(asked again until it answers: {error.detail})", err=True)
            is_told = True
        pause(TIMELINE_EVERY_S)


def _steps_of(failover: Mapping[str, Any]) -> Answer:
    rows = [
        {"attempt": attempt["number"], "strategy": attempt["strategy"], **step}
        for attempt in failover["attempts"]
        for step in attempt["steps"]
    ]
    head = f"{failover['failover_id']}  machine {failover['machine_id']}  {failover['state']}: {failover['because']}"
    return Answer(dict(failover), rows, STEP_COLUMNS, before=[head])


def find_failover(api: ApiClient, what: str) -> str:
    """The id of the failover that is meant."""
    if what.startswith("fo_"):
        return what
    if what == "last":
        newest = api.failovers(limit=1)
        if not newest:
            raise ClientError(EXIT_NOT_FOUND, "no_failover", "nothing was failed over yet", "try: failoverd status")
        return str(newest[0]["failover_id"])
    row = api.machine(what)
    if not _last_id(row):
        why = f"machine {row['id']} ({row['name']}) was never failed over"
        raise ClientError(EXIT_NOT_FOUND, "no_failover", why, f"its readiness: failoverd failover {what} --dry-run")
    return _last_id(row)


def follow_failover(
    api: ApiClient, failover: str, *, live: bool, patience: Patience = forever, outage: Patience | None = None
) -> dict[str, Any]:
    """Show it once, or with `live` until it has ended or the patience is over; the newest that is known of it.

    `outage` is the patience with a daemon that is away; without it one that was there is waited for without an end, and one
    that never was is told at once. Raise ClientError.
    """
    newest: dict[str, Any] = {}

    def look() -> datetime | None:
        found = api.failover(failover)
        now = daemons_now(api, found) if found["state"] == "running" else None
        newest.update(found)
        return now

    def read() -> tuple[Answer, bool]:
        now = through_outages(look, outage or forever) if outage or newest else look()
        shown = Answer(newest, (), (), screen=lambda: screens.timeline_screen(newest, now))
        return shown, not (live and newest["state"] == "running" and patience())

    show(read, Output.TABLE, TIMELINE_EVERY_S, live=live)
    return newest


def daemons_now(api: ApiClient, failover: Mapping[str, Any]) -> datetime | None:
    """The daemon's own time, which runs faster than ours beside a simulated world."""
    machine = api.get(f"/machines/{failover['machine_id']}")
    since = screens.moment(machine.get("since"))
    return None if since is None else since + timedelta(seconds=machine["since_seconds"])


# -- states


def show_states(output: Output, *, mermaid: bool) -> None:
    """The state table, from the table that the daemon follows."""
    from machines.states import EDGES, State, as_mermaid

    if mermaid:
        sys.stdout.write(as_mermaid())
        return
    states = list(State)
    edges = [
        (edge.source.value, edge.trigger.value, edge.target.value, edge.because)
        for edge in sorted(EDGES, key=lambda edge: states.index(edge.source))
    ]
    names = ("from", "trigger", "to", "because")
    rows = [dict(zip(names, edge, strict=True)) for edge in edges]
    columns = [Column(name, name.upper()) for name in names]
    emit(Answer(rows, rows, columns, screen=lambda: screens.states_screen(edges)), output)
