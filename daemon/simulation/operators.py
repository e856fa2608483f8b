"""Operators: commands by both doors, late, twice, and at the wrong time."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING

import msgspec

from daemon.asked import Asked
from events import topics
from events.schema import Command
from events.topics import Message
from machines.errors import FailoverdError, LogUnavailable
from machines.problems import Problem

if TYPE_CHECKING:
    from daemon.simulation.replica import Replica
    from daemon.simulation.theatre import Theatre

_LATE = timedelta(minutes=20)


class Operators:
    """Each command has an id of its own; a repetition bears the same one."""

    def __init__(self, theatre: Theatre) -> None:
        self._theatre = theatre
        self._count = 0

    async def resume(self) -> None:
        await self.send("resume", 0, repeats=False)

    async def send(self, what: str, target: int, repeats: bool) -> None:
        """`what` is a command's name, with " late" behind it where it was issued twenty minutes ago."""
        self._count += 1
        name, _, late = what.partition(" ")
        person = self._theatre.people[target % len(self._theatre.people)]
        command = Command(
            command=name,
            command_id=f"op-{self._count}",
            machine_id=None if name in ("pause", "resume") else int(person.id),
            reason="the simulation wants it",
            arguments={"minutes": 3} if name == "pause" else {},
        )
        issued = self._theatre.clock.now() - (_LATE if late else timedelta(0))
        await self._by_http(command, issued)
        if repeats:
            self._by_log(command)
            await asyncio.gather(self._by_http(command, issued), self._by_http(command, issued))

    async def _by_http(self, command: Command, issued: object) -> None:
        async def submit(replica: Replica) -> str:
            assert replica.daemon is not None
            now = replica.clock.now()
            asked = Asked(command, "http", "an operator", now, now)
            if issued != self._theatre.clock.now():
                asked = replace(asked, issued_at=now - _LATE)
            try:
                accepted = await replica.daemon.commands.submit(asked)
            except Problem as problem:
                return f"refused: {problem.code}"
            except Exception as error:
                if isinstance(error, FailoverdError) or type(error).__name__ == "StoreUnavailable":
                    return f"no answer: {type(error).__name__}"
                raise
            return f"accepted: {accepted.failover_id or accepted.answer}"

        answer = await self._theatre.ask(submit)
        where = command.machine_id or "all"
        self._theatre.history.tell("operator", f"{command.command} {where} ({command.command_id}): {answer}")

    def _by_log(self, command: Command) -> None:
        key = str(command.machine_id or "").encode() or None
        try:
            self._theatre.broker.write(Message(topics.COMMANDS, msgspec.json.encode(command), key))
        except LogUnavailable:
            pass  # It never came into being.
