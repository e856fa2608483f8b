"""All rentals of the account, read page by page, and shared between everybody who asks at the same time.

One call shows 25 machines once a second, so the list is polled and not each instance. An empty, failed, partial or
unparsable list is never "all gone" (facts/vast-api.md, 4.2).
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from adapters.vast.client import VastApi
from adapters.vast.replies import KeyDead, Kind, Reply
from adapters.vast.rows import BadRow, instance_from
from adapters.vast.settings import LIST, VastSettings
from machines.errors import StepError, Unknown
from machines.model import Instance, InstanceId, Listing
from machines.ports import Clock


class SharedListing:
    """One reader at a time; whoever waited meanwhile takes what it brought, if that is fresh enough for him."""

    def __init__(self, api: VastApi, clock: Clock, settings: VastSettings) -> None:
        self._api = api
        self._clock = clock
        self._settings = settings
        self._reading = asyncio.Lock()
        self._begun = 0
        self._ended = 0
        """The number of the reading that brought what we have; one that was cancelled brought nothing."""
        self._began = self._began_of_brought = float("-inf")
        self._at = clock.now()
        self._brought: Listing | StepError = Unknown("nothing was read yet")

    async def read(self, max_age_s: float) -> Listing:
        """A listing whose reading began after this call, or at most so long ago. Raise Unknown, KeyDead or NotYet.

        A failure is shared too, or a dead API would be asked once per caller that waits; but never with later callers.
        """
        asked = self._begun
        oldest = self._clock.monotonic() - max_age_s
        if isinstance(self._brought, Listing) and max_age_s > 0 and self._began_of_brought >= oldest:
            return self._brought  # Also while somebody else waits for a newer one.
        async with self._reading:
            is_young = isinstance(self._brought, Listing) and max_age_s > 0 and self._began_of_brought >= oldest
            if self._ended <= asked and not is_young:
                await self._read()
            if isinstance(self._brought, StepError):
                raise self._brought.with_traceback(None)
            return self._brought

    async def _read(self) -> None:
        before = self._begun
        try:
            self._brought = await self._fetch()
        except StepError as error:
            self._brought = error
        if self._begun == before:
            self._begin()  # Nothing was sent: that failure, too, is of everybody who waited for this reading.
        self._ended, self._began_of_brought = self._begun, self._began

    def _begin(self) -> None:
        """When the call leaves, not when it queues for its turn: whoever comes meanwhile is served by it, too."""
        self._begun += 1
        self._began, self._at = self._clock.monotonic(), self._clock.now()

    async def _fetch(self) -> Listing:
        scan = _Scan()
        while scan.is_open and scan.pages < self._settings.max_pages:
            query = _query(self._settings.page_size, scan.token)
            try:
                # Turned pages belong to the reading that the first one began.
                call = (
                    self._api.call(LIST, query=query, sending=self._begin)
                    if scan.pages == 0
                    else self._api.call(LIST, query=query)
                )
                scan.add(await call)
            except KeyDead:
                raise
            except StepError:
                if scan.pages == 0:
                    raise
                break
        return Listing(scan.rows, scan.is_complete, self._at)


def _query(limit: int, token: str | None) -> dict[str, str]:
    query = {"select_filters": "{}", "order_by": '[{"col": "id", "dir": "asc"}]', "limit": str(limit)}
    return query if token is None else query | {"after_token": token}


@dataclass(slots=True)
class _Scan:
    """The pages so far, and whether they add up."""

    rows: dict[InstanceId, Instance] = field(default_factory=dict)
    totals: list[int] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    token: str | None = None
    pages: int = 0
    is_open: bool = True
    is_sound: bool = True

    def add(self, reply: Reply) -> None:
        """Raise Unknown where the reply is no page at all."""
        page = reply.fields
        rows = page.get("instances")
        if reply.kind is not Kind.OK or not isinstance(rows, list):
            raise Unknown(f"the list of instances was not answered: {reply}")
        self.pages += 1
        self.is_sound &= page.get("success") is True and page.get("instances_found") == len(rows)
        total = page.get("total_instances")
        if isinstance(total, int) and not isinstance(total, bool):
            self.totals.append(total)
        for row in rows:
            self._add_row(row)
        self._turn(page.get("next_token"))

    @property
    def is_complete(self) -> bool:
        """The rows are as many as the provider counts. While we turned the pages a rental may have come (it is on the
        last page, for ids rise) or gone, so the number may also lie between the last count and the highest one."""
        if self.is_open or not self.is_sound or len(self.totals) != self.pages:
            return False
        return self.totals[-1] <= len(self.rows) <= max(self.totals)

    def _add_row(self, row: object) -> None:
        try:
            instance = instance_from(row)
        except BadRow:
            self.is_sound = False
            return
        self.is_sound &= instance.id not in self.rows
        self.rows[instance.id] = instance

    def _turn(self, token: object) -> None:
        """To the next page; a token that comes twice would lead us in a circle."""
        if token is None or token == "":
            self.is_open = False
        elif isinstance(token, str) and token not in self.tokens:
            self.tokens.add(token)
            self.token = token
        else:
            self.is_open = self.is_sound = False
