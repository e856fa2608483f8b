"""`failoverd queue`: may automatic failovers begin now, and which dead machines wait for their turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from daemon import screens
from daemon.cli_show import print_json
from daemon.client import ApiClient

if TYPE_CHECKING:
    from rich.console import RenderableType

_WAITS_FOR = {
    "place": "a place in the fleet",
    "rental": "a place at the provider",
    "host": "others on its host",
    "resume": "the end of the pause",
    "sight": "the observer to see",
}


def show_queue(api: ApiClient, *, as_json: bool) -> None:
    """Raise ClientError."""
    fleet = api.get("/fleet")
    if as_json:
        print_json(fleet)
        return
    console = screens.console()
    for line in _lines(fleet):
        console.print(line)
    if fleet["queue"]:
        console.print(_table(fleet))


def _lines(fleet: Mapping[str, Any]) -> Iterator[str]:
    pause, storm, caps = fleet["pause"], fleet["storm"], fleet["caps"]
    if pause is not None:
        end = f" until {pause['until']} by {pause['by']}" if pause["until"] else ""
        yield f"automatic failover is paused{end}: {pause['reason']}"
    else:
        yield "automatic failover is on"
    yield (
        f"{fleet['automatic_running']} of at most {caps['fleet']} run"
        f" ({caps['provider']} that rent from the provider, {caps['host']} on one host)"
    )
    if storm is not None:
        yield f"a storm since {storm['since']}; a machine last had to wait for a place at {storm['seen_at']}"
    if not fleet["queue"]:
        yield "nobody waits"


def _table(fleet: Mapping[str, Any]) -> RenderableType:
    table = screens.columns(
        "PLACE", "MACHINE", "NAME", "PRIORITY", "WAITS", "FOR", right=("PLACE", "MACHINE", "PRIORITY"), wide=("FOR",)
    )
    for row in fleet["queue"]:
        table.add_row(
            str(row["position"]),
            str(row["machine_id"]),
            row["name"],
            str(row["priority"]),
            screens.span(row["since_seconds"]),
            _WAITS_FOR[row["waits_for"]],
        )
    return table
