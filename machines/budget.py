"""Money: what one failover has spent, what it may still promise, and what the fleet may spend on failovers.

It is reserved before the first create: at the admission for the fleet, at each claim for the failover. Our own prices and
times count, from the claim on; the provider's bill, which charges no GPU before it runs, is never higher.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from machines.journal import Entry, Mark
from machines.model import Machine, Offer
from machines.policy import Policy

_HOUR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Reservation:
    """What a failover that begins now may come to."""

    total: float
    """$ for all of its rentals until the hand-over."""
    per_hour: float
    """$/h of its replacement."""


@dataclass(frozen=True, slots=True)
class FleetSpending:
    """Read in the admission's transaction."""

    per_hour: float = 0.0
    """$/h of all machines, and of what running failovers may rent for them, or debts ahead of one."""
    within_window: float = 0.0
    """$ that failovers have cost within the policy's window, or have reserved."""


NOTHING_SPENT = FleetSpending()


def reservation(machine: Machine, policy: Policy) -> Reservation:
    cap = policy.price_cap(machine.workload.max_price, machine.price_per_hour)
    return Reservation(policy.max_failover_cost, cap)


def over_budget(wanted: Reservation, machine: Machine, fleet: FleetSpending, policy: Policy) -> str | None:
    """Why the fleet's budget does not allow it; None where it does. What the machine costs now ends with its failover."""
    per_hour = fleet.per_hour - (machine.price_per_hour or 0.0) + wanted.per_hour
    if 0 < policy.max_fleet_price < per_hour:
        what = f"the fleet would cost up to {per_hour:.2f} $/h"
        return f"{what}, the budget is {policy.max_fleet_price:.2f} $/h (policy.max_fleet_price)"
    total = fleet.within_window + wanted.total
    if 0 < policy.max_spend < total:
        what = f"failovers would cost up to {total:.2f} $ within {policy.spend_window_s / 3600:.0f} hours"
        return f"{what}, the budget is {policy.max_spend:.2f} $ (policy.max_spend)"
    return None


@dataclass(slots=True)
class _Rental:
    price: float
    claimed_at: datetime
    was_rented: bool = False
    dropped_at: datetime | None = None


def spent(entries: Iterable[Entry], step: str, now: datetime) -> float:
    """$ that the rentals of one attempt have cost by our records, those that are still there until now."""
    return sum(
        _cost(rental.price, (rental.dropped_at or now) - rental.claimed_at)
        for rental in _rentals(entries, step)
        if rental.was_rented or rental.dropped_at is None
    )


def promised(entries: Iterable[Entry], step: str, now: datetime, policy: Policy) -> float:
    """The same, where each that is still there gets the time that its boot may take."""
    boot = timedelta(seconds=policy.boot_timeout_s)
    return sum(
        _cost(
            rental.price,
            max(now - rental.claimed_at, boot) if rental.dropped_at is None else rental.dropped_at - rental.claimed_at,
        )
        for rental in _rentals(entries, step)
        if rental.was_rented or rental.dropped_at is None
    )


def cost_of_boot(offer: Offer, policy: Policy) -> float:
    """$ that one more candidate may cost before it is given up."""
    return _cost(offer.price_per_hour, timedelta(seconds=policy.boot_timeout_s))


def _cost(price: float, lasted: timedelta) -> float:
    return price * max(0.0, lasted / _HOUR)


def _rentals(entries: Iterable[Entry], step: str) -> Sequence[_Rental]:
    """The claims of the race; one that was refused had nothing rented under it."""
    found: dict[int, _Rental] = {}
    for entry in entries:
        if entry.step != step:
            continue
        rental = found.get(entry.candidate)
        if entry.mark is Mark.CLAIMED:
            offer = entry.output.get("offer")
            price = float(offer.get("price_per_hour", 0.0)) if isinstance(offer, dict) else 0.0
            found[entry.candidate] = _Rental(price, entry.at)
        elif rental is not None and entry.mark is Mark.RENTED:
            rental.was_rented = True
        elif rental is not None and entry.mark is Mark.DROPPED:
            rental.dropped_at = entry.at
    return tuple(found.values())
