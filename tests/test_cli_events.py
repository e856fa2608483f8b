"""`failoverd events`: what is printed of the stream, and how it goes on after a cut."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from daemon import cli_events
from daemon.cli_events import followed, show_events
from daemon.cli_output import Output
from daemon.client import ApiClient, ClientError, Door


def sent(kind: str, number: int, **told: Any) -> str:
    event = {"type": f"io.failoverd.{kind}.v1", "time": "2026-11-28T12:00:01+00:00", "data": {"machine_id": 7, **told}}
    return f"event: {kind}\ndata: {json.dumps(event)}\nid: {number}\n\n"


BEGIN = ": events of failoverd\nid: 0\nretry: 2000\n\n"
FELL_SILENT = sent(
    "machine.changed", 4, name="bravo", state="detecting", previous_state="healthy", because="it fell silent"
)
ENDED = sent("failover.changed", 9, failover_id="fo_1", what="ended", strategy="warm_pool", success=True, error=None)
REMOVED = sent("machine.removed", 12)
CLOSING = 'event: closing\ndata: {"code": "shutting_down", "detail": "the daemon stops", "remedy": "connect again"}\n\n'


def api(answer: Callable[[httpx.Request], httpx.Response]) -> ApiClient:
    return ApiClient(Door("http://daemon", "t"), httpx.MockTransport(answer))


def stream(text: str) -> httpx.Response:
    return httpx.Response(200, text=text, headers={"Content-Type": "text/event-stream"})


def test_each_event_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return stream(BEGIN + FELL_SILENT + ": keep-alive\nid: 5\n\n" + ENDED + REMOVED + CLOSING)

    show_events(api(answer), machine=None, after=None, follow=False, output=Output.TABLE)
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        "     4  12:00:01  bravo           healthy → detecting: it fell silent",
        "     9  12:00:01  machine 7       fo_1 ended warm_pool it succeeded",
        "    12  12:00:01  machine 7       it was removed",
    ]
    assert told.err == "closing: the daemon stops; connect again\n"
    assert dict(asked[0].url.params) == {"after": "0", "follow": "false"}


@pytest.mark.parametrize(("after", "is_told"), [(None, False), (0, True)])
def test_that_older_events_are_gone_is_told_to_those_alone_who_wanted_to_go_on(
    after: int | None, is_told: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {"code": "events_lost", "detail": "events after 0 were removed", "remedy": "read the machines anew"}
    reset = f"event: reset\ndata: {json.dumps(told)}\n\n"
    show_events(
        api(lambda _: stream(BEGIN + reset + FELL_SILENT)), machine=None, after=after, follow=False, output=Output.TABLE
    )
    said = capsys.readouterr()
    assert ("reset: events after 0 were removed" in said.err) is is_told
    assert "it fell silent" in said.out


def test_json_is_one_document_in_each_line(capsys: pytest.CaptureFixture[str]) -> None:
    show_events(
        api(lambda _: stream(BEGIN + FELL_SILENT + ENDED)), machine=None, after=3, follow=False, output=Output.JSON
    )
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(line["number"], line["data"]["machine_id"]) for line in lines] == [(4, 7), (9, 7)]


def test_one_machine_is_named_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/machines"):
            return httpx.Response(200, json={"machines": [{"id": 7, "name": "bravo"}], "next_cursor": None})
        assert request.url.params["machine_id"] == "7"
        return stream(BEGIN)

    show_events(api(answer), machine="bravo", after=None, follow=False, output=Output.TABLE)
    assert capsys.readouterr().out == ""


def test_a_stream_that_breaks_is_taken_up_behind_the_last_event(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli_events, "pause", lambda _: None)
    seen: list[str | None] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Last-Event-ID"))
        match len(seen):
            case 1:
                return stream(BEGIN + FELL_SILENT + CLOSING)
            case 2:
                raise httpx.ConnectError("refused")
            case _:
                return stream(ENDED)

    events = followed(api(answer), {})
    assert [event.number for event in (next(events) for _ in range(4))] == ["0", "4", None, "9"]
    assert seen == [None, "4", "4"]


def test_a_daemon_that_was_never_there_is_told_at_once() -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    with pytest.raises(ClientError) as caught:
        next(followed(api(refuse), {}))
    assert caught.value.exit_code == 8


def test_a_refusal_is_not_asked_again() -> None:
    with pytest.raises(ClientError) as caught:
        next(followed(api(lambda _: httpx.Response(401, json={"code": "unauthorized", "detail": "no"})), {}))
    assert caught.value.exit_code == 7
