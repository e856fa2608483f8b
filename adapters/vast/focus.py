"""Some rentals out of many: of an account that fills many pages, only the rows that somebody asks about are read.

A page shows 25 rentals and may be asked for once a second, so a listing of 3,000 takes two minutes: longer than evidence
keeps. The list can be filtered by stored columns (facts/vast-api.md, 4.2), so the questions of all callers of a moment
travel in one call. Each carries the names of a few rentals that were seen last (the controls): a filter that finds
nothing at all, or finds what was not asked for, is no proof that anything is gone.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal, TypeAlias

from adapters.vast.client import VastApi
from adapters.vast.pages import Scan
from adapters.vast.replies import Kind, Reply
from adapters.vast.settings import LIST, VastSettings
from machines.model import Instance, InstanceId, Listing
from machines.ports import Clock

Column: TypeAlias = Literal["id", "label"]
Key: TypeAlias = int | str

_CONTROLS = 2
_REMEMBERED = 64
_MOST_PAGES = 4
"""A label can name several rentals, so an answer may take more than one page."""


class NotFiltered(Exception):
    """The provider does not answer such questions as we understand them; the whole list has to be read."""


@dataclass(slots=True, eq=False)
class _Question:
    """One call in the making: whoever comes before it leaves still gets a place in it."""

    column: Column
    keys: set[Key]
    controls: tuple[Key, ...] = ()
    answered: asyncio.Task[_Answer] | None = None


@dataclass(frozen=True, slots=True)
class _Answer:
    rows: tuple[Instance, ...]
    is_complete: bool
    began: float
    """Monotonic, when the call left."""
    at: datetime


@dataclass(slots=True)
class Focus:
    """Asks for rows by id or by label, and shares each call between all that ask at that time."""

    api: VastApi
    clock: Clock
    settings: VastSettings
    _open: dict[Column, _Question] = field(default_factory=dict)
    _answers: dict[tuple[Column, Key], _Answer] = field(default_factory=dict)
    _seen: dict[InstanceId, str | None] = field(default_factory=dict)
    """Rentals that existed when they were last looked at, and their labels; the newest last."""

    def note(self, rows: Iterable[Instance]) -> None:
        """These exist: any of them may be a control."""
        for row in rows:
            self._seen.pop(row.id, None)
            self._seen[row.id] = row.label
        for oldest in list(self._seen)[: max(0, len(self._seen) - _REMEMBERED)]:
            del self._seen[oldest]

    async def read(self, column: Column, wanted: Collection[Key], max_age_s: float) -> Listing:
        """A listing that speaks of these alone; `complete` means complete about them. A reading not older than
        `max_age_s` may be shared. Raise NotFiltered, and what a call raises."""
        if column == "label" and not any(label for label in self._seen.values()):
            raise NotFiltered("no rental is known by whose label the answer could be checked")
        oldest = self.clock.monotonic() - max_age_s if max_age_s > 0 else float("inf")
        answers: list[_Answer] = []
        missing: list[Key] = []
        for key in sorted(wanted, key=str):
            known = self._answers.get((column, key))
            if known is not None and known.began >= oldest:
                answers.append(known)
            else:
                missing.append(key)
        room = self.settings.page_size - _CONTROLS
        for start in range(0, len(missing), room):
            # One after the other: a long question lets the short ones of others pass between its pages.
            answer = await self._ask(column, set(missing[start : start + room]))
            answers.append(answer)
        if not answers:
            answers.append(await self._ask(column, set()))
        rows = {row.id: row for answer in answers for row in answer.rows}
        return Listing(rows, all(answer.is_complete for answer in answers), min(answer.at for answer in answers))

    async def _ask(self, column: Column, keys: set[Key]) -> _Answer:
        question = self._open.get(column)
        if question is None or len(question.keys | keys) > self.settings.page_size - _CONTROLS:
            question = self._open[column] = _Question(column, set())
            question.answered = asyncio.create_task(self._answer(question), name=f"rentals by {column}")
            question.answered.add_done_callback(_heard)
        question.keys |= keys
        assert question.answered is not None
        return await asyncio.shield(question.answered)

    async def _answer(self, question: _Question) -> _Answer:
        left: list[tuple[float, datetime]] = []

        def leave() -> None:
            if self._open.get(question.column) is question:
                del self._open[question.column]
            if not left:
                question.controls = self._controls(question)
            left[:] = [(self.clock.monotonic(), self.clock.now())]

        scan = Scan()
        try:
            while scan.is_open and scan.pages < _MOST_PAGES:
                ask = partial(self._query, question, scan.token)
                reply = await self.api.call(LIST, query=ask, sending=leave if scan.pages == 0 else _nothing)
                _check_understood(reply)
                scan.add(reply)
        finally:
            if self._open.get(question.column) is question:
                del self._open[question.column]
        return self._judged(question, scan, *left[0])

    def _query(self, question: _Question, token: str | None) -> dict[str, str]:
        filters = {question.column: {"in": sorted({*question.keys, *question.controls}, key=str)}}
        order = '[{"col": "id", "dir": "asc"}]'
        query = {"select_filters": json.dumps(filters), "order_by": order, "limit": str(self.settings.page_size)}
        return query if token is None else query | {"after_token": token}

    def _controls(self, question: _Question) -> tuple[Key, ...]:
        names: list[Key] = []
        for instance, label in reversed(self._seen.items()):
            name: Key | None = int(instance) if question.column == "id" else label
            if name is not None and name not in question.keys and name not in names:
                names.append(name)
            if len(names) == _CONTROLS:
                break
        return tuple(names)

    def _judged(self, question: _Question, scan: Scan, began: float, at: datetime) -> _Answer:
        rows = tuple(scan.rows.values())
        names: set[Key] = {int(row.id) if question.column == "id" else row.label or "" for row in rows}
        if names - question.keys - set(question.controls):
            raise NotFiltered("the provider shows rentals that were not asked for")
        shows_a_control = bool(names & set(question.controls))
        if not shows_a_control:
            for instance in [one for one, label in self._seen.items() if {one, label} & set(question.controls)]:
                del self._seen[instance]  # Gone, it seems: others are taken the next time.
        self.note(rows)
        answer = _Answer(rows, scan.is_complete and shows_a_control, began, at)
        self._answers = {key: one for key, one in self._answers.items() if began - one.began <= self.settings.keep_s}
        self._answers |= {(question.column, key): answer for key in question.keys}
        return answer


def _check_understood(reply: Reply) -> None:
    if reply.kind is Kind.REFUSED:
        raise NotFiltered(str(reply))


def _nothing() -> None:
    return None


def _heard(task: asyncio.Task[_Answer]) -> None:
    """Whoever asked may have been cancelled; the failure is nobody's then."""
    if not task.cancelled():
        task.exception()
