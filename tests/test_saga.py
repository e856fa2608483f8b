"""From a journal to the next move: the same path for a fresh attempt, a running one and one found after a crash."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.journal import (
    PROVIDER_UNAVAILABLE,
    STORE_UNAVAILABLE,
    Entry,
    Mark,
    may_wait_for_provider,
    waits_for_provider,
)
from machines.model import Rung
from machines.saga import (
    Abandoned,
    Run,
    Step,
    Strategy,
    Stuck,
    Succeeded,
    Undo,
    Wait,
    is_interruptible,
    is_past_return,
    next_move,
    unknown_in_a_row,
)

T0 = datetime(2026, 11, 23, tzinfo=UTC)
LATER = T0 + timedelta(seconds=30)


async def nothing(ctx):
    return None


A = Step("a", nothing, dict, undo=nothing, tries=3)
B = Step("b", nothing, dict, undo=nothing, tries=3, waits=2, late="boot_timeout", undo_tries=2)
C = Step("c", nothing, dict, irreversible=True)
STRATEGY = Strategy(Rung.CPU_STANDBY, (A, B, C))


def journal(*marks):
    entries = []
    for text in marks:
        step, mark, *rest = text.split()
        until = T0 + timedelta(seconds=int(rest[0])) if rest else None
        code = "no_offer_matches" if mark == "refused" else None
        entries.append(Entry(step, Mark(mark), T0, until=until, code=code, why="because" if code else None))
    return tuple(entries)


def test_a_fresh_attempt_begins_with_the_first_step():
    assert next_move(STRATEGY, (), T0) == Run(A)


def test_what_is_done_is_not_done_again():
    assert next_move(STRATEGY, journal("a started", "a done"), T0) == Run(B)


def test_all_done_is_success():
    entries = journal("a started", "a done", "b started", "b done", "c started", "c done")
    assert next_move(STRATEGY, entries, T0) == Succeeded()


def test_waiting_waits_until_its_time():
    entries = journal("a started", "a waiting 20")
    assert next_move(STRATEGY, entries, T0) == Wait(T0 + timedelta(seconds=20))
    assert next_move(STRATEGY, entries, LATER) == Run(A)


def test_a_start_without_an_end_counts_as_a_try():
    entries = journal("a started", "a started", "a started")
    assert next_move(STRATEGY, entries, T0) == Undo(A)


def test_a_wait_is_no_failed_try():
    entries = journal("a done", "b started", "b waiting 1", "b started", "b waiting 2")
    assert next_move(STRATEGY, entries, LATER) == Run(B)


def test_too_many_waits_end_the_attempt_with_the_steps_own_code():
    entries = journal("a started", "a done", *["b started", "b waiting 1"] * 3)
    assert next_move(STRATEGY, entries, LATER) == Undo(B)
    undone = entries + journal("b undo_started", "b undone", "a undo_started", "a undone")
    move = next_move(STRATEGY, undone, LATER)
    assert isinstance(move, Abandoned)
    assert move.code == "boot_timeout"


def test_the_failed_step_is_undone_too_and_then_the_ones_before_it_in_reverse():
    entries = journal("a started", "a done", "b started", "b refused")
    assert next_move(STRATEGY, entries, T0) == Undo(B)
    assert next_move(STRATEGY, entries + journal("b undo_started", "b undone"), T0) == Undo(A)


def test_a_step_that_never_started_is_not_undone():
    assert next_move(STRATEGY, journal("a refused"), T0) == Abandoned("no_offer_matches", "because")


def test_an_undo_that_never_ends_is_stuck_and_never_counts_as_gone():
    entries = journal("a done", "b started", "b refused", "b undo_started", "b undo_failed 1", "b undo_started")
    move = next_move(STRATEGY, entries, LATER)
    assert isinstance(move, Stuck)


def test_an_undo_waits_too():
    entries = journal("a started", "a refused", "a undo_started", "a undo_waiting 20")
    assert next_move(STRATEGY, entries, T0) == Wait(T0 + timedelta(seconds=20))


@pytest.mark.parametrize("outage", [STORE_UNAVAILABLE, PROVIDER_UNAVAILABLE])
def test_an_outage_uses_up_no_try_and_no_wait_and_gives_none_back(outage):
    *before, wait = journal("a done", "b started", "b waiting 1")
    start, met = before[-1], replace(wait, code=outage)
    entries = (*before, *(met, start) * 50)
    assert next_move(STRATEGY, entries, LATER) == Run(B)
    assert isinstance(next_move(STRATEGY, entries + (wait, start) * 3, LATER), Undo), "other waits are counted"
    unknown = journal("b unknown")[0]
    tried = (*before, unknown, start, met, start, unknown, start, met, start)
    assert isinstance(next_move(STRATEGY, tried, LATER), Undo), "two tries of unknown outcome and a third"
    assert unknown_in_a_row((*tried[:-2], met), "b") == 2


def test_a_step_waits_for_the_provider_for_an_hour_at_a_time():
    *before, wait = journal("a done", "b started", "b waiting 1")
    start, met = before[-1], replace(wait, code=PROVIDER_UNAVAILABLE)

    def after(minutes):
        return lambda at: T0 + timedelta(minutes=minutes) - at

    assert waits_for_provider((*before, met, start), "b", after(59))
    assert not waits_for_provider((*before, met), "b", after(61))
    assert not waits_for_provider((*before, wait), "b", after(1)), "it waits for something else"
    again = replace(met, at=T0 + timedelta(minutes=70))
    assert not may_wait_for_provider((*before, met, start, again), "b", after(71))
    assert may_wait_for_provider((*before, met, start, wait, start, again), "b", after(71)), "it was answered between"
    assert may_wait_for_provider((*before, met), "a", after(61)), "another step has met none"
    late = (*before, met, start, *journal("b unknown"), start)
    assert not may_wait_for_provider(late, "b", after(62)), "that it is not known is no answer"
    assert not waits_for_provider(late, "b", after(30)), "and it is not what the outage said"


def test_cancel_unwinds_before_the_point_of_no_return():
    entries = journal("a started", "a done", "b started", "b waiting 20")
    assert next_move(STRATEGY, entries, T0, cancel_why="an operator cancelled it") == Undo(B)


def test_cancel_is_too_late_once_an_irreversible_step_has_begun():
    entries = journal("a started", "a done", "b started", "b done", "c started")
    assert is_past_return(STRATEGY, entries)
    assert next_move(STRATEGY, entries, T0, cancel_why="an operator cancelled it") == Run(C)


def test_a_cancel_may_end_any_run_but_those_from_the_point_of_no_return_on():
    end = Step("hand_over", nothing, dict)
    strategy = Strategy(Rung.CPU_STANDBY, (A, B, C, end))
    assert [is_interruptible(strategy, (), step) for step in strategy.steps] == [True, True, False, False]
    begun = journal("a started", "a done", "b started", "b done", "c started")
    assert not any(is_interruptible(strategy, begun, step) for step in strategy.steps)


def test_a_run_that_a_cancel_ended_is_unwound_as_a_crash_would_be():
    entries = journal("a started", "a done", "b started")
    assert next_move(STRATEGY, entries, T0) == Run(B)
    assert next_move(STRATEGY, entries, T0, cancel_why="an operator cancelled it") == Undo(B)


def test_a_candidates_entries_do_not_speak_for_the_step():
    entries = (*journal("a started", "a done", "b started"), Entry("b", Mark.DROPPED, T0, candidate=0))
    assert next_move(STRATEGY, entries, T0) == Run(B)


@given(st.lists(st.sampled_from(["done", "waiting", "refused", "crash"]), max_size=60), st.booleans())
def test_every_attempt_comes_to_an_end(outcomes, cancel):
    """Whatever the steps do, the runner's loop ends in a bounded number of moves."""
    entries: list[Entry] = []
    now = T0
    script = iter(outcomes)
    for _ in range(400):
        move = next_move(STRATEGY, entries, now, cancel)
        match move:
            case Run(step):
                entries.append(Entry(step.name, Mark.STARTED, now))
                outcome = next(script, "done")
                if outcome != "crash":
                    entries.append(Entry(step.name, Mark(outcome), now, until=now + timedelta(seconds=5), code="x"))
            case Undo(step):
                entries += [Entry(step.name, Mark.UNDO_STARTED, now), Entry(step.name, Mark.UNDONE, now)]
            case Wait(until):
                now = until
            case _:
                started = {e.step for e in entries if e.mark is Mark.STARTED}
                undone = {e.step for e in entries if e.mark is Mark.UNDONE}
                if isinstance(move, Abandoned):
                    assert {step.name for step in STRATEGY.steps if step.undo and step.name in started} <= undone
                return
    raise AssertionError("the attempt did not end")


def test_a_wait_ends_where_the_clock_was_stepped_back_since():
    waiting = Entry("a", Mark.WAITING, T0, until=T0 + timedelta(seconds=10))
    entries = (Entry("a", Mark.STARTED, T0), waiting)
    assert next_move(STRATEGY, entries, T0 - timedelta(seconds=3)) == Wait(T0 + timedelta(seconds=10))
    assert next_move(STRATEGY, entries, T0 - timedelta(hours=1)) == Run(A)


def test_tries_in_a_row_of_unknown_outcome_are_counted_from_the_last_one_back():
    marks = (
        Mark.STARTED,
        Mark.UNKNOWN,
        Mark.STARTED,
        Mark.WAITING,
        Mark.STARTED,
        Mark.UNKNOWN,
        Mark.STARTED,
        Mark.UNKNOWN,
    )
    entries = [Entry("a", mark, T0) for mark in marks] + [Entry("b", Mark.DONE, T0)]
    assert unknown_in_a_row(entries, "a") == 2
    assert unknown_in_a_row(entries[:4], "a") == 0
    assert unknown_in_a_row(entries, "b") == 0
    assert unknown_in_a_row([], "a") == 0
