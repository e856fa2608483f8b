"""`failoverd notify test`: asks the daemon to send each channel a message, and says which took it."""

from __future__ import annotations

from daemon.cli_output import Answer, Column, Output, emit
from daemon.client import EXIT_FAILED, ApiClient

DONE = 0
_REMEDY = "  remedy  mend notify.channels, then: failoverd config check FILE, and kill -HUP the daemon"


COLUMNS = (
    Column("channel", "CHANNEL"),
    Column("kind", "KIND"),
    Column("ok", "OUTCOME", lambda one: "took it" if one["ok"] else f"FAILED: {one['error']}", gives_way=True),
    Column("seconds", "SECONDS", lambda one: f"{one['seconds']:.1f}", right=True),
    Column("error", "ERROR", only_wide=True),
)


def try_channels(api: ApiClient, channel: str | None, output: Output) -> int:
    """6 where any channel took nothing. Raise ClientError."""
    answer = api.post("/notify/test", {"channel": channel} if channel else None)
    after = () if answer["ok"] else (_REMEDY,)
    emit(Answer(answer, answer["channels"], COLUMNS, after=after), output)
    return DONE if answer["ok"] else EXIT_FAILED
