"""What came of our rentals on each host, and what that means for the next race.

Half of the market's boots may be dead ones (facts/vast-api.md, 14.2): how many candidates are rented at once follows from
what the market and their hosts have shown, and a host that has just failed is left alone for a while.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from machines.journal import Entry, Mark
from machines.model import HostId

REMEMBERED = timedelta(days=2)
"""Of the market only so much counts: prices and hosts change."""
_FIRST_BAN, _LONGEST_BAN = timedelta(hours=1), timedelta(hours=24)
"""Doubled with each death in a row."""
_PRIOR_BOOTS, _PRIOR_DEATHS = 5.0, 0.5
_OF_MARKET = 2.0
"""So many boots of the market's kind a host has before its own are known."""


@dataclass(frozen=True, slots=True)
class HostRecord:
    """By the provider's machine id: offers change theirs."""

    host: HostId
    boots: int = 0
    dead_boots: int = 0
    deaths_in_a_row: int = 0
    last_boot_at: datetime | None = None
    last_death_at: datetime | None = None
    bad_until: datetime | None = None

    def with_boot(self, is_dead: bool, at: datetime) -> HostRecord:
        """The record with what came of one more rental."""
        known = replace(self, boots=self.boots + 1, last_boot_at=at)
        if not is_dead:
            return replace(known, deaths_in_a_row=0, bad_until=None)
        ban = min(_FIRST_BAN * 2 ** min(self.deaths_in_a_row, 8), _LONGEST_BAN)
        return replace(
            known,
            dead_boots=self.dead_boots + 1,
            deaths_in_a_row=self.deaths_in_a_row + 1,
            last_death_at=at,
            bad_until=at + ban,
        )


@dataclass(frozen=True, slots=True)
class Reputation:
    """The market as our own rentals of the last days have found it, and the hosts that failed us."""

    boots: int = 0
    dead_boots: int = 0
    hosts: Mapping[HostId, HostRecord] = field(default_factory=dict)
    """Those with a death."""

    def bad_hosts(self, now: datetime) -> frozenset[HostId]:
        return frozenset(one.host for one in self.hosts.values() if one.bad_until is not None and one.bad_until > now)

    def odds_of_death(self, host: HostId) -> float:
        """That a boot there is dead."""
        market = (self.dead_boots + _PRIOR_DEATHS) / (self.boots + _PRIOR_BOOTS)
        known = self.hosts.get(host)
        if known is None:
            return market
        return (known.dead_boots + _OF_MARKET * market) / (known.boots + _OF_MARKET)

    def odds_that_all_die(self, hosts: Iterable[HostId]) -> float:
        odds = 1.0
        for host in hosts:
            odds *= self.odds_of_death(host)
        return odds


@dataclass(frozen=True, slots=True)
class Boot:
    """What came of one rental."""

    host: HostId
    is_dead: bool


def boot_told(entry: Entry, step: str) -> Boot | None:
    """What an entry of the race (`step`) says of a host; None where it says nothing of one."""
    host = entry.output.get("host")
    if entry.step != step or not isinstance(host, int):
        return None
    if entry.mark is Mark.DROPPED:
        return Boot(HostId(host), is_dead=True)
    return Boot(HostId(host), is_dead=False) if entry.mark is Mark.DONE else None
