"""Some rentals out of many: of an account that fills many pages, only the rows that somebody asks about are read.

A page shows 25 rentals and may be asked for once a second, so a listing of 3,000 takes two minutes: longer than evidence
keeps. The list can be filtered by stored columns (facts/vast-api.md, 4.2), so the questions of all callers of a moment
travel in one call. Each carries the names of a few rentals that were seen last (the controls): a filter that finds
nothing at all, or finds what was not asked for, is no proof that anything is gone.

Where a question cannot be asked or checked that way the whole list is read for it; where the provider filters by a
column no longer, for all questions of some minutes.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Literal, TypeAlias

import structlog

from adapters.vast.client import VastApi
from adapters.vast.pages import Scan
from adapters.vast.replies import Kind, Reply
from adapters.vast.settings import LIST, VastSettings
from machines.model import Instance, Listing
from machines.ports import Clock

Column: TypeAlias = Literal["id", "label"]
Key: TypeAlias = int | str

_CONTROLS = 2
_REMEMBERED = 64
_MOST_PAGES = 4
"""A label can name several rentals, so an answer may take more than one page."""
_MOST_CROWDS = 256
_STRIKES = 3
"""So many questions in a row without an answer, and the column is asked about no longer."""
_CLOSED_S = 300.0

log = structlog.get_logger(__name__)


class NotFiltered(Exception):
    """This question is not answered so that it could be checked; the whole list has to be read for it."""


@dataclass(slots=True)
class _Filter:
    """How the provider's filter by one column has been doing."""

    strikes: int = 0
    closed_until: float | None = None
    """Monotonic."""


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
    label_prefix: str
    """Labels that begin so are ours: none of them names a crowd."""
    _open: dict[Column, _Question] = field(default_factory=dict)
    _answers: dict[tuple[Column, Key], _Answer] = field(default_factory=dict)
    _filters: dict[Column, _Filter] = field(default_factory=lambda: {"id": _Filter(), "label": _Filter()})
    _seen: dict[int, None] = field(default_factory=dict)
    """Rentals that existed when they were last looked at; the newest last."""
    _named: dict[str, int] = field(default_factory=dict)
    """Labels of rentals that existed when they were last looked at, each of one rental as far as is known."""
    _crowds: dict[str, None] = field(default_factory=dict)
    """Labels that several rentals share: as a control, such a one would bring all of them."""

    def note(self, rows: Iterable[Instance], counts: Mapping[str, int]) -> None:
        """These exist: any of them may be a control."""
        for label, count in counts.items():
            if count > 1:
                self._note_crowd(label)
        for row in rows:
            self._seen.pop(int(row.id), None)
            self._seen[int(row.id)] = None
            if row.label is None:
                continue
            if self._named.pop(row.label, row.id) != row.id:
                self._note_crowd(row.label)
            if row.label not in self._crowds:
                self._named[row.label] = int(row.id)
        for oldest in list(self._seen)[: max(0, len(self._seen) - _REMEMBERED)]:
            del self._seen[oldest]
        # Ours last: in an account of others' rentals they are few, and the surest.
        for label in sorted(self._named, key=self._is_ours)[: max(0, len(self._named) - _REMEMBERED)]:
            del self._named[label]
        for label in list(self._crowds)[: max(0, len(self._crowds) - _MOST_CROWDS)]:
            del self._crowds[label]

    def _is_ours(self, label: str) -> bool:
        return label.startswith(self.label_prefix)

    def _note_crowd(self, label: str) -> None:
        if not self._is_ours(label):
            self._named.pop(label, None)
            self._crowds.pop(label, None)
            self._crowds[label] = None

    async def read(self, column: Column, wanted: Collection[Key], max_age_s: float) -> Listing:
        """A listing that speaks of these alone; `complete` means complete about them. A reading not older than
        `max_age_s` may be shared. Raise NotFiltered, and what a call raises."""
        self._check_open(column)
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
                if not question.controls:
                    raise NotFiltered("no other rental is known by which the answer could be checked")
            left[:] = [(self.clock.monotonic(), self.clock.now())]

        scan = Scan()
        try:
            while scan.is_open and scan.pages < _MOST_PAGES:
                ask = partial(self._query, question, scan.token)
                reply = await self.api.call(LIST, query=ask, sending=leave if scan.pages == 0 else _nothing)
                self._check_understood(question, reply)
                scan.add(reply)
                self._check_asked_for(question, scan)
        finally:
            if self._open.get(question.column) is question:
                del self._open[question.column]
        if scan.is_open:
            # The rows come in the order of their ids: the newest rental is not among them yet.
            shared = Counter(str(row.label) for row in scan.rows.values() if row.label is not None)
            self.note(scan.rows.values(), {**scan.counts, **shared})
            raise NotFiltered(f"more rentals answer to the {question.column} than {_MOST_PAGES} pages hold")
        return self._judged(question, scan, *left[0])

    def _query(self, question: _Question, token: str | None) -> dict[str, str]:
        filters = {question.column: {"in": sorted({*question.keys, *question.controls}, key=str)}}
        order = '[{"col": "id", "dir": "asc"}]'
        query = {"select_filters": json.dumps(filters), "order_by": order, "limit": str(self.settings.page_size)}
        return query if token is None else query | {"after_token": token}

    def _controls(self, question: _Question) -> tuple[Key, ...]:
        """The newest that were not asked for, and of labels our own before others'. None where none is known."""
        known: list[Key] = [*(self._seen if question.column == "id" else sorted(self._named, key=self._is_ours))]
        return tuple([name for name in reversed(known) if name not in question.keys][:_CONTROLS])

    def _judged(self, question: _Question, scan: Scan, began: float, at: datetime) -> _Answer:
        rows = tuple(scan.rows.values())
        names = _names(question, scan)
        shows_a_control = bool(names & set(question.controls))
        self._forget({*question.keys, *question.controls} - names)  # Gone, it seems: no controls for the next time.
        if rows:
            self._succeed(question.column)
        else:
            self._strike(question.column, "the provider shows none of the rentals that were asked for")
        self.note(rows, scan.counts)
        answer = _Answer(rows, scan.is_complete and shows_a_control, began, at)
        self._answers = {key: one for key, one in self._answers.items() if began - one.began <= self.settings.keep_s}
        self._answers |= {(question.column, key): answer for key in question.keys}
        return answer

    def _forget(self, names: Iterable[Key]) -> None:
        for name in names:
            if isinstance(name, str):
                self._named.pop(name, None)
            else:
                self._seen.pop(name, None)

    def _check_understood(self, question: _Question, reply: Reply) -> None:
        if reply.kind is Kind.REFUSED:
            self._strike(question.column, str(reply))
            raise NotFiltered(str(reply))

    def _check_asked_for(self, question: _Question, scan: Scan) -> None:
        if _names(question, scan) - question.keys - set(question.controls):
            why = "the provider shows rentals that were not asked for"
            self._close(question.column, why)
            raise NotFiltered(why)

    def _check_open(self, column: Column) -> None:
        one = self._filters[column]
        if one.closed_until is None:
            return
        if self.clock.monotonic() < one.closed_until:
            raise NotFiltered(f"the provider has not filtered by {column}")
        one.closed_until = None
        log.info("list_filter_tried_again", column=column)

    def _succeed(self, column: Column) -> None:
        self._filters[column].strikes = 0

    def _strike(self, column: Column, why: str) -> None:
        """One may be chance, and its question pays for it alone. Raise NotFiltered where there were several in a row."""
        one = self._filters[column]
        one.strikes += 1
        if one.strikes >= _STRIKES:
            self._close(column, why)
            raise NotFiltered(why)

    def _close(self, column: Column, why: str) -> None:
        one = self._filters[column]
        if one.closed_until is None:
            effect = f"for {_CLOSED_S:.0f} s the whole list is read, page by page"
            log.warning("list_not_filtered", column=column, because=why, effect=effect)
        one.closed_until = self.clock.monotonic() + _CLOSED_S


def _names(question: _Question, scan: Scan) -> set[Key]:
    return {int(row.id) if question.column == "id" else row.label or "" for row in scan.rows.values()}


def _nothing() -> None:
    return None


def _heard(task: asyncio.Task[_Answer]) -> None:
    """Whoever asked may have been cancelled; the failure is nobody's then."""
    if not task.cancelled():
        task.exception()
