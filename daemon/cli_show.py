"""`failoverd status`, `show` and `states`: answers of the daemon on a terminal, or as JSON for programs."""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from daemon import screens
from daemon.client import EXIT_NOT_FOUND, ApiClient, ClientError

if TYPE_CHECKING:
    from rich.console import RenderableType

STATUS_EVERY_S = 2.0
TIMELINE_EVERY_S = 0.5
pause = threading.Event().wait
"""A pause that Ctrl-C ends; real seconds, for a person is watching."""


def print_json(value: Any) -> None:
    """One document, in one piece."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
    sys.stdout.flush()


# -- status


def show_status(api: ApiClient, *, as_json: bool, watch: bool) -> None:
    """Once, or again and again; with `watch` JSON is one document in each line."""
    if as_json:
        _status_as_json(api, watch=watch)
        return

    def screen() -> tuple[RenderableType, bool]:
        machines = api.machines()
        last = _last_failovers(api, machines)
        return screens.status_screen(machines, last, api.alerts(), api.not_ready()), not watch

    _show(screen, STATUS_EVERY_S, live=watch)


def _status_as_json(api: ApiClient, *, watch: bool) -> None:
    while True:
        machines = api.machines()
        known = _last_failovers(api, machines)
        rows = [{**row, "last_failover": known.get(_last_id(row))} for row in machines]
        shown = {"machines": rows, "alerts": api.alerts(), "not_ready": api.not_ready()}
        if not watch:
            print_json(shown)
            return
        sys.stdout.write(json.dumps(shown) + "\n")
        sys.stdout.flush()
        pause(STATUS_EVERY_S)


def _last_failovers(api: ApiClient, machines: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """The newest failovers in one call; an older one is shown by its id alone rather than asked for one by one."""
    if not any(_last_id(row) for row in machines):
        return {}
    return {row["failover_id"]: row for row in api.failovers(limit=200)}


def _last_id(row: Mapping[str, Any]) -> str:
    return str(row.get("failover_id") or row.get("last_failover_id") or "")


# -- show


def show_failover(api: ApiClient, what: str, *, as_json: bool, follow: bool) -> None:
    """`what` is a failover's id, a machine's id or name, or `last`. Raise ClientError."""
    failover = find_failover(api, what)
    if not as_json:
        follow_failover(api, failover, live=follow)
        return
    shown = api.failover(failover)
    while follow and shown["state"] == "running":
        pause(TIMELINE_EVERY_S)
        shown = api.failover(failover)
    print_json(shown)


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
    api: ApiClient, failover: str, *, live: bool, patience: Callable[[], bool] = lambda: True
) -> dict[str, Any]:
    """Show it once, or with `live` until it has ended or the patience is over; the newest that is known of it."""
    newest: dict[str, Any] = {}

    def screen() -> tuple[RenderableType, bool]:
        newest.update(api.failover(failover))
        is_running = newest["state"] == "running"
        shown = screens.timeline_screen(newest, _daemons_now(api, newest) if is_running else None)
        return shown, not (live and is_running and patience())

    _show(screen, TIMELINE_EVERY_S, live=live)
    return newest


def _daemons_now(api: ApiClient, failover: Mapping[str, Any]) -> datetime | None:
    """The daemon's own time, which runs faster than ours beside a simulated world."""
    machine = api.get(f"/machines/{failover['machine_id']}")
    since = screens.moment(machine.get("since"))
    return None if since is None else since + timedelta(seconds=machine["since_seconds"])


def _show(screen: Callable[[], tuple[RenderableType, bool]], every_s: float, *, live: bool) -> None:
    """Print what the screen gives until it says that it is the last one; without a terminal only the last one."""
    console = screens.console()
    shown, is_last = screen()
    if not live or is_last:
        console.print(shown)
        return
    if not console.is_terminal:
        while not is_last:
            pause(every_s)
            shown, is_last = screen()
        console.print(shown)
        return
    from rich.live import Live

    try:
        with Live(shown, console=console, auto_refresh=False) as view:
            while not is_last:
                pause(every_s)
                shown, is_last = screen()
                view.update(shown, refresh=True)
    except KeyboardInterrupt:
        console.print("(it goes on without a watcher)", style="dim")


# -- states


def show_states(*, mermaid: bool, as_json: bool) -> None:
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
    if as_json:
        print_json([dict(zip(("from", "trigger", "to", "because"), edge, strict=True)) for edge in edges])
        return
    screens.console().print(screens.states_screen(edges))
