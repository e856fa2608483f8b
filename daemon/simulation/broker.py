"""A broker in memory with what brokers do to their clients: outages, stalled partitions, sessions that expire.

Its groups follow Kafka's eager protocol: whoever joins, leaves or is not heard of for a session makes everybody give up
everything, and partitions are given out once all have joined again. A process that is frozen learns of it when it wakes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta

from adapters.embedded_log import APPEND_TIME, EmbeddedRecord, murmur2
from adapters.virtual_clock import VirtualClock
from events.newest import newest_first
from events.topics import Message, TopicProblem, TopicSpec
from machines.errors import LogUnavailable
from machines.ports import Partition

OnChange = Callable[[frozenset[Partition]], None]

_SESSION_S = 10.0
_HEARTBEAT_S = 3.0
_FETCH_WAIT_S = 2.5
_SILENCE_LIMIT_S = 3.0
_APPEND_TIMEOUT_S = 2.0


class Broker:
    """The log itself; outlives every client."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self.topics: dict[str, list[list[EmbeddedRecord]]] = {}
        self.groups: dict[tuple[str, str], Group] = {}
        self.is_down = False
        self.is_mute = False
        """It accepts connections and heartbeats of consumers, but every fetch is empty."""
        self.stalled: set[int] = set()
        """Partitions of every topic to which nothing is appended and from which nothing is read."""
        self.skew = timedelta(0)
        self._turn = 0

    def create(self, specs: Sequence[TopicSpec]) -> None:
        for spec in specs:
            stretches = self.topics.setdefault(spec.name, [])
            stretches.extend([] for _ in range(len(stretches), spec.partitions))

    def group(self, name: str, topic: str) -> Group:
        return self.groups.setdefault((name, topic), Group(self, topic, self._clock))

    def write(self, message: Message) -> None:
        """Raise LogUnavailable where the partition takes nothing now."""
        stretches = self.topics.get(message.topic)
        if not stretches:
            raise LogUnavailable(f"there is no topic {message.topic}")
        number = self._number(message, len(stretches))
        if number in self.stalled:
            raise LogUnavailable(f"partition {number} of {message.topic} has no leader")
        stamp = int((self._clock.now() + self.skew).timestamp() * 1000)
        records = stretches[number]
        records.append(
            EmbeddedRecord(
                message.topic, number, len(records), stamp, APPEND_TIME, message.key, message.value, message.headers
            )
        )
        if not self.is_mute:
            for group in self.groups.values():
                if group.topic == message.topic:
                    group.wake()

    def _number(self, message: Message, count: int) -> int:
        if message.partition is not None:
            return message.partition
        if message.key is not None:
            return (murmur2(message.key) & 0x7FFFFFFF) % count
        self._turn += 1
        return self._turn % count


class Group:
    """Members of one consumer group on one topic."""

    def __init__(self, broker: Broker, topic: str, clock: VirtualClock) -> None:
        self.topic = topic
        self.committed: dict[Partition, int] = {}
        self.generation = 0
        self._broker, self._clock = broker, clock
        self._seen: dict[SimConsumer, float] = {}
        self._joined: list[SimConsumer] = []
        self._is_stable = False

    def touch(self, member: SimConsumer) -> None:
        """A member's sign of life, in its own turn: it gives up and takes what the group has decided meanwhile."""
        now = self._clock.monotonic()
        silent = [one for one, seen in self._seen.items() if one is not member and now - seen > _SESSION_S]
        for one in silent:
            del self._seen[one]
        if silent or member not in self._seen:
            self.rebalance()
        self._seen[member] = now
        if member not in self._joined:
            member.give_partitions()
            self._joined.append(member)
        if not self._is_stable and all(one in self._joined for one in self._seen):
            self._is_stable = True
        if self._is_stable and member.generation() != self.generation:
            member.take_partitions(self.generation, self._share(member))

    def rebalance(self) -> None:
        self.generation += 1
        self._joined.clear()
        self._is_stable = False

    def leave(self, member: SimConsumer) -> None:
        if self._seen.pop(member, None) is not None:
            self.rebalance()

    def commit(self, member: SimConsumer, offsets: Mapping[Partition, int]) -> None:
        """Raise LogUnavailable for a member of an older generation."""
        if not self._is_stable or member.generation() != self.generation:
            raise LogUnavailable("the group has moved on")
        self.committed.update(offsets)

    def wake(self) -> None:
        for member in self._seen:
            member.wake()

    def _share(self, member: SimConsumer) -> dict[Partition, int]:
        members = list(self._seen)
        place, count = members.index(member), len(self._broker.topics.get(self.topic, ()))
        partitions = [Partition(self.topic, number) for number in range(place, count, len(members))]
        return {partition: self.committed.get(partition, 0) for partition in partitions}


