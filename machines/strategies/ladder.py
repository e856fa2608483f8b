"""Which strategies are tried, in which order, for which setting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from typing import assert_never

from machines.journal import Entry
from machines.model import Machine, Rung, Setting
from machines.saga import Strategy, is_past_return
from machines.states import State, Trigger
from machines.strategies.cpu_standby import CPU_STANDBY
from machines.strategies.cpu_vm_standby import CPU_VM_STANDBY
from machines.strategies.prepared_pool import CPU_STANDBY_PREPARED, CPU_VM_STANDBY_PREPARED, prepared_of
from machines.strategies.regional_volume import REGIONAL_NAMED, REGIONAL_REPLICA, REGIONAL_VOLUME
from machines.strategies.repair_primary import REPAIR_PRIMARY
from machines.strategies.warm_pool import WARM_POOL, WARM_POOL_ALONE

STRATEGIES: tuple[Strategy, ...] = (
    REPAIR_PRIMARY,
    WARM_POOL,
    WARM_POOL_ALONE,
    CPU_STANDBY,
    CPU_STANDBY_PREPARED,
    CPU_VM_STANDBY,
    CPU_VM_STANDBY_PREPARED,
    REGIONAL_VOLUME,
    REGIONAL_REPLICA,
    REGIONAL_NAMED,
)
"""What this version can carry out; the first of a rung is its usual form."""

STARTED_BY: dict[Rung, Trigger] = {
    Rung.WARM_POOL: Trigger.WARM_POOL_STARTED,
    Rung.CPU_STANDBY: Trigger.CPU_STANDBY_STARTED,
    Rung.REGIONAL_VOLUME: Trigger.REGIONAL_VOLUME_STARTED,
}
"""The trigger that each strategy's attempt begins with; the repair of a primary leaves the state alone."""

ATTEMPT_STATE: dict[Rung, State] = {
    Rung.REPAIR_PRIMARY: State.DETECTING,
    Rung.WARM_POOL: State.WARM_POOL_ATTEMPT,
    Rung.CPU_STANDBY: State.CPU_STANDBY_ATTEMPT,
    Rung.REGIONAL_VOLUME: State.REGIONAL_VOLUME_ATTEMPT,
}


def strategy_for(rung: Rung, machine: Machine) -> Strategy:
    """The form of the rung that fits the machine. It stays the same during an attempt, because nothing that it depends
    on changes while one runs."""
    match rung:
        case Rung.REPAIR_PRIMARY:
            return REPAIR_PRIMARY
        case Rung.WARM_POOL:
            return WARM_POOL if machine.standby is not None or machine.volume is None else WARM_POOL_ALONE
        case Rung.CPU_STANDBY:
            is_first = machine.failover is None or machine.failover.repeats == 0
            is_prepared = is_first and prepared_of(machine) is not None
            if machine.cpu_standby is not None:
                return CPU_VM_STANDBY_PREPARED if is_prepared else CPU_VM_STANDBY
            return CPU_STANDBY_PREPARED if is_prepared else CPU_STANDBY
        case Rung.REGIONAL_VOLUME:
            running = machine.failover
            if running is not None and running.repeats > 0:
                return REGIONAL_REPLICA
            is_named = running is not None and running.wishes is not None and running.wishes.volume is not None
            return REGIONAL_NAMED if is_named and machine.volume is None else REGIONAL_VOLUME
        case _:
            assert_never(rung)


def strategy_of(rung: Rung, begun: Collection[str]) -> Strategy | None:
    """The form of the rung that an attempt with these steps takes, as far as its journal tells."""
    forms = [strategy for strategy in STRATEGIES if strategy.rung is rung]
    return next((form for form in forms if set(begun) <= {step.name for step in form.steps}), None)


def is_too_late(machine: Machine | None, timeline: Iterable[tuple[int, Entry]]) -> bool:
    """Has an irreversible step begun in any attempt of the failover? Then a cancel would leave the machine with nothing,
    also in a later attempt of the ladder. And where a CPU VM serves, it would give up what was written there."""
    if machine is not None and machine.cpu_standby is not None and machine.cpu_standby.serving is not None:
        return True
    attempts: defaultdict[int, list[Entry]] = defaultdict(list)
    for number, entry in timeline:
        attempts[number].append(entry)
    return any(_is_past_return(entries) for entries in attempts.values())


def _is_past_return(entries: Sequence[Entry]) -> bool:
    begun = {entry.step for entry in entries}
    forms = [form for form in STRATEGIES if begun <= {step.name for step in form.steps}]
    return any(is_past_return(form, entries) for form in forms if form.steps[0].name in begun)


def ladder(setting: Setting, repair_first: bool = False) -> tuple[Rung, ...]:
    """The rungs for a setting; a crashed container is rebooted once before anything is moved."""
    rungs = _rungs(setting)
    return (Rung.REPAIR_PRIMARY, *rungs) if repair_first and rungs else rungs


def _rungs(setting: Setting) -> tuple[Rung, ...]:
    match setting:
        case Setting.WARM_POOL:
            return (Rung.WARM_POOL,)
        case Setting.CPU_STANDBY:
            return (Rung.CPU_STANDBY,)
        case Setting.BOTH:
            return (Rung.WARM_POOL, Rung.CPU_STANDBY)
        case Setting.REGIONAL_VOLUME:
            return (Rung.REGIONAL_VOLUME,)
        case Setting.DISABLED:
            return ()
        case _:
            assert_never(setting)
