"""Rentals and charges in a transaction: for whom each instance was rented, and what the provider's own bill says of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import bindparam, delete, func, insert, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import CHARGES, FAILOVERS, MACHINES, REGIONAL_VOLUMES, RENTALS
from machines.charges import Bill, Charged, MachineCost
from machines.model import FailoverId, InstanceId, MachineId

_r, _c = RENTALS.c, CHARGES.c
_NEW_RENTAL = insert(RENTALS)
_KNOWN = select(_r.instance_id, _r.was_primary).where(_r.instance_id == bindparam("wanted"))
_PROMOTE = update(RENTALS).where(_r.instance_id == bindparam("wanted")).values(was_primary=True)
_WAS_REPLACED = select(FAILOVERS.c.id).where(FAILOVERS.c.old_instance == bindparam("wanted")).limit(1)
_WINS = select(FAILOVERS.c.new).where(FAILOVERS.c.new.is_not(None))
_RENTALS = select(_r.instance_id, _r.machine_id)
_PRIMARIES = select(MACHINES.c.id, MACHINES.c.primary_instance, MACHINES.c.standby, MACHINES.c.volume)
_REPLACED = select(FAILOVERS.c.old_instance, FAILOVERS.c.machine_id).where(FAILOVERS.c.old_instance.is_not(None))
_VOLUMES = select(REGIONAL_VOLUMES.c.volume, REGIONAL_VOLUMES.c.machine_id).where(
    REGIONAL_VOLUMES.c.volume.is_not(None), REGIONAL_VOLUMES.c.machine_id.is_not(None)
)
_EXPLAINED = select(_c.what, _c.id, _c.machine_id).where(_c.machine_id.is_not(None))
_OF_MONTH = select(_c.what, _c.id, _c.amount).where(_c.month == bindparam("wanted"))
_FORGET = delete(CHARGES).where(_c.month == bindparam("wanted"))
_INSERT = insert(CHARGES)
_COSTS = (
    select(_c.machine_id, func.sum(_c.amount), func.count(func.distinct(_c.id)))
    .where(_c.month >= bindparam("since"))
    .group_by(_c.machine_id)
    .order_by(_c.machine_id)
)
_READ_AT = select(func.max(_c.read_at))
_LAST_MONTH = select(func.max(_c.month))


class ChargeStatements(Statements):
    def note_rental(self, instance: InstanceId, machine: MachineId, failover: FailoverId | None, at: datetime) -> None:
        """Once: what was known first stays."""
        self._note(instance, machine, failover, at, was_primary=False)

    def note_primary(self, instance: InstanceId, machine: MachineId, at: datetime) -> None:
        """It embodies the machine from now on. That is remembered when the machine is no more."""
        self._note(instance, machine, None, at, was_primary=True)
        self._connection.execute(_PROMOTE, {"wanted": instance})

    def was_primary(self, instance: InstanceId) -> bool:
        """Did it ever embody a machine? By its rental, and by the failovers of the time before rentals were written down."""
        row = self._connection.execute(_KNOWN, {"wanted": instance}).one_or_none()
        if row is not None and row.was_primary:
            return True
        if self._connection.execute(_WAS_REPLACED, {"wanted": instance}).first() is not None:
            return True
        wins = self._connection.execute(_WINS).scalars()
        return any(won is not None and won.get("instance") == instance for won in wins)

    def _note(
        self, instance: InstanceId, machine: MachineId, failover: FailoverId | None, at: datetime, was_primary: bool
    ) -> None:
        if self._connection.execute(_KNOWN, {"wanted": instance}).one_or_none() is None:
            values = {"instance_id": instance, "machine_id": machine, "failover_id": failover, "known_at": at}
            self._insert_new(_NEW_RENTAL, {**values, "was_primary": was_primary})

    def note_bill(self, bill: Bill, at: datetime) -> None:
        """The month as it stands now, each charge with the machine that it was for. What a machine has left since, and what
        is gone, keeps the machine that it was known for; and what stood on a bill once is not forgotten by a shorter one."""
        owners = self._owners()
        known = {(row.what, row.id): row.amount for row in self._connection.execute(_OF_MONTH, {"wanted": bill.month})}
        amounts = known | {(charge.what.value, charge.id): charge.amount for charge in bill.charges}
        self._connection.execute(_FORGET, {"wanted": bill.month})
        shared = {"month": bill.month, "read_at": at}
        rows = [
            {"what": what, "id": number, "amount": amount, "machine_id": owners.get((what, number)), **shared}
            for (what, number), amount in amounts.items()
        ]
        if rows:
            self._connection.execute(_INSERT, rows)

    def _owners(self) -> Mapping[tuple[str, int], int]:
        rental, volume = Charged.INSTANCE.value, Charged.VOLUME.value
        found = {(row.what, row.id): row.machine_id for row in self._connection.execute(_EXPLAINED)}
        for number, machine in self._connection.execute(_VOLUMES):
            found[volume, number] = machine
        for number, machine in self._connection.execute(_REPLACED):
            found[rental, number] = machine
        for row in self._connection.execute(_PRIMARIES):
            if row.primary_instance is not None:
                found[rental, row.primary_instance] = row.id
            if row.standby is not None:
                found[rental, int(row.standby["instance"])] = row.id
            if row.volume is not None:
                found[volume, int(row.volume["id"])] = row.id
        for number, machine in self._connection.execute(_RENTALS):
            found[rental, number] = machine
        return found

    def costs(self, since_month: str) -> list[MachineCost]:
        """From that month on; the last of them what belongs to no machine that we know."""
        rows = self._connection.execute(_COSTS, {"since": since_month}).all()
        costs = [
            MachineCost(None if machine is None else MachineId(machine), float(amount), count)
            for machine, amount, count in rows
        ]
        return sorted(costs, key=lambda cost: (cost.machine is None, cost.machine or 0))

    def bill_read_at(self) -> datetime | None:
        """When the provider's bill was last read."""
        found: datetime | None = self._connection.execute(_READ_AT).scalar_one()
        return found

    def last_billed_month(self) -> str | None:
        found: str | None = self._connection.execute(_LAST_MONTH).scalar_one()
        return found
