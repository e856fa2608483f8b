"""What belongs to no machine, in a transaction: as the last look of each kind saw it, so that any replica can tell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import Row, bindparam, delete, insert, select

from adapters.sql.rows import Values
from adapters.sql.statements import Statements
from adapters.sql.tables import LOST_THINGS
from machines.lost import LostKind, LostThing, Standing
from machines.model import MachineId

_c = LOST_THINGS.c
_ALL = select(LOST_THINGS).order_by(_c.kind, _c.first_seen_at, _c.id)
_OF_KIND = _ALL.where(_c.kind == bindparam("wanted"))
_FORGET = delete(LOST_THINGS).where(_c.kind == bindparam("wanted"))
_INSERT = insert(LOST_THINGS)


class LostStatements(Statements):
    def lost_things(self) -> list[LostThing]:
        return [_thing_from(row) for row in self._connection.execute(_ALL)]

    def note_lost(self, kind: LostKind, things: Sequence[LostThing]) -> None:
        """What the newest look at the kind found, and nothing else; what was known keeps the time at which it was first seen.
        Where nothing is new nothing is written."""
        before = [_thing_from(row) for row in self._connection.execute(_OF_KIND, {"wanted": kind.value})]
        known = {thing.id: thing.first_seen_at for thing in before}
        seen = [replace(thing, first_seen_at=known.get(thing.id, thing.first_seen_at)) for thing in things]
        if _without_details(seen) == _without_details(before):
            return
        self._connection.execute(_FORGET, {"wanted": kind.value})
        if seen:
            self._connection.execute(_INSERT, [_thing_values(thing) for thing in seen])


def _without_details(things: Sequence[LostThing]) -> set[tuple[object, ...]]:
    """What is news: not what a container that nobody claims does meanwhile."""
    return {(thing.id, thing.standing, thing.price_per_hour, thing.size_gb) for thing in things}


def _thing_values(thing: LostThing) -> Values:
    return {
        "kind": thing.kind.value,
        "id": thing.id,
        "standing": thing.standing.value,
        "label": thing.label,
        "machine_id": thing.machine,
        "price_per_hour": thing.price_per_hour,
        "size_gb": thing.size_gb,
        "detail": thing.detail,
        "first_seen_at": thing.first_seen_at,
    }


def _thing_from(row: Row[Any]) -> LostThing:
    return LostThing(
        LostKind(row.kind),
        row.id,
        Standing(row.standing),
        row.label,
        None if row.machine_id is None else MachineId(row.machine_id),
        row.price_per_hour,
        row.size_gb,
        row.detail,
        row.first_seen_at,
    )
