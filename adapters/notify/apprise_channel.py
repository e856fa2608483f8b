"""AppriseChannel: any of the services that Apprise speaks, by one URL. The library takes a second to import, so it is imported on a
thread of its own when the first message goes out; its calls block, and run on a thread too."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

from machines.errors import NotYet, Refused
from machines.notifications import Level
from machines.ports import Telling

_AGAIN = timedelta(seconds=30)
_TIMEOUT_S = 15.0
_TOLD = 200
_KINDS = {Level.INFO: "info", Level.WARNING: "warning", Level.CRITICAL: "failure"}


def wrong_url(url: str) -> str | None:
    """What is wrong with a service's URL, without a word of it; None where Apprise can use it. Imports the library."""
    import apprise

    if "://" not in url or apprise.Apprise.instantiate(url) is None:
        return "is no URL of a service that Apprise knows"
    return None


class AppriseChannel:
    def __init__(self, url: str) -> None:
        self._url = url
        self._service: Any = None

    async def tell(self, telling: Telling) -> None:
        if self._service is None:
            self._service = await asyncio.to_thread(self._made)
        kind = "success" if telling.is_over else _KINDS[telling.level]
        result = await self._service.async_notify(
            body=telling.text, title=telling.title, notify_type=kind, timeout=_TIMEOUT_S
        )
        if not result:
            raise NotYet(_why(result), _AGAIN)

    def _made(self) -> Any:
        """Raise Refused."""
        import apprise

        # What it logs names addresses with their secrets; we tell the outcome ourselves.
        logging.getLogger("apprise").setLevel(logging.CRITICAL)
        service = apprise.Apprise()
        if not service.add(self._url):
            raise Refused("not_taken", "its url is none that Apprise knows")
        return service


def _why(result: Any) -> str:
    """Which service, by its name alone, and what it came to."""
    told = [f"{one.name} {one.status.name.lower()}" for one in getattr(result, "results", ())]
    return ", ".join(told)[:_TOLD] or "the service took nothing"
