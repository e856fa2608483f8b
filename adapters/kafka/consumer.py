"""KafkaConsumer: one member of a consumer group, read in batches, committed by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import IllegalStateError

from adapters.kafka.connection import OUTAGES, Connection
from adapters.kafka.settings import KafkaSettings
from machines.errors import LogUnavailable
from machines.ports import Clock, Partition, Record

OnChange = Callable[[frozenset[Partition]], None]

PATIENCE_S = 0.1
"""A fetch comes back at its own time-out; longer than this after it, the group is being rebalanced."""


class KafkaConsumer:
    """Each assignment begins at the committed offset, or at the oldest record where nothing was committed.

    "latest" would be a trap: a partition that changes hands before its first commit would jump over records. A pause
    ends with the assignment.
    """

    def __init__(self, settings: KafkaSettings, group: str, topic: str, clock: Clock) -> None:
        self._settings = settings
        self._group = group
        self._topic = topic
        self._clock = clock
        self._connection: Connection[Any] = Connection(self._connect, _close, clock)
        self._assigned: frozenset[Partition] = frozenset()
        self._joined = False
        self._generation = 0
        self._listeners: list[tuple[OnChange, OnChange]] = []
        self._bug: Exception | None = None
        self._fetch: asyncio.Task[_Fetched] | None = None
        self._newest_answer = 0
        self._alive_at = clock.monotonic()
        self._connected_at = self._alive_at

    async def start(self) -> None:
        """Begin to connect and to join; a broker that is away is tried again in the background."""
        self._alive_at = self._connected_at = self._clock.monotonic()
        self._connection.start()

    async def stop(self) -> None:
        """Leave the group, so that another member takes over at once."""
        self._drop_fetch()
        await self._connection.stop()
        self._lose_partitions()

    async def poll(self, limit: int = 500, timeout_s: float = 0.2) -> Mapping[Partition, Sequence[Record]]:
        """Always yields to the loop, also where records are waiting. Empty while the group is being joined.

        Raise LogUnavailable where the broker has answered nothing for `silence_limit_s`.
        """
        if self._bug is not None:
            bug, self._bug = self._bug, None
            raise bug
        seconds = timeout_s / self._clock.real(1.0)
        try:
            consumer = await self._connection.client(seconds)
            records = await self._take(consumer, limit, seconds)
        except LogUnavailable as error:
            self._check_silence(str(error))
            return {}
        if records:
            self._alive_at = self._clock.monotonic()
        else:
            self._look_for_life(consumer)
        return records

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Raise LogUnavailable also where a partition has gone to another member: it reads from the older offset."""
        if not offsets:
            return
        consumer = self._ready()
        request = consumer.commit({_theirs(partition): offset for partition, offset in offsets.items()})
        await self._within("committed", request)

    def assignment(self) -> frozenset[Partition]:
        return self._assigned

    def generation(self) -> int:
        return self._generation

    def position(self, partition: Partition) -> int | None:
        state = self._state(partition)
        return int(state.position) if state is not None and state.has_valid_position else None

    def highwater(self, partition: Partition) -> int | None:
        state = self._state(partition)
        return int(state.highwater) if state is not None and state.highwater is not None else None

    async def rewind(self, partition: Partition, since: datetime) -> None:
        """Also forwards. Where no record is that new: to the committed offset, or to the end where there is none."""
        consumer, theirs = self._ready(), _theirs(partition)
        milliseconds = int(since.timestamp() * 1000)
        found = (await self._within("found", consumer.offsets_for_times({theirs: milliseconds})))[theirs]
        if found is not None:
            offset = found.offset
        else:
            offset = await self._within("found", consumer.committed(theirs))
        if offset is None:
            offset = (await self._within("found", consumer.end_offsets([theirs])))[theirs]
        try:
            consumer.seek(theirs, offset)
        except IllegalStateError as error:
            raise LogUnavailable(f"{partition} is not ours any more") from error
        self._forget_fetched(theirs)

    def pause(self, partition: Partition) -> None:
        if self._state(partition) is not None:
            self._ready().pause(_theirs(partition))

    def resume(self, partition: Partition) -> None:
        if self._state(partition) is not None:
            self._ready().resume(_theirs(partition))

    def on_change(self, assigned: OnChange, revoked: OnChange) -> None:
        """An exception in a callback is a bug: the next poll raises it."""
        self._listeners.append((assigned, revoked))

    # Fetching

    async def _take(self, consumer: Any, limit: int, seconds: float) -> Mapping[Partition, Sequence[Record]]:
        """What was fetched within the time. A fetch that hangs (in a rebalance) goes on and is taken by a later poll:
        cancelling it would disturb aiokafka's measure of idleness."""
        if self._fetch is None:
            self._fetch = asyncio.create_task(_fetch(consumer, limit, seconds))
        fetch = self._fetch
        await asyncio.wait([fetch], timeout=seconds + PATIENCE_S)
        if not fetch.done() or self._fetch is not fetch:
            return {}
        self._fetch = None
        try:
            fetched = fetch.result()
        except OUTAGES as error:
            self._discard(consumer, str(error) or type(error).__name__)
            raise LogUnavailable(str(error)) from error
        # Another assignment has begun since: it reads these records again, or another member does.
        if fetched.assignment is not _assignment(consumer):
            return {}
        return {_ours(theirs): records for theirs, records in fetched.records.items()}

    def _drop_fetch(self) -> None:
        if self._fetch is not None:
            self._fetch.cancel()
            self._fetch = None

    def _forget_fetched(self, theirs: TopicPartition) -> None:
        """Records that were fetched but not taken yet lie before the place to which we went."""
        fetch = self._fetch
        if fetch is not None and fetch.done() and not fetch.cancelled() and fetch.exception() is None:
            fetch.result().records.pop(theirs, None)

    # Is the broker there?

    def _look_for_life(self, consumer: Any) -> None:
        """An idle broker answers each long poll; a fetch of paused partitions is not asked, so nothing is to be heard."""
        states = [state for partition in self._assigned if (state := self._state(partition)) is not None]
        asked = [state for state in states if not state.paused]
        newest = max((state.timestamp or 0 for state in asked), default=0)
        if newest != self._newest_answer or (self._joined and not asked):
            self._newest_answer = newest
            self._alive_at = self._clock.monotonic()
        why = "the broker answers no fetch" if self._joined else f"group {self._group} could not be joined"
        self._check_silence(why)

    def _check_silence(self, why: str) -> None:
        """To join takes as long as the session of a member that died without a word."""
        now, settings = self._clock.monotonic(), self._settings
        patience = 0.0 if self._joined else settings.session_timeout_s
        consumer = self._connection.present()
        tried_since = max(self._alive_at, self._connected_at)
        if consumer is not None and now - tried_since > self._clock.real(settings.give_up_after_s + patience):
            self._discard(consumer, why)
        if now - self._alive_at > self._clock.real(settings.silence_limit_s + patience):
            raise LogUnavailable(why)

    # The client

    async def _connect(self) -> Any:
        settings = self._settings
        consumer = AIOKafkaConsumer(
            group_id=self._group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            fetch_max_wait_ms=500,
            fetch_max_bytes=8 * 1024 * 1024,
            max_partition_fetch_bytes=1024 * 1024,
            session_timeout_ms=round(settings.session_timeout_s * 1000),
            rebalance_timeout_ms=round(settings.session_timeout_s * 1000),
            heartbeat_interval_ms=round(settings.session_timeout_s * 1000 / 6),
            **settings.client_arguments(),
        )
        try:
            await consumer.start()
        except BaseException:
            await consumer.stop()
            raise
        consumer.subscribe([self._topic], listener=_Listener(self, consumer))
        self._connected_at = self._clock.monotonic()
        return consumer

    def _ready(self) -> Any:
        consumer = self._connection.present()
        if consumer is None:
            raise LogUnavailable("not connected")
        return consumer

    async def _within(self, what: str, request: Any) -> Any:
        try:
            return await self._clock.wait_for(request, self._clock.real(self._settings.append_timeout_s))
        except OUTAGES as error:
            raise LogUnavailable(f"offsets were not {what}: {str(error) or type(error).__name__}") from error

    def _state(self, partition: Partition) -> Any:
        """aiokafka's record of an assigned partition, or None. Its public position() waits, and lag must be readable at
        once."""
        consumer = self._connection.present()
        assignment = _assignment(consumer) if consumer is not None and partition in self._assigned else None
        return assignment.state_value(_theirs(partition)) if assignment is not None else None

    def _discard(self, consumer: Any, why: str) -> None:
        self._drop_fetch()
        self._connection.discard(consumer, why)
        self._lose_partitions()

    # Assignments

    def take_partitions(self, consumer: Any, partitions: frozenset[Partition]) -> None:
        """Called by aiokafka's listener; a client that was discarded has no say any more."""
        if self._connection.present() is consumer:
            self._assigned, self._joined = partitions, True
            self._generation += 1
            self._alive_at = self._clock.monotonic()
            self._call([assigned for assigned, _ in self._listeners], partitions)

    def give_partitions(self, consumer: Any) -> None:
        if self._connection.present() is consumer:
            self._lose_partitions()

    def _lose_partitions(self) -> None:
        lost, self._assigned, self._joined = self._assigned, frozenset(), False
        if lost:
            self._call([revoked for _, revoked in self._listeners], lost)

    def _call(self, callbacks: Sequence[OnChange], partitions: frozenset[Partition]) -> None:
        """aiokafka logs a listener's exception and goes on; ours must not get lost like that."""
        for callback in callbacks:
            try:
                callback(partitions)
            except Exception as bug:  # raised by the next poll
                self._bug = bug


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, owner: KafkaConsumer, consumer: Any) -> None:
        self._owner = owner
        self._consumer = consumer

    def on_partitions_revoked(self, revoked: Sequence[TopicPartition]) -> None:
        self._owner.give_partitions(self._consumer)

    def on_partitions_assigned(self, assigned: Sequence[TopicPartition]) -> None:
        self._owner.take_partitions(self._consumer, frozenset(map(_ours, assigned)))


class _Fetched:
    """Records, and the assignment under which they were fetched."""

    __slots__ = ("assignment", "records")

    def __init__(self, assignment: object, records: dict[TopicPartition, list[Record]]) -> None:
        self.assignment = assignment
        self.records = records


async def _fetch(consumer: Any, limit: int, seconds: float) -> _Fetched:
    records = await consumer.getmany(timeout_ms=round(seconds * 1000), max_records=limit)
    return _Fetched(_assignment(consumer), records)


async def _close(consumer: Any) -> None:
    await consumer.stop()


def _assignment(consumer: Any) -> Any:
    subscription = consumer._subscription.subscription
    return subscription.assignment if subscription is not None else None


def _theirs(partition: Partition) -> TopicPartition:
    return TopicPartition(partition.topic, partition.number)


def _ours(partition: TopicPartition) -> Partition:
    return Partition(partition.topic, partition.partition)
