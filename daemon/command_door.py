"""The command topic: one door of the command plane. Offsets are committed after the answer is in the store."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime

import msgspec
import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from daemon.announce import Announcer
from daemon.asked import Asked
from daemon.commands import Commands
from events import codec, dead_letters, topics
from events.codec import Headers, Undecodable
from events.schema import Command
from machines.errors import LogUnavailable, Stale
from machines.ports import Clock, EventLog, Record
from machines.problems import Problem, unreadable

log = structlog.get_logger(__name__)


class CommandDoor:
    """Consumes the command topic. A command that runs long is answered by its failover's end, not by this task."""

    def __init__(
        self,
        topic: str,
        group: str,
        event_log: EventLog,
        commands: Commands,
        store: Store,
        announcer: Announcer,
        clock: Clock,
        from_log: Callable[[datetime], datetime],
    ) -> None:
        """`from_log` turns the log's time of day into the clock's."""
        self._consumer = event_log.consumer(group, topic)
        self._commands = commands
        self._store = store
        self._announcer = announcer
        self._clock = clock
        self._from_log = from_log

    async def run(self) -> None:
        """Until cancelled."""
        await self._consumer.start()
        try:
            while True:
                try:
                    await self._round()
                except LogUnavailable as error:
                    log.debug("log_unavailable", error=str(error))
                    await self._clock.sleep(self._clock.real(0.5))
        finally:
            await self._consumer.stop()

    async def _round(self) -> None:
        """A commit that fails may leave out no record that was fetched: it comes after all of them."""
        batches = await self._consumer.poll(100, 0.5)
        for records in batches.values():
            await self._take_all(records)
        if batches:
            await self._consumer.commit({partition: records[-1].offset + 1 for partition, records in batches.items()})
        await self._clock.breathe()

    async def _take_all(self, records: Sequence[Record]) -> None:
        for record in records:
            while True:
                try:
                    await self._take(record)
                    break
                except (StoreUnavailable, Stale) as error:
                    log.debug("command_postponed", because=str(error))
                    await self._clock.sleep(self._clock.real(1.0))

    async def _take(self, record: Record) -> None:
        """One command. A refusal was stored as its answer; what cannot be read goes to the dead letters."""
        value, headers = codec.unwrapped(record.value, record.headers)
        try:
            command = codec.decode_command(value, headers)
        except Undecodable as cause:
            await self._bury(record, cause)
            await self._answer_all_the_same(record, cause)
            return
        written = dead_letters.first_at(record.timestamp, record.headers)
        at = self._from_log(datetime.fromtimestamp(written / 1000, UTC))
        if command.command_id is None:
            command = msgspec.structs.replace(command, command_id=_id_of(record))
        by = command.issued_by or codec.header(headers, "ce_source") or "kafka"
        asked = Asked(_with_key(command, record, headers), "kafka", by, self._clock.now(), at)
        try:
            await self._commands.submit(asked)
        except Problem as problem:
            log.info("command_refused_at_log", offset=record.offset, code=problem.code)

    async def _bury(self, record: Record, cause: Undecodable) -> None:
        name = self._announcer.prefix + topics.DEAD_LETTERS
        letter = dead_letters.bury(name, record, cause, self._clock.now().isoformat())
        await self._store.transact(lambda tx: tx.post((letter,)))
        log.warning("dead_letter", topic=record.topic, offset=record.offset, cause=cause.cause, error=cause.text)

    async def _answer_all_the_same(self, record: Record, cause: Undecodable) -> None:
        """Whoever gave the command an id waits for its one result."""
        value, headers = codec.unwrapped(record.value, record.headers)
        remains = codec.remains_of(value, headers, cause)
        if remains is None:
            return
        now, by = self._clock.now(), codec.header(headers, "ce_source") or "kafka"
        command = Command(remains.command, machine_id=remains.machine_id, command_id=remains.command_id)
        asked = Asked(_with_key(command, record, headers), "kafka", by, now, now)
        await self._commands.refuse(asked, unreadable(cause.text, remains.field))


def _id_of(record: Record) -> str:
    """Without an id of its own, a command is known by its place in the log."""
    return codec.record_id(record.topic, record.partition, record.offset, record.timestamp)


def _with_key(command: Command, record: Record, headers: Headers) -> Command:
    """The key is the machine id, where the value does not say it; then the event's subject."""
    if command.machine_id is not None:
        return command
    subject = (codec.header(headers, "ce_subject") or "").encode()
    named = next((text for text in (record.key, subject) if text and text.isdigit() and len(text) <= 18), None)
    return command if named is None else msgspec.structs.replace(command, machine_id=int(named))
