"""The provider's hosts in a transaction: what came of our rentals there."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Row, bindparam, func, insert, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import HOSTS
from machines.model import HostId
from machines.reputation import REMEMBERED, Boot, HostRecord, Reputation

_c = HOSTS.c
_ONE = select(HOSTS).where(_c.host == bindparam("wanted")).with_for_update()
_NEW = insert(HOSTS)
_CHANGE = update(HOSTS).where(_c.host == bindparam("wanted"))
_MARKET = select(func.coalesce(func.sum(_c.boots), 0), func.coalesce(func.sum(_c.dead_boots), 0)).where(
    _c.last_boot_at >= bindparam("since")
)
_FAILED = select(HOSTS).where(_c.dead_boots > 0, _c.last_boot_at >= bindparam("since"))


class HostStatements(Statements):
    def note_boot(self, boot: Boot, at: datetime) -> None:
        """In the transaction that journals it."""
        row = self._connection.execute(_ONE, {"wanted": boot.host}).one_or_none()
        record = HostRecord(boot.host) if row is None else _record(row)
        values = _values(record.with_boot(boot.is_dead, at))
        if row is not None or not self._insert_new(_NEW, {"host": boot.host, **values}):
            self._connection.execute(_CHANGE, {"wanted": boot.host, **values})

    def reputation(self, now: datetime) -> Reputation:
        """The market and its hosts as the last days have shown them."""
        since = {"since": now - REMEMBERED}
        boots, dead = self._connection.execute(_MARKET, since).one()
        failed = [_record(row) for row in self._connection.execute(_FAILED, since)]
        return Reputation(int(boots), int(dead), {record.host: record for record in failed})


def _record(row: Row[Any]) -> HostRecord:
    return HostRecord(
        HostId(row.host),
        row.boots,
        row.dead_boots,
        row.deaths_in_a_row,
        row.last_boot_at,
        row.last_death_at,
        row.bad_until,
    )


def _values(record: HostRecord) -> dict[str, Any]:
    return {
        "boots": record.boots,
        "dead_boots": record.dead_boots,
        "deaths_in_a_row": record.deaths_in_a_row,
        "last_boot_at": record.last_boot_at,
        "last_death_at": record.last_death_at,
        "bad_until": record.bad_until,
    }
