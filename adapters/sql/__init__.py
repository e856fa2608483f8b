"""The durable truth: machines, failovers, journal, debts, outbox and commands in SQLite or PostgreSQL."""

from __future__ import annotations

from adapters.sql.errors import SchemaUnknown, StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.migration import current, upgrade
from adapters.sql.records import AlertRecord, AttemptRecord, CommandRow, CommandStatus, Door, FailoverRecord
from adapters.sql.store import SqlStore
from adapters.sql.tx import Tx

__all__ = [
    "AlertRecord",
    "AttemptRecord",
    "CommandRow",
    "CommandStatus",
    "Door",
    "FailoverRecord",
    "SchemaUnknown",
    "SqlStore",
    "Store",
    "StoreUnavailable",
    "Tx",
    "current",
    "upgrade",
]
