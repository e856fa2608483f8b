"""`failoverd queue`: may automatic failovers begin now, and which dead machines wait for their turn."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from daemon import screens
from daemon.cli_output import Answer, Column, Output, emit
from daemon.cli_show import notices_of
from daemon.client import ApiClient

_WAITS_FOR = {
    "place": "a place in the fleet",
    "rental": "a place at the provider",
    "host": "others on its host",
    "resume": "the end of the pause",
    "sight": "the observer to see",
    "budget": "money",
}


COLUMNS = (
    Column("position", "PLACE", right=True),
    Column("machine_id", "MACHINE", right=True),
    Column("name", "NAME"),
    Column("priority", "PRIORITY", right=True),
    Column("since", "WAITS", lambda row: screens.span(row["since_seconds"])),
    Column("waits_for", "FOR", lambda row: _WAITS_FOR[row["waits_for"]], gives_way=True),
    Column("because", "BECAUSE", only_wide=True),
)


def show_queue(api: ApiClient, output: Output) -> None:
    """Raise ClientError."""
    fleet = api.get("/fleet")
    emit(Answer(fleet, fleet["queue"], COLUMNS, before=list(_lines(fleet))), output)


def _lines(fleet: Mapping[str, Any]) -> Iterator[str]:
    storm, caps = fleet["storm"], fleet["caps"]
    if fleet["pause"] is None and fleet["auto_failover"] == "on":
        yield "automatic failover is on"
    yield from notices_of(fleet)
    yield (
        f"{fleet['automatic_running']} of at most {caps['fleet']} run"
        f" ({caps['provider']} that rent from the provider, {caps['host']} on one host)"
    )
    if fleet["would_fail_over"]:
        these = ", ".join(map(str, fleet["would_fail_over"]))
        yield f"would be failed over now, were they not only observed: {these}  → failoverd explain MACHINE"
    if storm is not None:
        yield f"a storm since {storm['since']}; a machine last had to wait for a place at {storm['seen_at']}"
    if not fleet["queue"]:
        yield "nobody waits"
