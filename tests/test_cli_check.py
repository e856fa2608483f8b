"""`failoverd check` and `status --short`: what one line says, and the code that a monitor goes by."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.cli_check import check
from daemon.cli_output import Output
from daemon.cli_show import show_status
from tests.test_cli_client import MACHINE, WELL, Answer, api

UNTIL = "2026-11-28T13:00:00+00:00"
PAUSE = {"reason": "moving house", "until": UNTIL, "by": "ana"}
BRAVO_RESTS = {"machine_id": 2, "name": "bravo", "reason": "its disk", "until": UNTIL, "by": "ben"}
ROWS = [
    {**MACHINE, "id": number, "name": name, "state": "healthy", "auto_failover": "on"}
    for number, name in ((2, "bravo"), (22, "victor"))
]


def fleet(**more: Any) -> dict[str, Answer]:
    """Two machines that are well, and what is said of the fleet."""
    of_each: dict[str, Answer] = {f"GET /machines/{row['id']}": (200, row) for row in ROWS}
    return {
        **of_each,
        "GET /machines": (200, {"machines": ROWS, "next_cursor": None}),
        "GET /fleet": (200, {**WELL["GET /fleet"][1], **more}),
    }


def alerts(*keys: str) -> dict[str, Answer]:
    rows = [{"key": key, "text": f"{key} is wrong", "age_seconds": 1.0} for key in keys]
    return {"GET /alerts": (200, {"alerts": rows, "count": len(rows)})}


def checked(answers: dict[str, Answer], machine: str | None, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    with api(answers) as client:
        code = check(client, machine)
    return code, capsys.readouterr().out.rstrip("\n")


def test_a_machine_answers_for_its_own_alerts_alone(capsys: pytest.CaptureFixture[str]) -> None:
    answers = {**fleet(), **alerts("machine-22", "machine-22-flapping", "topic-a")}
    assert checked(answers, "bravo", capsys)[0] == 0
    code, said = checked(answers, "victor", capsys)
    assert code == 1
    assert said.startswith("FAILOVERD WARNING - machine-22 is wrong; machine-22-flapping is wrong |")
    assert checked(answers, None, capsys)[0] == 1


@pytest.mark.parametrize("machine", [None, "2"])
def test_a_paused_fleet_is_a_warning_with_the_reason_and_the_end(
    machine: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = checked(fleet(pause=PAUSE), machine, capsys)
    assert code == 1
    assert f"automatic failover is paused until {UNTIL} by ana: moving house" in said


def test_a_paused_machine_is_a_warning_where_it_is_asked_for_and_a_word_elsewhere(
    capsys: pytest.CaptureFixture[str],
) -> None:
    answers = fleet(paused_machines=[BRAVO_RESTS])
    code, said = checked(answers, "bravo", capsys)
    assert (code, f"bravo alone is paused until {UNTIL} by ben: its disk" in said) == (1, True)
    assert checked(answers, "victor", capsys) == (0, f"FAILOVERD OK - 1 machine well | {FIGURES.format(1)}")
    code, said = checked(answers, None, capsys)
    assert (code, "2 machines well; bravo alone is paused" in said) == (0, True)


FIGURES = "machines={} failed=0 not_well=0 alerts=0 not_ready=0"


@pytest.mark.parametrize("setting", ["off", "observe"])
def test_that_nothing_is_failed_over_by_itself_is_said_and_is_no_warning(
    setting: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = checked(fleet(auto_failover=setting), None, capsys)
    assert code == 0
    assert f"2 machines well; nothing is failed over by itself: auto_failover={setting} |" in said
    answers = fleet()
    answers["GET /machines/2"] = (200, {**ROWS[0], "auto_failover": setting})
    assert f"auto_failover={setting}" in checked(answers, "2", capsys)[1]


def test_the_line_for_a_prompt_names_who_is_paused(capsys: pytest.CaptureFixture[str]) -> None:
    many = [{**BRAVO_RESTS, "name": f"m{number}"} for number in range(5)]
    for answers, said in (
        (fleet(), "2/2 well"),
        (fleet(pause=PAUSE), "2/2 well · the fleet is paused"),
        (fleet(pause=PAUSE, paused_machines=[BRAVO_RESTS]), "2/2 well · the fleet is paused · bravo paused"),
        (fleet(paused_machines=many), "2/2 well · m0, m1, m2 and 2 more paused"),
    ):
        with api(answers) as client:
            show_status(client, Output.TABLE, watch=False, short=True)
        assert capsys.readouterr().out == said + "\n"
