"""What belongs to the whole fleet, in a transaction: the deployment's id, the pause, the gate's lock, the alerts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import DataError

from adapters.sql.errors import StoreDamaged
from adapters.sql.records import AlertRecord
from adapters.sql.rows import alert_from
from adapters.sql.statements import Statements
from adapters.sql.tables import ALERTS, DEPLOYMENT, PAUSES, THE_ONE
from machines.admission import Pause

_DEPLOYMENT = select(DEPLOYMENT.c.id).where(DEPLOYMENT.c.one == THE_ONE)
_FOUND = insert(DEPLOYMENT)
_PAUSE = select(PAUSES).where(PAUSES.c.one == THE_ONE)
_LOCK = select(PAUSES.c.one).where(PAUSES.c.one == THE_ONE).with_for_update()
_NEW_PAUSE = insert(PAUSES)
_SET_PAUSE = update(PAUSES).where(PAUSES.c.one == THE_ONE)
_a = ALERTS.c
_OPEN_ALERTS = select(ALERTS).where(_a.resolved_at.is_(None)).order_by(_a.opened_at, _a.id)
_OPEN_ALERT = update(ALERTS).where(_a.key == bindparam("wanted"), _a.resolved_at.is_(None))
_REPEAT = _OPEN_ALERT.values(count=_a.count + 1, text=bindparam("new_text"), repeated_at=bindparam("now"))
_NEW_ALERT = insert(ALERTS)


class FleetStatements(Statements):
    def deployment(self, mint: Callable[[], str]) -> str:
        """The deployment's id; minted the first time, the same ever after and for every replica."""
        found = self._connection.execute(_DEPLOYMENT).scalar_one_or_none()
        if found is not None:
            return str(found)
        self._insert_new(_FOUND, {"one": THE_ONE, "id": mint()})
        return str(self._connection.execute(_DEPLOYMENT).scalar_one())

    def lock_admission(self) -> None:
        """One admission at a time over all replicas, until the commit: what is counted now is still true when the
        answer is saved. (SQLite has one writer anyway.) Where the row is gone nothing is locked, and nothing automatic
        is admitted: the pause cannot be read."""
        self._connection.execute(_LOCK).one_or_none()

    def pause(self) -> Pause | None:
        """As it was set, also when its end has passed. Raise LookupError where the row is gone, and ValueError where no
        time can be read from it: neither is a 'no'."""
        try:
            row = self._connection.execute(_PAUSE).one_or_none()
        except (DataError, StoreDamaged) as error:
            raise ValueError(f"the end of the pause is no time that we know: {error}") from error
        if row is None:
            raise LookupError("the row of the pause is missing")
        return None if row.until is None else Pause(row.reason or "", row.until, row.by or "")

    def readable_pause(self) -> tuple[Pause | None, bool]:
        """(the pause, can it be read): what cannot be read is a pause, too."""
        try:
            return self.pause(), True
        except (LookupError, ValueError):
            return None, False

    def set_pause(self, pause: Pause) -> None:
        self._write_pause({"reason": pause.reason, "until": pause.until, "by": pause.by})

    def lift_pause(self, at: datetime) -> None:
        """What the budgets of automatic action had spent before is forgiven."""
        self._write_pause({"reason": None, "until": None, "by": None, "budget_from": at})

    def _write_pause(self, values: dict[str, object]) -> None:
        if self._connection.execute(_SET_PAUSE, values).rowcount != 1:
            self._insert_new(_NEW_PAUSE, {"one": THE_ONE, **values})

    def raise_alert(self, key: str, text: str, at: datetime) -> bool:
        """True where it is news. An alert that is open already is counted, and takes the newer text."""
        repeated = {"wanted": key, "new_text": text, "now": at}
        if self._connection.execute(_REPEAT, repeated).rowcount:
            return False
        opened = {"key": key, "text": text, "opened_at": at, "repeated_at": at, "count": 1}
        if self._insert_new(_NEW_ALERT, opened):
            return True
        self._connection.execute(_REPEAT, repeated)  # another replica opened it between the two statements
        return False

    def resolve_alert(self, key: str, at: datetime) -> bool:
        """False where none was open."""
        return self._connection.execute(_OPEN_ALERT, {"wanted": key, "resolved_at": at}).rowcount == 1

    def open_alerts(self) -> list[AlertRecord]:
        """The oldest first."""
        return [alert_from(row) for row in self._connection.execute(_OPEN_ALERTS)]
