"""The brakes on automatic failover: caps, the queue before them, cooldown, quarantine, and budgets that suspend it all.

A mass failure is served by priority and not by chance: where places are short, a machine waits for those that are more
important, also for such as fell silent just now and may turn out to be dead. A brake delays, says why and until when, and
never forgets; a person's failover passes all of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from machines.model import Machine, MachineId, Rung, WaitsFor
from machines.policy import Policy

PLACES = frozenset({WaitsFor.PLACE, WaitsFor.RENTAL, WaitsFor.HOST})
"""What only a storm makes a machine wait for."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """What runs, and who else wants to, as one machine's admission sees it."""

    running: int = 0
    """Automatic failovers, in the whole fleet."""
    renting: int = 0
    """Failovers of any kind that rent a replacement from the provider."""
    on_host: int = 0
    """Failovers of any kind of machines on the same host."""
    ahead: int = 0
    """More important machines that wait for a place, or fell silent just now."""
    ahead_renting: int = 0
    """The same with those that wait for one of the provider's places."""
    waiting: int = 0
    """Machines in the queue beside this one."""


@dataclass(frozen=True, slots=True)
class NoPlace:
    waits_for: WaitsFor
    because: str


@dataclass(frozen=True, slots=True)
class Storm:
    """More machines are dead than may be failed over at once."""

    since: datetime
    seen_at: datetime
    """When a machine last had to wait for a place."""

    def is_over(self, now: datetime, policy: Policy) -> bool:
        return abs(now - self.seen_at) >= timedelta(seconds=policy.storm_cooldown_s)  # It lies ahead after a step back.


@dataclass(frozen=True, slots=True)
class Spent:
    """How automatic failovers ended within the budget's window."""

    ended: int
    failed: int
    """They replaced nothing, and nobody cancelled them."""
    false_alarms: int
    """The old instance spoke again."""


def no_place(machine: Machine, rungs: tuple[Rung, ...], crowd: Crowd, policy: Policy) -> NoPlace | None:
    """Why the machine has to wait for its turn; None where it may begin."""
    if crowd.on_host >= policy.max_per_host:
        what = f"{crowd.on_host} failovers of machines on host {machine.host} are running"
        return NoPlace(WaitsFor.HOST, f"{what}, the cap is {policy.max_per_host}")
    if crowd.running + crowd.ahead >= policy.max_concurrent:
        what = f"{crowd.running} automatic failovers are running"
        return NoPlace(
            WaitsFor.PLACE, _in_line(machine, crowd, crowd.ahead, f"{what}, the cap is {policy.max_concurrent}")
        )
    if _rents(rungs) and crowd.renting + crowd.ahead_renting >= policy.max_per_provider:
        what = f"{crowd.renting} failovers rent from the provider"
        what = f"{what}, the cap is {policy.max_per_provider}"
        return NoPlace(WaitsFor.RENTAL, _in_line(machine, crowd, crowd.ahead_renting, what))
    return None


def in_a_storm(policy: Policy) -> Policy:
    """The provider's creates are few a minute, and each goes to a machine that has nothing yet: no race of candidates."""
    return replace(policy, candidate_width=1, accepted_odds=1.0)


def _rents(rungs: tuple[Rung, ...]) -> bool:
    """Does its first strategy need another rental? A warm pool starts what is rented already, or destroys before it rents."""
    return next((rung for rung in rungs if rung is not Rung.REPAIR_PRIMARY), None) is not Rung.WARM_POOL


def _in_line(machine: Machine, crowd: Crowd, ahead: int, because: str) -> str:
    return (
        f"position {ahead + 1} of {max(crowd.waiting, ahead) + 1} in the queue (priority {machine.priority}): {because}"
    )


def with_suspicion(machine: Machine, now: datetime, policy: Policy) -> tuple[datetime, ...]:
    """The machine's suspicions with the one of now."""
    return (*machine.suspicions, now)[-policy.flap_count :]


def flapping_alert(machine: MachineId) -> str:
    """The key of the alert that stands while the machine is in quarantine."""
    return f"machine-{machine}-flapping"


def quarantined_until(machine: Machine, policy: Policy) -> datetime | None:
    """It flaps: until then nothing is done for it by itself; None where it does not."""
    marks = machine.suspicions[-policy.flap_count :]
    if len(marks) < policy.flap_count:
        return None
    if marks[-1] - marks[0] > timedelta(seconds=policy.flap_window_s):
        return None
    return marks[-1] + timedelta(seconds=policy.quarantine_s)


def flaps(machine: Machine) -> str:
    """What is told of a machine in quarantine."""
    minutes = (machine.suspicions[-1] - machine.suspicions[0]).total_seconds() / 60
    return f"it flaps: suspect {len(machine.suspicions)} times within {max(minutes, 1):.0f} minutes"


def overspent(spent: Spent, policy: Policy) -> str | None:
    """Why automatic action must not go on by itself; None while it may."""
    these = f"of {spent.ended} automatic failovers within {policy.budget_window_s / 60:.0f} minutes"
    if 0 < policy.false_alarm_budget <= spent.false_alarms and 2 * spent.false_alarms >= spent.ended:
        return f"{spent.false_alarms} {these} were of machines that spoke again"
    if 0 < policy.failed_budget <= spent.failed and 2 * spent.failed >= spent.ended:
        return f"{spent.failed} {these} replaced nothing"
    return None
