"""KafkaLog: appends with acks=all, and the way to topics and consumers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeVar

from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from adapters.kafka.connection import OUTAGES, Connection
from adapters.kafka.consumer import KafkaConsumer
from adapters.kafka.reading import newest, record
from adapters.kafka.settings import KafkaSettings
from adapters.kafka.topics import ensure_topics, look_at_topics
from events.topics import Message, TopicProblem, TopicSpec
from machines.errors import LogUnavailable
from machines.ports import Clock, Partition, Record

T = TypeVar("T")

LARGEST_REQUEST = 1_048_576
BATCH_OVERHEAD = 256


class KafkaLog:
    """An append that raises LogUnavailable may have been written, or may be within the next seconds: append it again.

    Readers therefore see a record more than once now and then, but always in the order of the appends.
    """

    def __init__(self, settings: KafkaSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        self._connection: Connection[Any] = Connection(self._connect, _close, clock)
        self._failing_since: float | None = None

    async def start(self) -> None:
        """Begin to connect; a broker that is away is tried again in the background."""
        self._connection.start()

    async def stop(self) -> None:
        await self._connection.stop()

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> tuple[TopicProblem, ...]:
        limit = self._clock.real(3 * self._settings.request_timeout_s)
        try:
            return await self._clock.wait_for(ensure_topics(self._settings, specs), limit)
        except OUTAGES as error:
            raise LogUnavailable(f"topics could not be checked: {_text(error)}") from error

    async def look_at_topics(self, specs: Sequence[TopicSpec]) -> tuple[tuple[str, ...], tuple[TopicProblem, ...]]:
        """Which are missing, and what is wrong with the others; nothing is created. Raise LogUnavailable."""
        limit = self._clock.real(3 * self._settings.request_timeout_s)
        try:
            return await self._clock.wait_for(look_at_topics(self._settings, specs), limit)
        except OUTAGES as error:
            raise LogUnavailable(_text(error)) from error

    async def newest(self, topic: str, limit: int, before: Mapping[int, int]) -> Sequence[Record]:
        return await self._read("read", newest(self._settings, topic, limit, before))

    async def record(self, partition: Partition, offset: int) -> Record | None:
        return await self._read("found", record(self._settings, partition, offset))

    async def _read(self, what: str, reading: Awaitable[T]) -> T:
        limit = self._clock.real(self._settings.request_timeout_s)
        try:
            return await self._clock.wait_for(reading, limit)
        except OUTAGES as error:
            raise LogUnavailable(f"records were not {what}: {_text(error)}") from error

    def consumer(self, group: str, topic: str) -> KafkaConsumer:
        """A member of the group; its owner starts and stops it."""
        return KafkaConsumer(self._settings, group, topic, self._clock)

    async def append(self, message: Message) -> None:
        await self.append_all((message,))

    async def append_all(self, messages: Sequence[Message]) -> None:
        """Pipelined; in order per partition, also over retries."""
        for message in messages:
            _check(message)
        producer = await self._connection.client(self._settings.append_timeout_s)
        limit = self._clock.real(self._settings.append_timeout_s)
        try:
            await self._clock.wait_for(_send(producer, messages), limit)
        except OUTAGES as error:
            self._after_failure(producer, error)
            raise LogUnavailable(f"not acknowledged: {_text(error)}") from error
        self._failing_since = None

    def _after_failure(self, producer: Any, error: BaseException) -> None:
        """Throw the producer away where it cannot recover: aiokafka's sender ends for good at a broken sequence, a
        refused batch breaks the sequence, and a broker with a new address is found by a new client only."""
        now = self._clock.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        lasting = now - self._failing_since > self._clock.real(self._settings.give_up_after_s)
        if lasting or (isinstance(error, KafkaError) and not error.retriable):
            self._connection.discard(producer, _text(error))
            self._failing_since = None

    async def _connect(self) -> Any:
        producer = AIOKafkaProducer(
            acks="all",
            enable_idempotence=True,
            max_batch_size=65_536,
            max_request_size=LARGEST_REQUEST,
            **self._settings.client_arguments(),
        )
        try:
            await producer.start()
        except BaseException:
            await producer.stop()
            raise
        return producer


def _check(message: Message) -> None:
    """Refuse before sending what no broker would take; a batch refused by the broker costs the whole producer."""
    if message.key is None and message.value is None:
        raise ValueError(f"a message to {message.topic} needs a key or a value")
    size = len(message.key or b"") + len(message.value or b"") + sum(len(k) + len(v) + 4 for k, v in message.headers)
    if size > LARGEST_REQUEST - BATCH_OVERHEAD:
        raise LogUnavailable(f"a message to {message.topic} has {size} bytes; the log takes {LARGEST_REQUEST} at most")


async def _send(producer: Any, messages: Sequence[Message]) -> None:
    written: list[asyncio.Future[object]] = []
    try:
        for message in messages:
            written.append(await _enqueue(producer, message))  # noqa: PERF401 - waits where a batch is full
        await asyncio.gather(*written)
    finally:
        for future in written:
            future.cancel()


async def _enqueue(producer: Any, message: Message) -> asyncio.Future[object]:
    partitions = await producer.partitions_for(message.topic)
    if message.partition is not None and message.partition not in partitions:
        raise LogUnavailable(f"topic {message.topic} has no partition {message.partition}, only {len(partitions)}")
    future: asyncio.Future[object] = await producer.send(
        message.topic, message.value, message.key, partition=message.partition, headers=list(message.headers)
    )
    return future


async def _close(producer: Any) -> None:
    """Close at once: aiokafka's stop() alone would wait for unacknowledged batches as long as the broker is away.

    The order matters: the sender puts unsent batches back before they are failed.
    """
    await producer._sender.close()
    waiting = [batch for batches in producer._message_accumulator._batches.values() for batch in batches]
    producer._message_accumulator.fail_all(KafkaError("the producer was closed"))
    for batch in waiting:
        batch._drain_waiter.exception()  # nobody else asks for it, and asyncio would complain of that
    await producer.stop()


def _text(error: BaseException) -> str:
    return str(error) or type(error).__name__
