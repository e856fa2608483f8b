"""Debts in a transaction: what must still be done, until it is paid or dropped."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.sql.dml import ReturningUpdate

from adapters.sql.rows import debt_from, debt_values, plain
from adapters.sql.statements import Statements
from adapters.sql.tables import DEBTS
from machines.budget import Reservation
from machines.cpu_vm import VmPlace
from machines.model import Debt, DebtKind, FailoverId, InstanceId, Label, MachineId, VolumeId

_c = DEBTS.c
_INSERT = insert(DEBTS)
_OPEN = select(DEBTS).where(_c.closed_at.is_(None))
_ALL_OPEN = _OPEN.order_by(_c.id)
_OPEN_OF = _ALL_OPEN.where(_c.machine_id == bindparam("wanted"))
_IS_OPEN = select(_c.id).where(_c.id == bindparam("wanted"), _c.closed_at.is_(None)).with_for_update()
_CHANGE = update(DEBTS).where(_c.id == bindparam("wanted"), _c.closed_at.is_(None))
_POSTPONE = _CHANGE.values(due_at=bindparam("new_due_at"), last_error=bindparam("error"))
_BEGIN = (
    update(DEBTS)
    .where(_c.id == bindparam("wanted"), _c.closed_at.is_(None), _c.tries == bindparam("seen"))
    .values(tries=_c.tries + 1, due_at=bindparam("new_due_at"), last_error=bindparam("error"))
)
_BIND = _CHANGE.where(_c.label.is_not_distinct_from(bindparam("seen"))).values(
    label=bindparam("label"), claimed_at=bindparam("claimed_at")
)
_BIND_VM = _CHANGE.where(_c.label.is_not_distinct_from(bindparam("seen"))).values(
    label=bindparam("label"), claimed_at=bindparam("claimed_at"), vm=bindparam("vm", type_=_c.vm.type)
)
_BIND_ROW = _CHANGE.where(_c.volume_row.is_not_distinct_from(bindparam("seen"))).values(volume_row=bindparam("row"))
_NOTE_MOUNT = _CHANGE.values(volume=bindparam("mounted"))
_RESERVE = _CHANGE.values(reserved=bindparam("total"), reserved_per_hour=bindparam("per_hour"))
_RELEASE_UNBOUND = _CHANGE.where(_c.label.is_(None), _c.reserved_per_hour.is_not(None)).values(
    reserved=None, reserved_per_hour=None
)
_OPEN_OF_KINDS = (_c.kind.in_(bindparam("kinds", expanding=True)), _c.closed_at.is_(None))
_DROP = update(DEBTS).where(_c.failover_id == bindparam("wanted"), *_OPEN_OF_KINDS).returning(_c.id)
_DROP_OF_INSTANCE = update(DEBTS).where(_c.instance == bindparam("wanted"), *_OPEN_OF_KINDS).returning(_c.id)


class DebtStatements(Statements):
    def add_debts(self, debts: Sequence[Debt]) -> None:
        """A debt without `due_at` is due at once."""
        if debts:
            self._connection.execute(_INSERT, [debt_values(debt) for debt in debts])

    def open_debts(self, machine: MachineId | None = None) -> list[Debt]:
        if machine is None:
            return [debt_from(row) for row in self._connection.execute(_ALL_OPEN)]
        return [debt_from(row) for row in self._connection.execute(_OPEN_OF, {"wanted": machine})]

    def postpone_debt(self, debt: int, due_at: datetime, error: str | None) -> bool:
        """A try that did not succeed, with its error. False where the debt is closed."""
        values = {"wanted": debt, "new_due_at": due_at, "error": error}
        return self._connection.execute(_POSTPONE, values).rowcount == 1

    def begin_debt(self, debt: Debt, due_at: datetime, error: str) -> bool:
        """A try is about to be made, and counted; until its end is known the debt reads so, and is due again then. False
        where it is closed, or somebody else has begun it since it was read."""
        values = {"wanted": debt.id, "seen": debt.tries, "new_due_at": due_at, "error": error}
        return self._connection.execute(_BEGIN, values).rowcount == 1

    def bind_debt(self, debt: Debt, label: Label | None, claimed_at: datetime | None) -> bool:
        """The label under which the debt is about to rent, written before it does; None once that claim is settled. False
        where it is closed, or has another label than the one that was read."""
        values = {"wanted": debt.id, "seen": debt.label, "label": label, "claimed_at": claimed_at}
        return self._connection.execute(_BIND, values).rowcount == 1

    def note_mount(self, debt: int, volume: VolumeId) -> None:
        """The volume with which the debt is about to rent: its machine may lie on another one by the time it is up."""
        self._connection.execute(_NOTE_MOUNT, {"wanted": debt, "mounted": volume})

    def bind_vm(self, debt: Debt, place: VmPlace | None, claimed_at: datetime | None) -> bool:
        """As `bind_debt`, for a VM: its name is the label."""
        label = None if place is None else place.name
        values = {"wanted": debt.id, "seen": debt.label, "label": label, "claimed_at": claimed_at, "vm": plain(place)}
        return self._connection.execute(_BIND_VM, values).rowcount == 1

    def bind_row(self, debt: Debt, row: int | None) -> bool:
        """The row of `regional_volumes` that the debt is about from now on. False where it is closed, or is about another one
        than the one that was read."""
        values = {"wanted": debt.id, "seen": debt.row, "row": row}
        return self._connection.execute(_BIND_ROW, values).rowcount == 1

    def reserve_for_debt(self, debt: int, wanted: Reservation | None) -> None:
        """What the rental may come to that the debt is about to make; None gives it back, as the debt's end does."""
        total, per_hour = (wanted.total, wanted.per_hour) if wanted is not None else (None, None)
        self._connection.execute(_RESERVE, {"wanted": debt, "total": total, "per_hour": per_hour})

    def release_unbound(self, debt: int) -> None:
        """Give back what it has reserved, unless it rents, or may have rented, under a label."""
        self._connection.execute(_RELEASE_UNBOUND, {"wanted": debt})

    def is_open(self, debt: int) -> bool:
        """Locked until the commit (on PostgreSQL; SQLite has one writer): nobody else closes it meanwhile."""
        return self._connection.execute(_IS_OPEN, {"wanted": debt}).one_or_none() is not None

    def pay_debt(self, debt: int, at: datetime) -> bool:
        """False where it was closed before."""
        return self._connection.execute(_CHANGE, {"wanted": debt, "closed_at": at, "outcome": "paid"}).rowcount == 1

    def drop_debts(self, failover: FailoverId, kinds: Collection[DebtKind], at: datetime) -> list[int]:
        """The open debts of these kinds that the failover no longer owes."""
        return self._drop(_DROP, failover, kinds, at)

    def drop_debts_of(self, instance: InstanceId, kinds: Collection[DebtKind], at: datetime) -> list[int]:
        """The open debts of these kinds that this instance, which is no more, does not need any longer."""
        return self._drop(_DROP_OF_INSTANCE, instance, kinds, at)

    def _drop(
        self, statement: ReturningUpdate[int], wanted: str | int, kinds: Collection[DebtKind], at: datetime
    ) -> list[int]:
        values = {
            "wanted": wanted,
            "kinds": sorted(kind.value for kind in kinds),
            "closed_at": at,
            "outcome": "dropped",
        }
        return sorted(self._connection.execute(statement, values).scalars())
