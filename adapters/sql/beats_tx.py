"""First beats in a transaction: what instances said that are no machine's yet, for whichever replica waits to hear it."""

from __future__ import annotations

from sqlalchemy import bindparam, delete, insert, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import FIRST_BEATS
from machines.model import InstanceId, MachineId
from machines.ports import Beat

_c = FIRST_BEATS.c
_ONE = select(_c.boot_id, _c.sequence).where(_c.instance_id == bindparam("wanted"))
_NEW = insert(FIRST_BEATS)
_AGAIN = update(FIRST_BEATS).where(_c.instance_id == bindparam("wanted"))
_FORGET = delete(FIRST_BEATS).where(_c.machine_id == bindparam("wanted"))


class BeatStatements(Statements):
    def first_beat(self, instance: InstanceId) -> Beat | None:
        """The first beat that was heard of the instance's present boot, by any replica."""
        row = self._connection.execute(_ONE, {"wanted": instance}).one_or_none()
        return None if row is None else Beat(row.boot_id, row.sequence)

    def note_first_beat(self, machine: MachineId, instance: InstanceId, beat: Beat) -> None:
        """The newest boot that was heard stands."""
        values = {"machine_id": machine, "boot_id": beat.boot_id, "sequence": beat.sequence}
        if self._connection.execute(_AGAIN, {**values, "wanted": instance}).rowcount == 0:
            self._insert_new(_NEW, {**values, "instance_id": instance})

    def forget_first_beats(self, machine: MachineId) -> None:
        """Nobody waits for them any more."""
        self._connection.execute(_FORGET, {"wanted": machine})
