"""`failoverd orphans`: what is paid for and belongs to no machine, what it costs a day, and what becomes of it."""

from __future__ import annotations

from daemon import screens
from daemon.cli_output import Answer, Column, Output, Row, emit
from daemon.client import ApiClient

_FATE = {
    "orphan": "ours, and nothing explains it: destroyed soon, or told of by an alert, as the policy says",
    "released": "of a machine that was removed: yours to keep or to destroy at its provider",
    "foreign": "another deployment's: never touched",
}


def _what(row: Row) -> str:
    size = "" if row["size_gb"] is None or row["kind"] != "snapshots" else f"{row['size_gb']:.2f} GB, "
    return f"{size}{row['detail']}"


COLUMNS = (
    Column("kind", "KIND"),
    Column("id", "ID"),
    Column("machine_id", "MACHINE", right=True),
    Column("standing", "STANDING"),
    Column("first_seen_at", "SEEN", lambda row: screens.span(row["age_seconds"])),
    Column("cost_per_day", "$/DAY", lambda row: screens.dollars(row["cost_per_day"]), right=True),
    Column("label", "LABEL", only_wide=True),
    Column("detail", "WHAT", _what, gives_way=True),
)


def show_orphans(api: ApiClient, output: Output) -> None:
    """Raise ClientError."""
    found = api.get("/orphans")
    rows = found["orphans"]
    if not rows:
        emit(Answer(found, (), COLUMNS, after=["nothing is paid for that belongs to no machine"]), output)
        return
    fates = [f"{standing}: {_FATE[standing]}" for standing in dict.fromkeys(row["standing"] for row in rows)]
    unknown = (
        f", and {found['without_price']} whose price their provider does not tell" if found["without_price"] else ""
    )
    cost = f"without those of other deployments: {found['cost_per_day']:.2f} $ a day{unknown}"
    emit(Answer(found, rows, COLUMNS, after=[*fates, cost]), output)
