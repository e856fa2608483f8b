"""`failoverd top`: the fleet on the whole screen, and below it each failover that runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from daemon import screens
from daemon.cli_output import pause
from daemon.cli_show import STATUS_EVERY_S, daemons_now, status_of
from daemon.client import EXIT_USAGE, ApiClient, ClientError

if TYPE_CHECKING:
    from rich.console import RenderableType

_MOST_TIMELINES = 3


def show_top(api: ApiClient) -> None:
    """The whole screen, again and again until Ctrl-C: the machines, and below them each failover that runs. Raise ClientError."""
    out = screens.console()
    if not out.is_terminal:
        remedy = "without one: failoverd status, or failoverd status -w -o json"
        raise ClientError(EXIT_USAGE, "no_terminal", "top draws on a terminal, and there is none", remedy)
    from rich.live import Live

    try:
        with Live(_top(api), console=out, screen=True, auto_refresh=False) as view:
            while not pause(STATUS_EVERY_S):
                view.update(_top(api), refresh=True)
    except KeyboardInterrupt:
        return


def _top(api: ApiClient) -> RenderableType:
    from rich.console import Group

    status = status_of(api)
    running = [row["failover_id"] for row in status.rows if row.get("failover_id")]
    timelines = [api.failover(failover) for failover in running[:_MOST_TIMELINES]]
    fleet = api.get("/fleet")
    assert status.screen is not None
    return Group(
        screens.plain(f"automatic failover is {fleet['automatic_failover']} · {fleet['count']} wait · Ctrl-C leaves"),
        status.screen(),
        *(
            screens.timeline_screen(failover, daemons_now(api, failover) if failover["state"] == "running" else None)
            for failover in timelines
        ),
    )
