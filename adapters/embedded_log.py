"""The event log inside the process: for one replica, for `failoverd demo`, and for deterministic simulation."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from events.newest import newest_first
from events.topics import Message, TopicProblem, TopicSpec
from machines.errors import LogUnavailable
from machines.ports import Clock, Partition

OnChange = Callable[[frozenset[Partition]], None]

APPEND_TIME = 1
_KEEP = timedelta(hours=1)
"""Readers go back twice the longest grace period, 20 minutes, and otherwise stand at the end."""


class EmbeddedRecord(NamedTuple):
    """Cheaper to make than a dataclass; the hot path makes one per heartbeat."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]


class EmbeddedLog:
    """Topics of partitions in memory; what the process forgets at its end is found again by the sweep.

    Each partition keeps the records of the last `keep`, at most `retention` of them, and in both up to a quarter more.
    Compaction is not imitated.
    """

    def __init__(self, clock: Clock, retention: int = 100_000, keep: timedelta = _KEEP) -> None:
        self._clock = clock
        self._retention = retention
        self._keep_ms = int(keep.total_seconds() * 1000)
        self._topics: dict[str, list[_Stretch]] = {}
        self._groups: dict[tuple[str, str], _Group] = {}
        self._running = False
        self._turn = 0

    async def start(self) -> None:
        self._running = True

    async def stop(self) -> None:
        """Records and commits stay: a log that is started again goes on."""
        self._running = False
        for group in self._groups.values():
            group.wake()

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> tuple[TopicProblem, ...]:
        """Create what is missing; every topic has append time, so settings are never wrong."""
        self.check_running()
        for spec in specs:
            stretches = self._topics.setdefault(spec.name, [])
            for number in range(len(stretches), spec.partitions):
                stretches.append(_Stretch(Partition(spec.name, number), self._retention, self._keep_ms))
            for group in self._groups.values():
                if group.topic == spec.name:
                    group.share_out()
        return ()

    async def append(self, message: Message) -> None:
        self._write(message)

    async def append_all(self, messages: Sequence[Message]) -> None:
        for message in messages:
            self._write(message)
        await self._clock.breathe()

    async def newest(self, topic: str, limit: int, before: Mapping[int, int]) -> Sequence[EmbeddedRecord]:
        self.check_running()
        ends = [(one, min(one.end, before.get(one.partition.number, one.end))) for one in self._stretches_of(topic)]
        found = [one.read(end - limit, min(limit, end - one.begin)) for one, end in ends if end > one.begin]
        return newest_first(found, limit)

    async def record(self, partition: Partition, offset: int) -> EmbeddedRecord | None:
        self.check_running()
        stretches = self._stretches_of(partition.topic)
        if partition.number >= len(stretches) or offset < stretches[partition.number].begin:
            return None
        return next(iter(stretches[partition.number].read(offset, 1)), None)

    def _stretches_of(self, topic: str) -> Sequence[_Stretch]:
        stretches = self._topics.get(topic)
        if not stretches:
            raise LogUnavailable(f"there is no topic {topic}")
        return stretches

    def consumer(self, group: str, topic: str) -> EmbeddedConsumer:
        shared = self._groups.setdefault((group, topic), _Group(topic, self))
        return EmbeddedConsumer(self, shared, self._clock)

    def stretches(self, topic: str) -> Sequence[_Stretch]:
        return self._topics.get(topic, ())

    def check_running(self) -> None:
        if not self._running:
            raise LogUnavailable("the log is stopped")

    def _write(self, message: Message) -> None:
        self.check_running()
        stretch = self._stretch_for(message)
        stretch.write(message, int(self._clock.now().timestamp() * 1000))
        for group in self._groups.values():
            if group.topic == message.topic:
                group.wake()

    def _stretch_for(self, message: Message) -> _Stretch:
        if message.key is None and message.value is None:
            raise ValueError(f"a message to {message.topic} needs a key or a value")
        stretches = self._topics.get(message.topic)
        if not stretches:
            raise LogUnavailable(f"there is no topic {message.topic}")
        number = message.partition
        if number is None:
            number = self._next_turn() if message.key is None else murmur2(message.key) & 0x7FFFFFFF
            return stretches[number % len(stretches)]
        if not 0 <= number < len(stretches):
            raise LogUnavailable(f"topic {message.topic} has no partition {number}, only {len(stretches)}")
        return stretches[number]

    def _next_turn(self) -> int:
        self._turn += 1
        return self._turn


