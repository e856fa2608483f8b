"""The verbs that change something: who is asked first, what is sent, and which exit code a script gets."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon import cli_confirm
from daemon.cli_dlq import replay
from daemon.cli_failover import cancel, drill
from daemon.cli_follow import Following
from daemon.cli_history import Filters, show_history, show_report
from daemon.cli_machines import body_of, register, remove
from daemon.cli_output import Output
from daemon.client import ApiClient, ClientError, Door
from tests.test_api_stage import stage
from tests.test_cli_client import MACHINE, Answer, api, failover, options, problem

TABLE = Output.TABLE


def sent(seen: list[httpx.Request], method: str) -> httpx.Request:
    (found,) = [request for request in seen if request.method == method]
    return found


# -- drill


@pytest.mark.parametrize(("state", "exit_code"), [("succeeded", 0), ("failed", 6)])
def test_a_real_drill_is_sent_as_one_with_its_reason_and_followed(state: str, exit_code: int) -> None:
    seen: list[httpx.Request] = []
    answers: dict[str, Answer] = {
        "GET /machines/2": (200, MACHINE),
        "POST /failover/test/2": (202, {"failover_id": "fo_abc", "machine_id": 2, "state": "running"}),
        "GET /failovers/fo_abc": (200, failover(state)),
    }
    with api(answers, seen) as client:
        assert drill(client, options(reason="Übung\nam Freitag", strategy="both")) == exit_code
    asked = sent(seen, "POST")
    assert dict(asked.url.params) == {
        "gpu_instance_id": "7002",
        "ssh_host": "127.0.0.1",
        "ssh_port": "40001",
        "strategy": "both",
        "dry_run": "false",
    }
    reasons = [value for name, value in asked.headers.raw if name.lower() == b"failoverd-reason"]
    assert reasons == ["Übung am Freitag".encode()]


# -- cancel


def cancelling(state: str, **more: Any) -> dict[str, Answer]:
    return {
        "GET /machines/2": (200, MACHINE),
        "GET /failovers/fo_abc": (200, failover(state, **more)),
        "POST /failovers/fo_abc/cancel": (202, {"failover_id": "fo_abc", "machine_id": 2, "state": "running"}),
    }


def test_a_failover_that_was_cancelled_is_0_because_that_was_asked_for() -> None:
    seen: list[httpx.Request] = []
    with api(cancelling("failed", error="cancelled"), seen) as client:
        assert cancel(client, "fo_abc", "by mistake", Following(TABLE), yes=True) == 0
    assert json.loads(sent(seen, "POST").content) == {"reason": "by mistake"}


def test_a_failover_that_ended_otherwise_than_by_the_cancel_is_told_as_it_ended() -> None:
    with api(cancelling("succeeded")) as client:
        assert cancel(client, "fo_abc", None, Following(TABLE), yes=True) == 0
    with api(cancelling("failed", error="boot_timeout")) as client:
        assert cancel(client, "fo_abc", None, Following(TABLE), yes=True) == 6


def test_too_late_is_5_with_the_daemons_remedy() -> None:
    answers = {**cancelling("running"), "POST /failovers/fo_abc/cancel": problem(409, "too_late")}
    with api(answers) as client, pytest.raises(ClientError) as refused:
        cancel(client, "fo_abc", None, Following(TABLE), yes=True)
    assert (refused.value.exit_code, refused.value.code, refused.value.remedy) == (5, "too_late", "mend it")


# -- who is asked


def test_without_a_terminal_nothing_dangerous_is_done_unless_yes_is_said() -> None:
    seen: list[httpx.Request] = []
    answers = {**cancelling("running"), "DELETE /machines/2": (200, {"removed": True})}
    with api(answers, seen) as client:
        for act in (
            lambda: drill(client, options(yes=False)),
            lambda: cancel(client, "fo_abc", None, Following(TABLE), yes=False),
            lambda: remove(client, "2", None, yes=False),
        ):
            with pytest.raises(ClientError) as refused:
                act()
            assert (refused.value.exit_code, refused.value.code) == (2, "not_confirmed")
            assert "--yes" in refused.value.remedy
    assert {request.method for request in seen} == {"GET"}


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("typed", "agreed"), [("bravo", True), ("brav", False), ("y", False)])
def test_the_name_must_be_typed_and_not_only_a_y(typed: str, agreed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(f"{typed}\n"))
    if agreed:
        cli_confirm.confirm("bravo", "It will be forgotten", yes=False)
        return
    with pytest.raises(ClientError) as refused:
        cli_confirm.confirm("bravo", "It will be forgotten", yes=False)
    assert "nothing was done" in refused.value.detail


# -- machines


def test_a_machine_is_registered_with_what_is_named_and_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "m.yaml"
    file.write_text("name: old\nregion: SE\nenv: {MODEL: llama}\n")
    body = body_of({"name": "bravo", "strategy": None}, ["priority=5", "ssh_keys=[a, b]"], file)
    wanted = {"name": "bravo", "region": "SE", "env": {"MODEL": "llama"}, "priority": 5, "ssh_keys": ["a", "b"]}
    assert body == wanted
    seen: list[httpx.Request] = []
    with api({"PUT /machines/2": (201, {**MACHINE, "beat_token": "fb_2_x"})}, seen) as client:
        register(client, 2, body, "new rack", TABLE)
    assert json.loads(sent(seen, "PUT").content) == wanted
    assert sent(seen, "PUT").headers["failoverd-reason"] == "new rack"
    assert "fb_2_x" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("pairs", "text", "named"),
    [
        (["priority"], None, "--set priority"),
        (["a=[1"], None, "--set a"),
        ([], "- 1", "no mapping"),
        ([], "{", "m.yaml"),
    ],
)
def test_what_cannot_be_read_is_2_and_named(pairs: list[str], text: str | None, named: str, tmp_path: Path) -> None:
    file = tmp_path / "m.yaml"
    file.write_text(text or "")
    with pytest.raises(ClientError) as refused:
        body_of({}, pairs, file if text else None)
    assert refused.value.exit_code == 2
    assert named in refused.value.detail


def test_a_registration_that_names_nothing_is_2() -> None:
    with api({}) as client, pytest.raises(ClientError) as refused:
        register(client, 2, {}, None, TABLE)
    assert refused.value.code == "nothing_named"


def test_a_removed_machine_leaves_its_instance_and_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with api({"GET /machines/2": (200, MACHINE), "DELETE /machines/2": (200, {"removed": True})}) as client:
        remove(client, "2", None, yes=True)
    said = capsys.readouterr().out
    assert "instance 7002 is left running" in said
    assert "an agent that still beats there registers the machine anew within seconds" in said


# -- dead letters and history


def test_a_replay_says_under_which_id_the_answer_will_come(capsys: pytest.CaptureFixture[str]) -> None:
    answer = {"id": "0-3", "topic": "failover.commands.v1", "command_id": "c1"}
    with api({"POST /dead-letters/0-3/replay": (200, answer)}) as client:
        replay(client, "0-3", "mended", TABLE)
    assert capsys.readouterr().out == "0-3 was appended to failover.commands.v1 once more as command c1.\n"


def test_history_goes_on_where_the_page_before_ended_and_filters_over_all_pages(
    capsys: pytest.CaptureFixture[str],
) -> None:
    rows = [failover("failed" if number % 2 else "succeeded", failover_id=f"fo_{number}") for number in range(9)]

    def answer(request: httpx.Request) -> httpx.Response:
        after = request.url.params.get("cursor")
        begin = 0 if after is None else int(after.removeprefix("fo_")) + 1
        page = rows[begin : begin + 2]
        cursor = page[-1]["failover_id"] if begin + 2 < len(rows) else None
        return httpx.Response(200, json={"failovers": page, "next_cursor": cursor})

    with ApiClient(Door("http://daemon", None), httpx.MockTransport(answer)) as client:
        show_history(client, Filters(state="failed", limit=3), Output.JSON)
        first = json.loads(capsys.readouterr().out)
        show_history(client, Filters(state="failed", after=first["next_cursor"]), Output.JSON)
        second = json.loads(capsys.readouterr().out)
    assert [row["failover_id"] for row in first["failovers"]] == ["fo_1", "fo_3", "fo_5"]
    assert [row["failover_id"] for row in second["failovers"]] == ["fo_7"]
    assert (first["next_cursor"], second["next_cursor"]) == ("fo_5", None)


async def test_a_page_after_no_failover_is_refused_in_the_words_of_the_command() -> None:
    async with stage() as s:
        body = (await s.http.get("/api/v1/failovers?cursor=fo_nope")).json()
    with api({"GET /failovers": (400, body)}) as client, pytest.raises(ClientError) as refused:
        show_history(client, Filters(after="fo_nope"), Output.TABLE)
    assert (refused.value.exit_code, refused.value.detail) == (2, "--after: 'fo_nope' is no failover that there was")
    assert "cursor" not in refused.value.remedy


@pytest.mark.parametrize(
    ("since", "said"),
    [("999999999d", "999999999d is too long an age"), ("soon", "'soon' is neither an age nor a time")],
)
def test_a_time_that_cannot_be_meant_says_why(since: str, said: str) -> None:
    with api({}) as client, pytest.raises(ClientError) as refused:
        show_report(client, since, Output.TABLE)
    assert (refused.value.exit_code, refused.value.detail) == (2, f"--since: {said}")
