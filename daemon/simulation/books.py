"""What stands in the daemon's database, read beside its transactions and in SQL of our own: an observer shares no code
with what it observes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from adapters.sql.store import SqlStore

T = TypeVar("T")

_MACHINES = (
    "SELECT id, state, fence, primary_instance, failover_id, volume, standby, warm_pool, setting, because, host, priority,"
    " waits_for, queue_asked_at FROM machines ORDER BY id"
)
_FAILOVERS = (
    "SELECT id, machine_id, reason, command_id, old_instance, evidence, running, started_at, ended_at, success,"
    " strategy_succeeded, code FROM failovers"
)
_DEBTS = "SELECT id, kind, machine_id, instance, label, volume FROM debts WHERE closed_at IS NULL ORDER BY id"
_NEW_ENTRIES = (
    "SELECT rowid, failover_id, attempt, seq, fence, step, mark, output FROM journal WHERE rowid > ? ORDER BY rowid"
)


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
    replica: int | None = None
    """Of its volume."""
    has_wish: bool = False
    """Is it to have a warm pool wherever there is one to be had?"""
    prepared: tuple[int, ...] = ()
    """The instances that stand ready for it on another host."""
    prepared_volume: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeRow:
    volume: int | None
    status: str
    host: int | None


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


@dataclass(frozen=True, slots=True)
class CommandRow:
    id: str
    kind: str
    status: str
    failover: str | None
    answer: str | None


class Books:
    """Every read is of what is committed. Rows that are the same as at the read before are the same objects."""

    def __init__(self, sql: SqlStore) -> None:
        self._driver = sql.driver()
        self._known: dict[tuple[str, tuple[object, ...]], tuple[int, list[tuple[Any, ...]]]] = {}
        """What each question was answered with, and how many changes there had been by then."""
        self._before: dict[str, tuple[list[tuple[Any, ...]], list[Any]]] = {}
        self._journal: defaultdict[str, list[JournalRow]] = defaultdict(list)
        self._newest_entry = 0
        self._total = self._changes = 0

    @property
    def changes(self) -> int:
        """Rises where any row has changed since it was asked last."""
        total = self._driver.total_changes
        if total != self._total:
            self._total = total
            self._changes += 1
        return self._changes

    def overlook(self) -> bool:
        """What has changed since `changes` was asked is nothing that is read here: all answers that are known still hold.
        Was there anything?"""
        before, self._total = self._total, self._driver.total_changes
        return bool(before != self._total)

    def machines(self) -> list[MachineRow]:
        return self._read(_machine, _MACHINES)

    def failovers(self, or_named: Collection[str] | None = None) -> list[FailoverRow]:
        """All of them; with names, those that have not ended and those named."""
        if or_named is None:
            return self._read(_failover, f"{_FAILOVERS} ORDER BY started_at, id")
        named = f" OR id IN ({','.join('?' * len(or_named))})" if or_named else ""
        return self._read(_failover, f"{_FAILOVERS} WHERE ended_at IS NULL{named} ORDER BY started_at, id", *or_named)

    def journal(self, failover: str, after: int = 0) -> list[JournalRow]:
        """In the order in which it was written, from that many rows on. A journal only grows: only its news is read."""
        for number, *row in self._driver.execute(_NEW_ENTRIES, (self._newest_entry,)):
            self._newest_entry = number
            self._journal[row[0]].append(_entry(*row))
        return self._journal[failover][after:]

    def debts(self) -> list[DebtRow]:
        """The open ones."""
        return self._read(DebtRow, _DEBTS)

    def vms(self) -> dict[int, str | None]:
        """The name of each machine's CPU VM, None where it is still to be made; machines without one are left out."""
        return dict(self._read(_vm_of, "SELECT id, cpu_standby FROM machines WHERE cpu_standby IS NOT NULL"))

    def copies(self) -> dict[int, int]:
        """The instance that each machine's CPU VM has a copy of, as far as the daemon knows."""
        return dict(self._driver.execute("SELECT machine_id, instance_id FROM workspace_copies"))

    def alerts(self) -> dict[str, str]:
        """The open ones."""
        return dict(self._driver.execute("SELECT key, text FROM alerts WHERE resolved_at IS NULL ORDER BY key"))

    def volumes(self) -> list[VolumeRow]:
        """The volumes that the daemon made, or looks after."""
        return self._read(VolumeRow, "SELECT volume, status, host FROM regional_volumes ORDER BY number")

    def opened_alerts(self) -> list[tuple[str, str]]:
        """(key, when it was opened) of every alert that ever was."""
        return self._driver.execute("SELECT key, opened_at FROM alerts ORDER BY id").fetchall()  # type: ignore[no-any-return]

    def queue(self) -> list[tuple[int, str]]:
        """(machine, why it waits) of every machine in the queue."""
        return self._driver.execute(  # type: ignore[no-any-return]
            "SELECT id, because FROM machines WHERE waits_for IN ('place', 'rental', 'host')"
        ).fetchall()

    def commands(self) -> list[CommandRow]:
        return self._read(
            CommandRow, "SELECT command_id, command, status, failover_id, answer FROM commands ORDER BY command_id"
        )

    def is_audited(self, failover: str) -> bool:
        """Does a row say who began it, and why?"""
        return bool(self._rows("SELECT 1 FROM audit WHERE subject = ? LIMIT 1", failover))

    def paused_until(self) -> str | None:
        """None where nothing is paused."""
        rows = self._rows("SELECT until FROM pauses")
        return rows[0][0] if rows else None

    def lease_holder(self, name: str) -> str | None:
        rows = self._rows("SELECT holder FROM leases WHERE name = ?", name)
        return rows[0][0] if rows else None

    def newest_message(self) -> int:
        """The outbox's last id."""
        return self._rows("SELECT max(id) FROM outbox")[0][0] or 0

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
            case "replicas":
                return self._any(
                    "SELECT 1 FROM machines WHERE volume IS NOT NULL AND (setting = 'regional_volume' OR volume LIKE '%copied_at%') LIMIT 1"
                )
            case "warm pools":
                return self._any("SELECT 1 FROM machines WHERE warm_pool IS NOT NULL LIMIT 1")
            case "orphan volumes":
                return self._any(
                    "SELECT 1 FROM debts WHERE kind IN ('create_volume', 'clone_volume', 'provision_pool') LIMIT 1"
                )
            case "debts":
                return self._any("SELECT 1 FROM debts WHERE closed_at IS NULL LIMIT 1")
            case "hooks":
                return self._any("SELECT 1 FROM debts WHERE closed_at IS NULL AND kind = 'run_hook' LIMIT 1")
            case "workspaces on CPU VMs":
                return self._any("SELECT 1 FROM machines WHERE cpu_standby IS NOT NULL LIMIT 1")
            case "debts of CPU VMs":
                return self._any("SELECT 1 FROM debts WHERE closed_at IS NULL AND kind LIKE '%_vm' LIMIT 1")
            case _:
                return True

    def make_pause_unreadable(self) -> None:
        self._change("UPDATE pauses SET until = 'spoilt'")

    def make_pause_readable(self) -> None:
        self._change("UPDATE pauses SET until = NULL WHERE until = 'spoilt'")

    def _change(self, statement: str) -> None:
        """By nobody's transaction, so that a count of leases that comes next would overlook it."""
        self._driver.execute(statement)
        self._changes += 1

    def _any(self, query: str) -> bool:
        return bool(self._rows(query))

    def _rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """Looked up only where a row has changed since: most questions are asked every second."""
        changes = self.changes
        known = self._known.get((query, values))
        if known is not None and known[0] == changes:
            return known[1]
        rows: list[tuple[Any, ...]] = self._driver.execute(query, values).fetchall()
        self._known[query, values] = changes, rows
        return rows

    def _read(self, make: Callable[..., T], query: str, *values: object) -> list[T]:
        rows = self._rows(query, *values)
        before = self._before.get(query)
        if before is not None and before[0] == rows:
            return before[1]
        made = [make(*row) for row in rows]
        self._before[query] = rows, made
        return made


