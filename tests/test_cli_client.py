"""The client behind the commands: where it knocks, with which token, and what becomes of every refusal."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon import screens
from daemon.cli_app import explain
from daemon.cli_failover import FailoverOptions, fail_over
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


def options(**more: Any) -> FailoverOptions:
    fields: dict[str, Any] = {
        "machine": "2",
        "strategy": None,
        "dry_run": False,
        "wait": True,
        "timeout_s": None,
        "reason": None,
        "yes": True,
        "as_json": False,
    }
    return FailoverOptions(**{**fields, **more})


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


def test_an_answer_that_is_no_problem_document_is_told_as_it_is() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(502, text="<html>"))
    with ApiClient(Door("http://daemon", None), transport) as client, pytest.raises(ClientError) as refused:
        client.machine("2")
    assert (refused.value.exit_code, refused.value.code) == (5, "http_502")


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
        show_status(client, as_json=False, watch=False)
        shown = capsys.readouterr().out
        show_status(client, as_json=True, watch=False)
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
        show_status(client, as_json=False, watch=False)
        shown = capsys.readouterr().out.splitlines()
        show_status(client, as_json=True, watch=False)
    assert shown[:2] == ["ATTENTION  log: kafka: away  (for 5s)", "ATTENTION  the observer is blind  (for 1m01s)"]
    told = json.loads(capsys.readouterr().out)
    assert (told["alerts"], list(told["not_ready"])) == ([alert], ["log"])


def test_queue_tells_who_waits_for_what_in_which_order(capsys: pytest.CaptureFixture[str]) -> None:
    def place(position: int, machine: int, waits_for: str) -> dict[str, Any]:
        row = {"position": position, "machine_id": machine, "name": f"m{machine}", "priority": machine}
        return {**row, "since": "-", "since_seconds": 61.0, "waits_for": waits_for, "because": "-"}

    fleet: dict[str, Any] = {
        "automatic_failover": "paused",
        "pause": {"reason": "5 of 5 replaced nothing", "until": "2026-11-28T13:00:00+00:00", "by": "failoverd"},
        "storm": {"since": "2026-11-28T12:00:00+00:00", "seen_at": "2026-11-28T12:01:00+00:00"},
        "automatic_running": 8,
        "caps": {"fleet": 10, "host": 4, "provider": 8},
        "queue": [place(1, 9, "rental"), place(2, 3, "resume")],
        "count": 2,
    }
    with api({"GET /fleet": (200, fleet)}) as client:
        show_queue(client, as_json=False)
        shown = capsys.readouterr().out.splitlines()
        show_queue(client, as_json=True)
    assert "paused until 2026-11-28T13:00:00+00:00 by failoverd: 5 of 5 replaced nothing" in shown[0]
    assert shown[1].startswith("8 of at most 10 run")
    assert [line.split()[:4] for line in shown[4:]] == [["1", "9", "m9", "9"], ["2", "3", "m3", "3"]]
    assert "1m01s  a place at the provider" in shown[4]
    assert json.loads(capsys.readouterr().out) == fleet
    calm = {**fleet, "pause": None, "storm": None, "queue": []}
    with api({"GET /fleet": (200, calm)}) as client:
        show_queue(client, as_json=False)
    assert capsys.readouterr().out.splitlines()[::2] == ["automatic failover is on", "nobody waits"]


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
        show_failover(client, what, as_json=False, follow=True)
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


@pytest.mark.parametrize("as_json", [False, True])
def test_no_wait_prints_the_id_and_is_3_because_it_is_not_finished(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    with api(following("running")) as client:
        assert fail_over(client, options(wait=False, as_json=as_json)) == 3
    assert ("fo_abc was accepted" in capsys.readouterr().out) is not as_json


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
    with api({"GET /machines/2": (200, MACHINE), "POST /failover/test/2": (200, answer)}) as client:
        assert fail_over(client, options(dry_run=True, yes=False)) == exit_code
    told = capsys.readouterr()
    assert "Nothing was touched" in told.out
    assert "fence_primary → restore" in told.out
    assert would_succeed or "error[no_snapshot]" in told.err
