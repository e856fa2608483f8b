"""What a long story came to, for those who judge it at its end: times in simulated seconds since the loop began."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from adapters.virtual_clock import START

if TYPE_CHECKING:
    from daemon.simulation.books import FailoverRow
    from daemon.simulation.theatre import Theatre

_PLACE = re.compile(r"position (\d+) of \d+")
_TOLD = re.compile(r"(\d+):([\d.]+)  weather +(.*)$")


class Diary:
    """`look` is called every second; the rest is read when the story is over."""

    def __init__(self, theatre: Theatre) -> None:
        self._theatre, self._books = theatre, theatre.books
        self.began_at = 0.0
        """When the weather began."""
        self._places: dict[int, int] = {}
        self._queued_at: dict[int, float] = {}
        self._waited: dict[int, float] = {}

    def look(self) -> None:
        now = self._theatre.clock.monotonic()
        queue = dict(self._books.queue())
        for machine, because in queue.items():
            found = _PLACE.search(because)
            if found:
                self._places.setdefault(machine, int(found[1]))
            self._queued_at.setdefault(machine, now)
        for machine in [one for one in self._queued_at if one not in queue]:
            self._waited[machine] = self._waited.get(machine, 0.0) + now - self._queued_at.pop(machine)

    def place(self, machine: int) -> int | None:
        """Its first place in the queue; None where it never waited in line."""
        return self._places.get(machine)

    def waited(self, machine: int) -> float:
        """Seconds in the queue."""
        return self._waited.get(machine, 0.0)

    @property
    def failovers(self) -> list[FailoverRow]:
        """In the order in which they began."""
        return sorted(self._books.failovers(), key=lambda row: (row.started_at, row.id))

    @property
    def began(self) -> dict[str, float]:
        return {row.id: _seconds(row.started_at) for row in self._books.failovers()}

    @property
    def ended(self) -> dict[str, float]:
        return {row.id: _seconds(row.ended_at) for row in self._books.failovers() if row.ended_at is not None}

    @property
    def alerts(self) -> dict[str, list[float]]:
        """When each alert was opened."""
        opened: dict[str, list[float]] = {}
        for key, at in self._books.opened_alerts():
            opened.setdefault(key, []).append(_seconds(at))
        return opened

    def times(self, event: str) -> list[float]:
        """When a change of weather whose text begins so was told."""
        found = (_TOLD.match(line) for line in self._theatre.history.told)
        return [int(one[1]) * 60 + float(one[2]) for one in found if one is not None and one[3].startswith(event)]


def _seconds(stored: str) -> float:
    return (datetime.fromisoformat(stored).replace(tzinfo=START.tzinfo) - START).total_seconds()
