"""Why a machine does or does not fail over now: the gate's own rules, each as it was found, and what comes next by itself.

Nothing is decided here: the rules are those of `admission.checks`, and who is silent is the detector's word.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from machines.admission import Check, Delayed, FailoverRequest, FleetFacts, checks
from machines.detector import Silence
from machines.model import Machine, Reason
from machines.policy import Policy
from machines.states import State

_OF_A_SUSPECT = frozenset({"suspect", "evidence_fresh", "confirmed_dead", "silent"})
"""Rules that a machine which serves need not pass: they say whether it is dead at all."""


@dataclass(frozen=True, slots=True)
class Explanation:
    chain: tuple[Check, ...]
    """All rules in their order; the first is the detector's."""
    stopped_by: Check | None
    """The first that keeps the machine from an automatic failover now; None where one begins, or is running."""
    next: str
    """What happens next by itself, in one sentence."""


def explain(machine: Machine, facts: FleetFacts, policy: Policy, now: datetime) -> Explanation:
    """Of an automatic failover, were the gate asked for one now."""
    request = FailoverRequest(Reason.HEARTBEAT_LOST)
    rules = tuple(checks(machine, request, facts, policy, now))
    stopped_by = next((check for check in rules if check.stops is not None), None)
    chain = (_heartbeat(machine, policy, facts.silence), *rules)
    if machine.failover is not None:
        running = machine.failover
        sentence = f"failover {running.id} is at {running.rung.value}; its end decides"
        return Explanation(chain, None, sentence)
    return Explanation(chain, stopped_by, _next(machine, rules))


def _heartbeat(machine: Machine, policy: Policy, silence: Silence | None) -> Check:
    """It never stops a failover, so it always passes; of a silent machine it bears another name, or it would read as if its
    heartbeat were well."""
    grace, settings = policy.grace_s(machine.interval_s), ("grace_factor", "grace_floor_s", "grace_cap_s")
    if silence is None:
        found = "its heartbeats are judged by another replica, or it has no instance"
        return Check("heartbeat", found, None, None, grace, settings)
    is_silent = silence.silent_s > silence.grace_s
    word = "over" if is_silent else "within"
    found = f"last heard {silence.silent_s:.0f} s ago in log time, {word} the grace of {silence.grace_s:.0f} s"
    if is_silent:
        found += ": it is silent, which holds no failover back"
    return Check(
        "silence" if is_silent else "heartbeat", found, None, round(silence.silent_s, 3), silence.grace_s, settings
    )


def _next(machine: Machine, rules: Sequence[Check]) -> str:
    if machine.state is State.FAILED:
        return "nothing by itself, unless it speaks again: try it again, or remove it"
    is_suspect = machine.state is State.DETECTING
    asked = [rule for rule in rules if is_suspect or rule.rule not in _OF_A_SUSPECT]
    first = next((rule for rule in asked if rule.stops is not None), None)
    begins = f"a confirmed death begins {machine.setting.value}"
    if first is None:
        return f"it is suspect and nothing stops it: {begins} now" if is_suspect else f"it is watched; {begins}"
    if first.rule in _OF_A_SUSPECT:
        when = f" at {machine.look_at.isoformat()}" if machine.look_at else ""
        return f"{first.found}; the second sources are asked again{when}; {begins}"
    stops = first.stops
    again = f"; it is looked at again at {machine.look_at.isoformat()}" if is_suspect and machine.look_at else ""
    mend = "" if stops is None or isinstance(stops, Delayed) else f"; {stops.remedy}"
    return f"no automatic failover: {first.found}{again}{mend}"
