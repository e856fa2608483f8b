"""The dead letters for people: the newest of them, whether they can be replayed, and once more into their topic."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from adapters.sql.executor import Store
from adapters.sql.records import AuditRecord, CommandRow
from daemon.asked import expiry
from events import codec, dead_letters, topics
from events.codec import Undecodable
from events.dead_letters import DeadLetter
from events.schema import Command
from machines.ports import Clock, EventLog, Partition, Record
from machines.problems import Problem

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Found:
    """A letter with its place in the topic of dead letters, and why it cannot be replayed, where it cannot."""

    id: str
    letter: DeadLetter
    command_id: str | None
    """Under which a command would be answered; None for what is none."""
    why_not: tuple[str, str, str] | None
    """(code, detail, remedy)."""


class DeadLetters:
    """Reads the topic through the log, so that every replica shows the same, and nothing is kept twice."""

    def __init__(
        self, event_log: EventLog, store: Store, clock: Clock, prefix: str, from_log: Callable[[datetime], datetime]
    ) -> None:
        """`from_log` turns the log's time of day into the clock's."""
        self._from_log = from_log
        self._log = event_log
        self._clock = clock
        self._store = store
        self._topic = prefix + topics.DEAD_LETTERS
        self._commands = prefix + topics.COMMANDS
        self._heartbeats = prefix + topics.HEARTBEATS

    async def newest(self, limit: int, before: Mapping[int, int]) -> list[Found]:
        """Those before that offset of the partitions that are named. Raise LogUnavailable, StoreUnavailable."""
        return await self._judged(await self._log.newest(self._topic, limit, before))

    async def replay(self, letter_id: str, audit: AuditRecord) -> Found:
        """Append it to its topic once more; who did so is written down before. Raise Problem (404, 409), LogUnavailable,
        StoreUnavailable."""
        record = await self._record(letter_id)
        (found,) = await self._judged([record])
        if found.why_not is not None:
            code, detail, remedy = found.why_not
            raise Problem(409, code, f"{letter_id}: {detail}", remedy, {"id": letter_id})
        await self._store.transact(lambda tx: tx.audit(audit))
        await self._log.append(dead_letters.once_more(found.letter))
        log.info("dead_letter_replayed", letter=letter_id, topic=found.letter.topic, by=audit.asked_by)
        return found

    async def _record(self, letter_id: str) -> Record:
        partition, _, offset = letter_id.partition("-")
        if all(part.isascii() and part.isdigit() and len(part) < 19 for part in (partition, offset)):
            record = await self._log.record(Partition(self._topic, int(partition)), int(offset))
            if record is not None:
                return record
        raise Problem(
            404,
            "unknown_dead_letter",
            f"there is no dead letter {letter_id}",
            "GET /api/v1/dead-letters lists them; the log forgets them after a time",
            {"id": letter_id},
        )

    async def _judged(self, records: Sequence[Record]) -> list[Found]:
        letters = [(f"{record.partition}-{record.offset}", dead_letters.read(record)) for record in records]
        ids = [self._command_id(letter) for _, letter in letters]
        wanted = {command_id for command_id in ids if command_id is not None}
        answers = await self._store.transact(lambda tx: {name: tx.command(name) for name in wanted}) if wanted else {}
        return [
            Found(name, letter, command_id, self._why_not(letter, answers.get(command_id or "")))
            for (name, letter), command_id in zip(letters, ids, strict=True)
        ]

    def _command_id(self, letter: DeadLetter) -> str | None:
        if letter.topic != self._commands:
            return None
        value, headers = codec.unwrapped(letter.value, letter.headers)
        try:
            return codec.decode_command(value, headers).command_id or letter.event_id
        except Undecodable as cause:
            remains = codec.remains_of(value, headers, cause)
            return remains.command_id if remains is not None else None

    def _why_not(self, letter: DeadLetter, answer: CommandRow | None) -> tuple[str, str, str] | None:
        if letter.topic not in (self._commands, self._heartbeats):
            wanted = "write it to its topic by hand"
            return "foreign_letter", f"it is of no topic that is read here ({letter.topic or 'unnamed'})", wanted
        if letter.topic == self._heartbeats:
            detail = (
                "a heartbeat tells of the moment it was sent; replayed, it would speak for a machine that may be dead"
            )
            return "of_its_moment", detail, "mend the agent; the next heartbeat says how the machine is"
        if not letter.is_whole:
            return "not_whole", "the record was too large to be kept whole", "send it anew, smaller"
        try:
            command = codec.decode_command(*codec.unwrapped(letter.value, letter.headers))
        except Undecodable as cause:
            remedy = "mend it and send it anew, a command under a new id"
            return "still_undecodable", f"it still cannot be read: {cause}", remedy
        if answer is not None:
            detail = f"command {answer.command_id} was answered already: {answer.status}"
            return "already_answered", detail, "send it anew under a new id, if it is still wanted"
        return self._why_expired(letter, command)

    def _why_expired(self, letter: DeadLetter, command: Command) -> tuple[str, str, str] | None:
        """A replay makes no command younger: its life is counted from when it was first written."""
        remedy = "send it anew under a new id, if it is still wanted; expires_at sets a command's life"
        written = self._from_log(datetime.fromtimestamp(max(0, letter.first_at) / 1000, UTC))
        try:
            expires = expiry(command, written)
        except Problem as problem:
            return problem.code, problem.detail, problem.remedy
        if expires < self._clock.now():
            return "expired", f"the command expired at {expires.isoformat()}", remedy
        return None
