"""One POST of JSON to a channel, and what its answer means. The address may be a secret: no error tells it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta

import httpx

from machines.errors import NotYet, Refused

AGAIN = timedelta(seconds=30)
_LONGEST_WAIT_S = 3600.0
_TOLD = 200


async def post(client: httpx.AsyncClient, url: str, body: bytes, headers: Mapping[str, str]) -> None:
    """Raise NotYet, or Refused where the same message would be refused again."""
    content = {"Content-Type": "application/json", "User-Agent": "failoverd", **headers}
    try:
        answer = await client.post(url, content=body, headers=content)
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NotYet(f"it could not be reached ({type(error).__name__})", AGAIN) from error
    if answer.is_success:
        return
    said = " ".join(answer.text.split())[:_TOLD]
    why = f"it answered {answer.status_code}" + (f": {said}" if said else "")
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise NotYet(why, _wait(answer))
    raise Refused("not_taken", why)


def _wait(answer: httpx.Response) -> timedelta:
    """As the answer asks, in whole seconds; a date there is not followed."""
    said = answer.headers.get("Retry-After", "")
    seconds = float(said) if said.isascii() and said.isdigit() and len(said) < 9 else AGAIN.total_seconds()
    return timedelta(seconds=min(max(seconds, 1.0), _LONGEST_WAIT_S))