def stored(time: datetime) -> str:
    """As SQLAlchemy writes a time into SQLite."""
    return time.strftime("%Y-%m-%d %H:%M:%S.%f")


def _machine(number: int, state: str, fence: int, primary: int, failover: str, *rest: Any) -> MachineRow:
    volume, standby, warm_pool, *others = rest
    mount = _nested(volume) or {}
    row = MachineRow(number, state, fence, primary, failover, mount.get("id"), _of(standby, "instance"), *others)
    row = replace(row, replica=(mount.get("replica") or {}).get("id"), has_wish=warm_pool is not None)
    prepared = (_nested(warm_pool) or {}).get("prepared")
    if prepared is None:
        return row
    there = (prepared["first"], prepared["second"])
    ready = tuple(one["instance"] for one in there if one is not None)
    return replace(row, prepared=ready, prepared_volume=prepared["volume"]["id"])


def _failover(number: str, machine: int, reason: str, command: str, old: int, *rest: Any) -> FailoverRow:
    evidence, running, started_at, ended_at, success, strategy, code = rest
    fence = (_nested(running) or {}).get("fence", 0)
    is_success = None if success is None else bool(success)
    return FailoverRow(
        number,
        machine,
        reason,
        command,
        old,
        _nested(evidence),
        fence,
        started_at,
        ended_at,
        is_success,
        strategy,
        code,
    )


def _entry(failover: str, attempt: int, seq: int, fence: int, step: str, mark: str, output: str) -> JournalRow:
    return JournalRow(failover, attempt, seq, fence, step, mark, _nested(output) or {})


def _vm_of(number: int, cpu_standby: str) -> tuple[int, str | None]:
    vm = _nested(cpu_standby)["vm"]
    return number, vm["name"] if vm else None


@lru_cache(4096)
def _nested(text: str | None) -> Any:
    """Shared by all who read the same text: nobody changes what stands in the books."""
    return None if text is None else msgspec.json.decode(text)


def _of(text: str | None, name: str) -> int | None:
    found = _nested(text)
    return found[name] if isinstance(found, dict) else None
