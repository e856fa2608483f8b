"""All rentals of the account, read page by page, and shared between everybody who asks at the same time.

One call shows 25 machines once a second, so the list is polled and not each instance. An empty, failed, partial or
unparsable list is never "all gone" (facts/vast-api.md, 4.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

from adapters.vast.client import VastApi
from adapters.vast.focus import Column, Focus, Key, NotFiltered
from adapters.vast.pages import Scan
from adapters.vast.replies import KeyDead
from adapters.vast.settings import LIST, VastSettings
from machines.errors import StepError, Unknown
from machines.model import InstanceId, Label, Listing
from machines.ports import Clock


class _TooMany(Exception):
    """The first page shows that the list has more pages than whoever asks about a few rentals would wait for."""


class SharedListing:
    """One reader at a time; whoever waited meanwhile takes what it brought, if that is fresh enough for him."""

    def __init__(self, api: VastApi, clock: Clock, settings: VastSettings, label_prefix: str) -> None:
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
        self._focus = Focus(api, clock, settings, label_prefix)
        self._is_large = False
        """As the newest first page said."""

    async def read(self, max_age_s: float) -> Listing:
        """A listing whose reading began after this call, or at most so long ago. Raise Unknown, KeyDead or NotYet.

        A failure is shared too, or a dead API would be asked once per caller that waits; but never with later callers.
        """
        return await self._read_whole(max_age_s, may_stop=False)

    async def read_about(self, instances: Collection[InstanceId], max_age_s: float) -> Listing:
        """The same about these; of an account with many rentals it may hold no others, and is complete about these."""
        return await self._read_some("id", [int(instance) for instance in instances], max_age_s)

    async def read_label(self, label: Label) -> Listing:
        """The same about whatever bears the label."""
        return await self._read_some("label", [str(label)], 0.0)

    async def _read_some(self, column: Column, keys: Collection[Key], max_age_s: float) -> Listing:
        try:
            if not self._is_large:
                return await self._read_whole(max_age_s, may_stop=True)
        except _TooMany:
            pass
        try:
            return await self._focus.read(column, keys, max_age_s)
        except NotFiltered:  # For this question; the next one may be answered again.
            pass
        return await self._read_whole(max_age_s, may_stop=False)

    async def _read_whole(self, max_age_s: float, *, may_stop: bool) -> Listing:
        """Raise _TooMany where `may_stop` and there are more than a few pages."""
        asked = self._begun
        oldest = self._clock.monotonic() - max_age_s
        if isinstance(self._brought, Listing) and max_age_s > 0 and self._began_of_brought >= oldest:
            return self._brought  # Also while somebody else waits for a newer one.
        async with self._reading:
            if may_stop and self._is_large:
                raise _TooMany  # Somebody found out meanwhile.
            is_young = isinstance(self._brought, Listing) and max_age_s > 0 and self._began_of_brought >= oldest
            if self._ended <= asked and not is_young:
                await self._read(may_stop)
            if isinstance(self._brought, StepError):
                raise self._brought.with_traceback(None)
            return self._brought

    async def _read(self, may_stop: bool) -> None:
        before = self._begun
        try:
            self._brought = await self._fetch(may_stop)
        except StepError as error:
            self._brought = error
        if self._begun == before:
            self._begin()  # Nothing was sent: that failure, too, is of everybody who waited for this reading.
        self._ended, self._began_of_brought = self._begun, self._began

    def _begin(self) -> None:
        """When the call leaves, not when it queues for its turn: whoever comes meanwhile is served by it, too."""
        self._begun += 1
        self._began, self._at = self._clock.monotonic(), self._clock.now()

    async def _fetch(self, may_stop: bool) -> Listing:
        scan = Scan()
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
            if scan.pages == 1 and scan.totals:
                self._is_large = scan.totals[0] > self._settings.few_pages * self._settings.page_size
            self._focus.note(scan.rows.values(), scan.counts)
            if may_stop and self._is_large:
                raise _TooMany
        return Listing(scan.rows, scan.is_complete, self._at)


def _query(limit: int, token: str | None) -> dict[str, str]:
    query = {"select_filters": "{}", "order_by": '[{"col": "id", "dir": "asc"}]', "limit": str(limit)}
    return query if token is None else query | {"after_token": token}
