"""The verbs of control: what they send, and how the daemon's own documents are shown."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from daemon import cli_control
from daemon.cli_app import app
from daemon.cli_follow import Following
from daemon.cli_output import Output
from daemon.client import ClientError
from machines.failover import Probed, Silenced
from machines.model import InstanceId, MachineId, Source, Testimony, Word
from tests.test_api_stage import stage
from tests.test_cli_client import MACHINE, api, failover

PAUSED = {"paused_until": "2026-11-28T14:00:00+00:00"}


def sent(seen: list[httpx.Request]) -> list[tuple[str, str, Any]]:
    return [
        (request.method, request.url.path.removeprefix("/api/v1"), json.loads(request.content or b"null"))
        for request in seen
        if request.method != "GET"
    ]


def test_a_pause_of_the_fleet_has_a_length_and_a_reason(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[httpx.Request] = []
    with api({"POST /pause": (200, PAUSED)}, seen) as client:
        cli_control.pause(client, None, "2h", "maintenance", Output.TABLE)
    assert sent(seen) == [("POST", "/pause", {"minutes": 120.0, "reason": "maintenance"})]
    assert "the fleet is paused until 2026-11-28T14:00:00+00:00" in capsys.readouterr().out


def test_one_machine_is_paused_and_resumed_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[httpx.Request] = []
    answers = {
        "GET /machines/2": (200, MACHINE),
        "POST /pause": (200, {**PAUSED, "machine_id": 2}),
        "POST /resume": (200, {"paused_until": None, "machine_id": 2}),
    }
    with api(answers, seen) as client:
        cli_control.pause(client, "2", "90s", "its disk", Output.JSON)
        cli_control.resume(client, "2", None, Output.TABLE)
    assert [body for _, _, body in sent(seen)] == [
        {"minutes": 1.5, "reason": "its disk", "machine_id": 2},
        {"machine_id": 2},
    ]
    assert "machine 2 goes on" in capsys.readouterr().out


@pytest.mark.parametrize(("length", "remedy"), [("9d", "7d at most"), ("9" * 400 + "d", "7d"), ("10s", "1m at least")])
def test_a_pause_is_a_week_at_most_and_a_minute_at_least(length: str, remedy: str) -> None:
    with pytest.raises(ClientError) as refused:
        cli_control.minutes_of(length)
    assert refused.value.exit_code == 2
    assert remedy in refused.value.remedy
    assert (cli_control.minutes_of("7d"), cli_control.minutes_of("60s")) == (10080, 1)


@pytest.mark.parametrize("length", ["", "2", "two hours", "-1h", "1w"])
def test_what_is_no_length_is_told_how_to_be_written(length: str) -> None:
    with pytest.raises(ClientError) as refused:
        cli_control.minutes_of(length)
    assert (refused.value.exit_code, "2h" in refused.value.remedy) == (2, True)


def test_a_pause_without_a_reason_or_an_end_is_a_usage_error() -> None:
    for arguments in (["pause", "--for", "2h"], ["pause", "--reason", "x"]):
        assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_retry_names_what_failed_and_follows_what_was_begun(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[httpx.Request] = []
    answers = {
        "GET /machines/2": (200, MACHINE),
        "GET /failovers/fo_abc": (200, failover("failed")),
        "POST /failovers/fo_abc/retry": (202, {"failover_id": "fo_new", "machine_id": 2, "state": "running"}),
    }
    with api(answers, seen) as client:
        code = cli_control.retry(client, "2", "both", "again", Following(Output.TABLE, wait=False), yes=True)
    assert code == 3
    assert sent(seen) == [("POST", "/failovers/fo_abc/retry", {"strategy": "both", "reason": "again"})]
    assert "fo_new was accepted" in capsys.readouterr().out


def test_an_acknowledgement_bears_what_is_known(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[httpx.Request] = []
    answer = {
        "failover_id": "fo_abc",
        "machine_id": 2,
        "acknowledged_at": "-",
        "acknowledged_by": "ana",
        "comment": "the bucket was gone",
    }
    with api({"POST /failovers/fo_abc/ack": (200, answer)}, seen) as client:
        cli_control.ack(client, "fo_abc", "the bucket was gone", Output.TABLE)
    assert sent(seen) == [("POST", "/failovers/fo_abc/ack", {"comment": "the bucket was gone"})]
    assert "ana" in capsys.readouterr().out


@pytest.mark.parametrize(("before", "exit_code"), [(None, 5), ("the disk", 5), ("the bucket was gone", 0)])
def test_a_comment_that_comes_too_late_is_not_dropped_without_a_word(before: str | None, exit_code: int) -> None:
    answer = {
        "failover_id": "fo_abc",
        "machine_id": 2,
        "acknowledged_at": "2026-11-28T12:00:00+00:00",
        "acknowledged_by": "ana",
        "comment": before,
    }
    with api({"POST /failovers/fo_abc/ack": (200, answer)}) as client:
        if exit_code == 0:
            cli_control.ack(client, "fo_abc", "the bucket was gone", Output.TABLE)
            return
        with pytest.raises(ClientError) as refused:
            cli_control.ack(client, "fo_abc", "the bucket was gone", Output.TABLE)
        cli_control.ack(client, "fo_abc", None, Output.TABLE)
    assert refused.value.exit_code == exit_code
    assert f"ana was first, at 2026-11-28T12:00:00+00:00, and what was said then stands: {before or 'nothing'}" in str(
        refused.value
    )


async def test_settings_are_said_shown_and_taken_back(capsys: pytest.CaptureFixture[str]) -> None:
    async with stage() as s:
        await s.machine(2)
        put = await s.http.put("/api/v1/failover/settings/2", json={"confirm_after_s": 5, "auto_failover": "observe"})
        of_machine, of_fleet = put.json(), (await s.http.get("/api/v1/failover/settings")).json()
    seen: list[httpx.Request] = []
    answers = {
        "GET /machines/2": (200, MACHINE),
        "PUT /failover/settings/2": (200, of_machine),
        "GET /failover/settings": (200, of_fleet),
        "DELETE /failover/settings/2": (200, of_machine),
    }
    with api(answers, seen) as client:
        pairs = ["confirm_after_s=5", "auto_failover=observe", "priority="]
        cli_control.change_settings(client, "2", pairs, "a test", Output.TABLE)
        shown = capsys.readouterr().out
        cli_control.show_settings(client, None, Output.TABLE, every=True)
        whole = capsys.readouterr().out
        cli_control.show_settings(client, None, Output.CSV, every=True)
        table = capsys.readouterr().out
        cli_control.show_settings(client, None, Output.CSV, every=False)
        assert ",default," not in capsys.readouterr().out
        cli_control.show_settings(client, None, Output.JSON, every=False)
        assert "default" not in json.loads(capsys.readouterr().out)["origins"].values()
        cli_control.reset_settings(client, "2", None, Output.JSON)
    assert sent(seen)[0][2] == {
        "confirm_after_s": 5, "auto_failover": "observe", "priority": None, "reason": "a test",
    }  # fmt: skip
    rows = [line.split() for line in shown.splitlines()]
    assert ["confirm_after_s", "5.0", "machine"] in rows
    assert ["auto_failover", "observe", "machine"] in rows
    assert "max_concurrent" in whole
    assert "max_concurrent,10,default," in table


@pytest.mark.parametrize("value", ["1e400", "-1e400", "NaN", "Infinity", "[1e400]"])
def test_what_is_no_number_is_refused_before_anything_is_sent(value: str) -> None:
    seen: list[httpx.Request] = []
    with api({}, seen) as client, pytest.raises(ClientError) as refused:
        cli_control.change_settings(client, None, [f"confirm_after_s={value}"], None, Output.TABLE)
    assert (refused.value.exit_code, refused.value.code, seen) == (2, "invalid_parameter", [])
    assert f"confirm_after_s: {value} is no number" in refused.value.detail


async def test_why_is_shown_rule_by_rule_with_the_settings_that_move_it(capsys: pytest.CaptureFixture[str]) -> None:
    async with stage() as s:
        await s.machine(2)
        await s.loop.apply(MachineId(2), Silenced(40.0, 30.0))
        said = Testimony(Source.PROVIDER, Word.ALIVE, "status running", s.clock.now())
        await s.loop.apply(MachineId(2), Probed(InstanceId(456789), (said,)))
        why = (await s.http.get("/api/v1/machines/2/explain")).json()
    with api({"GET /machines/2": (200, MACHINE), "GET /machines/2/explain": (200, why)}) as client:
        cli_control.explain(client, "2", Output.WIDE)
        shown = capsys.readouterr().out
        cli_control.explain(client, "2", Output.JSON)
    assert json.loads(capsys.readouterr().out) == why
    assert "machine-2 is DETECTING" in shown
    assert "provider said 0 s ago: alive: status running" in shown
    assert any(line.split()[:3] == ["NO", "confirmed", "dead"] for line in shown.splitlines())
    assert "confirm_after_s=30.0 (default)" in shown
    assert "→ no automatic failover now: confirmed dead" in shown
    assert "asked again at" in shown
