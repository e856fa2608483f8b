"""The journal in a transaction: appended under the fence, read in the order in which it was written."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, func, insert, select

from adapters.sql.debts_tx import DebtStatements
from adapters.sql.rows import entry_from, entry_values
from adapters.sql.tables import JOURNAL, MACHINES
from machines.errors import Fenced
from machines.journal import Entry
from machines.model import Debt, FailoverId, MachineId

_c = JOURNAL.c
# Locked (on PostgreSQL; SQLite has one writer): nobody raises the fence, or appends, between the check and the commit.
_FENCE = select(MACHINES.c.fence, MACHINES.c.failover_id).where(MACHINES.c.id == bindparam("wanted")).with_for_update()
_NEXT = select(func.coalesce(func.max(_c.seq), 0) + 1).where(
    _c.failover_id == bindparam("of_failover"), _c.attempt == bindparam("of_attempt")
)
_APPEND = insert(JOURNAL).values(seq=_NEXT.scalar_subquery())
_ALL = select(JOURNAL).where(_c.failover_id == bindparam("wanted")).order_by(_c.attempt, _c.seq)
_FROM = _ALL.limit(bindparam("most")).offset(bindparam("after"))
_MOST = 2**31
"""SQLite takes no OFFSET without a LIMIT."""
_OF_ATTEMPT = _ALL.where(_c.attempt == bindparam("which"))


class JournalStatements(DebtStatements):
    def append_entry(
        self,
        machine: MachineId,
        failover: FailoverId,
        attempt: int,
        fence: int,
        entry: Entry,
        debts: Sequence[Debt] = (),
    ) -> None:
        """The entry and its debts together. Raise Fenced where the machine is not, or no longer, in this failover
        under this fence."""
        self.check_fence(machine, failover, fence)
        place = {"of_failover": failover, "of_attempt": attempt}
        values = {"failover_id": failover, "attempt": attempt, "fence": fence, **entry_values(entry)}
        self._connection.execute(_APPEND, {**place, **values})
        self.add_debts(debts)

    def check_fence(self, machine: MachineId, failover: FailoverId, fence: int) -> None:
        """Raise Fenced; what is true now stays true until the commit."""
        row = self._connection.execute(_FENCE, {"wanted": machine}).one_or_none()
        if row is None:
            raise Fenced(f"machine {machine} is not there any more")
        if row.fence != fence or row.failover_id != failover:
            raise Fenced(
                f"machine {machine} is at fence {row.fence} in failover {row.failover_id}; "
                f"the actor has fence {fence} in {failover}"
            )

    def entries(self, failover: FailoverId, attempt: int | None = None) -> tuple[Entry, ...]:
        """Of one attempt, or of all in their order."""
        if attempt is None:
            return tuple(entry for _, entry in self.timeline(failover))
        rows = self._connection.execute(_OF_ATTEMPT, {"wanted": failover, "which": attempt})
        return tuple(entry_from(row) for row in rows)

    def timeline(self, failover: FailoverId, after: int = 0) -> list[tuple[int, Entry]]:
        """Each entry with the number of its attempt; without so many of the first ones, which the caller knows."""
        rows = self._connection.execute(_FROM, {"wanted": failover, "after": after, "most": _MOST})
        return [(row.attempt, entry_from(row)) for row in rows]
