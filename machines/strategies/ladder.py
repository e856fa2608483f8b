"""Which strategies are tried, in which order, for which setting."""

from __future__ import annotations

from typing import assert_never

from machines.model import Rung, Setting
from machines.saga import Strategy
from machines.states import State, Trigger
from machines.strategies.cpu_standby import CPU_STANDBY
from machines.strategies.repair_primary import REPAIR_PRIMARY

STRATEGIES: dict[Rung, Strategy] = {strategy.rung: strategy for strategy in (REPAIR_PRIMARY, CPU_STANDBY)}
"""What this version can carry out."""

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
