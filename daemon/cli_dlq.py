"""`failoverd dlq list` and `replay`: what could not be read from the log, why, and once more."""

from __future__ import annotations

from daemon import screens
from daemon.cli_output import Answer, Column, Output, Row, emit
from daemon.client import ApiClient, because
from daemon.screens import say

_MOST_SHOWN = 60


def _value(row: Row) -> str:
    text = str(row["value"] if row["value"] is not None else f"base64:{row['value_base64']}")
    return text if len(text) <= _MOST_SHOWN else text[: _MOST_SHOWN - 1] + "…"


COLUMNS = (
    Column("id", "LETTER"),
    Column("age_seconds", "AGE", lambda row: screens.span(row["age_seconds"]) or "-"),
    Column("topic", "TOPIC", only_wide=True),
    Column("partition", "PARTITION", right=True, only_wide=True),
    Column("offset", "OFFSET", right=True, only_wide=True),
    Column("key", "KEY"),
    Column("command_id", "COMMAND ID", only_wide=True),
    Column("code", "CODE"),
    Column("can_replay", "REPLAY", lambda row: "yes" if row["can_replay"] else "no"),
    Column("error", "ERROR", gives_way=True),
    Column("why_not", "WHY NOT", only_wide=True),
    Column("value", "VALUE", _value, only_wide=True),
)


def list_letters(api: ApiClient, limit: int, output: Output) -> None:
    """The newest first. Raise ClientError."""
    found = api.get("/dead-letters", {"limit": limit})
    after = [] if found["dead_letters"] else ["there are no dead letters"]
    emit(Answer(found, found["dead_letters"], COLUMNS, after=after), output)


def replay(api: ApiClient, letter: str, reason: str | None, output: Output) -> None:
    """Raise ClientError where it cannot be replayed, and says why."""
    body = {} if reason is None else {"reason": reason}
    answer = api.post(f"/dead-letters/{letter}/replay", body, headers=because(reason))
    if output.is_for_people:
        named = f" as command {answer['command_id']}" if answer["command_id"] else ""
        say(f"{letter} was appended to {answer['topic']} once more{named}.")
    else:
        emit(Answer(answer, [answer], [Column(name, name) for name in answer]), output)
