"""A strategy as data, and the pure function that says what comes next.

A fresh attempt, a running one and one that is found after a crash take the same path: read the journal, ask for the
next move, make it, write it down.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Generic, TypeAlias, TypeVar

import msgspec

from machines.elapsed import CLOCKS_DIFFER_S
from machines.journal import WHOLE_STEP, Candidate, Entry, Mark, candidates, is_outage
from machines.model import FailoverId, HostId, Machine, Rung, Running
from machines.policy import Policy
from machines.ports import Clock, Fleet, GpuCloud, Journal, Shell, SnapshotStore, VmWorkspaces, VolumeStore
from machines.reputation import Reputation

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Step(Generic[T]):
    """A named action, safe to run again, with an undo that is safe to run at any time.

    `tries` bounds starts that ended in a crash or an unknown outcome, `waits` bounds NotYet; where either runs out the
    attempt unwinds with the code `late`. An outage of the store, or for an hour of the whole provider, uses up
    neither. From an `irreversible` step on, cancel answers too late.
    """

    name: str
    run: Callable[[StepContext], Awaitable[T]]
    output: type[T]
    undo: Callable[[StepContext], Awaitable[None]] | None = None
    tries: int = 5
    waits: int = 20
    late: str = "verify_failed"
    irreversible: bool = False
    breaks_off: bool = True
    """A cancel may end its run at any moment; else it waits for the run's end."""
    undo_tries: int = 200


@dataclass(frozen=True, slots=True)
class Strategy:
    rung: Rung
    steps: tuple[Step[Any], ...]


@dataclass(frozen=True, slots=True)
class StepContext:
    """All that a step is handed: the machine as it stood at the last save, the journal, and the ports."""

    machine: Machine
    failover: Running
    attempt: int
    deployment: str
    policy: Policy
    entries: tuple[Entry, ...]
    avoid_hosts: frozenset[HostId]
    """Hosts that earlier attempts of this failover tried in vain."""
    cloud: GpuCloud
    shell: Shell
    snapshots: SnapshotStore
    volumes: VolumeStore
    journal: Journal
    fleet: Fleet
    clock: Clock
    reputation: Reputation = field(default_factory=Reputation)
    vms: VmWorkspaces | None = None
    """None where no provider of CPU VMs is configured."""
    spent_before: float = 0.0
    """$ that earlier attempts of this failover have cost."""

    def output(self, step: Step[T]) -> T:
        """What an earlier step gave."""
        for entry in reversed(self.entries):
            if entry.step == step.name and entry.mark is Mark.DONE:
                return msgspec.convert(dict(entry.output), step.output, strict=False)
        raise LookupError(f"step {step.name} has not run in this attempt")

    def candidates(self, step: str) -> tuple[Candidate, ...]:
        return candidates(self.entries, step)

    @property
    def failover_id(self) -> FailoverId:
        return self.failover.id


@dataclass(frozen=True, slots=True)
class Run:
    step: Step[Any]


@dataclass(frozen=True, slots=True)
class Undo:
    step: Step[Any]


@dataclass(frozen=True, slots=True)
class Wait:
    until: datetime


@dataclass(frozen=True, slots=True)
class Succeeded:
    pass


@dataclass(frozen=True, slots=True)
class Abandoned:
    """Every trace is gone; the ladder goes on."""

    code: str
    why: str


@dataclass(frozen=True, slots=True)
class Stuck:
    """An undo keeps failing: a person is told, the row stays, it never counts as gone."""

    code: str
    why: str


Move: TypeAlias = Run | Undo | Wait | Succeeded | Abandoned | Stuck


@dataclass(slots=True)
class _Progress:
    """What the journal says of one step."""

    started: bool = False
    done: bool = False
    refused: Entry | None = None
    open_tries: int = 0
    waits: int = 0
    last: Entry | None = None
    undo_tries: int = 0
    undo_last: Entry | None = None

    def add(self, entry: Entry) -> None:
        match entry.mark:
            case Mark.STARTED:
                self.started = True
                self.open_tries += 1
            case Mark.WAITING if is_outage(entry):
                self.open_tries -= 1
            case Mark.WAITING:
                self.waits += 1
                self.open_tries = 0
            case Mark.DONE:
                self.done = True
            case Mark.REFUSED:
                self.refused = entry
            case Mark.UNDO_STARTED:
                self.undo_tries += 1
            case _:
                pass
        if entry.mark in _UNDO_MARKS:
            self.undo_last = entry
        else:
            self.last = entry