class EmbeddedConsumer:
    """One member of a group. Each assignment begins at the committed offset, or at the oldest record."""

    def __init__(self, log: EmbeddedLog, group: _Group, clock: Clock) -> None:
        self._log = log
        self._group = group
        self._clock = clock
        self._positions: dict[_Stretch, int] = {}
        self._paused: set[Partition] = set()
        self._generation = 0
        self._listeners: list[tuple[OnChange, OnChange]] = []
        self._news = asyncio.Event()

    async def start(self) -> None:
        self._group.join(self)

    async def stop(self) -> None:
        self._group.leave(self)

    async def poll(self, limit: int = 500, timeout_s: float = 0.2) -> Mapping[Partition, Sequence[EmbeddedRecord]]:
        """Wakes at an append; always yields to the loop, also where records are waiting."""
        self._log.check_running()
        self._news.clear()
        await self._clock.breathe()
        records = self._take(limit)
        if not records:
            try:
                await self._clock.wait_for(self._news.wait(), timeout_s)
            except TimeoutError:
                return {}
            self._log.check_running()
            records = self._take(limit)
        return records

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        self._log.check_running()
        for partition in offsets:
            if self._stretch(partition) is None:
                raise LogUnavailable(f"{partition} is not ours any more")
        self._group.committed.update(offsets)

    def assignment(self) -> frozenset[Partition]:
        return frozenset(stretch.partition for stretch in self._positions)

    def generation(self) -> int:
        return self._generation

    def position(self, partition: Partition) -> int | None:
        stretch = self._stretch(partition)
        return self._positions[stretch] if stretch is not None else None

    def highwater(self, partition: Partition) -> int | None:
        stretch = self._stretch(partition)
        return stretch.end if stretch is not None else None

    async def rewind(self, partition: Partition, since: datetime) -> None:
        """Also forwards. Where no record is that new: to the committed offset, or to the end where there is none."""
        self._log.check_running()
        stretch = self._stretch(partition)
        if stretch is None:
            raise LogUnavailable(f"{partition} is not ours any more")
        found = stretch.first_since(int(since.timestamp() * 1000))
        self._positions[stretch] = self._group.committed.get(partition, stretch.end) if found is None else found
        self._news.set()

    def pause(self, partition: Partition) -> None:
        if self._stretch(partition) is not None:
            self._paused.add(partition)

    def resume(self, partition: Partition) -> None:
        self._paused.discard(partition)
        self._news.set()

    def on_change(self, assigned: OnChange, revoked: OnChange) -> None:
        """Called while a member starts or stops."""
        self._listeners.append((assigned, revoked))

    def wake(self) -> None:
        self._news.set()

    def give_partitions(self) -> None:
        lost = self.assignment()
        self._positions = {}
        self._paused.clear()
        if lost:
            for _, revoked in self._listeners:
                revoked(lost)

    def take_partitions(self, positions: dict[_Stretch, int]) -> None:
        self._positions = positions
        self._generation += 1
        for assigned, _ in self._listeners:
            assigned(self.assignment())
        self._news.set()

    def _take(self, limit: int) -> Mapping[Partition, Sequence[EmbeddedRecord]]:
        taken: dict[Partition, Sequence[EmbeddedRecord]] = {}
        for stretch in [stretch for stretch in self._positions if stretch.partition not in self._paused]:
            records = stretch.read(self._positions[stretch], limit)
            if not records:
                continue
            taken[stretch.partition] = records
            limit -= len(records)
            # Read last this time, read last next time: a busy partition must not starve the others.
            del self._positions[stretch]
            self._positions[stretch] = records[-1].offset + 1
            if limit <= 0:
                break
        return taken

    def _stretch(self, partition: Partition) -> _Stretch | None:
        return next((stretch for stretch in self._positions if stretch.partition == partition), None)


