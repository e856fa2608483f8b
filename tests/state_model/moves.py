"""All that may be told to a machine: by the world, by the runner of its failover, by the gate, by people, and by those
who have no business to say it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum
from itertools import product

from machines.admission import Delayed, FailoverRequest, FleetFacts, Granted, Pause, admit
from machines.brake import Crowd
from machines.failover import (
    Admitted,
    AttemptEnded,
    CancelAsked,
    Deferred,
    Due,
    Faulted,
    Fenced,
    Heard,
    Lost,
    Noticed,
    Parked,
    Probed,
    Repaired,
    Signal,
    Silenced,
    StartAsked,
    StartFailed,
    TakenOver,
    Won,
)
from machines.model import (
    Endpoint,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    InstanceId,
    LandlordId,
    Machine,
    Mode,
    Reason,
    Replacement,
    Rung,
    Running,
    Setting,
    Source,
    Testimony,
    Word,
)
from tests.state_model.configuration import FLAPPING, LONG, POLICY, SHORT, VERY_LONG

__all__ = ("Kind", "Move", "moves", "strangers")


class Kind(Enum):
    """Whose move it is."""

    WORLD = "the world"
    ALARM = "the machine's alarm and the questions that it leads to"
    RUNNER = "the runner"
    GATE = "the gate, asked by the daemon"
    PERSON = "a person"
    TIME = "time"


@dataclass(frozen=True, slots=True)
class Move:
    """A signal; or, without one, a change that `decide` is not asked about: time passes, an operator chooses."""

    kind: Kind
    signal: Signal | None = None
    changed: Machine | None = None
    passes: timedelta = timedelta(0)
    request: FailoverRequest | None = None
    facts: FleetFacts | None = None


FREE = FleetFacts(Crowd(), None, pause_is_readable=True, blind=None)
ROUNDS = (
    ((Source.PROVIDER, Word.ALIVE), (Source.SSH, Word.ALIVE)),
    ((Source.PROVIDER, Word.ALIVE), (Source.SSH, Word.DEAD)),
    ((Source.PROVIDER, Word.DEAD), (Source.SSH, Word.DEAD)),
    ((Source.PROVIDER, Word.DEAD), (Source.SSH, Word.UNKNOWN)),
    ((Source.PROVIDER, Word.CRASHED), (Source.SSH, Word.DEAD)),
    ((Source.PROVIDER, Word.GONE), (Source.SSH, Word.UNKNOWN)),
    ((Source.PROVIDER, Word.STOPPED), (Source.SSH, Word.DEAD)),
    ((Source.PROVIDER, Word.UNPAID), (Source.SSH, Word.DEAD)),
    ((Source.PROVIDER, Word.STOPPING), (Source.SSH, Word.ALIVE)),
    ((Source.PROVIDER, Word.UNKNOWN), (Source.SSH, Word.DEAD)),
)
"""Each verdict by each way to it."""
FORCED = (Setting.WARM_POOL, Setting.CPU_STANDBY, Setting.BOTH, Setting.REGIONAL_VOLUME)
STRANGER = InstanceId(9999)


def moves(machine: Machine, now: datetime) -> Iterator[Move]:
    """Everything that may rightly happen to the machine next."""
    yield from _time(machine)
    yield from _world(machine, now)
    yield from _people(machine, now)
    if machine.failover is None:
        yield from _gate(machine, now)
    else:
        yield from _runner(machine, machine.failover, now)


def _time(machine: Machine) -> Iterator[Move]:
    for passes in (SHORT, LONG, VERY_LONG):
        yield Move(Kind.TIME, changed=machine, passes=passes)


def _world(machine: Machine, now: datetime) -> Iterator[Move]:
    own = machine.primary
    assert own is not None
    yield Move(Kind.WORLD, Silenced(31.0, 30.0))
    boots = {machine.boot_id, f"{machine.boot_id}+", machine.hold.boot_id if machine.hold else machine.boot_id}
    for boot, is_live in product(sorted(boots - {""}), (True, False)):
        yield Move(Kind.WORLD, Heard(own, boot, 10.0, 0, is_live))
    yield Move(Kind.WORLD, Noticed(own, Source.NOTICE, "maintenance"))
    yield Move(Kind.WORLD, Faulted(own, "gpu 0"))
    yield Move(Kind.ALARM, Due())
    for words in ROUNDS:
        yield Move(Kind.ALARM, Probed(own, _said(words, now)))
    yield Move(Kind.ALARM, Probed(own, _said(ROUNDS[2], now - LONG)))
    yield Move(Kind.WORLD, changed=replace(machine, suspicions=FLAPPING))
    yield Move(Kind.WORLD, StartAsked(own))
    for is_final in (True, False):
        yield Move(Kind.WORLD, StartFailed(own, "no", is_final))


def _said(words: tuple[tuple[Source, Word], ...], at: datetime) -> tuple[Testimony, ...]:
    return tuple(Testimony(source, word, "", at) for source, word in words)


def _people(machine: Machine, now: datetime) -> Iterator[Move]:
    """Commands, through the gate where they wish for a failover: in the worst weather, for a person answers for it."""
    for mode, setting in ((Mode.ON, Setting.BOTH), (Mode.ON, Setting.DISABLED), (Mode.OBSERVE, Setting.BOTH)):
        yield Move(Kind.PERSON, changed=replace(machine, mode=mode, setting=setting))
    if machine.failover is not None:
        yield Move(Kind.PERSON, CancelAsked(machine.failover.id))
        return
    for forced in FORCED:
        request = FailoverRequest(Reason.HTTP, forced, machine.primary)
        yield from _answered(machine, request, _bad(now), now, Kind.PERSON)


def _gate(machine: Machine, now: datetime) -> Iterator[Move]:
    """A wish that was on its way while the machine changed is answered all the same: so at each of them."""
    wish = FailoverRequest(Reason.HEARTBEAT_LOST)
    bad = _bad(now)
    paused = replace(FREE, pause=bad.pause)
    unreadable = replace(FREE, pause_is_readable=False)
    blind, full = replace(FREE, blind=bad.blind), replace(FREE, crowd=bad.crowd)
    cooling = replace(FREE, rested=timedelta(0))
    for facts in (FREE, paused, unreadable, blind, full, cooling, bad):
        yield from _answered(machine, wish, facts, now, Kind.GATE)


def _bad(now: datetime) -> FleetFacts:
    return FleetFacts(
        Crowd(running=1000, renting=1000, on_host=1000),
        Pause("storm", now + 2 * LONG, "ops"),
        pause_is_readable=False,
        blind="no ticks",
    )


def _answered(
    machine: Machine, request: FailoverRequest, facts: FleetFacts, now: datetime, kind: Kind
) -> Iterator[Move]:
    match admit(machine, request, facts, POLICY, now):
        case Granted() as granted:
            admitted = Admitted(FailoverId(f"fo_{machine.fence + 1}"), granted)
            yield Move(kind, admitted, request=request, facts=facts)
        case Delayed(because, look_at, waits_for):
            yield Move(kind, Deferred(because, look_at, waits_for), request=request, facts=facts)
        case _:
            pass


def _runner(machine: Machine, running: Running, now: datetime) -> Iterator[Move]:
    yield Move(Kind.RUNNER, TakenOver(running.id))
    if running.rung is not Rung.REPAIR_PRIMARY:
        for grade in FenceGrade:
            yield Move(Kind.RUNNER, Fenced(running.id, running.fence, FenceProof(grade, "seen", now)))
    for outcome in _outcomes(machine, running):
        for may_be_stopped in (True,) if running.proof is not None else (True, False):
            yield Move(Kind.RUNNER, AttemptEnded(running.id, running.fence, outcome, may_be_stopped))


def _outcomes(machine: Machine, running: Running) -> Iterator[Won | Repaired | Lost | Parked]:
    yield Lost("verify_failed", "the candidate was at fault")
    yield Lost("host_offline", "the strategy was")
    yield Parked("verify_failed", "an undo is stuck")
    if running.cancel_asked:
        yield Lost("cancelled", "it was asked to")
    if running.rung is Rung.REPAIR_PRIMARY:
        yield Repaired()
        return
    for has_volume in (True, False):
        yield Won(_replacement(machine, has_volume))


def _replacement(machine: Machine, has_volume: bool) -> Replacement:
    assert machine.primary is not None
    return Replacement(
        InstanceId(machine.primary + 1),
        None,
        HostId(9),
        LandlordId(9),
        Endpoint("h2", 23),
        "key",
        "RTX 4090",
        0.5,
        f"{machine.boot_id}'",
        60.0,
        has_volume=has_volume,
    )


def strangers(machine: Machine, now: datetime) -> Iterator[Signal]:
    """Outdated actors, other failovers and other instances: whatever they say changes nothing."""
    running = machine.failover
    own = running.id if running is not None else FailoverId("fo_over")
    actors = [(FailoverId("fo_other"), machine.fence), (own, machine.fence - 1), (own, machine.fence + 1)]
    if running is None:
        actors.append((own, machine.fence))
    outcomes = (Won(_replacement(machine, False)), Repaired(), Lost("cancelled", "late"), Parked("verify_failed", ""))
    for failover, fence in actors:
        yield Fenced(failover, fence, FenceProof(FenceGrade.DESTROYED, "late", now))
        for outcome in outcomes:
            yield AttemptEnded(failover, fence, outcome)
    for failover in (FailoverId("fo_other"), *(() if running is not None else (own,))):
        yield CancelAsked(failover)
        yield TakenOver(failover)
    yield Heard(STRANGER, machine.boot_id, 10.0, 0)
    yield Noticed(STRANGER, Source.PROVIDER, "gone")
    yield Faulted(STRANGER, "gpu 0")
    yield Probed(STRANGER, _said(ROUNDS[2], now))
    yield StartAsked(STRANGER)
    yield StartFailed(STRANGER, "no", is_final=True)
