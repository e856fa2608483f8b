"""How long an answer may take: the client's Prefer header (RFC 7240), and the wait for a failover's end.

The handler only watches. The failover runs in the runner, so a client or a proxy that gives up cancels nothing.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Coroutine
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar

import msgspec
from fastapi import Depends, Header, Request
from starlette.responses import JSONResponse

from adapters.sql.records import FailoverRecord
from daemon.answers import answer_of
from daemon.api.auth import API_PREFIX, Caller
from daemon.api.limits import Seats
from daemon.api.problems import RETRY_AFTER_S
from daemon.api.services import Services
from daemon.asked import Accepted, Asked
from events.schema import Command
from machines.model import FailoverId, MachineId
from machines.problems import Problem

T = TypeVar("T")

_WAIT = re.compile(r'wait\s*=\s*"?([0-9]{1,6})"?', re.ASCII)


@dataclass(frozen=True, slots=True)
class Preference:
    """What the client prefers; what cannot be understood is passed over, as RFC 7240 has it."""

    respond_async: bool = False
    wait_s: int | None = None

    @property
    def patience_s(self) -> int | None:
        """Real seconds to watch; None is until the end."""
        return 0 if self.respond_async and self.wait_s is None else self.wait_s

    @property
    def applied(self) -> dict[str, str]:
        words = ["respond-async"] if self.respond_async else []
        if self.wait_s is not None:
            words.append(f"wait={self.wait_s}")
        return {"Preference-Applied": ", ".join(words)} if words else {}


def preference(lines: list[str]) -> Preference:
    """From the Prefer headers. The first of a kind counts."""
    respond_async, wait_s = False, None
    for token in ",".join(lines).split(","):
        word = token.partition(";")[0].strip().lower()
        found = _WAIT.fullmatch(word)
        if word == "respond-async":
            respond_async = True
        elif found is not None and wait_s is None:
            wait_s = int(found[1])
    return Preference(respond_async, wait_s)


async def _preference_of(
    request: Request,
    _: Annotated[
        str | None,
        Header(
            alias="Prefer",
            description="`respond-async` answers 202 at once; `wait=30` watches for so many seconds first (RFC 7240).",
        ),
    ] = None,
) -> AsyncIterator[Preference]:
    """Whoever will wait takes a seat before anything is begun. Raise Problem (503)."""
    prefer = preference(request.headers.getlist("prefer"))
    if prefer.patience_s == 0:
        yield prefer
        return
    seats: Seats = request.app.state.seats
    with seats.one():
        yield prefer


Preferred = Annotated[Preference, Depends(_preference_of)]


async def submit(services: Services, command: Command, caller: Caller) -> Accepted:
    """Hand the command to the command plane; a reason in the body goes before the header's. Raise Problem."""
    now = services.clock.now()
    if command.reason is None and caller.reason is not None:
        command = msgspec.structs.replace(command, reason=caller.reason)
    asked = Asked(command, caller.door, caller.name, now, now)
    try:
        return await services.commands.submit(asked)
    except Problem as problem:
        if command.command_id is None or problem.code != "failover_in_progress":
            raise
        # Two requests under one key at one time: the running failover may be this key's own. Asked again, the
        # command plane knows the key, and either joins this request to it or repeats the refusal.
        return await services.commands.submit(asked)


async def answered(
    services: Services, request: Request, accepted: Accepted, machine_id: int, prefer: Preference
) -> JSONResponse:
    """The failover's answer as soon as it is there, within the client's patience; else 202 and where to look."""
    if accepted.answer is not None:
        return JSONResponse(dict(accepted.answer), 200, prefer.applied)
    assert accepted.failover_id is not None
    record = await watched_failover(services, request, accepted.failover_id, prefer.patience_s)
    if record is not None and record.ended_at is not None:
        return JSONResponse(answer_of(record), 200, prefer.applied)
    return accepted_response(accepted.failover_id, MachineId(machine_id), prefer.applied)


def accepted_response(failover: FailoverId, machine: MachineId, headers: dict[str, str]) -> JSONResponse:
    """202: it runs, and this is where it can be watched."""
    body: dict[str, Any] = {"failover_id": failover, "machine_id": machine, "state": "running"}
    where = {"Location": f"{API_PREFIX}/failovers/{failover}", "Retry-After": str(RETRY_AFTER_S)}
    return JSONResponse(body, 202, {**where, **headers})


async def watched_failover(
    services: Services, request: Request, failover: FailoverId, patience_s: int | None
) -> FailoverRecord | None:
    """Until the failover ends, the patience is over, the client is gone or the server closes (Problem 503)."""
    seconds = None if patience_s is None else services.clock.real(patience_s)
    return await watched(request, services.commands.wait(failover, seconds), _closing(failover))


async def watched(request: Request, work: Coroutine[Any, Any, T], closed: Problem) -> T | None:
    """What the work gives; None where the client has gone before, and the problem where the server closes."""
    closing: asyncio.Event = request.app.state.closing
    ending = asyncio.create_task(work)
    others = [asyncio.create_task(_gone(request)), asyncio.create_task(closing.wait())]
    try:
        await asyncio.wait([ending, *others], return_when=asyncio.FIRST_COMPLETED)
        if ending.done():
            return ending.result()
    finally:
        for task in (ending, *others):
            task.cancel()
        await asyncio.gather(ending, *others, return_exceptions=True)
    if closing.is_set():
        raise closed
    return None


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        continue


def _closing(failover: FailoverId) -> Problem:
    return Problem(
        503,
        "shutting_down",
        f"the daemon is going down; failover {failover} goes on when it is back",
        f"ask again: GET {API_PREFIX}/failovers/{failover}, or repeat the request under its Idempotency-Key",
        {"failover_id": failover},
    )
