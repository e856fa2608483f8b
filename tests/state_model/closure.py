"""Everything that can be reached from a healthy machine, each step held against every law."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from machines.errors import IllegalTransition
from machines.failover import Decision, Signal, decide
from machines.model import Machine
from machines.states import Edge
from tests.state_model.configuration import FRESH, NOW, POLICY, canonical, key
from tests.state_model.laws import LAWS, Law, Step, edge_of
from tests.state_model.moves import Kind, Move, moves, strangers

STRANGERS_CHANGE_NOTHING = "an outdated actor, another failover and another instance change nothing"
NO_SIGNAL_IS_ILLEGAL = "a signal that means nothing changes nothing"


@dataclass
class Closure:
    """The reachable configurations, and the graph of the moves between them."""

    machines: dict[Hashable, Machine] = field(default_factory=dict)
    into: dict[Hashable, list[tuple[Move, Hashable]]] = field(default_factory=lambda: defaultdict(list))
    """For each configuration the moves that lead to it, and whence."""
    edges: set[Edge] = field(default_factory=set)
    steps: int = 0
    broken: Counter[str] = field(default_factory=Counter)
    """The laws that do not hold, with how often."""
    examples: dict[str, str] = field(default_factory=dict)

    def unable(self, goal: Callable[[Machine], bool], may: Callable[[Move], bool] = lambda move: True) -> list[Machine]:
        """The configurations from which no path of such moves leads to the goal."""
        able = {place for place, machine in self.machines.items() if goal(machine)}
        open_ends = deque(able)
        while open_ends:
            for move, source in self.into[open_ends.popleft()]:
                if source not in able and may(move):
                    able.add(source)
                    open_ends.append(source)
        return [machine for place, machine in self.machines.items() if place not in able]

    def blame(self, law: str, what: str) -> None:
        self.broken[law] += 1
        self.examples.setdefault(law, what)


def explore(until_broken: bool = False, laws: Sequence[Law] = LAWS) -> Closure:
    """Breadth first, so that the first example of a broken law is one of the shortest; `until_broken` ends with it.
    Without laws there is only the graph."""
    found = Closure()
    first = canonical(FRESH, NOW)
    found.machines[key(first)] = first
    waiting = deque([first])
    while waiting and not (until_broken and found.broken):
        machine = waiting.popleft()
        if laws:
            _meet_strangers(found, machine, NOW)
        for move in moves(machine, NOW):
            after = take(found, machine, move, NOW, laws)
            if after is None or (after is machine and not move.passes):
                continue
            then = canonical(after, NOW + move.passes)
            place = key(then)
            found.into[place].append((move, key(machine)))
            if place not in found.machines:
                found.machines[place] = then
                waiting.append(then)
    return found


def take(found: Closure, machine: Machine, move: Move, now: datetime, laws: Sequence[Law] = LAWS) -> Machine | None:
    """The machine after the move; None where it is against the law that none is illegal."""
    if move.signal is None:
        return move.changed
    decision = _decided(found, machine, move.signal, now)
    if decision is None:
        return None
    step = Step(machine, move, move.signal, decision, now)
    found.steps += 1
    for law in laws:
        complaint = law(step)
        if complaint is not None:
            found.blame(law.__name__, f"{told(machine)} --{move.signal}--> {told(step.after)}: {complaint}")
    row = edge_of(step)
    if row is not None:
        found.edges.add(row)
    return step.after


def _decided(found: Closure, machine: Machine, signal: Signal, now: datetime) -> Decision | None:
    try:
        return decide(machine, signal, now, POLICY)
    except IllegalTransition as error:
        found.blame(NO_SIGNAL_IS_ILLEGAL, f"{told(machine)} --{signal}--> {error}")
        return None


def _meet_strangers(found: Closure, machine: Machine, now: datetime) -> None:
    for signal in strangers(machine, now):
        decision = _decided(found, machine, signal, now)
        if decision is not None and (decision.machine != machine or decision.effects):
            found.blame(STRANGERS_CHANGE_NOTHING, f"{told(machine)} --{signal}--> {told(decision.machine)}")


def told(machine: Machine) -> str:
    """A configuration for people."""
    running, hold, evidence = machine.failover, machine.hold, machine.evidence
    parts = [machine.state.value, machine.mode.value, machine.setting.value]
    if running is not None:
        asked = (
            " cancel" * running.cancel_asked + " spoke" * running.primary_spoke + " alive" * running.primary_was_alive
        )
        proof = running.proof.grade.value if running.proof else "unfenced"
        parts.append(f"[{' > '.join(rung.value for rung in running.ladder)}, {proof}{asked}]")
    if hold is not None:
        parts.append(f"held: {hold.because}{' stopped' * hold.is_stopped}")
    if evidence is not None:
        parts.append("/".join(f"{said.source.value} {said.word.value}" for said in evidence.testimonies))
    return " ".join(parts)


def by(*kinds: Kind) -> Callable[[Move], bool]:
    return lambda move: move.kind in kinds