_UNDO_MARKS = frozenset({Mark.UNDO_STARTED, Mark.UNDO_WAITING, Mark.UNDO_FAILED, Mark.UNDONE})


def next_move(strategy: Strategy, entries: Sequence[Entry], now: datetime, cancel_why: str | None = None) -> Move:
    """The one move that the journal allows now. `cancel_why` asks it to unwind, unless that is too late."""
    progress = _read(strategy, entries)
    for index, step in enumerate(strategy.steps):
        here = progress[step.name]
        if here.done:
            continue
        if here.refused is not None:
            return _unwind(strategy, index, progress, now, here.refused.code or step.late, here.refused.why or "")
        if cancel_why is not None and not is_past_return(strategy, entries):
            return _unwind(strategy, index, progress, now, "cancelled", cancel_why)
        if _is_exhausted(step, here):
            why = (here.last.why if here.last else None) or "it did not come to an end"
            return _unwind(strategy, index, progress, now, step.late, f"{step.name}: {why}")
        if _is_waiting(here.last, Mark.WAITING, now):
            assert here.last is not None
            assert here.last.until is not None
            return Wait(here.last.until)
        return Run(step)
    return Succeeded()


def is_past_return(strategy: Strategy, entries: Sequence[Entry]) -> bool:
    """Has an irreversible step begun? Begun, not done: it may have acted before it failed."""
    begun = {entry.step for entry in entries if entry.mark is Mark.STARTED}
    return any(step.irreversible and step.name in begun for step in strategy.steps)


def is_interruptible(strategy: Strategy, entries: Sequence[Entry], step: Step[Any]) -> bool:
    """May a cancel end the step's run at any moment? It is as if we had crashed in it, which every step bears; only the
    point of no return is never left half-way by our own will."""
    return (
        step.breaks_off
        and not step.irreversible
        and step is not strategy.steps[-1]
        and not is_past_return(strategy, entries)
    )


def unknown_in_a_row(entries: Sequence[Entry], step: str) -> int:
    """How many of the step's last tries ended so that nobody knows what became of them."""
    count = 0
    for entry in reversed(entries):
        if entry.step != step or entry.candidate != WHOLE_STEP or entry.mark is Mark.STARTED or is_outage(entry):
            continue
        if entry.mark is not Mark.UNKNOWN:
            break
        count += 1
    return count


def _read(strategy: Strategy, entries: Sequence[Entry]) -> dict[str, _Progress]:
    progress = {step.name: _Progress() for step in strategy.steps}
    for entry in entries:
        if entry.candidate == WHOLE_STEP and entry.step in progress:
            progress[entry.step].add(entry)
    return progress


def _is_exhausted(step: Step[Any], here: _Progress) -> bool:
    return here.open_tries >= step.tries or (here.waits > step.waits)


def _is_waiting(last: Entry | None, mark: Mark, now: datetime) -> bool:
    """A wait is never longer than it was meant to be: where more is left, a clock was stepped back since."""
    if last is None or last.mark is not mark or last.until is None:
        return False
    return timedelta(0) < last.until - now <= last.until - last.at + timedelta(seconds=CLOCKS_DIFFER_S)


def _unwind(
    strategy: Strategy, failed: int, progress: dict[str, _Progress], now: datetime, code: str, why: str
) -> Move:
    # The failed step is undone too: it may have acted before it failed.
    for step in reversed(strategy.steps[: failed + 1]):
        here = progress[step.name]
        if step.undo is None or not here.started:
            continue
        last = here.undo_last
        if last is not None and last.mark is Mark.UNDONE:
            continue
        if _is_waiting(last, Mark.UNDO_WAITING, now) or _is_waiting(last, Mark.UNDO_FAILED, now):
            assert last is not None
            assert last.until is not None
            return Wait(last.until)
        if here.undo_tries >= step.undo_tries:
            return Stuck(code, f"the undo of {step.name} does not come to its end: {last.why if last else ''}")
        return Undo(step)
    return Abandoned(code, why)