class _Stretch:
    """The records of one partition that are still kept."""

    def __init__(self, partition: Partition, retention: int, keep_ms: int) -> None:
        self.partition = partition
        self._retention = retention
        self._keep_ms = keep_ms
        self._records: list[EmbeddedRecord] = []
        self.begin = 0

    @property
    def end(self) -> int:
        return self.begin + len(self._records)

    def write(self, message: Message, timestamp: int) -> None:
        self._records.append(
            EmbeddedRecord(
                self.partition.topic,
                self.partition.number,
                self.end,
                timestamp,
                APPEND_TIME,
                message.key,
                message.value,
                message.headers,
            )
        )
        # Cut in pieces: to cut one record at a time would move the whole list each time.
        surplus = len(self._records) - self._retention
        if surplus > self._retention // 4:
            self._cut(surplus)
        elif timestamp - self._records[0].timestamp > self._keep_ms * 5 // 4:
            oldest = timestamp - self._keep_ms
            self._cut(next(place for place, record in enumerate(self._records) if record.timestamp >= oldest))

    def _cut(self, count: int) -> None:
        del self._records[:count]
        self.begin += count

    def read(self, offset: int, limit: int) -> list[EmbeddedRecord]:
        """From the offset on, or from the oldest record that is left."""
        first = max(0, offset - self.begin)
        return self._records[first : first + limit]

    def first_since(self, timestamp: int) -> int | None:
        """In offset order, not by bisection: a clock that was stepped back leaves timestamps out of order."""
        return next((record.offset for record in self._records if record.timestamp >= timestamp), None)


class _Group:
    """Members share the partitions of a topic in the order in which they joined."""

    def __init__(self, topic: str, log: EmbeddedLog) -> None:
        self.topic = topic
        self.committed: dict[Partition, int] = {}
        self._log = log
        self._members: list[EmbeddedConsumer] = []

    def join(self, member: EmbeddedConsumer) -> None:
        if member not in self._members:
            self._members.append(member)
            self.share_out()

    def leave(self, member: EmbeddedConsumer) -> None:
        if member in self._members:
            self._members.remove(member)
            member.give_partitions()
            self.share_out()

    def share_out(self) -> None:
        """Like Kafka's eager protocol: everybody gives up everything before anybody is given anything."""
        for member in self._members:
            member.give_partitions()
        for index, member in enumerate(self._members):
            member.take_partitions(dict(self._share(index)))

    def wake(self) -> None:
        for member in self._members:
            member.wake()

    def _share(self, index: int) -> Iterator[tuple[_Stretch, int]]:
        for stretch in self._log.stretches(self.topic)[index :: len(self._members)]:
            yield stretch, max(self.committed.get(stretch.partition, 0), stretch.begin)


def murmur2(key: bytes) -> int:
    """The hash by which Kafka's Java client and aiokafka choose a partition, so that both logs choose the same."""
    mix, mask = 0x5BD1E995, 0xFFFFFFFF
    result = 0x9747B28C ^ len(key)
    whole = len(key) & ~3
    for start in range(0, whole, 4):
        part = int.from_bytes(key[start : start + 4], "little") * mix & mask
        part = (part ^ part >> 24) * mix & mask
        result = (result * mix & mask) ^ part
    if whole < len(key):
        result = (result ^ int.from_bytes(key[whole:], "little")) * mix & mask
    result = (result ^ result >> 13) * mix & mask
    return result ^ result >> 15
