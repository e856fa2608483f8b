"""Looks back into a topic without a consumer group: the last records, or the one at an offset."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition

from adapters.kafka.settings import KafkaSettings
from adapters.kafka.topics import partitions
from events.newest import newest_first
from machines.errors import LogUnavailable
from machines.ports import Partition, Record

_WAIT_MS = 2000
"""A fetch that brings nothing for so long is given up: what is there comes at once."""


async def newest(settings: KafkaSettings, topic: str, limit: int, before: Mapping[int, int]) -> Sequence[Record]:
    """The last records before those offsets, the newest first. Raise LogUnavailable, aiokafka's errors."""
    there = [TopicPartition(topic, number) for number in await partitions(settings, topic)]
    if not there:
        raise LogUnavailable(f"there is no topic {topic}")
    async with _reader(settings) as reader:
        reader.assign(there)
        begins, ends = await reader.beginning_offsets(there), await reader.end_offsets(there)
        ends = {place: min(ends[place], before.get(place.partition, ends[place])) for place in there}
        places = {place: max(begins[place], ends[place] - limit) for place in there}
        records = await _between(reader, places, ends)
    found: defaultdict[int, list[Record]] = defaultdict(list)
    for record in records:
        found[record.partition].append(record)
    return newest_first(found.values(), limit)


async def record(settings: KafkaSettings, partition: Partition, offset: int) -> Record | None:
    """The record at that place; None where there is none. Raise LogUnavailable, aiokafka's errors."""
    place = TopicPartition(partition.topic, partition.number)
    there = await partitions(settings, partition.topic)
    if not there:
        raise LogUnavailable(f"there is no topic {partition.topic}")
    if partition.number not in there:
        return None
    async with _reader(settings) as reader:
        reader.assign([place])
        begins, ends = await reader.beginning_offsets([place]), await reader.end_offsets([place])
        if not begins[place] <= offset < ends[place]:
            return None
        records = await _between(reader, {place: offset}, {place: offset + 1})
    return records[0] if records and records[0].offset == offset else None


@asynccontextmanager
async def _reader(settings: KafkaSettings) -> AsyncIterator[Any]:
    reader = AIOKafkaConsumer(enable_auto_commit=False, auto_offset_reset="earliest", **settings.client_arguments())
    try:
        await reader.start()
        yield reader
    finally:
        await reader.stop()


async def _between(
    reader: Any, begins: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
) -> list[Record]:
    """From each begin to before each end. Offsets that were compacted away, or mark transactions, are passed over."""
    open_ones = {place for place, begin in begins.items() if begin < ends[place]}
    for place in open_ones:
        reader.seek(place, begins[place])
    found: list[Record] = []
    while open_ones:
        fetched = await reader.getmany(*open_ones, timeout_ms=_WAIT_MS)
        if not fetched:
            break
        for place, records in fetched.items():
            found += [record for record in records if record.offset < ends[place]]
        open_ones = {place for place in open_ones if await reader.position(place) < ends[place]}
    return found
