"""Long lists a page at a time: a cursor is the place of the last row that was shown, so that nothing is shown twice or left
out where rows come and go between two pages."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.parameters import StrictQuery, Whole

T = TypeVar("T")

LONGEST = 1000
_DAY = r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
_TIMED = rf"^{_DAY}T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]([.][0-9]{{6}})?[+]00:00 .+$"


class RowsQuery(StrictQuery):
    """Each list says in a form of its own what its places look like: what is no place would be an empty page, or a full one."""

    cursor: str | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=LONGEST), Whole] = LONGEST


class NumberedQuery(RowsQuery):
    """Of a list whose places are `numbered`."""

    cursor: Annotated[str, Field(pattern=r"^[0-9]{20}$")] | None = None


class TimedQuery(RowsQuery):
    """Of a list whose places are `timed`."""

    cursor: Annotated[str, Field(pattern=_TIMED, max_length=300)] | None = None


def page_of(
    rows: Iterable[T], place: Callable[[T], str], query: RowsQuery, *, newest_first: bool = False
) -> tuple[list[T], str | None]:
    """The rows of the page in the order of their places, or the last place first; and the cursor of the next page where there
    is one."""
    is_beyond = operator.lt if newest_first else operator.gt
    left = [row for row in rows if query.cursor is None or is_beyond(place(row), query.cursor)]
    left.sort(key=place, reverse=newest_first)
    page = left[: query.limit]
    return page, place(page[-1]) if len(left) > query.limit else None


def numbered(number: int) -> str:
    """A number as a place: in the order of the numbers."""
    return f"{number:020d}"


def timed(at: datetime, name: str) -> str:
    """A time and what else tells two rows of the same time apart, as a place: in the order of the times."""
    return f"{at.astimezone(UTC).isoformat()} {name}"


def paged(path: str, body: dict[str, Any], following: dict[str, Any]) -> JSONResponse:
    """The page, with a Link to the next one where there is one (RFC 8288)."""
    if body["next_cursor"] is None:
        return JSONResponse(body)
    named = {name: value for name, value in following.items() if value is not None}
    return JSONResponse(body, headers={"Link": f'<{path}?{urlencode(named)}>; rel="next"'})
