"""What the run's broker must be able to do before a test that uses it says anything; aiokafka straight, no adapter."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, ProducerFenced

from tests.servers.kafka import KafkaBroker

SESSION_S = 6.0

MEMBER = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer

async def main(bootstrap, group, topic):
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, session_timeout_ms=6000,
                                heartbeat_interval_ms=1000, auto_offset_reset="earliest")
    await consumer.start()
    while True:
        await consumer.getmany(timeout_ms=100)
        print(len(consumer.assignment()), flush=True)

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.fixture
def topic(topic_prefix: str) -> str:
    return f"{topic_prefix}{secrets.token_hex(4)}"


@asynccontextmanager
async def admin_of(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


@asynccontextmanager
async def producer_of(bootstrap: str, **settings: object) -> AsyncIterator[AIOKafkaProducer]:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, **settings)
    await producer.start()
    try:
        yield producer
    finally:
        await producer.stop()


@asynccontextmanager
async def consumer_of(bootstrap: str, *topics: str, **settings: object) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(*topics, bootstrap_servers=bootstrap, auto_offset_reset="earliest", **settings)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def create(bootstrap: str, topic: str, partitions: int = 1, **settings: str) -> None:
    configs = {name.replace("_", "."): value for name, value in settings.items()}
    async with admin_of(bootstrap) as admin:
        response = await admin.create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        assert [code for _, code, _ in response.topic_errors] == [0]


async def read_values(consumer: AIOKafkaConsumer, count: int) -> list[bytes]:
    async with asyncio.timeout(20):
        return [(await consumer.getone()).value for _ in range(count)]


async def test_1_topics_have_the_settings_that_they_were_given(kafka_broker: str, topic: str) -> None:
    await create(kafka_broker, topic, cleanup_policy="compact", message_timestamp_type="LogAppendTime")
    async with admin_of(kafka_broker) as admin:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        configs = {entry[0]: entry[1] for entry in response.resources[0][4]}
        assert configs["cleanup.policy"] == "compact"
        assert configs["message.timestamp.type"] == "LogAppendTime"


async def test_1_unknown_topics_are_not_created_by_asking(kafka_broker: str, topic: str) -> None:
    async with admin_of(kafka_broker) as admin:
        await admin.describe_topics([topic])
        assert topic not in await admin.list_topics()


async def test_1_gzip_headers_and_timestamps_come_back(kafka_broker: str, topic: str) -> None:
    await create(kafka_broker, topic)
    async with producer_of(kafka_broker, acks="all", compression_type="gzip") as producer:
        headers = [("a", b"1"), ("a", b"2")]
        await producer.send_and_wait(topic, b"x" * 1000, key=b"k", headers=headers, timestamp_ms=1_600_000_000_000)
    async with consumer_of(kafka_broker, topic) as consumer:
        record = await asyncio.wait_for(consumer.getone(), 20)
        assert (record.key, record.value, list(record.headers)) == (b"k", b"x" * 1000, headers)
        assert (record.timestamp, record.timestamp_type) == (1_600_000_000_000, 0)


async def test_2_aborted_transactions_are_not_read(kafka_broker: str, topic: str) -> None:
    await create(kafka_broker, topic)
    async with producer_of(kafka_broker, transactional_id=topic) as producer:
        await producer.begin_transaction()
        await producer.send_and_wait(topic, b"aborted")
        await producer.abort_transaction()
        async with producer.transaction():
            await producer.send_and_wait(topic, b"committed")
    async with consumer_of(kafka_broker, topic, isolation_level="read_committed") as consumer:
        assert await read_values(consumer, 1) == [b"committed"]


async def test_2_a_second_producer_fences_the_first(kafka_broker: str, topic: str) -> None:
    await create(kafka_broker, topic)
    first = AIOKafkaProducer(bootstrap_servers=kafka_broker, transactional_id=topic)
    await first.start()
    try:
        await first.begin_transaction()
        await first.send_and_wait(topic, b"first")
        async with producer_of(kafka_broker, transactional_id=topic) as second:
            async with second.transaction():
                await second.send_and_wait(topic, b"second")
            with pytest.raises(ProducerFenced):
                await first.send_and_wait(topic, b"too late")
    finally:
        await first.stop()


async def test_3_offsets_are_found_by_time_and_commits_are_listed(kafka_broker: str, topic: str) -> None:
    await create(kafka_broker, topic)
    partition = TopicPartition(topic, 0)
    async with producer_of(kafka_broker, enable_idempotence=True) as producer:
        for number in range(5):
            await producer.send_and_wait(topic, b"%d" % number, timestamp_ms=1_000_000 + 1000 * number)
    async with consumer_of(kafka_broker, topic, group_id=topic, enable_auto_commit=False) as consumer:
        assert len(await read_values(consumer, 5)) == 5
        found = await consumer.offsets_for_times({partition: 1_002_500})
        assert found[partition].offset == 3
        await consumer.commit({partition: 4})
    async with admin_of(kafka_broker) as admin:
        offsets = await admin.list_consumer_group_offsets(topic)
        assert offsets[partition].offset == 4


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
async def test_4_a_silent_member_loses_its_partitions(kafka_broker: str, topic: str, blow: signal.Signals) -> None:
    await create(kafka_broker, topic, partitions=2)
    command = [sys.executable, "-c", MEMBER, kafka_broker, topic, topic]
    child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    try:
        await _says(child, b"2")
        settings = {"group_id": topic, "session_timeout_ms": 6000, "heartbeat_interval_ms": 1000}
        async with consumer_of(kafka_broker, topic, **settings) as consumer:
            await _assigned(consumer, 1)
            os.kill(child.pid, blow)
            began = time.monotonic()
            await _assigned(consumer, 2)
            assert time.monotonic() - began < 2 * SESSION_S + 3
    finally:
        if child.returncode is None:
            child.kill()
        await child.wait()


async def _says(child: asyncio.subprocess.Process, line: bytes) -> None:
    assert child.stdout is not None
    async with asyncio.timeout(20):
        while (await child.stdout.readline()).strip() != line:
            pass


async def _assigned(consumer: AIOKafkaConsumer, count: int) -> None:
    async with asyncio.timeout(30):
        while len(consumer.assignment()) != count:
            await consumer.getmany(timeout_ms=100)


async def test_5_acknowledged_records_survive_kill_9(own_kafka_broker: KafkaBroker, topic: str) -> None:
    await create(own_kafka_broker.bootstrap, topic)
    async with producer_of(own_kafka_broker.bootstrap, acks="all") as producer:
        for number in range(100):
            await producer.send_and_wait(topic, b"%d" % number)
        await asyncio.to_thread(own_kafka_broker.kill)
    await asyncio.to_thread(own_kafka_broker.start)
    async with consumer_of(own_kafka_broker.bootstrap, topic) as consumer:
        assert await read_values(consumer, 100) == [b"%d" % number for number in range(100)]


async def test_6_a_stopped_broker_lets_produce_time_out_and_goes_on(own_kafka_broker: KafkaBroker, topic: str) -> None:
    await create(own_kafka_broker.bootstrap, topic)
    async with producer_of(own_kafka_broker.bootstrap, acks="all", request_timeout_ms=1000) as producer:
        await producer.send_and_wait(topic, b"before")
        own_kafka_broker.pause()
        try:
            with pytest.raises((KafkaError, TimeoutError)):
                await asyncio.wait_for(producer.send_and_wait(topic, b"during"), 10)
        finally:
            own_kafka_broker.resume()
        async with asyncio.timeout(20):
            await producer.send_and_wait(topic, b"after")
