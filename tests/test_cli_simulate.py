"""`failoverd simulate`: what it refuses before it plays anything, and what its replay says."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from daemon import simulate as simulating
from daemon.cli_app import app
from daemon.simulation.scenarios import SCENARIOS

SHORT = ("simulate", "--scenario", "S1", "--seed", "1")


def refused(*arguments: str) -> str:
    answer = CliRunner().invoke(app, arguments)
    assert answer.exit_code == 2, answer.output
    return " ".join(answer.output.replace("│", " ").split())


@pytest.mark.parametrize("events", ["garbage", "1,x", "-1", "9999", ""])
def test_a_mistyped_replay_is_refused_and_not_read_as_clean(events: str) -> None:
    said = refused(*SHORT, "--events", events)
    assert "--events" in said
    assert "none, or numbers from 0 to" in said


@pytest.mark.parametrize("where", [("--scenario", "S1"), ("--seed", "1"), ("--seed", "1", "--scenario", "S1,S2")])
def test_numbers_of_events_are_of_one_play(where: tuple[str, ...]) -> None:
    assert "needs --seed and one --scenario" in refused("simulate", *where, "--events", "1")


def test_a_replay_of_nothing_is_well_in_its_document_and_in_its_exit_code(quiet_simulation: None) -> None:
    answer = CliRunner().invoke(app, [*SHORT, "--events", "none", "--json"])
    assert answer.exit_code == 0
    assert json.loads(answer.output)["ok"] is True


def test_a_replay_tells_the_story_of_each_scenario(quiet_simulation: None, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = simulating.simulate
    monkeypatch.setattr(
        simulating, "simulate", lambda seed, scenario, strategy, kept: plain(seed, SCENARIOS["S1"], strategy, ())
    )
    answer = CliRunner().invoke(app, ["simulate", "--seed", "1", "--scenario", "S1,S11"])
    assert answer.output.count("\nhistory ") == 2
