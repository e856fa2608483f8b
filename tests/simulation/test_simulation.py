"""A few seeds of the whole daemon on virtual time: no invariant breaks, and the same seed is the same history."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.simulation.oracle import Oracle
from daemon.simulation.run import simulate
from daemon.simulation.scenarios import SCENARIOS, Scenario
from daemon.simulation.shrink import shrink
from daemon.simulation.weather import Event
from tests.simulation.planted import PLANTED, Planted, planted


def short(name: str, minutes: int = 3) -> Scenario:
    return replace(SCENARIOS[name], minutes=minutes, a_minute=2.0)


def test_the_same_seed_makes_the_same_history_and_another_one_does_not() -> None:
    first, again, other = (simulate(seed, short("S6", 1), "all") for seed in (3, 3, 4))
    assert first.digest == again.digest
    assert first.story == again.story
    assert first.digest != other.digest


@pytest.mark.parametrize(
    ("name", "seed", "strategy"), [("S2", 2, "cpu_standby"), ("S7", 1, "both"), ("S8", 1, "warm_pool")]
)
def test_no_invariant_breaks_in_a_few_minutes_of_bad_weather(name: str, seed: int, strategy: str) -> None:
    outcome = simulate(seed, short(name), strategy)
    assert outcome.violations == ()
    assert outcome.seen["failovers"] > 0
    assert outcome.seen["weather events"] >= 6


@pytest.mark.parametrize("bug", PLANTED, ids=lambda bug: bug.name)
def test_a_planted_bug_is_found_as_what_it_is(bug: Planted) -> None:
    """A plant that raises is found as a crash: unless that is the bug, it no longer fits what it is planted into."""
    with planted(bug):
        found = simulate(bug.seed, bug.scenario, bug.strategy).violations
    assert found
    assert (found[0].invariant == "crash") is bug.name.endswith("raises")


def test_an_oracle_that_cannot_look_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    def look(self: Oracle) -> None:
        raise KeyError("a bug in the oracle")

    monkeypatch.setattr(Oracle, "_check_unclaimed", look)
    (violation,) = simulate(1, short("S1"), "all").violations
    assert violation.invariant == "crash"
    assert "a bug in the oracle" in violation.text


def test_the_shortest_story_still_breaks_the_same_invariant() -> None:
    bug = next(bug for bug in PLANTED if bug.name == "old instance not fenced")
    events = (Event(10, "agent_dies", 2, 30), *bug.scenario.fixed, Event(30, "poison"), Event(40, "group_rebalances"))
    scenario = replace(bug.scenario, fixed=events)
    with planted(bug):
        first = simulate(bug.seed, scenario, bug.strategy)
        assert first.violations
        best, kept = shrink(
            first,
            len(events),
            lambda places: simulate(bug.seed, scenario, bug.strategy, places),
            most_plays=4,
        )
    assert len(kept) < len(events)
    assert {one.invariant for one in best.violations} & {one.invariant for one in first.violations}
