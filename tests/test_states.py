"""The table of states is the documentation, and every pair outside it raises."""

from itertools import product

import pytest

from machines.errors import IllegalTransition
from machines.states import EDGES, TABLE, State, Trigger, advance, as_mermaid, edge

IN_TABLE = {(row.source, row.trigger) for row in EDGES}


@pytest.mark.parametrize("row", EDGES, ids=lambda row: f"{row.source.value}-{row.trigger.value}")
def test_an_edge_leads_where_the_table_says(row):
    assert advance(row.source, row.trigger) is row.target
    assert edge(row.source, row.trigger).because == row.because


@pytest.mark.parametrize(
    ("state", "trigger"),
    [pair for pair in product(State, Trigger) if pair not in IN_TABLE],
    ids=lambda value: value.value,
)
def test_a_pair_outside_the_table_raises(state, trigger):
    with pytest.raises(IllegalTransition):
        advance(state, trigger)


def test_no_pair_stands_twice():
    assert len(IN_TABLE) == len(EDGES)


def test_the_library_holds_the_same_table():
    theirs = {
        (event, source, transition.dest)
        for event, found in TABLE.events.items()
        for source, transitions in found.transitions.items()
        for transition in transitions
    }
    assert theirs == {(row.trigger.value, row.source.name, row.target.name) for row in EDGES}


def test_every_state_is_reached_and_left():
    assert {row.target for row in EDGES} == set(State)
    assert {row.source for row in EDGES} == set(State)


def test_from_failed_an_operator_can_always_retry():
    ways_out = {row.trigger for row in EDGES if row.source is State.FAILED}
    assert {Trigger.WARM_POOL_STARTED, Trigger.CPU_STANDBY_STARTED, Trigger.REGIONAL_VOLUME_STARTED} <= ways_out


def test_the_drawing_shows_every_edge():
    drawing = as_mermaid()
    for row in EDGES:
        assert f"{row.source.value} --> {row.target.value}: {row.trigger.value}" in drawing
