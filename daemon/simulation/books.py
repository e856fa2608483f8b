"""What stands in the daemon's database, read beside its transactions and in SQL of our own: an observer shares no code
with what it observes."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

import msgspec

from adapters.sql.store import SqlStore


@dataclass(frozen=True, slots=True)
class MachineRow:
    id: int
    state: str
    fence: int
    primary: int | None
    failover: str | None
    volume: int | None
    standby: int | None
    setting: str
    because: str
    host: int | None
    priority: int
    waits_for: str | None
    asked_at: str | None


@dataclass(frozen=True, slots=True)
class FailoverRow:
    id: str
    machine: int
    reason: str
    command: str | None
    old_instance: int | None
    evidence: dict[str, Any] | None
    fence: int
    started_at: str
    ended_at: str | None
    success: bool | None
    strategy: str | None
    code: str | None


@dataclass(frozen=True, slots=True)
class JournalRow:
    failover: str
    attempt: int
    seq: int
    fence: int
    step: str
    mark: str
    output: dict[str, Any]


@dataclass(frozen=True, slots=True)
class DebtRow:
    id: int
    kind: str
    machine: int
    instance: int | None
    label: str | None
    volume: int | None


class Books:
    """Every read is of what is committed."""

    def __init__(self, sql: SqlStore) -> None:
        self._driver = sql.driver()

    @property
    def changes(self) -> int:
        """Rises with every row that anybody changes."""
        return int(self._driver.total_changes)

    def machines(self) -> list[MachineRow]:
        rows = self._driver.execute(
            "SELECT id, state, fence, primary_instance, failover_id, volume, standby, setting, because,"
            " host, priority, waits_for, queue_asked_at FROM machines ORDER BY id"
        )
        return [
            MachineRow(row[0], row[1], row[2], row[3], row[4], _of(row[5], "id"), _of(row[6], "instance"), *row[7:])
            for row in rows
        ]

    def failovers(self, or_named: Collection[str] | None = None) -> list[FailoverRow]:
        """All of them; with names, those that have not ended and those named."""
        narrow = "" if or_named is None else f" WHERE ended_at IS NULL OR id IN ({','.join('?' * len(or_named))})"
        rows = self._driver.execute(
            "SELECT id, machine_id, reason, command_id, old_instance, evidence, running, started_at, ended_at, success,"
            f" strategy_succeeded, code FROM failovers{narrow} ORDER BY started_at, id",
            tuple(or_named or ()),
        )
        return [
            FailoverRow(
                id=row[0],
                machine=row[1],
                reason=row[2],
                command=row[3],
                old_instance=row[4],
                evidence=_nested(row[5]),
                fence=(_nested(row[6]) or {}).get("fence", 0),
                started_at=row[7],
                ended_at=row[8],
                success=None if row[9] is None else bool(row[9]),
                strategy=row[10],
                code=row[11],
            )
            for row in rows
        ]

    def journal(self, failover: str, after: int = 0) -> list[JournalRow]:
        """In the order in which it was written, from that many rows on."""
        rows = self._driver.execute(
            "SELECT failover_id, attempt, seq, fence, step, mark, output FROM journal WHERE failover_id = ?"
            " ORDER BY rowid LIMIT -1 OFFSET ?",
            (failover, after),
        )
        return [JournalRow(row[0], row[1], row[2], row[3], row[4], row[5], _nested(row[6]) or {}) for row in rows]

    def debts(self) -> list[DebtRow]:
        """The open ones."""
        rows = self._driver.execute(
            "SELECT id, kind, machine_id, instance, label, volume FROM debts WHERE closed_at IS NULL ORDER BY id"
        )
        return [DebtRow(*row) for row in rows]

    def alerts(self) -> dict[str, str]:
        """The open ones."""
        return dict(self._driver.execute("SELECT key, text FROM alerts WHERE resolved_at IS NULL ORDER BY key"))

    def opened_alerts(self) -> list[tuple[str, str]]:
        """(key, when it was opened) of every alert that ever was."""
        return self._driver.execute("SELECT key, opened_at FROM alerts ORDER BY id").fetchall()  # type: ignore[no-any-return]

    def queue(self) -> list[tuple[int, str]]:
        """(machine, why it waits) of every machine in the queue."""
        return self._driver.execute(  # type: ignore[no-any-return]
            "SELECT id, because FROM machines WHERE waits_for IN ('place', 'rental', 'host')"
        ).fetchall()

    def commands(self) -> list[tuple[str, str, str | None, str | None]]:
        """(id, status, failover, answer)"""
        rows = self._driver.execute("SELECT command_id, status, failover_id, answer FROM commands ORDER BY command_id")
        return [tuple(row) for row in rows]

    def paused_until(self) -> str | None:
        """None where nothing is paused."""
        row = self._driver.execute("SELECT until FROM pauses").fetchone()
        return row[0] if row is not None else None

    def lease_holder(self, name: str) -> str | None:
        row = self._driver.execute("SELECT holder FROM leases WHERE name = ?", (name,)).fetchone()
        return row[0] if row is not None else None

    def newest_message(self) -> int:
        """The outbox's last id."""
        return self._driver.execute("SELECT max(id) FROM outbox").fetchone()[0] or 0

    def has_work(self, job: str) -> bool:
        """Would this periodic job of a daemon find anything?"""
        match job:
            case "storm":
                clocked = "key IN ('storm', 'automatic-action-suspended') OR key LIKE '%-flapping'"
                return self._any(f"SELECT 1 FROM alerts WHERE resolved_at IS NULL AND ({clocked}) LIMIT 1")
            case "alarms":
                return self._any("SELECT 1 FROM machines WHERE look_at IS NOT NULL LIMIT 1")
            case "resume":
                return self._any("SELECT 1 FROM failovers WHERE ended_at IS NULL LIMIT 1")
            case "debts":
                return self._any("SELECT 1 FROM debts WHERE closed_at IS NULL LIMIT 1")
            case _:
                return True

    def make_pause_unreadable(self) -> None:
        self._driver.execute("UPDATE pauses SET until = 'spoilt'")

    def make_pause_readable(self) -> None:
        self._driver.execute("UPDATE pauses SET until = NULL WHERE until = 'spoilt'")

    def _any(self, query: str, *values: object) -> bool:
        return self._driver.execute(query, values).fetchone() is not None


def stored(time: datetime) -> str:
    """As SQLAlchemy writes a time into SQLite."""
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")


@lru_cache(4096)
def _nested(text: str | None) -> Any:
    """Shared by all who read the same text: nobody changes what stands in the books."""
    return None if text is None else msgspec.json.decode(text)


def _of(text: str | None, name: str) -> int | None:
    found = _nested(text)
    return found[name] if isinstance(found, dict) else None
