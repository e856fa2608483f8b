"""Facts about steps, only ever appended; the truth after a crash."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeAlias

import msgspec

from machines.model import Claim, InstanceId

Elapsed: TypeAlias = Callable[[datetime], timedelta]

WHOLE_STEP = -1
"""The candidate number of an entry that speaks of the step and not of one of its candidates."""
STORE_UNAVAILABLE = "store_unavailable"
"""The code of a wait that says nothing of its step: what the step did could not be written down."""
PROVIDER_UNAVAILABLE = "provider_unavailable"
"""The same: the provider answers nobody, or refuses our key."""
_LONGEST_OUTAGE = timedelta(hours=1)
"""Of the provider, for one step. Then its tries run out as always, and a person is told that it has failed."""


class Mark(Enum):
    STARTED = "started"
    DONE = "done"
    WAITING = "waiting"
    REFUSED = "refused"
    UNKNOWN = "unknown"
    CLAIMED = "claimed"
    """A label is bound to an offer; the rental may or may not have happened."""
    RENTED = "rented"
    """The provider gave the claim an instance."""
    DROPPED = "dropped"
    """The candidate is out; what it may have left behind is a debt."""
    UNDO_STARTED = "undo_started"
    UNDO_WAITING = "undo_waiting"
    UNDO_FAILED = "undo_failed"
    UNDONE = "undone"


@dataclass(frozen=True, slots=True)
class Entry:
    """One fact. `output` is what the step gave (DONE) or the candidate's claim or instance."""

    step: str
    mark: Mark
    at: datetime
    candidate: int = WHOLE_STEP
    output: Mapping[str, Any] = field(default_factory=dict)
    code: str | None = None
    why: str | None = None
    until: datetime | None = None


def waits(entries: Sequence[Entry], step: str) -> list[Entry]:
    """The entries by which the step itself said that it takes longer; an outage says nothing of it."""
    return [entry for entry in entries if entry.step == step and entry.mark is Mark.WAITING and not is_outage(entry)]


def is_outage(entry: Entry) -> bool:
    """Such a wait uses up no try of its step."""
    return entry.mark is Mark.WAITING and entry.code in (STORE_UNAVAILABLE, PROVIDER_UNAVAILABLE)


def waits_for_provider(entries: Sequence[Entry], step: str, elapsed: Elapsed) -> bool:
    """Did the step meet an outage of the provider last, which may be waited for?"""
    last = next((entry for entry in _ends(entries, step)), None)
    return last is not None and _is_of_provider(last) and may_wait_for_provider(entries, step, elapsed)


def may_wait_for_provider(entries: Sequence[Entry], step: str, elapsed: Elapsed) -> bool:
    """Has the step, since it was answered last, not yet waited for the provider for as long as it may? `elapsed` is a
    clock's `since`."""
    since = None
    for entry in _ends(entries, step):
        if _is_of_provider(entry):
            since = entry.at
        elif entry.mark is not Mark.UNKNOWN:
            break
    return since is None or elapsed(since) <= _LONGEST_OUTAGE


def _ends(entries: Sequence[Entry], step: str) -> Iterator[Entry]:
    """What the step's runs came to, the last one first."""
    for entry in reversed(entries):
        if entry.step == step and entry.candidate == WHOLE_STEP and entry.mark is not Mark.STARTED:
            yield entry


def _is_of_provider(entry: Entry) -> bool:
    return is_outage(entry) and entry.code == PROVIDER_UNAVAILABLE


@dataclass(frozen=True, slots=True)
class Candidate:
    """A claim and what became of it."""

    number: int
    claim: Claim
    mark: Mark
    instance: InstanceId | None
    why: str | None

    @property
    def is_live(self) -> bool:
        return self.mark is not Mark.DROPPED


def candidates(entries: Sequence[Entry], step: str) -> tuple[Candidate, ...]:
    """The candidates of one step, oldest first, each with its newest mark."""
    found: dict[int, Candidate] = {}
    for entry in entries:
        if entry.step != step or entry.candidate == WHOLE_STEP:
            continue
        before = found.get(entry.candidate)
        if entry.mark is Mark.CLAIMED:
            claim = msgspec.convert(entry.output, Claim, strict=False)
            found[entry.candidate] = Candidate(entry.candidate, claim, entry.mark, None, None)
        elif before is not None:
            instance = entry.output.get("instance", before.instance)
            found[entry.candidate] = Candidate(entry.candidate, before.claim, entry.mark, instance, entry.why)
    return tuple(found.values())


def as_output(value: object) -> dict[str, Any]:
    """A step's output (a dataclass, or None) as plain data for the journal."""
    plain = msgspec.to_builtins(value)
    return plain if isinstance(plain, dict) else {}
