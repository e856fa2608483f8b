"""The daemons' database, read from outside, where a test must know who works on what and how far it is."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg

from tests.servers.replica import Replica
from tests.servers.stack import Stack

T = TypeVar("T")

LOOK_EVERY_REAL_S = 0.005
"""A step of the warm pool is over in a tenth of a second at ten times the speed."""


class Books:
    def __init__(self, rows: psycopg.Connection[Any]) -> None:
        self._rows = rows

    def failover_of(self, machine: int) -> str | None:
        found: str | None = self._scalar("SELECT failover_id FROM machines WHERE id = %s", machine)
        return found

    def fence_of(self, machine: int) -> int:
        return int(self._scalar("SELECT fence FROM machines WHERE id = %s", machine))

    def has_started(self, failover: str, step: str) -> bool:
        query = "SELECT 1 FROM journal WHERE failover_id = %s AND step = %s AND mark = 'started'"
        return self._scalar(query, failover, step) is not None

    def attempt_of(self, failover: str) -> int:
        """The number of its present attempt."""
        query = "SELECT max(number) FROM attempts WHERE failover_id = %s"
        return int(self._scalar(query, failover) or 0)

    def is_done(self, failover: str, attempt: int, step: str) -> bool:
        query = "SELECT 1 FROM journal WHERE failover_id = %s AND attempt = %s AND step = %s AND mark = 'done'"
        return self._scalar(query, failover, attempt, step) is not None

    def labels(self, failover: str) -> set[str]:
        """The labels that were journaled before anything was rented under them."""
        query = "SELECT output ->> 'label' FROM journal WHERE failover_id = %s AND mark = 'claimed'"
        return {row[0] for row in self._rows.execute(query, (failover,))}

    def widest_gap_s(self, failover: str) -> float:
        """Between two entries of its journal that follow one another, by their own times, in whichever direction."""
        query = (
            "SELECT max(abs(extract(epoch FROM at - before))) FROM (SELECT at, lag(at) OVER (ORDER BY attempt, seq) "
            "AS before FROM journal WHERE failover_id = %s) AS entries"
        )
        return float(self._scalar(query, failover) or 0.0)

    def holder(self, stack: Stack, name: str) -> Replica | None:
        """Who has the lease of that name now."""
        found = self._scalar("SELECT holder FROM leases WHERE name = %s", name)
        return next((one for one in stack.replicas if one.id == found), None)

    def _scalar(self, query: str, *values: object) -> Any:
        row = self._rows.execute(query, values).fetchone()
        return row[0] if row else None


@contextmanager
def books(database: str) -> Iterator[Books]:
    with psycopg.connect(database, autocommit=True) as rows:
        yield Books(rows)


def until(what: str, look: Callable[[], T | None], limit_s: float = 90.0) -> T:
    """Look until it is there, faster than `Stack.until`, and return it."""
    deadline = time.monotonic() + limit_s
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(LOOK_EVERY_REAL_S)
    raise AssertionError(f"not within {limit_s:.0f} s: {what}")
