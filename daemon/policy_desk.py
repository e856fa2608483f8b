"""Settings of the fleet and of single machines: shown with who said each, changed and taken back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, TypeVar

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.after_change import follow_change
from daemon.announce import Announcer
from daemon.loop import Loop
from daemon.policy_book import PolicyBook, laid_over
from daemon.policy_values import checked, checked_for_machine
from daemon.settings import PolicySection
from machines.errors import Stale
from machines.model import Machine, MachineId
from machines.policy import (
    NAMES,
    OF_A_MACHINE,
    OF_THE_MACHINE_ITSELF,
    Policy,
    Said,
    is_settled,
    origin_of,
    own_names,
    plain,
    settled,
    value_of,
    with_values,
    without_own,
)
from machines.ports import Clock
from machines.problems import Problem, invalid, unknown_machine
from machines.states import State

log = structlog.get_logger(__name__)

T = TypeVar("T")
MISFITS = "settings-contradict"
_STALE_RETRIES = 4


class PolicyDesk:
    """Changes are made in the caller's transaction; `follow` makes them count in this process after its commit."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        book: PolicyBook,
        announcer: Announcer,
        clock: Clock,
        configured: Mapping[int, Mapping[str, Any]],
        settles: Callable[[], bool] = lambda: True,
    ) -> None:
        """`configured`: what the configuration says of each of its machines, by id. `settles`: does this replica keep right
        what machines inherit?"""
        self._store = store
        self._loop = loop
        self._book = book
        self._announcer = announcer
        self._clock = clock
        self._configured = configured
        self._settles = settles
        self._told: tuple[str, ...] | None = None
        """The misfits that are told of now; None where that is not known."""

    # -- shown

    def of_fleet(self) -> dict[str, Any]:
        """What counts for every machine that has nothing of its own."""
        return {
            "settings": plain(self._book.fleet),
            "origins": {name: self._book.origin(name).value for name in NAMES},
            "of_machines": list(OF_A_MACHINE),
        }

    def of_machine(self, machine: Machine) -> dict[str, Any]:
        """What counts for this one, and what the fleet has where that differs."""
        policy, fleet = self._book.of(machine), plain(self._book.fleet)
        return {
            "machine_id": machine.id,
            "name": machine.name,
            "settings": {name: value_of(name, machine, policy) for name in NAMES},
            "origins": {name: origin_of(name, machine, self._book.origin(name)).value for name in NAMES},
            "own": list(own_names(machine)),
            "of_the_fleet": {name: fleet[name] for name in own_names(machine)},
        }

    # -- changed

    def change_fleet(self, tx: Tx, values: Mapping[str, Any], by: str) -> tuple[Said, Sequence[Machine]]:
        """Null takes back what was said. Every machine keeps settings that fit together. Raise Problem (400, 409)."""
        tx.lock_admission()
        now, before = self._clock.now(), dict(tx.fleet_settings())
        rest = {name: value for name, value in before.items() if name not in values}
        found = checked(values, self._book.as_said(rest))
        said = {**rest, **found}
        if not set(self._misfits(said)) <= set(self._misfits(before)):
            checked(said, self._book.configured)  # What is taken back was what the rest leant on.
        fleet = self._book.as_said(said)
        tx.say_fleet_settings({name: found.get(name) for name in values}, by, now)
        return said, self._settle_all(tx, fleet, now)

    def _misfits(self, said: Said) -> tuple[str, ...]:
        return laid_over(self._book.configured, said)[1]

    def _settle_all(self, tx: Tx, fleet: Policy, now: datetime) -> list[Machine]:
        changed = []
        for machine in tx.machines():
            if machine.own.values:
                _refuse_misfit(machine, fleet)
            after = settled(machine, fleet)
            if after != machine:
                changed.append(self._save(tx, machine, after, now))
        return changed

    def change_machine(self, tx: Tx, machine_id: MachineId, values: Mapping[str, Any]) -> Machine:
        """Null takes back what was said of it: the configuration's counts again, else the fleet's. Raise Problem (400, 404)."""
        tx.lock_admission()
        before, fleet = tx.machine(machine_id), self._book.as_said(tx.fleet_settings())
        if before is None:
            raise unknown_machine(machine_id)
        found = checked_for_machine(values, before, fleet)
        taken = [name for name in values if name not in found]
        after = without_own(before, taken, fleet)
        file = {name: value for name, value in self._of_file(machine_id).items() if name in taken}
        after = with_values(with_values(after, file, by_file=True), found, by_file=False)
        checked_for_machine(after.own.values, after, fleet)
        if "auto_failover" in values:
            after = replace(after, suspicions=())  # A person has looked at it: no quarantine any more.
        return before if after == before else self._save(tx, before, after, self._clock.now())

    def take_back_all(self, machine: Machine) -> dict[str, Any]:
        """The change by which nothing is the machine's own but what the configuration says."""
        return dict.fromkeys(name for name in own_names(machine) if name not in machine.own.from_file)

    def _of_file(self, machine: MachineId) -> dict[str, Any]:
        entry = self._configured.get(machine, {})
        beside = {name: entry[name] for name in OF_THE_MACHINE_ITSELF if entry.get(name) is not None}
        below = {name: value for name, value in (entry.get("policy") or {}).items() if value is not None}
        return {**beside, **below}

    def _save(self, tx: Tx, before: Machine, after: Machine, now: datetime) -> Machine:
        if before.state is State.DETECTING and before.failover is None:
            after = replace(after, look_at=now)  # Something else may follow from the same evidence.
        machine = tx.save_machine(after)
        tx.post(self._announcer.machine(machine, before, now))
        follow_change(tx, machine, before, now)
        return machine

    # -- made to count

    def follow(self, machines: Sequence[Machine], said: Said | None = None) -> None:
        if said is not None:
            self._loop.take_settings(said)
        for machine in machines:
            self._loop.follow(machine)

    async def configure(self, policy: PolicySection, machines: Mapping[int, Mapping[str, Any]]) -> None:
        """The configuration was read anew; it counts at once. Raise StoreUnavailable, Stale."""
        self._book.configure(policy)
        self._configured = machines
        self.follow(self._loop.machines())
        await self.settle()

    async def settle(self) -> None:
        """What machines inherit may have been changed in the configuration, or been saved by a replica that had not yet heard
        what was said of the fleet. Told is also what of that contradicts the configuration. Raise StoreUnavailable, Stale."""
        is_right = all(is_settled(one, self._book.fleet) for one in self._loop.machines())
        if not self._settles() or (is_right and self._told == self._book.misfits):
            return

        def work(tx: Tx) -> tuple[Said, list[Machine], tuple[str, ...]]:
            tx.lock_admission()
            said, now = tx.fleet_settings(), self._clock.now()
            fleet, misfits = self._book.as_said(said), self._misfits(said)
            stale = [one for one in tx.machines() if not is_settled(one, fleet)]
            _tell_misfits(tx, misfits, now)
            return said, [self._save(tx, one, settled(one, fleet), now) for one in stale], misfits

        said, machines, self._told = await self._unless_stale(work)
        self.follow(machines, said)

    async def _unless_stale(self, work: Callable[[Tx], T]) -> T:
        """Raise Stale where the machines changed under every try."""
        for _ in range(_STALE_RETRIES):
            try:
                return await self._store.transact(work)
            except Stale:
                continue
        return await self._store.transact(work)


def _tell_misfits(tx: Tx, misfits: Sequence[str], now: datetime) -> None:
    if not misfits:
        tx.resolve_alert(MISFITS, now)
        return
    what = "; ".join(misfits)
    remedy = (
        "say it anew (PUT /api/v1/failover/settings), take it back with null, or mend `policy` in the configuration"
    )
    tx.raise_alert(MISFITS, f"what was said of the fleet does not fit its configuration: {what}; remedy: {remedy}", now)


def _refuse_misfit(machine: Machine, fleet: Policy) -> None:
    """Raise Problem (409)."""
    try:
        checked_for_machine(machine.own.values, machine, fleet)
    except Problem as problem:
        remedy = f"change it there first: PUT /api/v1/failover/settings/{machine.id}"
        detail = f"it does not fit what machine {machine.id} has of its own: {problem.detail}"
        raise Problem(409, "settings_contradict", detail, remedy, {"machine_id": machine.id}) from None


def wanted_values(body: Mapping[str, Any]) -> dict[str, Any]:
    """What a PUT names; nothing at all is a mistake. Raise Problem."""
    if not body:
        raise invalid("settings", None, 'at least one setting by name, such as {"max_concurrent": 5}')
    return dict(body)