class SimLog:
    """One client's connection to the broker: the port EventLog."""

    def __init__(self, broker: Broker, clock: VirtualClock) -> None:
        self.broker, self.clock = broker, clock
        self.is_cut = False
        """This client alone does not reach the broker."""

    @property
    def reaches(self) -> bool:
        return not (self.is_cut or self.broker.is_down)

    async def start(self) -> None: ...

    async def stop(self) -> None: ...

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> tuple[TopicProblem, ...]:
        await self._reach()
        self.broker.create(specs)
        return ()

    async def append(self, message: Message) -> None:
        await self._reach()
        self.broker.write(message)

    async def append_all(self, messages: Sequence[Message]) -> None:
        """What a stalled partition does not take is told only after the others were written."""
        await self._reach()
        failed: LogUnavailable | None = None
        for message in messages:
            try:
                self.broker.write(message)
            except LogUnavailable as error:
                failed = error
        if failed is not None:
            await self.clock.sleep(_APPEND_TIMEOUT_S)
            raise failed

    async def newest(self, topic: str, limit: int, before: Mapping[int, int]) -> Sequence[EmbeddedRecord]:
        await self._reach()
        partitions = enumerate(self.broker.topics.get(topic, ()))
        return newest_first([records[: before.get(number)][-limit:] for number, records in partitions], limit)

    async def record(self, partition: Partition, offset: int) -> EmbeddedRecord | None:
        await self._reach()
        stretches = self.broker.topics.get(partition.topic, [])
        records = stretches[partition.number] if partition.number < len(stretches) else []
        return records[offset] if 0 <= offset < len(records) else None

    def consumer(self, group: str, topic: str) -> SimConsumer:
        return SimConsumer(self, self.broker.group(group, topic))

    async def _reach(self) -> None:
        if not self.reaches:
            await self.clock.sleep(_APPEND_TIMEOUT_S)
            raise LogUnavailable("the broker does not answer")
        await self.clock.breathe()


class SimConsumer:
    """One member of a group: the port LogConsumer."""

    def __init__(self, log: SimLog, group: Group) -> None:
        self._log, self._group, self._clock = log, group, log.clock
        self._positions: dict[Partition, int] = {}
        self._highwaters: dict[Partition, int] = {}
        self._paused: set[Partition] = set()
        self._generation = -1
        self._listeners: list[tuple[OnChange, OnChange]] = []
        self._has_news = False
        self._wait: asyncio.Future[None] | None = None
        self._heard_at = self._clock.monotonic()
        self._living: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._touch()
        self._living = asyncio.create_task(self._live(), name="consumer's heartbeats")

    async def stop(self) -> None:
        if self._living is not None:
            self._living.cancel()
        if self._log.reaches:
            self._group.leave(self)
        self.give_partitions()

    async def _live(self) -> None:
        while True:
            await self._clock.sleep(_HEARTBEAT_S)
            self._touch()

    def _touch(self) -> None:
        """A client that cannot reach the broker for a session loses its partitions by its own clock."""
        now = self._clock.monotonic()
        if self._log.reaches:
            self._heard_at = now
            self._group.touch(self)
        elif now - self._heard_at > _SESSION_S:
            self.give_partitions()
            self._generation = -1

    async def poll(self, limit: int = 500, timeout_s: float = 0.2) -> Mapping[Partition, Sequence[EmbeddedRecord]]:
        """A fetch waits longer than asked where nothing comes: a simulation has nothing to gain from short looks."""
        self._has_news = False
        await self._clock.breathe()
        records = self._take(limit)
        if records:
            return records
        if not self._has_news:
            self._wait = self._clock.alarm(max(timeout_s, _FETCH_WAIT_S))
            await self._wait
        if not self._log.reaches and self._clock.monotonic() - self._heard_at > _SILENCE_LIMIT_S:
            raise LogUnavailable("the broker answers no fetch")
        return self._take(limit)

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        await self._clock.breathe()
        if not self._log.reaches:
            raise LogUnavailable("the broker does not answer")
        self._group.commit(self, offsets)

    def assignment(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    def generation(self) -> int:
        return self._generation

    def position(self, partition: Partition) -> int | None:
        return self._positions.get(partition)

    def highwater(self, partition: Partition) -> int | None:
        return self._highwaters.get(partition)

    async def rewind(self, partition: Partition, since: datetime) -> None:
        await self._clock.breathe()
        if not self._log.reaches or partition not in self._positions:
            raise LogUnavailable(f"{partition} cannot be asked for its offsets")
        records, stamp = self._records(partition), int(since.timestamp() * 1000)
        found = next((record.offset for record in records if record.timestamp >= stamp), None)
        self._positions[partition] = self._group.committed.get(partition, len(records)) if found is None else found
        self.wake()

    def pause(self, partition: Partition) -> None:
        self._paused.add(partition)

    def resume(self, partition: Partition) -> None:
        self._paused.discard(partition)
        self.wake()

    def on_change(self, assigned: OnChange, revoked: OnChange) -> None:
        self._listeners.append((assigned, revoked))

    def wake(self) -> None:
        self._has_news = True
        if self._wait is not None and not self._wait.done():
            self._wait.set_result(None)

    def give_partitions(self) -> None:
        lost, self._positions = self.assignment(), {}
        self._paused.clear()
        self._highwaters.clear()
        if lost:
            for _, revoked in self._listeners:
                revoked(lost)

    def take_partitions(self, generation: int, positions: dict[Partition, int]) -> None:
        self._positions, self._generation = positions, generation
        for assigned, _ in self._listeners:
            assigned(self.assignment())
        self.wake()

    def _records(self, partition: Partition) -> list[EmbeddedRecord]:
        return self._log.broker.topics[partition.topic][partition.number]

    def _take(self, limit: int) -> Mapping[Partition, Sequence[EmbeddedRecord]]:
        if not self._log.reaches or self._log.broker.is_mute:
            return {}
        self._heard_at = self._clock.monotonic()
        taken: dict[Partition, Sequence[EmbeddedRecord]] = {}
        for partition, position in self._positions.items():
            if partition in self._paused or partition.number in self._log.broker.stalled:
                continue
            records = self._records(partition)
            self._highwaters[partition] = len(records)
            found = records[position : position + limit]
            if found:
                taken[partition] = found
                self._positions[partition] = position + len(found)
        return taken
