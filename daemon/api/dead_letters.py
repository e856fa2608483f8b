"""The dead letters over HTTP: listed, and replayed into their topic."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from pydantic import Field
from starlette.responses import JSONResponse

from daemon.api.auth import API_PREFIX, Known
from daemon.api.documents import DeadLettersAnswer, ReplayAnswer
from daemon.api.pages import paged
from daemon.api.parameters import NoQuery, StrictBody, StrictQuery, Whole
from daemon.api.services import Services, Wired
from daemon.api.views import age_s
from daemon.dead_letters import DeadLetters, Found
from events import topics
from machines.problems import NOT_SHOWN, SECRETS, masked

router = APIRouter(prefix="/dead-letters", tags=["log"])

LetterNumber = Annotated[str, Path(min_length=1, max_length=64)]


class LettersQuery(StrictQuery):
    cursor: Annotated[str, Field(pattern=r"^[0-9]{1,9}-[0-9]{1,18}(,[0-9]{1,9}-[0-9]{1,18}){0,999}$")] | None = None
    """`next_cursor` of the page before: the last letter that was shown of each partition."""
    limit: Annotated[int, Field(ge=1, le=500), Whole] = 50


class ReplayBody(StrictBody):
    reason: Annotated[str, Field(min_length=1, max_length=500)] | None = None


@router.get("", responses={200: {"model": DeadLettersAnswer}})
async def list_dead_letters(query: Annotated[LettersQuery, Query()], services: Wired, _: Known) -> JSONResponse:
    """The newest first: what could not be read from the log, why, and whether it can be replayed."""
    before = _places(query.cursor.split(",") if query.cursor is not None else ())
    found = await _letters(services).newest(query.limit + 1, before)
    page, now = found[: query.limit], services.clock.now()
    places = {**before, **_places(letter.id for letter in page)}
    cursor = ",".join(f"{partition}-{offset}" for partition, offset in sorted(places.items()))
    told = {
        "dead_letters": [_view(letter, now) for letter in page],
        "count": len(page),
        "next_cursor": cursor if len(found) > query.limit else None,
    }
    return paged(f"{API_PREFIX}/dead-letters", told, {"cursor": cursor, "limit": query.limit})


def _places(ids: Iterable[str]) -> dict[int, int]:
    """Offsets by partition; of several of one partition the last."""
    return {int(partition): int(offset) for partition, offset in (one.split("-") for one in ids)}


@router.post("/{letter_id}/replay", responses={200: {"model": ReplayAnswer}})
async def replay_dead_letter(
    letter_id: LetterNumber,
    query: Annotated[NoQuery, Query()],
    services: Wired,
    caller: Known,
    body: ReplayBody | None = None,
) -> JSONResponse:
    """Append a command to its topic once more, under its own id; 409 where that would change nothing, with the reason."""
    reason = body.reason if body else None
    audit = caller.did("replay_dead_letter", services.clock.now(), subject=letter_id, reason=reason)
    found = await _letters(services).replay(letter_id, audit)
    return JSONResponse({"id": found.id, "topic": found.letter.topic, "command_id": found.command_id})


def _letters(services: Services) -> DeadLetters:
    prefix = services.heartbeat_topic.removesuffix(topics.HEARTBEATS)
    return DeadLetters(services.event_log, services.store, services.clock, prefix, services.from_log)


def _view(found: Found, now: datetime) -> dict[str, Any]:
    letter, value = found.letter, found.letter.value or b""
    text = _text(value)
    if text is not None:
        text = without_secrets(text)
    return {
        "id": found.id,
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "key": None if letter.key is None else letter.key.decode("utf-8", "replace"),
        "value": text,
        "value_base64": base64.b64encode(value).decode() if text is None else None,
        "headers": {name: content.decode("utf-8", "replace") for name, content in letter.headers},
        "code": letter.code,
        "error": letter.error,
        "at": letter.at,
        "age_seconds": _age(letter.at, now),
        "command_id": found.command_id,
        "can_replay": found.why_not is None,
        "why_not": None if found.why_not is None else found.why_not[1],
    }


def without_secrets(text: str) -> str:
    """A letter may hold a registration, whose workload's secrets are never shown again."""
    if not any(f'"{name}"' in text for name in SECRETS):
        return text
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return NOT_SHOWN
    return json.dumps(masked(found), ensure_ascii=False)


def _text(value: bytes) -> str | None:
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None


def _age(at: str | None, now: datetime) -> float | None:
    """None where what was written there is no time: other programs may write to the topic too."""
    try:
        found = None if at is None else datetime.fromisoformat(at)
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else age_s(found, now)
