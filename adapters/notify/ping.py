"""Ping: tells a watcher elsewhere (healthchecks.io, Uptime-Kuma) that this daemon lives. Silence is the alarm."""

from __future__ import annotations

import httpx

from adapters.notify.posting import AGAIN
from machines.errors import NotYet


class Ping:
    def __init__(self, client: httpx.AsyncClient, url: str) -> None:
        self._client = client
        self._url = url

    async def beat(self) -> None:
        """Raise NotYet; the address may be a secret, and no error tells it."""
        try:
            answer = await self._client.get(self._url, headers={"User-Agent": "failoverd"}, follow_redirects=True)
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise NotYet(f"it could not be reached ({type(error).__name__})", AGAIN) from error
        if not answer.is_success:
            raise NotYet(f"it answered {answer.status_code}", AGAIN)
