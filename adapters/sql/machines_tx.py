"""Machines in a transaction: loaded with the failover that they are in, saved by compare-and-swap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row, Select, bindparam, delete, func, insert, or_, select, update

from adapters.sql.rows import machine_from, machine_values, plain
from adapters.sql.statements import Statements
from adapters.sql.tables import BEAT_GENERATIONS, FAILOVERS, MACHINES, SNAPSHOT_GRANTS
from machines.errors import Stale
from machines.model import InstanceId, Machine, MachineId, Registered
from machines.states import State

_c = MACHINES.c
_LOADED: Select[Any] = select(MACHINES, FAILOVERS.c.running).outerjoin(FAILOVERS, FAILOVERS.c.id == _c.failover_id)
_ALL = _LOADED.order_by(_c.id)
_ONE = _LOADED.where(_c.id == bindparam("wanted"))
_BY_PRIMARY = _ALL.where(_c.primary_instance == bindparam("wanted")).limit(1)
_BY_STANDBY = _ALL.where(_c.standby["instance"].as_integer() == bindparam("wanted")).limit(1)
_ANOTHERS = (
    select(_c.id)
    .where(
        _c.id != bindparam("own"),
        or_(_c.primary_instance == bindparam("wanted"), _c.standby["instance"].as_integer() == bindparam("wanted")),
    )
    .order_by(_c.id)
    .limit(1)
)
_NAMESAKE = select(_c.id).where(_c.id != bindparam("own"), _c.name == bindparam("wanted")).order_by(_c.id).limit(1)
_WITH_CPU_STANDBY = _ALL.where(_c.cpu_standby.is_not(None))
_PAGE = _ALL.where(_c.id > bindparam("after")).limit(bindparam("most"))
_PAGE_IN_STATE = _PAGE.where(_c.state == bindparam("wanted"))
_KNOWN_FENCES = select(
    select(func.max(SNAPSHOT_GRANTS.c.fence))
    .where(SNAPSHOT_GRANTS.c.machine_id == bindparam("wanted"))
    .scalar_subquery(),
    select(func.max(FAILOVERS.c.running["fence"].as_integer()))
    .where(FAILOVERS.c.machine_id == bindparam("wanted"))
    .scalar_subquery(),
)
_BEATS = select(BEAT_GENERATIONS.c.generation).where(BEAT_GENERATIONS.c.machine_id == bindparam("wanted"))
_NEW_BEATS = insert(BEAT_GENERATIONS)
_SET_BEATS = update(BEAT_GENERATIONS).where(BEAT_GENERATIONS.c.machine_id == bindparam("wanted"))
_INSERT = insert(MACHINES)
_SAVE = update(MACHINES).where(_c.id == bindparam("wanted"), _c.version == bindparam("seen"))
_SAVE_RUNNING = update(FAILOVERS).where(FAILOVERS.c.id == bindparam("wanted"), FAILOVERS.c.ended_at.is_(None))
_REMOVE = delete(MACHINES).where(_c.id == bindparam("wanted"), _c.failover_id.is_(None))
_BEFORE_ALL = -(2**63)


class MachineStatements(Statements):
    def machine(self, machine: MachineId) -> Machine | None:
        row = self._connection.execute(_ONE, {"wanted": machine}).one_or_none()
        return None if row is None else machine_from(row)

    def machines(self) -> list[Machine]:
        """The whole fleet, by id."""
        return _machines(self._connection.execute(_ALL).all())

    def machines_with_cpu_standby(self) -> list[Machine]:
        """Those that have a CPU VM, or are to have one; by id."""
        return _machines(self._connection.execute(_WITH_CPU_STANDBY).all())

    def page(self, after: MachineId | None, limit: int, state: State | None = None) -> list[Machine]:
        """The next machines by id after that one, or from the first."""
        bounds = {"after": _BEFORE_ALL if after is None else after, "most": limit}
        if state is None:
            return _machines(self._connection.execute(_PAGE, bounds).all())
        return _machines(self._connection.execute(_PAGE_IN_STATE, {**bounds, "wanted": state.value}).all())

    def machine_by_primary(self, instance: InstanceId) -> Machine | None:
        row = self._connection.execute(_BY_PRIMARY, {"wanted": instance}).one_or_none()
        return None if row is None else machine_from(row)

    def machine_by_standby(self, instance: InstanceId) -> Machine | None:
        row = self._connection.execute(_BY_STANDBY, {"wanted": instance}).one_or_none()
        return None if row is None else machine_from(row)

    def another_with(self, instance: InstanceId, machine: MachineId) -> MachineId | None:
        """Another machine that has the instance, as its own or as its standby."""
        return self._connection.execute(_ANOTHERS, {"wanted": instance, "own": machine}).scalar_one_or_none()

    def namesake(self, name: str, machine: MachineId) -> MachineId | None:
        """Another machine of that name."""
        return self._connection.execute(_NAMESAKE, {"wanted": name, "own": machine}).scalar_one_or_none()

    def register_machine(self, machine: Machine, now: datetime) -> Machine:
        """Insert a machine that begins here. Its fence begins above every one that is known of its id: what an earlier
        machine of that id wrote, and still writes, is outdated; so is each of its beat tokens that was revoked. Raise Stale
        as `insert_machine` does."""
        known = [
            fence
            for fence in self._connection.execute(_KNOWN_FENCES, {"wanted": machine.id}).one()
            if fence is not None
        ]
        fence = max((machine.fence, *(fence + 1 for fence in known)))
        beats = self.beat_generation(machine.id)
        return self.insert_machine(
            replace(machine, fence=fence, registered=Registered(now, fence), beat_generation=beats)
        )

    def beat_generation(self, machine: MachineId) -> int:
        """How often the beat token of this id was revoked, also where there is no such machine now."""
        return int(self._connection.execute(_BEATS, {"wanted": machine}).scalar_one_or_none() or 0)

    def revoke_beats(self, machine: Machine) -> Machine:
        """As `save_machine`, under the next generation of beat tokens."""
        generation = max(machine.beat_generation, self.beat_generation(machine.id)) + 1
        changed = self._connection.execute(_SET_BEATS, {"wanted": machine.id, "generation": generation})
        if changed.rowcount == 0:
            self._connection.execute(_NEW_BEATS, {"machine_id": machine.id, "generation": generation})
        return self.save_machine(replace(machine, beat_generation=generation))

    def insert_machine(self, machine: Machine) -> Machine:
        """Raise Stale where a machine with this id exists."""
        if not self._insert_new(_INSERT, machine_values(machine)):
            raise Stale(f"machine {machine.id} exists already")
        self._save_running(machine)
        return machine

    def save_machine(self, machine: Machine) -> Machine:
        """Store it as the next version, which is returned; its failover's row is brought up to date too.

        Raise Stale where the stored version is another than the machine's. A failover that the machine has just come
        into is begun (`begin_failover`) in the same transaction, before or after.
        """
        saved = replace(machine, version=machine.version + 1)
        values = {**machine_values(saved), "wanted": machine.id, "seen": machine.version}
        if self._connection.execute(_SAVE, values).rowcount != 1:
            raise Stale(f"machine {machine.id} is no longer at version {machine.version}")
        self._save_running(saved)
        return saved

    def remove_machine(self, machine: MachineId) -> bool:
        """False where there was none. Its failovers and debts stay. Raise Stale while a failover is running."""
        if self._connection.execute(_REMOVE, {"wanted": machine}).rowcount == 1:
            return True
        if self.machine(machine) is not None:
            raise Stale(f"machine {machine} is in a failover")
        return False

    def _save_running(self, machine: Machine) -> None:
        if machine.failover is None:
            return
        values = {"running": plain(machine.failover), "wanted": machine.failover.id}
        if self._connection.execute(_SAVE_RUNNING, values).rowcount != 1:
            self._unbegun.add(machine.failover.id)


def _machines(rows: Sequence[Row[Any]]) -> list[Machine]:
    return [machine_from(row) for row in rows]
