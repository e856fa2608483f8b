"""Contracts that end soon: a rental whose time is up stops for good, so its failover is one to be planned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.model import Listing, Machine, MachineId
from machines.policy import Policies
from machines.ports import Clock

log = structlog.get_logger(__name__)

_SUFFIX = "-contract"


def contract_alert(machine: MachineId) -> str:
    """The key of the alert that stands while the machine's contract is about to end."""
    return f"machine-{machine}{_SUFFIX}"


class ContractWatch:
    """One alert for each machine; gone when the contract was extended, or the machine moved."""

    def __init__(self, store: Store, policies: Policies, clock: Clock) -> None:
        self._store = store
        self._policies = policies
        self._clock = clock
        self._open: dict[str, str] | None = None
        """The open ones by key, as far as this process knows; None before its first look."""

    async def look(self, machines: Sequence[Machine], listing: Listing) -> None:
        """A machine that the listing does not show keeps its alert."""
        try:
            await self._look(machines, listing, self._clock.now())
        except StoreUnavailable as error:
            log.debug("contracts_postponed", because=str(error))

    async def _look(self, machines: Sequence[Machine], listing: Listing, now: datetime) -> None:
        shown = {machine.id: self._told_of(machine, listing, now) for machine in machines if _is_in(machine, listing)}
        soon = {contract_alert(number): text for number, text in shown.items() if text is not None}
        over = {contract_alert(number) for number, text in shown.items() if text is None}
        known = self._open if self._open is not None else await self._opened()
        news = {key: text for key, text in soon.items() if known.get(key) != text}
        ended = sorted(over & known.keys())
        if news or ended:
            await self._store.transact(lambda tx: _write(tx, news, ended, now))
        self._open = {key: text for key, text in known.items() if key not in over} | soon

    async def _opened(self) -> dict[str, str]:
        """What a former life of ours, or another replica, has told."""
        alerts = await self._store.transact(lambda tx: tx.open_alerts())
        return {alert.key: alert.text for alert in alerts if alert.key.endswith(_SUFFIX)}

    def _told_of(self, machine: Machine, listing: Listing, now: datetime) -> str | None:
        assert machine.primary is not None
        ends_at = listing.instances[machine.primary].ends_at
        notice = timedelta(days=self._policies.of(machine).contract_notice_days)
        if ends_at is None or ends_at - now > notice:
            return None
        what = f"{machine.name}: the contract of its instance {machine.primary} ends at {ends_at.isoformat()}"
        return f"{what}; have it extended, or move it before: failoverd failover {machine.id}"


def _write(tx: Tx, news: Mapping[str, str], ended: Sequence[str], now: datetime) -> None:
    for key, text in news.items():
        tx.raise_alert(key, text, now)
    for key in ended:
        tx.resolve_alert(key, now)


def _is_in(machine: Machine, listing: Listing) -> bool:
    return machine.primary is not None and machine.primary in listing.instances
