"""Regional volumes in a transaction: which there are, whose they are, and on which of the provider's volumes they lie."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from sqlalchemy import bindparam, delete, func, insert, select, update

from adapters.sql.rows import volume_from, volume_values
from adapters.sql.statements import Statements
from adapters.sql.tables import DEBTS, REGIONAL_VOLUMES
from machines.model import MachineId, VolumeId, VolumeMount
from machines.volumes import FORMER_HANDLES, RegionalVolume, VolumeStatus

_c = REGIONAL_VOLUMES.c
_INSERT = insert(REGIONAL_VOLUMES).returning(_c.number)
_ALL = select(REGIONAL_VOLUMES).order_by(_c.number)
_ONE = _ALL.where(_c.number == bindparam("wanted"))
_BY_HANDLE = _ALL.where(_c.handle == bindparam("wanted"))
_BY_VOLUME = _ALL.where(_c.volume == bindparam("wanted"))
_REPLICAS = _ALL.where(_c.replica_of == bindparam("wanted"))
_HIGHEST = select(func.max(_c.number))
_HIGHEST_OWED = select(func.max(DEBTS.c.volume_row))
_SAVE = update(REGIONAL_VOLUMES).where(_c.number == bindparam("wanted"))
_DROP = delete(REGIONAL_VOLUMES).where(_c.number == bindparam("wanted"))
_DROP_BY_VOLUME = delete(REGIONAL_VOLUMES).where(_c.volume == bindparam("wanted"))


class VolumeStatements(Statements):
    def insert_volume(self, volume: RegionalVolume) -> RegionalVolume:
        """With the number that the database gives it."""
        number: int = self._connection.execute(_INSERT, volume_values(volume)).scalar_one()
        return replace(volume, number=number)

    def save_volume(self, volume: RegionalVolume) -> bool:
        """False where it has no row any more."""
        values = {**volume_values(volume), "wanted": volume.number}
        return self._connection.execute(_SAVE, values).rowcount == 1

    def regional_volumes(self) -> list[RegionalVolume]:
        """All rows, replicas among them, in the order in which they were made."""
        return [volume_from(row) for row in self._connection.execute(_ALL)]

    def regional_volume(self, handle: VolumeId) -> RegionalVolume | None:
        """By the id that clients know it by."""
        row = self._connection.execute(_BY_HANDLE, {"wanted": handle}).one_or_none()
        return None if row is None else volume_from(row)

    def volume_row(self, number: int) -> RegionalVolume | None:
        row = self._connection.execute(_ONE, {"wanted": number}).one_or_none()
        return None if row is None else volume_from(row)

    def row_of_volume(self, volume: VolumeId) -> RegionalVolume | None:
        """By the provider's id."""
        row = self._connection.execute(_BY_VOLUME, {"wanted": volume}).one_or_none()
        return None if row is None else volume_from(row)

    def replicas_of(self, number: int) -> list[RegionalVolume]:
        return [volume_from(row) for row in self._connection.execute(_REPLICAS, {"wanted": number})]

    def highest_volume_row(self) -> int:
        """The number of the latest row that is known of, also where it is gone; 0 where there was none."""
        numbers = (self._connection.execute(highest).scalar() for highest in (_HIGHEST, _HIGHEST_OWED))
        return max(number or 0 for number in numbers)

    def drop_volume_row(self, number: int) -> bool:
        """False where there was none."""
        return self._connection.execute(_DROP, {"wanted": number}).rowcount > 0

    def drop_volume(self, volume: VolumeId) -> bool:
        """The provider's volume is gone, and its row with it."""
        return self._connection.execute(_DROP_BY_VOLUME, {"wanted": volume}).rowcount == 1

    def follow_volume(
        self,
        machine: MachineId,
        before: VolumeMount | None,
        after: VolumeMount | None,
        given_up: Collection[VolumeId] = (),
    ) -> None:
        """The machine lies on another volume now, or on none. A replica that it moved to becomes the regional volume: it
        takes over the name, and the id that clients know; the former one stays under an id of its own. Those of `given_up`
        are owed their deletion."""
        self._follow(machine, before, after, given_up)
        for volume in given_up:
            row = self.row_of_volume(volume)
            if row is not None:
                self.save_volume(replace(row, status=VolumeStatus.DELETING))

    def _follow(
        self,
        machine: MachineId,
        before: VolumeMount | None,
        after: VolumeMount | None,
        given_up: Collection[VolumeId],
    ) -> None:
        if before is not None and (left := self.row_of_volume(before.id)) is not None:
            self.save_volume(replace(left, machine=None))
        row = self.row_of_volume(after.id) if after is not None else None
        if row is None:
            return
        main = self.volume_row(row.replica_of) if row.replica_of is not None else None
        if main is not None:
            if main.volume in given_up:
                former = replace(main, handle=None, machine=None, replica_of=row.number)
            else:
                former = replace(main, handle=VolumeId(FORMER_HANDLES + main.number), machine=None)
            self.save_volume(former)
            row = replace(row, handle=main.handle, name=main.name, replica_of=None)
        self.save_volume(replace(row, machine=machine))
