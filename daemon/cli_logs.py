"""`failoverd logs`: what a machine's container has printed."""

from __future__ import annotations

from daemon.cli_output import Answer, Column, Output, emit
from daemon.client import ApiClient
from daemon.screens import say

COLUMNS = (Column("line", "LINE"),)


def show_logs(api: ApiClient, machine: str, tail: int, host: bool, output: Output) -> None:
    """Asked of the provider now. Raise ClientError."""
    number = api.machine(machine)["id"]
    found = api.get(f"/machines/{number}/logs", {"tail": tail, "host": str(host).lower()})
    if not output.is_for_people:
        emit(Answer(found, [{"line": line} for line in found["lines"]], COLUMNS), output)
        return
    for line in found["lines"]:
        say(line)
    if not found["lines"]:
        say(f"Instance {found['gpu_instance_id']} has printed nothing.", err=True)
