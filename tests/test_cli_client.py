"""The client behind the commands: where it knocks, with which token, and what becomes of every refusal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from daemon import cli_follow, cli_options, cli_output, cli_show, screens
from daemon.cli_failover import FailoverOptions, fail_over
from daemon.cli_follow import Following
from daemon.cli_options import explain
from daemon.cli_output import Output
from daemon.cli_queue import show_queue
from daemon.cli_show import find_failover, show_failover, show_status
from daemon.client import DEFAULT_URL, ApiClient, ClientError, Door, door

MACHINE: dict[str, Any] = {
    "id": 2,
    "name": "bravo",
    "state": "detecting",
    "because": "silence outlasted the grace period",
    "since": "2026-11-23T12:00:00+00:00",
    "since_seconds": 71.5,
    "gpu_instance_id": 7002,
    "gpu_name": "RTX 4090",
    "num_gpus": 1,
    "ssh_host": "127.0.0.1",
    "ssh_port": 40001,
    "workspace_path": "/workspace",
    "price_per_hour": 0.41,
    "fence": 1,
    "failover_id": None,
    "last_failover_id": "fo_abc",
}


def failover(state: str = "succeeded", **more: Any) -> dict[str, Any]:
    """As GET /failovers/{id} shows one."""
    step = {
        "name": "fence_primary",
        "status": "done",
        "started_at": "2026-11-23T12:00:01+00:00",
        "ended_at": "2026-11-23T12:00:03+00:00",
        "seconds": 2.0,
        "tries": 1,
        "waits": 0,
        "error": None,
        "output": {"grade": "severed", "proof": "the provider says offline, and our stop was accepted " * 3},
        "errors": [],
        "undo": None,
    }
    waiting = {
        **step,
        "name": "rent_candidate",
        "status": "waiting",
        "ended_at": None,
        "output": None,
        "error": "2 of 2",
    }
    pending = {**step, "name": "restore", "status": "pending", "started_at": None, "ended_at": None, "output": None}
    attempt = {
        "number": 1,
        "strategy": "cpu_standby",
        "status": "running",
        "code": None,
        "why": None,
        "steps": [step, waiting, pending],
        "candidates": [],
    }
    return {
        "failover_id": "fo_abc",
        "machine_id": 2,
        "state": state,
        "trigger": "heartbeat_lost",
        "because": "silent, and the provider says its host is offline",
        "started_at": "2026-11-23T12:00:00+00:00",
        "ended_at": None if state == "running" else "2026-11-23T12:02:00+00:00",
        "evidence": [{"source": "ssh", "word": "dead", "detail": "refused"}],
        "old_gpu_instance_id": 7002,
        "new_gpu_instance_id": None if state == "running" else 7010,
        "fence": 1,
        "fence_grade": "severed",
        "data_age_seconds": 41.0,
        "price_per_hour": 0.36,
        "error": "boot_timeout" if state == "failed" else None,
        "error_detail": "nothing came up" if state == "failed" else None,
        "attempts": [attempt],
        **more,
    }


Answer = tuple[int, Any]


WELL: dict[str, Answer] = {
    "GET /alerts": (200, {"alerts": [], "count": 0}),
    "GET /fleet": (
        200,
        {
            "automatic_failover": "on",
            "auto_failover": "on",
            "pause": None,
            "paused_machines": [],
            "unacknowledged": 0,
        },
    ),
    "GET /readyz": (200, {"status": "ok", "checks": {"log": {"ok": True, "detail": "it takes records"}}}),
}
"""A daemon with which nothing is wrong."""


def api(answers: dict[str, Answer], seen: list[httpx.Request] | None = None, token: str | None = "t") -> ApiClient:
    """A client whose daemon gives these answers, by method and path under /api/v1."""
    answers = {**WELL, **answers}

    def answer(request: httpx.Request) -> httpx.Response:
        if seen is not None:
            seen.append(request)
        status, body = answers[f"{request.method} {request.url.path.removeprefix('/api/v1')}"]
        return httpx.Response(status, json=body)

    return ApiClient(Door("http://daemon", token), httpx.MockTransport(answer))


def problem(status: int, code: str, **more: Any) -> Answer:
    return status, {"status": status, "code": code, "detail": f"{code} it is", "remedy": "mend it", **more}


def options(
    wait: bool = True, timeout_s: float | None = None, output: Output = Output.TABLE, **more: Any
) -> FailoverOptions:
    fields: dict[str, Any] = {"machine": "2", "strategy": None, "reason": None, "yes": True}
    return FailoverOptions(**{**fields, **more}, following=Following(output, wait, timeout_s))


# -- where and with what


def test_a_flag_goes_before_the_environment_and_that_before_the_file(tmp_path: Path) -> None:
    named = tmp_path / "token"
    named.write_text("from-the-flag\n")
    env = {"FAILOVERD_TOKEN": "from-the-environment", "FAILOVERD_API_URL": "http://there:1/"}
    assert door("http://here:2", named, env).token == "from-the-flag"
    assert door("http://here:2", named, env).url == "http://here:2"
    assert door(None, None, env) == Door("http://there:1", "from-the-environment", "FAILOVERD_TOKEN")


def test_the_token_is_read_from_the_working_directory_where_nothing_else_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert door(None, None, {}) == Door(DEFAULT_URL, None)
    (tmp_path / "var/failoverd").mkdir(parents=True)
    (tmp_path / "var/failoverd/token").write_text("made-at-first-start\n")
    assert door(None, None, {}).token == "made-at-first-start"


def test_the_token_is_sent_as_a_bearer_and_never_shown() -> None:
    seen: list[httpx.Request] = []
    with api({"GET /machines": (200, {"machines": [], "next_cursor": None})}, seen, token="hush") as client:
        client.machines()
    assert seen[0].headers["authorization"] == "Bearer hush"
    assert "hush" not in repr(Door("http://daemon", "hush"))


@pytest.mark.parametrize("token", ["hush\nhush", "hush hush", "hüsh", "hush\x00"])
def test_a_token_that_no_header_can_hold_is_a_usage_error_that_does_not_show_it(token: str, tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text(token, encoding="utf-8")
    for named, env in ((None, {"FAILOVERD_TOKEN": token}), (file, {})):
        with pytest.raises(ClientError) as refused:
            door(None, named, env)
        assert (refused.value.exit_code, refused.value.code) == (2, "invalid_token")
        told = explain(refused.value)
        assert (str(file) if named else "FAILOVERD_TOKEN") in told
        assert "hush" not in told
        assert "hüsh" not in told


def test_an_error_that_quotes_what_was_sent_is_not_told_in_its_own_words() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise httpx.LocalProtocolError(f"Illegal header value {request.headers['authorization']}")

    with ApiClient(Door("http://daemon", "hush"), httpx.MockTransport(answer)) as client:
        with pytest.raises(ClientError) as refused:
            client.machines()
        with pytest.raises(ClientError) as cut, client.lines("/events"):
            pass
    for told in (explain(refused.value), explain(cut.value)):
        assert "LocalProtocolError" in told
        assert "hush" not in told


@pytest.mark.parametrize(
    ("url", "error", "remedy"),
    [
        ("https://d:1", httpx.ConnectError("[SSL: WRONG_VERSION_NUMBER] wrong version number"), "--url http://d:1"),
        ("https://d:1", httpx.ConnectError("[SSL: CERTIFICATE_VERIFY_FAILED] self-signed"), "SSL_CERT_FILE"),
        ("http://d:1", httpx.RemoteProtocolError("Server disconnected"), "--url https://d:1"),
        ("http://d:1", httpx.ConnectError("refused"), "failoverd run"),
    ],
)
def test_a_daemon_that_does_not_answer_is_told_with_what_mends_it(url: str, error: Exception, remedy: str) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        raise error

    with ApiClient(Door(url, None), httpx.MockTransport(answer)) as client, pytest.raises(ClientError) as refused:
        client.machines()
    assert refused.value.exit_code == 8
    assert remedy in refused.value.remedy


# -- refusals


@pytest.mark.parametrize(
    ("status", "exit_code"), [(400, 2), (401, 7), (403, 7), (404, 4), (409, 5), (422, 2), (500, 1), (503, 5)]
)
def test_every_refusal_has_its_exit_code_its_detail_and_its_remedy(status: int, exit_code: int) -> None:
    with api({"GET /machines/2": problem(status, "so")}) as client, pytest.raises(ClientError) as refused:
        client.machine("2")
    assert refused.value.exit_code == exit_code
    assert "error[so] so it is" in explain(refused.value)
    assert "mend it" in explain(refused.value)


@pytest.mark.parametrize(
    ("status", "body"),
    [(200, "<html>"), (404, "<html>"), (404, '{"detail": "Not Found"}'), (404, "[]"), (502, "<html>")],
)
def test_another_program_is_not_taken_for_the_daemon(status: int, body: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(status, text=body))
    with ApiClient(Door("http://daemon", None), transport) as client, pytest.raises(ClientError) as refused:
        client.machine("2")
    assert (refused.value.exit_code, refused.value.code) == (8, "not_failoverd")
    assert f"what answers at http://daemon is no failoverd: it says {status}" in refused.value.detail
    assert "--url" in refused.value.remedy


def test_a_refused_token_says_where_it_came_from() -> None:
    with api({"GET /machines/2": problem(401, "unauthorized")}) as client, pytest.raises(ClientError) as refused:
        client.machine("2")
    assert "token came from nowhere" in refused.value.remedy


@pytest.mark.parametrize(("names", "exit_code"), [([], 4), (["bravo", "bravo"], 2)])
def test_a_name_must_mean_one_machine(names: list[str], exit_code: int) -> None:
    rows = [{**MACHINE, "id": number, "name": name} for number, name in enumerate(names)]
    with (
        api({"GET /machines": (200, {"machines": rows, "next_cursor": None})}) as client,
        pytest.raises(ClientError) as refused,
    ):
        client.machine("bravo")
    assert refused.value.exit_code == exit_code


def test_machines_are_read_page_by_page() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        after = request.url.params.get("cursor")
        row = {**MACHINE, "id": 1 if after is None else 2}
        return httpx.Response(200, json={"machines": [row], "next_cursor": "1" if after is None else None})

    with ApiClient(Door("http://daemon", None), httpx.MockTransport(answer)) as client:
        assert [row["id"] for row in client.machines()] == [1, 2]


# -- status and show


def test_status_shows_the_reason_of_a_machine_that_is_not_well(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "GET /machines": (200, {"machines": [MACHINE], "next_cursor": None}),
        "GET /failovers": (200, {"failovers": [failover()], "next_cursor": None}),
    }
    with api(answers) as client:
        show_status(client, Output.TABLE, watch=False)
        shown = capsys.readouterr().out
        show_status(client, Output.JSON, watch=False)
    assert "bravo: detecting: silence outlasted the grace period" in shown
    assert "fo_abc succeeded 2m00s" in shown
    assert "1 machine · 1 not well" in shown
    [row] = json.loads(capsys.readouterr().out)["machines"]
    assert row["last_failover"]["failover_id"] == "fo_abc"


def test_status_tells_first_that_the_daemon_is_blind_or_its_broker_away(capsys: pytest.CaptureFixture[str]) -> None:
    alert = {"key": "observer-blind", "text": "the observer is blind", "age_seconds": 61.0}
    checks = {"log": {"ok": False, "detail": "kafka: away", "for_seconds": 5.0}, "loop": {"ok": True, "detail": "fine"}}
    answers = {
        "GET /machines": (200, {"machines": [MACHINE], "next_cursor": None}),
        "GET /failovers": (200, {"failovers": [failover()], "next_cursor": None}),
        "GET /alerts": (200, {"alerts": [alert], "count": 1}),
        "GET /readyz": (503, {"status": "failing", "checks": checks}),
    }
    with api(answers) as client:
        show_status(client, Output.TABLE, watch=False)
        shown = capsys.readouterr().out.splitlines()
        show_status(client, Output.JSON, watch=False)
    assert shown[:2] == ["ATTENTION  log: kafka: away  (for 5s)", "ATTENTION  the observer is blind  (for 1m01s)"]
    told = json.loads(capsys.readouterr().out)
    assert (told["alerts"], list(told["not_ready"])) == ([alert], ["log"])


def test_queue_tells_who_waits_for_what_in_which_order(capsys: pytest.CaptureFixture[str]) -> None:
    def place(position: int, machine: int, waits_for: str) -> dict[str, Any]:
        row = {"position": position, "machine_id": machine, "name": f"m{machine}", "priority": machine}
        return {**row, "since": "-", "since_seconds": 61.0, "waits_for": waits_for, "because": "-"}

    fleet: dict[str, Any] = {
        "automatic_failover": "paused",
        "auto_failover": "on",
        "pause": {"reason": "5 of 5 replaced nothing", "until": "2026-11-28T13:00:00+00:00", "by": "failoverd"},
        "storm": {"since": "2026-11-28T12:00:00+00:00", "seen_at": "2026-11-28T12:01:00+00:00"},
        "automatic_running": 8,
        "caps": {"fleet": 10, "host": 4, "provider": 8},
        "paused_machines": [],
        "would_fail_over": [],
        "unacknowledged": 0,
        "queue": [place(1, 9, "rental"), place(2, 3, "resume")],
        "count": 2,
    }
    with api({"GET /fleet": (200, fleet)}) as client:
        show_queue(client, Output.TABLE)
        shown = capsys.readouterr().out.splitlines()
        show_queue(client, Output.JSON)
    assert "paused until 2026-11-28T13:00:00+00:00 by failoverd: 5 of 5 replaced nothing" in shown[0]
    assert shown[1].startswith("8 of at most 10 run")
    assert [line.split()[:4] for line in shown[4:]] == [["1", "9", "m9", "9"], ["2", "3", "m3", "3"]]
    assert "1m01s  a place at the provider" in shown[4]
    assert json.loads(capsys.readouterr().out) == fleet
    calm = {**fleet, "pause": None, "storm": None, "queue": []}
    with api({"GET /fleet": (200, calm)}) as client:
        show_queue(client, Output.TABLE)
    assert capsys.readouterr().out.splitlines()[::2] == ["automatic failover is on", "nobody waits"]
    rest = {"machine_id": 4, "name": "delta", "reason": "its disk", "until": "2026-11-28T13:00:00+00:00", "by": "ana"}
    told = {**calm, "paused_machines": [rest], "would_fail_over": [5, 6], "unacknowledged": 2}
    with api({"GET /fleet": (200, told)}) as client:
        show_queue(client, Output.TABLE)
    shown = capsys.readouterr().out
    assert "delta alone is paused until 2026-11-28T13:00:00+00:00 by ana: its disk" in shown
    assert "only observed: 5, 6" in shown
    assert "failoverd ack" in shown


def test_status_tells_that_nothing_happens_by_itself_and_that_one_failed_unseen(
    capsys: pytest.CaptureFixture[str],
) -> None:
    pause = {"reason": "moving house", "until": "2026-11-28T13:00:00+00:00", "by": "ana"}
    rest = {"machine_id": 2, "name": "bravo", "reason": "its disk", "until": "2026-11-28T13:00:00+00:00", "by": "ben"}
    fleet = {
        "automatic_failover": "paused",
        "auto_failover": "observe",
        "pause": pause,
        "paused_machines": [rest],
        "unacknowledged": 2,
    }
    answers = {
        "GET /machines": (200, {"machines": [MACHINE], "next_cursor": None}),
        "GET /failovers": (200, {"failovers": [failover()], "next_cursor": None}),
        "GET /fleet": (200, {**fleet, "queue": [], "count": 0}),
    }
    with api(answers) as client:
        for output in (Output.TABLE, Output.WIDE):
            show_status(client, output, watch=False)
            assert capsys.readouterr().out.splitlines()[-4:] == [
                "automatic failover is paused until 2026-11-28T13:00:00+00:00 by ana: moving house",
                "automatic failover is set to observe  → failoverd settings show",
                "bravo alone is paused until 2026-11-28T13:00:00+00:00 by ben: its disk",
                "failed, and nobody has said that they know: 2  → failoverd ack FAILOVER",
            ]
        show_status(client, Output.JSON, watch=False)
    assert json.loads(capsys.readouterr().out)["fleet"] == fleet


@pytest.mark.parametrize("what", ["fo_abc", "2", "bravo", "last"])
def test_show_finds_the_failover_that_is_meant(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    answers = {
        "GET /machines": (200, {"machines": [MACHINE], "next_cursor": None}),
        "GET /machines/2": (200, MACHINE),
        "GET /failovers": (200, {"failovers": [failover()], "next_cursor": None}),
        "GET /failovers/fo_abc": (200, failover()),
    }
    with api(answers) as client:
        assert find_failover(client, what) == "fo_abc"
        show_failover(client, what, Output.TABLE, follow=True)
    assert "fo_abc  machine 2  heartbeat_lost  SUCCEEDED  2m00s" in capsys.readouterr().out


def test_a_machine_that_was_never_failed_over_is_4() -> None:
    with (
        api({"GET /machines/2": (200, {**MACHINE, "last_failover_id": None})}) as client,
        pytest.raises(ClientError) as refused,
    ):
        find_failover(client, "2")
    assert refused.value.exit_code == 4


def test_a_timeline_fits_into_eighty_columns_and_needs_no_colour(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    paper = io.StringIO()
    screens.console(paper).print(screens.timeline_screen(failover("running")))
    lines = paper.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert "\x1b" not in paper.getvalue()
    fence = next(line for line in lines if "fence_primary" in line)
    assert "00:01" in fence
    assert "2.0s" in fence
    assert "█" in fence
    assert any("rent_candidate" in line and "waiting: 2 of 2" in line for line in lines)
    assert any("restore" in line and "pending" in line for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, ""), (0.4, "0s"), (59.4, "59s"), (130, "2m10s"), (7500, "2h05m"), (200000, "2d")]
)
def test_spans_are_short(seconds: float | None, text: str) -> None:
    assert screens.span(seconds) == text


# -- failover


def following(state: str, **more: Any) -> dict[str, Answer]:
    return {
        "GET /machines/2": (200, MACHINE),
        "POST /failover/execute": (202, {"failover_id": "fo_abc", "machine_id": 2, "state": "running"}),
        "GET /failovers/fo_abc": (200, failover(state, **more)),
    }


@pytest.mark.parametrize(("state", "exit_code"), [("succeeded", 0), ("failed", 6)])
def test_a_failover_is_triggered_without_waiting_and_followed_to_its_end(state: str, exit_code: int) -> None:
    seen: list[httpx.Request] = []
    with api(following(state), seen) as client:
        assert fail_over(client, options(strategy="cpu_standby", reason="a drill")) == exit_code
    asked = next(request for request in seen if request.method == "POST")
    assert asked.headers["prefer"] == "respond-async"
    assert json.loads(asked.content) == {
        "machine_id": 2,
        "gpu_instance_id": 7002,
        "ssh_host": "127.0.0.1",
        "ssh_port": 40001,
        "workspace_path": "/workspace",
        "force_strategy": "cpu_standby",
        "reason": "a drill",
    }


def test_a_failover_that_outlasts_the_watcher_is_3_and_never_called_failed(capsys: pytest.CaptureFixture[str]) -> None:
    with api(following("running")) as client:
        assert fail_over(client, options(timeout_s=0.0)) == 3
    told = capsys.readouterr()
    assert "fo_abc is still running" in told.err
    assert "failed" not in told.out + told.err


Step = Answer | httpx.HTTPError


def restarting(*looks: Step, accepted: Answer | None = None) -> ApiClient:
    """A daemon that gives these answers to whoever looks at the failover, the last of them for ever."""
    left = list(looks)
    plain = following("running")
    plain["POST /failover/execute"] = accepted or plain["POST /failover/execute"]

    def answer(request: httpx.Request) -> httpx.Response:
        name = f"{request.method} {request.url.path.removeprefix('/api/v1')}"
        look = plain[name] if name != "GET /failovers/fo_abc" else left.pop(0) if len(left) > 1 else left[0]
        if isinstance(look, httpx.HTTPError):
            raise look
        return httpx.Response(look[0], json=look[1])

    return ApiClient(Door("http://daemon", "t"), httpx.MockTransport(answer))


AWAY = httpx.ConnectError("refused")
STOPPING = problem(503, "shutting_down")


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (cli_show, cli_follow, cli_output):
        monkeypatch.setattr(module, "pause", lambda _: None)


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("output", [Output.TABLE, Output.JSON])
@pytest.mark.parametrize("first", [AWAY, (200, failover("running"))])
def test_a_failover_is_followed_across_a_restart_of_the_daemon(
    first: Step, output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    with restarting(first, AWAY, AWAY, STOPPING, (200, failover("running")), (200, failover())) as client:
        assert fail_over(client, options(output=output)) == 0
    assert "asked again until it answers" in capsys.readouterr().err


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("output", [Output.TABLE, Output.JSON])
@pytest.mark.parametrize("looks", [(AWAY,), ((200, failover("running")), AWAY)])
def test_a_daemon_that_stays_away_is_3_with_the_id_of_what_was_accepted(
    looks: tuple[Step, ...], output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    with restarting(*looks) as client:
        assert fail_over(client, options(output=output)) == 3
    told = capsys.readouterr()
    assert "fo_abc was accepted" in told.err
    assert "failoverd show fo_abc -f" in told.err
    if output is Output.JSON:
        assert json.loads(told.out)["failover_id"] == "fo_abc"


def test_what_was_accepted_by_a_daemon_that_stops_is_3_with_its_id(capsys: pytest.CaptureFixture[str]) -> None:
    accepted = problem(503, "shutting_down", failover_id="fo_abc")
    with restarting(AWAY, accepted=accepted) as client:
        assert fail_over(client, options(timeout_s=0.0)) == 3
        assert fail_over(client, options(wait=False)) == 3
    assert "fo_abc was accepted" in capsys.readouterr().out


def test_an_answer_that_was_lost_may_have_been_a_yes() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            raise httpx.ReadError("cut")
        return httpx.Response(200, json=MACHINE)

    client = ApiClient(Door("http://daemon", "t"), httpx.MockTransport(answer))
    with client, pytest.raises(ClientError) as refused:
        fail_over(client, options())
    assert refused.value.exit_code == 8
    assert "may have been accepted" in refused.value.remedy


@pytest.mark.usefixtures("no_pauses")
@pytest.mark.parametrize("output", [Output.TABLE, Output.JSON])
def test_show_follows_across_a_restart_but_tells_at_once_where_nobody_was_there(output: Output) -> None:
    with restarting((200, failover("running")), *[AWAY] * 500, (200, failover())) as client:
        show_failover(client, "fo_abc", output, follow=True)
    with restarting(AWAY) as client, pytest.raises(ClientError) as refused:
        show_failover(client, "fo_abc", output, follow=True)
    assert refused.value.exit_code == 8


@pytest.mark.parametrize("output", list(Output))
def test_no_wait_prints_the_id_and_is_3_because_it_is_not_finished(
    output: Output, capsys: pytest.CaptureFixture[str]
) -> None:
    with api(following("running")) as client:
        assert fail_over(client, options(wait=False, output=output)) == 3
    assert ("fo_abc was accepted" in capsys.readouterr().out) is output.is_for_people


def test_a_second_failover_is_5_and_the_remedy_is_to_follow_the_first() -> None:
    answers = {
        "GET /machines/2": (200, MACHINE),
        "POST /failover/execute": problem(409, "failover_in_progress", failover_id="fo_abc"),
    }
    with api(answers) as client, pytest.raises(ClientError) as refused:
        fail_over(client, options())
    assert refused.value.exit_code == 5
    assert "failoverd show fo_abc" in refused.value.remedy


def test_a_disabled_strategy_is_5() -> None:
    body = {"success": False, "failover_id": "fo_refused_1", "error": "protection_disabled", "error_detail": "so"}
    with api({"GET /machines/2": (200, MACHINE), "POST /failover/execute": (200, body)}) as client:
        assert fail_over(client, options()) == 5


def test_a_script_must_say_yes() -> None:
    with api({"GET /machines/2": (200, MACHINE)}) as client, pytest.raises(ClientError) as refused:
        fail_over(client, options(yes=False))
    assert refused.value.exit_code == 2
    assert "--yes" in refused.value.remedy


def test_a_machine_without_an_instance_is_5_before_anything_is_asked() -> None:
    with (
        api({"GET /machines/2": (200, {**MACHINE, "gpu_instance_id": None})}) as client,
        pytest.raises(ClientError) as refused,
    ):
        fail_over(client, options())
    assert (refused.value.exit_code, refused.value.code) == (5, "no_primary")


@pytest.mark.parametrize(("would_succeed", "exit_code"), [(True, 0), (False, 5)])
def test_a_dry_run_prints_the_plan_and_asks_nobody(
    would_succeed: bool, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    answer = {
        "would_succeed": would_succeed,
        "reason": None if would_succeed else "no verified snapshot",
        "code": None if would_succeed else "no_snapshot",
        "plan": {
            "steps": [{"strategy": "cpu_standby", "steps": ["fence_primary", "restore"]}],
            "offers": [{"offer_id": 1, "gpu_name": "RTX 4090", "price_per_hour": 0.4, "geolocation": "SE"}],
            "snapshot_age_seconds": 90.0 if would_succeed else None,
        },
    }
    answers: dict[str, Answer] = {
        "GET /machines/2": (200, MACHINE),
        "POST /failover/test/2": (200, answer),
        "GET /failover/readiness/2": (200, {"recommended_action": "take a snapshot"}),
    }
    with api(answers) as client:
        assert fail_over(client, options(dry_run=True, yes=False)) == exit_code
    told = capsys.readouterr()
    assert "Nothing was touched" in told.out
    assert "fence_primary → restore" in told.out
    refusal = "error[no_snapshot] no verified snapshot\n  remedy  take a snapshot\n"
    assert told.err == ("" if would_succeed else refusal)


def test_ctrl_c_is_said_and_is_130(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            raise KeyboardInterrupt
        return httpx.Response(200, json=MACHINE)

    with ApiClient(Door("http://daemon", "t"), httpx.MockTransport(interrupt)) as client:
        assert fail_over(client, options(dry_run=True, yes=False)) == 130
    assert capsys.readouterr().err == "interrupted: nothing was touched\n"
    with pytest.raises(typer.Exit) as left, cli_options.client("http://daemon", None):
        raise KeyboardInterrupt
    assert left.value.exit_code == 130
    assert "interrupted" in capsys.readouterr().err
