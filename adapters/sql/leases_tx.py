"""Leases in a transaction: taken, renewed and given back by compare-and-swap."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import bindparam, delete, insert, select, update

from adapters.sql.statements import Statements
from adapters.sql.tables import LEASES
from machines.errors import Stale
from machines.lease import Lease

_c = LEASES.c
_ALL = select(LEASES).order_by(_c.name)
_ONE = select(LEASES).where(_c.name == bindparam("wanted")).with_for_update()
_NEW = insert(LEASES)
_TAKE = (
    update(LEASES)
    .where(_c.name == bindparam("wanted"), _c.holder == bindparam("was"), _c.renewals == bindparam("seen"))
    .values(holder=bindparam("new_holder"), renewals=_c.renewals + 1)
)
_OWN = (_c.holder == bindparam("own"), _c.name == bindparam("wanted"))
_RENEW = update(LEASES).where(*_OWN).values(renewals=_c.renewals + 1)
_RELEASE = delete(LEASES).where(*_OWN)
_DROP = delete(LEASES).where(_c.name == bindparam("wanted"))


class LeaseStatements(Statements):
    def leases(self) -> list[Lease]:
        return [Lease(row.name, row.holder, row.renewals) for row in self._connection.execute(_ALL)]

    def lease(self, name: str) -> Lease | None:
        """Locked until the commit (on PostgreSQL; SQLite has one writer)."""
        row = self._connection.execute(_ONE, {"wanted": name}).one_or_none()
        return None if row is None else Lease(row.name, row.holder, row.renewals)

    def take_lease(self, name: str, replica: str, seen: Lease | None) -> None:
        """From nobody (None) or from the holder as seen. Raise Stale where it changed since."""
        if seen is None:
            if not self._insert_new(_NEW, {"name": name, "holder": replica, "renewals": 1}):
                raise Stale(f"lease {name} was taken by another replica")
            return
        values = {"wanted": name, "was": seen.holder, "seen": seen.renewals, "new_holder": replica}
        if self._connection.execute(_TAKE, values).rowcount != 1:
            raise Stale(f"lease {name} has moved on")

    def renew_leases(self, replica: str, names: Collection[str]) -> None:
        """Count those up that are still the replica's own."""
        if names:
            self._connection.execute(_RENEW, [{"own": replica, "wanted": name} for name in sorted(names)])

    def release_leases(self, replica: str, names: Collection[str]) -> None:
        """Another replica may take them at once."""
        if names:
            self._connection.execute(_RELEASE, [{"own": replica, "wanted": name} for name in sorted(names)])

    def drop_lease(self, name: str) -> None:
        """What it was for has ended."""
        self._connection.execute(_DROP, {"wanted": name})
