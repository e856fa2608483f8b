"""`failoverd snapshot list`: what a restore of a machine could choose from."""

from __future__ import annotations

from daemon import screens
from daemon.cli_output import Answer, Column, Output, emit
from daemon.client import ApiClient

COLUMNS = (
    Column("snapshot_id", "SNAPSHOT"),
    Column("machine_id", "MACHINE", right=True, only_wide=True),
    Column("taken_at", "TAKEN", lambda row: str(row["taken_at"])[:19]),
    Column("age_seconds", "AGE", lambda row: screens.span(row["age_seconds"]), right=True),
    Column("size_bytes", "MB", lambda row: f"{row['size_bytes'] / 1e6:.1f}", right=True),
)


def list_snapshots(api: ApiClient, machine: str, limit: int, output: Output) -> None:
    """Asked of the store now. Raise ClientError."""
    found = api.get(f"/machines/{api.machine(machine)['id']}/snapshots", {"limit": limit})
    after = [] if found["snapshots"] else ["there is no verified snapshot: its agent takes the first one"]
    emit(Answer(found, found["snapshots"], COLUMNS, after=after), output)
