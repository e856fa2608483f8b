"""The state machine, checked exhaustively: every configuration that the real `decide` can come to, every signal there."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest

from machines.admission import Granted
from machines.failover import Admitted, CancelAsked
from machines.model import Machine, Mode, Setting
from machines.states import EDGES, State, Trigger
from tests.state_model.bugs import BUGS, Bug, planted
from tests.state_model.closure import Closure, by, explore, take, told
from tests.state_model.configuration import FRESH, NOW, canonical, key
from tests.state_model.moves import Kind, Move, moves, strangers

NO_LADDER_LEADS_THERE = {
    (State.WARM_POOL_ATTEMPT, Trigger.REGIONAL_VOLUME_STARTED),
    (State.CPU_STANDBY_ATTEMPT, Trigger.REGIONAL_VOLUME_STARTED),
}
"""Rows for ladders that end with a regional volume; no setting of this version has one."""
WALKS, STEPS = 60, 60


@pytest.fixture(scope="module")
def closure() -> Closure:
    return explore()


def test_every_step_obeys_every_law(closure: Closure) -> None:
    assert closure.examples == {}
    assert closure.steps > 50_000


def test_every_state_is_reached(closure: Closure) -> None:
    assert {machine.state for machine in closure.machines.values()} == set(State)


def test_every_row_of_the_table_is_followed(closure: Closure) -> None:
    missing = {(row.source, row.trigger) for row in EDGES if row not in closure.edges}
    assert missing == NO_LADDER_LEADS_THERE


def test_from_everywhere_some_path_leads_to_service(closure: Closure) -> None:
    assert _named(closure.unable(_serves)) == []


def test_a_person_has_a_way_out_of_everything_in_any_weather(closure: Closure) -> None:
    """By commands alone, whose failovers run: paused, blind, and with every place of the cap taken."""
    assert _named(closure.unable(lambda machine: machine.state is State.RECOVERED, by(Kind.PERSON, Kind.RUNNER))) == []


def test_a_person_can_end_every_failover(closure: Closure) -> None:
    assert _named(_unable_to_cancel(closure)) == []


def test_a_protected_suspect_that_is_dead_is_failed_over_by_itself(closure: Closure) -> None:
    """Nobody speaks, nobody commands: time, the alarm, the questions and the gate are enough."""
    stuck = closure.unable(lambda machine: machine.failover is not None, by(Kind.TIME, Kind.ALARM, Kind.GATE))
    assert [one for one in _named(stuck) if one.startswith(f"{State.DETECTING.value} on both")] == []


def test_an_unprotected_machine_is_never_failed_over_by_itself(closure: Closure) -> None:
    begun = [
        told(closure.machines[source])
        for ways in closure.into.values()
        for move, source in ways
        if move.kind is Kind.GATE and isinstance(move.signal, Admitted) and not _is_protected(closure.machines[source])
    ]
    assert begun == []


def test_every_configuration_meets_outdated_actors(closure: Closure) -> None:
    assert all(len(list(strangers(machine, NOW))) >= 20 for machine in closure.machines.values())


def test_walks_of_real_machines_stay_within_the_model(closure: Closure) -> None:
    """What the model forgets decides nothing: a machine with its numbers and times is never where the model is not."""
    rng = random.Random(1)
    walked = Closure()
    for _ in range(WALKS):
        machine, now = FRESH, NOW
        for _ in range(STEPS):
            move = rng.choice(list(moves(machine, now)))
            after = take(walked, machine, move, now)
            assert after is not None, walked.examples
            machine, now = after, now + move.passes
            assert key(canonical(machine, now)) in closure.machines, told(machine)
    assert walked.examples == {}


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.law is not None], ids=lambda bug: bug.name)
def test_a_bug_that_breaks_a_law_is_found(bug: Bug) -> None:
    with planted(bug):
        found = explore(until_broken=True)
    assert bug.law in found.broken


@pytest.mark.parametrize("bug", [bug for bug in BUGS if bug.law is None], ids=lambda bug: bug.name)
def test_a_bug_that_closes_a_way_out_is_found(bug: Bug) -> None:
    with planted(bug):
        found = explore(laws=())
    ways: tuple[Callable[[Closure], list[Machine]], ...] = (
        lambda model: model.unable(lambda machine: machine.state is State.RECOVERED, by(Kind.PERSON, Kind.RUNNER)),
        _unable_to_cancel,
    )
    assert any(way(found) for way in ways)


def test_the_worst_weather_holds_back_no_person() -> None:
    """The model's people pass a gate that lets nothing automatic through."""
    asked = [move for move in moves(FRESH, NOW) if move.kind is Kind.PERSON and move.facts is not None]
    assert asked
    for move in asked:
        assert isinstance(move.signal, Admitted)
        assert isinstance(move.signal.granted, Granted)
        assert move.facts is not None
        assert move.facts.blind
        assert not move.facts.pause_is_readable


def _serves(machine: Machine) -> bool:
    return machine.state in (State.HEALTHY, State.RECOVERED)


def _is_protected(machine: Machine) -> bool:
    return machine.mode is Mode.ON and machine.setting is not Setting.DISABLED


def _unable_to_cancel(closure: Closure) -> list[Machine]:
    """One cancel, then what the runner makes of it: no attempt may go on to another rung."""

    def may(move: Move) -> bool:
        outcome = getattr(move.signal, "outcome", None)
        return isinstance(move.signal, CancelAsked) or getattr(outcome, "code", None) == "cancelled"

    return closure.unable(lambda machine: machine.failover is None, may)


def _named(machines: list[Machine]) -> list[str]:
    return sorted(told(machine) for machine in machines)
