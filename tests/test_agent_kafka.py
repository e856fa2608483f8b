"""The agent against a real broker: what lies in the topic, and what an outage leaves behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from daemon.agent import NotSent
from daemon.agent_settings import AgentSettings
from daemon.beat_senders import KafkaSender
from events import codec, topics
from events.schema import Heartbeat, Notice
from tests.servers.kafka import KafkaBroker
from tests.test_agent_process import MEMORY_LIMIT_KB, agent


@asynccontextmanager
async def heartbeats(bootstrap: str, prefix: str) -> AsyncIterator[AIOKafkaConsumer]:
    """The topic, new, with whatever comes into it from now on."""
    topic = prefix + topics.HEARTBEATS
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    await admin.create_topics([NewTopic(topic, 4, 1)])
    await admin.close()
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def test_records_are_small_keyed_by_the_machine_and_end_with_the_notice(
    kafka_broker: str, topic_prefix: str, tmp_path: Path
) -> None:
    prefix = f"{topic_prefix}agent."
    flags = ("--kafka", kafka_broker, "--topic-prefix", prefix, "--interval", "0.1")
    async with asyncio.timeout(60), heartbeats(kafka_broker, prefix) as topic, agent(tmp_path, *flags) as child:
        await child.status(20)
        assert child.peak_kb < MEMORY_LIMIT_KB
        code, log = await child.end()
        assert code == 0, log
        assert 'notice="sent"' in log
        records = [await topic.getone()]
        while not isinstance(codec.decode_from_machine(records[-1].value), Notice):
            records.append(await topic.getone())
    assert {record.key for record in records} == {b"123"}
    assert len({record.partition for record in records}) == 1
    assert max(len(record.value) for record in records) < 200
    assert all(record.headers == () for record in records)
    events = [codec.decode_from_machine(record.value) for record in records]
    sequences = [event.sequence for event in events if isinstance(event, Heartbeat)]
    assert sequences == list(range(1, len(sequences) + 1))


async def test_beats_of_an_outage_are_dropped_and_the_first_after_it_arrives(
    own_kafka_broker: KafkaBroker, topic_prefix: str
) -> None:
    prefix = f"{topic_prefix}outage."
    sender = KafkaSender(AgentSettings(5, 6, 2.0, kafka=own_kafka_broker.bootstrap, topic_prefix=prefix))

    def beat(sequence: int) -> Heartbeat:
        return Heartbeat(5, 6, "b1", sequence, 2.0)

    async with asyncio.timeout(90), heartbeats(own_kafka_broker.bootstrap, prefix) as topic:
        await sender.send(beat(1))
        own_kafka_broker.kill()
        for sequence in (2, 3):
            with pytest.raises((NotSent, TimeoutError)):
                await asyncio.wait_for(sender.send(beat(sequence)), 2.0)
        await asyncio.sleep(5)
        await asyncio.to_thread(own_kafka_broker.start)
        sequence = await _first_sent(sender, beat)
        await sender.close()
        arrived = [codec.decode_from_machine((await topic.getone()).value)]
        while arrived[-1] != beat(sequence):
            arrived.append(codec.decode_from_machine((await topic.getone()).value))
    assert arrived[0] == beat(1)
    assert beat(2) not in arrived
    assert beat(3) not in arrived


async def _first_sent(sender: KafkaSender, beat: Callable[[int], Heartbeat]) -> int:
    for sequence in range(4, 40):
        try:
            await asyncio.wait_for(sender.send(beat(sequence)), 2.0)
        except (NotSent, TimeoutError):
            await asyncio.sleep(0.5)
        else:
            return sequence
    raise AssertionError("nothing arrived after the outage")
