"""`failoverd events`: what the daemon tells, as it happens; a connection that breaks is taken up where it was."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from daemon.cli_output import Answer, Column, Output, as_csv, as_yaml, write
from daemon.client import EXIT_UNREACHABLE, ApiClient, ClientError
from daemon.screens import harmless, say

AGAIN_AFTER_S = 2.0
pause = threading.Event().wait
"""A pause that Ctrl-C ends; real seconds, for a person is watching."""
_TALK = ("reset", "closing")
"""Words of the stream about itself."""


@dataclass(frozen=True, slots=True)
class Event:
    """One server-sent event, as far as it has come."""

    kind: str
    number: str | None
    told: Mapping[str, Any]


def show_events(api: ApiClient, *, machine: str | None, after: int | None, follow: bool, output: Output) -> None:
    """Those that are kept, or with `follow` each new one until Ctrl-C. Raise ClientError."""
    query: dict[str, Any] = {} if machine is None else {"machine_id": api.machine(machine)["id"]}
    if not follow:
        query |= {"after": after or 0, "follow": "false"}
    elif after is not None:
        query["after"] = after
    try:
        if output is Output.CSV:
            write(as_csv(Answer(None, [], COLUMNS), with_head=True))
        for event in followed(api, query) if follow else _once(api, query, None):
            if event.kind == "reset" and not follow and after is None:
                continue  # Nobody wanted to go on from anywhere: what is kept is all that was asked for.
            if event.kind:
                _print(event, output)
    except KeyboardInterrupt:
        return


def followed(api: ApiClient, query: Mapping[str, Any]) -> Iterator[Event]:
    """For ever: a daemon that is away is asked again, and told the last event that was seen. Raise ClientError where it
    refuses, or where it was never there."""
    last: str | None = None
    while True:
        try:
            for event in _once(api, query, last):
                last = event.number or last
                yield event
        except ClientError as error:
            if error.exit_code != EXIT_UNREACHABLE or last is None:
                raise
        pause(AGAIN_AFTER_S)


def _once(api: ApiClient, query: Mapping[str, Any], last: str | None) -> Iterator[Event]:
    """One connection's events; one without a kind only says how far the stream has come."""
    with api.lines("/events", query, {} if last is None else {"Last-Event-ID": last}) as lines:
        fields: dict[str, str] = {}
        for line in lines:
            if line:
                name, _, value = line.partition(": ")
                if name:
                    fields[name] = value
                continue
            told = json.loads(fields["data"]) if "data" in fields else {}
            yield Event(fields.get("event", "") if told else "", fields.get("id"), told)
            fields = {}


COLUMNS = tuple(Column(name, name) for name in ("number", "time", "type", "data"))
"""Of CSV: an event's own members are one JSON value, for each kind has others."""


def _print(event: Event, output: Output) -> None:
    if event.kind in _TALK:
        say(f"{event.kind}: {event.told['detail']}; {event.told['remedy']}", err=True)
        return
    document = {"number": int(event.number or 0), **event.told}
    match output:
        case Output.JSON:
            write(json.dumps(document, ensure_ascii=False) + "\n")
        case Output.YAML:
            write("---\n" + as_yaml(document))
        case Output.CSV:
            write(as_csv(Answer(document, [document], COLUMNS), with_head=False))
        case Output.TABLE | Output.WIDE:
            write(harmless(line_of(event)) + "\n")


def line_of(event: Event) -> str:
    """Its number, the time of day in UTC, whom it is about, and what happened."""
    at = str(event.told.get("time") or "")[11:19] or "--:--:--"
    told = event.told["data"]
    return f"{event.number:>6}  {at}  {_who(event.kind, told):<14}  {_what(event.kind, told)}"


def _who(kind: str, told: Mapping[str, Any]) -> str:
    return str(told["name"]) if kind == "machine.changed" else f"machine {told['machine_id']}"


def _what(kind: str, told: Mapping[str, Any]) -> str:
    match kind:
        case "machine.changed":
            before = told.get("previous_state")
            move = f"{before} → {told['state']}" if before not in (None, told["state"]) else str(told["state"])
            return f"{move}: {told['because']}"
        case "failover.changed":
            words = [str(told["failover_id"]), str(told["what"]).replace("_", " "), told.get("strategy")]
            if told.get("success") is not None:
                words.append("it succeeded" if told["success"] else f"it failed: {told.get('error')}")
            return " ".join(str(word) for word in words if word)
        case "machine.removed":
            return "it was removed"
        case _:
            return kind
