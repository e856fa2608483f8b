"""Long lists a page at a time: a cursor is the place of the last row that was shown, so that nothing is shown twice or left
out where rows come and go between two pages."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Annotated, Any, TypeVar
from urllib.parse import urlencode

from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.parameters import StrictQuery, Whole

T = TypeVar("T")

LONGEST = 1000


class RowsQuery(StrictQuery):
    cursor: Annotated[str, Field(min_length=1, max_length=300)] | None = None
    """`next_cursor` of the page before."""
    limit: Annotated[int, Field(ge=1, le=LONGEST), Whole] = LONGEST


def page_of(rows: Iterable[T], place: Callable[[T], str], query: RowsQuery) -> tuple[list[T], str | None]:
    """The rows of the page in the order of their places, and the cursor of the next page where there is one."""
    later = sorted((row for row in rows if query.cursor is None or place(row) > query.cursor), key=place)
    page = later[: query.limit]
    return page, place(page[-1]) if len(later) > query.limit else None


def newest_page_of(rows: Iterable[T], place: Callable[[T], str], query: RowsQuery) -> tuple[list[T], str | None]:
    """As `page_of`, the last place first."""
    earlier = sorted(
        (row for row in rows if query.cursor is None or place(row) < query.cursor), key=place, reverse=True
    )
    page = earlier[: query.limit]
    return page, place(page[-1]) if len(earlier) > query.limit else None


def numbered(number: int) -> str:
    """A number as a place: in the order of the numbers."""
    return f"{number:020d}"


def paged(path: str, body: dict[str, Any], following: dict[str, Any]) -> JSONResponse:
    """The page, with a Link to the next one where there is one (RFC 8288)."""
    if body["next_cursor"] is None:
        return JSONResponse(body)
    named = {name: value for name, value in following.items() if value is not None}
    return JSONResponse(body, headers={"Link": f'<{path}?{urlencode(named)}>; rel="next"'})
