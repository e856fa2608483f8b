"""Bugs on purpose: each takes one thing away from the state machine that the model must miss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from machines import admission, endings, failover, hold, restart, states
from machines.failover import Decision, EndFailover, Notify
from machines.model import Running
from machines.states import State, Trigger
from tests.state_model import laws
from tests.state_model.closure import NO_SIGNAL_IS_ILLEGAL, STRANGERS_CHANGE_NOTHING

Plant = Callable[[Any, str, Any], None]


@dataclass(frozen=True, slots=True)
class Bug:
    """What is taken away, and the law that must be found broken; None where a way out is missing afterwards."""

    name: str
    patch: Callable[[Plant], None]
    law: str | None


def _any_fence_will_do(plant: Plant) -> None:
    plant(Running, "is_worked_by", lambda self, number, fence: self.id == number)


def _any_failover_may_be_taken(plant: Plant) -> None:
    def taken(machine: Any, signal: Any) -> Decision:
        return (
            failover._on_taken_over(machine, replace(signal, failover=machine.failover.id))
            if machine.failover
            else Decision(machine)
        )

    plain = failover._on_taken_over
    plant(
        failover,
        "_on_taken_over",
        lambda machine, signal: taken(machine, signal) if signal.failover == "fo_other" else plain(machine, signal),
    )


def _any_instance_is_the_machine(plant: Plant) -> None:
    plain = failover._on_heard
    plant(
        failover,
        "_on_heard",
        lambda machine, signal, now: plain(machine, replace(signal, instance=machine.primary), now),
    )


def _a_takeover_keeps_the_fence(plant: Plant) -> None:
    plant(failover, "_on_taken_over", lambda machine, signal: Decision(machine))


def _a_failover_begins_under_the_old_fence(plant: Plant) -> None:
    plain = failover._on_admitted

    def admitted(machine: Any, signal: Any, now: Any) -> Decision:
        return plain(replace(machine, fence=machine.fence - 1), signal, now)

    plant(failover, "_on_admitted", admitted)


def _the_ended_failover_stays(plant: Plant) -> None:
    plain = endings._close

    def close(machine: Any, running: Any, *rest: Any, **named: Any) -> Decision:
        decision = plain(machine, running, *rest, **named)
        return replace(decision, machine=replace(decision.machine, failover=running))

    plant(endings, "_close", close)


def _the_end_is_not_told(plant: Plant) -> None:
    plain = endings._won

    def won(*arguments: Any) -> Decision:
        decision = plain(*arguments)
        return replace(decision, effects=tuple(one for one in decision.effects if not isinstance(one, EndFailover)))

    plant(endings, "_won", won)


def _the_old_instance_is_forgotten(plant: Plant) -> None:
    plant(endings, "_debts_of_the_old", lambda machine, running, new, now: ())


def _the_repeated_attempt_keeps_its_number(plant: Plant) -> None:
    plain = endings._lost

    def lost(machine: Any, running: Any, *rest: Any) -> Decision:
        return plain(machine, replace(running, attempt=running.attempt - 1), *rest)

    plant(endings, "_lost", lost)


def _a_failed_machine_is_not_told(plant: Plant) -> None:
    plain = endings._parked

    def parked(*arguments: Any) -> Decision:
        decision = plain(*arguments)
        return replace(decision, effects=tuple(one for one in decision.effects if not isinstance(one, Notify)))

    plant(endings, "_parked", parked)


def _a_held_suspect_is_never_looked_at_again(plant: Plant) -> None:
    for room in (endings, failover, restart):
        plant(room, "watched", lambda machine, policy: replace(machine, look_at=None, evidence=None))


def _late_beats_count(plant: Plant) -> None:
    plain = failover._on_heard

    def heard(machine: Any, signal: Any, now: Any) -> Decision:
        lifted = replace(machine.hold, is_stopped=False) if machine.hold else None
        return plain(replace(machine, hold=lifted), signal, now)

    plant(failover, "_on_heard", heard)


def _beats_that_are_read_back_count(plant: Plant) -> None:
    plain = failover._on_heard
    plant(failover, "_on_heard", lambda machine, signal, now: plain(machine, replace(signal, is_live=True), now))


def _one_source_is_enough(plant: Plant) -> None:
    plain = failover.judge

    def judged(evidence: Any, policy: Any) -> Any:
        return plain(replace(evidence, dead_since=evidence.at - 10 * hold.timedelta(minutes=1), rounds=9), policy)

    plant(failover, "judge", judged)
    plant(admission, "judge", judged)


def _a_pause_does_not_hold(plant: Plant) -> None:
    plain = admission._not_paused
    plant(admission, "_not_paused", lambda facts, *rest: plain(replace(facts, pause=None), *rest))


def _nothing_is_held(plant: Plant) -> None:
    plant(failover, "is_held", lambda machine, now, policy: False)


def _a_row_is_missing(plant: Plant) -> None:
    kept = {pair: row for pair, row in states._BY_KEY.items() if pair != (State.FAILED, Trigger.HEARTBEAT_RESUMED)}
    plant(states, "_BY_KEY", kept)


def _a_row_leads_elsewhere(plant: Plant) -> None:
    pair = (State.DETECTING, Trigger.HEARTBEAT_RESUMED)
    row = replace(states._BY_KEY[pair], target=State.RECOVERED)
    plant(states, "_BY_KEY", {**states._BY_KEY, pair: row})


def _no_second_failover_of_a_failed_machine(plant: Plant) -> None:
    plain = admission.refusal

    def refusal(machine: Any, request: Any) -> Any:
        if machine.state is State.FAILED:
            return admission.Denied("failed", "it has failed", "none")
        return plain(machine, request)

    plant(admission, "refusal", refusal)


def _cancels_are_not_heard(plant: Plant) -> None:
    plant(failover, "_on_cancel", lambda machine, signal: Decision(machine))


def _the_ladder_never_ends(plant: Plant) -> None:
    plain = endings._lost

    def lost(machine: Any, running: Any, told: Any, scene: Any) -> Decision:
        decision = plain(machine, running, told, scene)
        if decision.machine.failover is None:
            again = replace(running, attempt=running.attempt + 1)
            return Decision(replace(machine, failover=again), (endings.BeginAttempt(again),))
        return decision

    plant(endings, "_lost", lost)


BUGS = (
    Bug("any fence will do", _any_fence_will_do, STRANGERS_CHANGE_NOTHING),
    Bug("any failover may be taken over", _any_failover_may_be_taken, STRANGERS_CHANGE_NOTHING),
    Bug("any instance is the machine", _any_instance_is_the_machine, STRANGERS_CHANGE_NOTHING),
    Bug("a takeover keeps the fence", _a_takeover_keeps_the_fence, laws.the_fence_rises_by_one_where_somebody_new_acts_and_nowhere_else.__name__),
    Bug("a failover begins under the old fence", _a_failover_begins_under_the_old_fence, laws.the_fence_rises_by_one_where_somebody_new_acts_and_nowhere_else.__name__),
    Bug("the ended failover stays", _the_ended_failover_stays, laws.a_failover_begins_by_admission_and_ends_by_its_own_last_attempt.__name__),
    Bug("the end is not told", _the_end_is_not_told, laws.a_failover_begins_by_admission_and_ends_by_its_own_last_attempt.__name__),
    Bug("the old instance is forgotten", _the_old_instance_is_forgotten, laws.only_a_win_moves_the_machine_and_what_it_leaves_is_owed.__name__),
    Bug("the repeated attempt keeps its number", _the_repeated_attempt_keeps_its_number, laws.each_attempt_is_begun_once.__name__),
    Bug("a failed machine is not told", _a_failed_machine_is_not_told, laws.a_machine_that_fails_tells_somebody.__name__),
    Bug("a held suspect is never looked at again", _a_held_suspect_is_never_looked_at_again, laws.a_suspect_has_an_alarm.__name__),
    Bug("late beats count", _late_beats_count, laws.a_beat_from_before_our_stop_is_no_sign_of_life.__name__),
    Bug("beats that are read back count", _beats_that_are_read_back_count, laws.a_beat_that_is_read_back_moves_nothing.__name__),
    Bug("one source is enough", _one_source_is_enough, laws.nothing_is_wished_for_without_a_second_source.__name__),
    Bug("a pause does not hold", _a_pause_does_not_hold, laws.nothing_automatic_begins_without_the_fleets_leave.__name__),
    Bug("nothing is held", _nothing_is_held, laws.nothing_is_asked_of_a_machine_that_is_held.__name__),
    Bug("a row is missing", _a_row_is_missing, NO_SIGNAL_IS_ILLEGAL),
    Bug("a row leads elsewhere", _a_row_leads_elsewhere, laws.state_moves_along_the_table.__name__),
    Bug("no second failover of a failed machine", _no_second_failover_of_a_failed_machine, None),
    Bug("cancels are not heard", _cancels_are_not_heard, None),
    Bug("the ladder never ends", _the_ladder_never_ends, None),
)  # fmt: skip


@contextmanager
def planted(bug: Bug) -> Iterator[None]:
    """The state machine with this one bug."""
    before: list[tuple[Any, str, Any]] = []

    def plant(owner: Any, name: str, replacement: Any) -> None:
        before.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, replacement)

    try:
        bug.patch(plant)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)
