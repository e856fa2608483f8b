"""What lies on a broker's topics, read and written from outside of the product."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType


async def read(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with asyncio.timeout(20):
        await consumer.start()
        try:
            partitions = sorted(consumer.assignment())
            assert partitions, f"there is no topic {topic}"
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        finally:
            await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def allow(bootstrap: str, topic: str, record_bytes: int) -> None:
    """So large a record is taken by the topic from now on; without it, a broker refuses what is over a megabyte."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    async with asyncio.timeout(20):
        await admin.start()
        try:
            settings = {"max.message.bytes": str(record_bytes)}
            (answer,) = await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, settings)])
            assert all(resource[0] == 0 for resource in answer.resources), answer
        finally:
            await admin.close()


async def produce(bootstrap: str, topic: str, key: bytes | None, values: Sequence[bytes]) -> None:
    most = max([1_048_576, *(len(value) + 4096 for value in values)])
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all", max_request_size=most)
    async with asyncio.timeout(20):
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait(topic, value, key=key)
        finally:
            await producer.stop()


async def has_read(bootstrap: str, group: str, topic: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    async with asyncio.timeout(20):
        await admin.start()
        try:
            await consumer.start()
            try:
                ends = await consumer.end_offsets(list(consumer.assignment()))
            finally:
                await consumer.stop()
            read = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
    return all(end == 0 or (one in read and read[one].offset >= end) for one, end in ends.items())


async def go_back(bootstrap: str, group: str, topic: str) -> None:
    """Set the group's place on every partition back to the first record; it must have no members."""
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    async with asyncio.timeout(20):
        await consumer.start()
        try:
            partitions = [TopicPartition(topic, number) for number in await _partitions(bootstrap, topic)]
            consumer.assign(partitions)
            await consumer.commit(await consumer.beginning_offsets(partitions))
        finally:
            await consumer.stop()


async def _partitions(bootstrap: str, topic: str) -> list[int]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    await consumer.start()
    try:
        return [partition.partition for partition in consumer.assignment()]
    finally:
        await consumer.stop()
