"""One contract for the event log, run against the log inside the process and against a real Kafka."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import pytest
from aiokafka.partitioner import murmur2 as reference_murmur2
from hypothesis import given
from hypothesis import strategies as st

from adapters.embedded_log import EmbeddedLog, murmur2
from adapters.kafka import KafkaLog, KafkaSettings
from adapters.system_clock import SystemClock
from events.topics import Message, TopicSpec
from machines.errors import LogUnavailable
from machines.ports import EventLog, LogConsumer, Partition, Record
from tests.servers.kafka import KafkaBroker
from tests.servers.process import free_port

APPEND_TIME = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete"}
PATIENCE_S = 30.0

T = TypeVar("T")


@dataclass(frozen=True)
class World:
    """How to open logs of one kind, and names that nobody else uses."""

    open_log: Callable[[], EventLog]
    prefix: str

    def spec(self, partitions: int = 4) -> TopicSpec:
        return TopicSpec(f"{self.prefix}{secrets.token_hex(4)}", partitions, APPEND_TIME)


@pytest.fixture(params=["embedded", "kafka"])
def world(request: pytest.FixtureRequest) -> World:
    clock = SystemClock()
    if request.param == "embedded":
        return World(lambda: EmbeddedLog(clock), "test.")
    settings = KafkaSettings(request.getfixturevalue("kafka_broker"))
    return World(lambda: KafkaLog(settings, clock), request.getfixturevalue("topic_prefix"))


@asynccontextmanager
async def running(log: EventLog, *specs: TopicSpec) -> AsyncIterator[EventLog]:
    await log.start()
    try:
        if specs:
            assert await log.ensure_topics(specs) == ()
        yield log
    finally:
        await log.stop()


@asynccontextmanager
async def member(log: EventLog, group: str, topic: str) -> AsyncIterator[LogConsumer]:
    consumer = log.consumer(group, topic)
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


async def read(consumer: LogConsumer, count: int) -> list[Record]:
    """So many records, or what came within the time."""
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            for batch in (await consumer.poll()).values():
                records.extend(batch)
    return records


async def until(condition: Callable[[], bool], *consumers: LogConsumer) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not condition():
            for consumer in consumers:
                await consumer.poll(timeout_s=0.05)
            await asyncio.sleep(0.01)


def numbered(topic: str, count: int, first: int = 0) -> list[Message]:
    return [Message(topic, b"%d" % n, key=b"machine-%d" % (n % 7)) for n in range(first, first + count)]


def values(records: Sequence[Record]) -> set[int]:
    return {int(record.value or b"-1") for record in records}


async def test_records_keep_their_order_within_a_partition(world: World) -> None:
    spec = world.spec()
    async with running(world.open_log(), spec) as log, member(log, "order", spec.name) as consumer:
        await log.append_all(numbered(spec.name, 1000))
        records = await read(consumer, 1000)
        by_partition: dict[int, list[Record]] = {}
        for record in records:
            by_partition.setdefault(record.partition, []).append(record)
        assert len(by_partition) > 1
        for batch in by_partition.values():
            assert [record.offset for record in batch] == list(range(len(batch)))
            numbers = [int(record.value or b"") for record in batch]
            assert numbers == sorted(numbers)


async def test_a_record_comes_back_as_it_was_appended(world: World) -> None:
    spec = world.spec()
    before = datetime.now(UTC)
    async with running(world.open_log(), spec) as log, member(log, "whole", spec.name) as consumer:
        headers = (("ce_type", b"heartbeat"), ("ce_type", b"again"), ("empty", b""))
        await log.append(Message(spec.name, b"\x00value", key=b"123", headers=headers))
        (record,) = await read(consumer, 1)
        assert (record.topic, record.key, record.value) == (spec.name, b"123", b"\x00value")
        assert tuple(record.headers) == headers
        assert record.timestamp_type == 1
        assert abs(record.timestamp / 1000 - before.timestamp()) < PATIENCE_S


async def test_a_tick_goes_to_the_partition_that_it_names(world: World) -> None:
    spec = world.spec()
    async with running(world.open_log(), spec) as log, member(log, "ticks", spec.name) as consumer:
        await log.append_all([Message(spec.name, b"tick", partition=number) for number in range(4)])
        records = await read(consumer, 4)
        assert sorted(record.partition for record in records) == [0, 1, 2, 3]
        assert {record.key for record in records} == {None}
        with pytest.raises(LogUnavailable, match="no partition 9"):
            await log.append(Message(spec.name, b"tick", partition=9))


async def test_both_logs_put_a_key_into_the_same_partition(world: World) -> None:
    spec = world.spec()
    async with running(world.open_log(), spec) as log, member(log, "keys", spec.name) as consumer:
        await log.append_all(numbered(spec.name, 70))
        for record in await read(consumer, 70):
            assert record.partition == (reference_murmur2(record.key) & 0x7FFFFFFF) % 4


async def test_a_member_resumes_at_the_committed_offset(world: World) -> None:
    spec = world.spec(partitions=1)
    only = Partition(spec.name, 0)
    async with running(world.open_log(), spec) as log:
        await log.append_all(numbered(spec.name, 10))
        async with member(log, "resume", spec.name) as consumer:
            assert values(await read(consumer, 10)) == set(range(10))
            assert consumer.position(only) == consumer.highwater(only) == 10
            await consumer.commit({only: 6})
        async with member(log, "resume", spec.name) as consumer:
            assert values(await read(consumer, 4)) == {6, 7, 8, 9}


async def test_a_group_without_commits_begins_at_the_oldest_record(world: World) -> None:
    spec = world.spec(partitions=1)
    async with running(world.open_log(), spec) as log:
        await log.append(Message(spec.name, b"1"))
        async with member(log, "fresh", spec.name) as consumer:
            assert values(await read(consumer, 1)) == {1}


async def test_rewinding_goes_to_the_first_record_at_or_after_a_time(world: World) -> None:
    spec = world.spec(partitions=1)
    only = Partition(spec.name, 0)
    async with running(world.open_log(), spec) as log, member(log, "rewind", spec.name) as consumer:
        await log.append_all(numbered(spec.name, 3))
        await asyncio.sleep(0.05)
        await log.append_all(numbered(spec.name, 3, first=3))
        first, *_, last = await read(consumer, 6)
        middle = datetime.fromtimestamp(last.timestamp / 1000, UTC)
        await consumer.rewind(only, middle)
        assert consumer.position(only) == 3
        assert values(await read(consumer, 3)) == {3, 4, 5}
        await consumer.rewind(only, datetime.fromtimestamp(first.timestamp / 1000, UTC))
        assert values(await read(consumer, 6)) == set(range(6))


async def test_rewinding_to_a_time_without_records_goes_to_the_commit_or_the_end(world: World) -> None:
    spec = world.spec(partitions=1)
    only = Partition(spec.name, 0)
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    async with running(world.open_log(), spec) as log, member(log, "future", spec.name) as consumer:
        await log.append_all(numbered(spec.name, 3))
        await until(lambda: bool(consumer.assignment()))
        await consumer.rewind(only, tomorrow)
        assert consumer.position(only) == 3
        await consumer.commit({only: 1})
        await consumer.rewind(only, tomorrow)
        assert consumer.position(only) == 1


async def test_members_of_a_group_share_the_partitions(world: World) -> None:
    spec = world.spec()
    everything = frozenset(Partition(spec.name, number) for number in range(4))
    calls: list[tuple[str, frozenset[Partition]]] = []
    async with running(world.open_log(), spec) as log:
        first, second = log.consumer("share", spec.name), log.consumer("share", spec.name)
        first.on_change(lambda parts: calls.append(("assigned", parts)), lambda parts: calls.append(("revoked", parts)))
        await first.start()
        await until(lambda: first.assignment() == everything, first)
        assert calls == [("assigned", everything)]
        generation = first.generation()
        await second.start()
        await until(lambda: len(first.assignment()) == len(second.assignment()) == 2, first, second)
        assert first.assignment() | second.assignment() == everything
        assert first.generation() > generation
        assert calls[1:] == [("revoked", everything), ("assigned", first.assignment())]
        await log.append_all(numbered(spec.name, 100))
        halves = await asyncio.gather(*(_read_half(consumer) for consumer in (first, second)))
        assert set.union(*halves) == set(range(100))
        assert not set.intersection(*halves)
        await second.stop()
        await until(lambda: first.assignment() == everything, first)
        await first.stop()


async def test_a_member_that_left_joins_again_and_goes_on_where_it_had_committed(world: World) -> None:
    spec = world.spec()
    everything = frozenset(Partition(spec.name, number) for number in range(4))
    calls: list[str] = []
    async with (
        running(world.open_log(), spec) as log,
        member(log, "again", spec.name) as staying,
        member(log, "again", spec.name) as leaving,
    ):
        leaving.on_change(lambda parts: calls.append("assigned"), lambda parts: calls.append("revoked"))
        await until(lambda: len(leaving.assignment()) == len(staying.assignment()) == 2, staying, leaving)
        await leaving.stop()
        assert calls[-1] == "revoked"
        assert leaving.assignment() == frozenset()
        await until(lambda: staying.assignment() == everything, staying)
        await log.append_all(numbered(spec.name, 40))
        seen: set[int] = set()
        while len(seen) < 40:
            seen |= await _take_and_commit(staying)
        await leaving.start()
        await until(lambda: len(leaving.assignment()) == len(staying.assignment()) == 2, staying, leaving)
        assert calls[-1] == "assigned"
        await log.append_all(numbered(spec.name, 40, first=40))
        fresh: set[int] = set()
        async with asyncio.timeout(PATIENCE_S):
            while len(fresh) < 40:
                for consumer in (staying, leaving):
                    fresh |= await _take_and_commit(consumer)
        assert fresh == set(range(40, 80))


async def _read_half(consumer: LogConsumer) -> set[int]:
    """Until every partition is read to its end and nothing new came."""
    found: set[int] = set()
    for _ in range(10):
        for batch in (await consumer.poll()).values():
            found |= values(batch)
    return found


async def test_a_rebalance_loses_no_record(world: World) -> None:
    spec = world.spec()
    seen: set[int] = set()
    async with running(world.open_log(), spec) as log, member(log, "churn", spec.name) as staying:
        for turn in range(4):
            await log.append_all(numbered(spec.name, 50, first=50 * turn))
            async with member(log, "churn", spec.name) as passing:
                await until(lambda: len(passing.assignment()) == 2, staying)
                for consumer in (staying, passing):
                    seen |= await _take_and_commit(consumer)
        await until_seen(staying, seen, 200)
        assert seen == set(range(200))


async def _take_and_commit(consumer: LogConsumer) -> set[int]:
    batches = await consumer.poll()
    await consumer.commit({partition: batch[-1].offset + 1 for partition, batch in batches.items()})
    return {number for batch in batches.values() for number in values(batch)}


async def until_seen(consumer: LogConsumer, seen: set[int], count: int) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while len(seen) < count:
            for batch in (await consumer.poll()).values():
                seen |= values(batch)


async def test_a_paused_partition_gives_nothing_until_it_is_resumed(world: World) -> None:
    spec = world.spec(partitions=2)
    still, moving = Partition(spec.name, 0), Partition(spec.name, 1)
    async with running(world.open_log(), spec) as log, member(log, "pause", spec.name) as consumer:
        await until(lambda: len(consumer.assignment()) == 2, consumer)
        consumer.pause(still)
        await log.append_all([Message(spec.name, b"%d" % number, partition=number) for number in (0, 1)])
        assert values(await read(consumer, 1)) == {1}
        for _ in range(3):
            assert await consumer.poll(timeout_s=0.1) == {}
        assert (consumer.position(still), consumer.position(moving)) == (0, 1)
        consumer.resume(still)
        assert values(await read(consumer, 1)) == {0}


async def test_a_poll_is_bounded_and_wakes_at_an_append(world: World) -> None:
    spec = world.spec(partitions=1)
    async with running(world.open_log(), spec) as log, member(log, "bounded", spec.name) as consumer:
        await until(lambda: bool(consumer.assignment()), consumer)
        waiting = asyncio.create_task(consumer.poll(timeout_s=PATIENCE_S))
        await asyncio.sleep(0.1)
        await log.append_all(numbered(spec.name, 25))
        assert await asyncio.wait_for(waiting, 5)
        await consumer.rewind(Partition(spec.name, 0), datetime.fromtimestamp(0, UTC))
        sizes = [sum(map(len, (await consumer.poll(limit=10)).values())) for _ in range(3)]
        assert max(sizes) == 10


async def test_the_newest_records_are_read_without_a_group(world: World) -> None:
    spec = world.spec()
    async with running(world.open_log(), spec) as log:
        assert list(await log.newest(spec.name, 5, {})) == []
        for number in range(12):
            await log.append(Message(spec.name, b"%d" % number, key=b"machine-%d" % (number % 5)))
            await asyncio.sleep(0.002)  # A topic of append times: the next one is later.
        found = await log.newest(spec.name, 5, {})
        assert [record.value for record in found] == [b"11", b"10", b"9", b"8", b"7"]
        assert len(await log.newest(spec.name, 100, {})) == 12


async def test_all_records_are_read_back_page_by_page_each_once(world: World) -> None:
    spec = world.spec(partitions=3)
    async with running(world.open_log(), spec) as log:
        for number in range(20):
            await log.append(Message(spec.name, b"%d" % number, key=b"machine-%d" % number))
        before: dict[int, int] = {}
        pages: list[list[Record]] = []
        while page := list(await log.newest(spec.name, 6, before)):
            before |= {record.partition: record.offset for record in page}
            pages.append(page)
            await log.append(Message(spec.name, b"later", key=b"machine-%d" % len(pages)))
        found = [record.value for page in pages for record in page]
        assert sorted(int(value or b"") for value in found if value != b"later") == list(range(20))
        assert len({(record.partition, record.offset) for page in pages for record in page}) == len(found)
        assert [len(page) for page in pages[:3]] == [6, 6, 6]


async def test_one_record_is_found_at_its_place_and_none_elsewhere(world: World) -> None:
    spec = world.spec(partitions=2)
    async with running(world.open_log(), spec) as log:
        await log.append(Message(spec.name, b"here", key=b"k", headers=(("a", b"b"),)))
        (there,) = await log.newest(spec.name, 1, {})
        place = Partition(spec.name, there.partition)
        found = await log.record(place, there.offset)
        assert found is not None
        assert (found.value, found.key, tuple(found.headers)) == (b"here", b"k", (("a", b"b"),))
        assert await log.record(place, there.offset + 1) is None
        assert await log.record(Partition(spec.name, 7), 0) is None


async def test_a_topic_that_is_not_there_is_an_outage_and_no_empty_list(world: World) -> None:
    async with running(world.open_log()) as log:
        with pytest.raises(LogUnavailable):
            await log.newest("nobody.made.this", 1, {})


async def test_a_message_with_neither_key_nor_value_is_a_bug(world: World) -> None:
    spec = world.spec()
    async with running(world.open_log(), spec) as log:
        with pytest.raises(ValueError, match="needs a key or a value"):
            await log.append(Message(spec.name, None))
        await log.append(Message(spec.name, None, key=b"a tombstone"))


async def test_a_log_that_is_not_running_takes_nothing(world: World) -> None:
    log = world.open_log()
    with pytest.raises(LogUnavailable):
        await log.append(Message("anything", b"1"))


async def test_the_callback_of_a_change_may_not_fail_silently(world: World) -> None:
    spec = world.spec()

    def broken(partitions: frozenset[Partition]) -> None:
        raise ZeroDivisionError

    def fine(partitions: frozenset[Partition]) -> None:
        pass

    async with running(world.open_log(), spec) as log:
        consumer = log.consumer("broken", spec.name)
        consumer.on_change(broken, fine)
        with pytest.raises(ZeroDivisionError):
            await _start_and_poll(consumer)


async def _start_and_poll(consumer: LogConsumer) -> None:
    try:
        await consumer.start()
        await until(lambda: False, consumer)
    finally:
        await consumer.stop()


@given(st.binary(max_size=40))
def test_our_murmur2_is_the_one_of_kafkas_clients(key: bytes) -> None:
    assert murmur2(key) == reference_murmur2(key)


async def test_the_embedded_log_keeps_a_bounded_history() -> None:
    log, spec = EmbeddedLog(SystemClock(), retention=100), TopicSpec("short", 1)
    async with running(log, spec), member(log, "late", "short") as consumer:
        await log.append_all(numbered("short", 1000))
        records = [record for batch in (await consumer.poll(limit=10_000)).values() for record in batch]
        assert 100 <= len(records) <= 125
        assert records[-1].offset == 999
        assert consumer.position(Partition("short", 0)) == consumer.highwater(Partition("short", 0)) == 1000


async def test_the_embedded_log_keeps_no_record_for_longer_than_it_should() -> None:
    """A quiet partition's ticks are never many, but a daemon runs for months."""
    clock = SystemClock()
    log, spec = EmbeddedLog(clock, keep=timedelta(milliseconds=20)), TopicSpec("short", 1)
    async with running(log, spec), member(log, "late", "short") as consumer:
        await log.append_all(numbered("short", 10))
        await clock.sleep(0.05)
        await log.append_all(numbered("short", 1))
        records = [record for batch in (await consumer.poll()).values() for record in batch]
        assert [record.offset for record in records] == [10]
        assert consumer.position(Partition("short", 0)) == consumer.highwater(Partition("short", 0)) == 11


# Kafka alone: topics, and a broker that fails


async def test_wrong_topics_are_named_with_their_remedy(kafka_broker: str, topic_prefix: str) -> None:
    name = f"{topic_prefix}{secrets.token_hex(4)}"
    log = KafkaLog(KafkaSettings(kafka_broker), SystemClock())
    assert await log.ensure_topics([TopicSpec(name, 2, {"cleanup.policy": "delete"})]) == ()
    count, kind = await log.ensure_topics([TopicSpec(name, 4, APPEND_TIME)])
    assert (kind.setting, kind.found, kind.wanted) == ("message.timestamp.type", "CreateTime", "LogAppendTime")
    assert f"kafka-configs.sh --bootstrap-server {kafka_broker} --alter" in kind.remedy
    assert f"--entity-name {name} --add-config message.timestamp.type=LogAppendTime" in kind.remedy
    assert (count.setting, count.found, count.wanted) == ("partitions", "2", "4")
    assert f"--alter --topic {name} --partitions 4" in count.remedy


async def test_a_refused_creation_is_a_problem_and_no_outage(kafka_broker: str, topic_prefix: str) -> None:
    name = f"{topic_prefix}{secrets.token_hex(4)}"
    log = KafkaLog(KafkaSettings(kafka_broker, replication_factor=7), SystemClock())
    (problem,) = await log.ensure_topics([TopicSpec(name, 2, APPEND_TIME)])
    assert "its creation was refused" in problem.found
    assert f"--create --topic {name} --partitions 2 --config message.timestamp.type=LogAppendTime" in problem.remedy


async def test_a_broker_that_is_away_at_the_start_is_found_later(own_kafka_broker: KafkaBroker) -> None:
    spec = TopicSpec(f"late-{secrets.token_hex(4)}", 1, APPEND_TIME)
    log = KafkaLog(hasty(own_kafka_broker.bootstrap), SystemClock())
    await asyncio.to_thread(own_kafka_broker.stop)
    async with running(log), member(log, "late", spec.name) as consumer:
        with pytest.raises(LogUnavailable, match="bootstrap"):
            await log.append(Message(spec.name, b"1"))
        with pytest.raises(LogUnavailable):
            await log.ensure_topics([spec])
        with pytest.raises(LogUnavailable):
            await until(lambda: False, consumer)
        await asyncio.to_thread(own_kafka_broker.start)
        assert await _patiently(lambda: log.ensure_topics([spec])) == ()
        await _patiently(lambda: log.append(Message(spec.name, b"1")))
        assert values(await _read_patiently(consumer, 1)) == {1}


async def test_a_hanging_broker_is_an_outage_and_goes_on_afterwards(own_kafka_broker: KafkaBroker) -> None:
    spec = TopicSpec(f"hang-{secrets.token_hex(4)}", 2, APPEND_TIME)
    only = Partition(spec.name, 0)
    log = KafkaLog(hasty(own_kafka_broker.bootstrap), SystemClock())
    async with running(log, spec), member(log, "hang", spec.name) as consumer:
        await log.append(Message(spec.name, b"1", partition=0))
        await read(consumer, 1)
        own_kafka_broker.pause()
        try:
            with pytest.raises(LogUnavailable, match="not acknowledged"):
                await log.append(Message(spec.name, b"2", partition=0))
            async with asyncio.timeout(10):
                with pytest.raises(LogUnavailable, match="answers no fetch"):
                    await until(lambda: False, consumer)
                with pytest.raises(LogUnavailable):
                    await consumer.commit({only: 1})
        finally:
            own_kafka_broker.resume()
        await _patiently(lambda: log.append(Message(spec.name, b"3", partition=0)))
        found = values(await _read_patiently(consumer, 1))
        while 3 not in found:
            found |= values(await _read_patiently(consumer, 1))
        await _patiently(lambda: consumer.commit({only: 2}))


async def test_acknowledged_records_survive_the_death_of_the_broker(own_kafka_broker: KafkaBroker) -> None:
    spec = TopicSpec(f"death-{secrets.token_hex(4)}", 2, APPEND_TIME)
    log = KafkaLog(hasty(own_kafka_broker.bootstrap), SystemClock())
    async with running(log, spec), member(log, "death", spec.name) as consumer:
        await log.append_all(numbered(spec.name, 100))
        seen = values(await read(consumer, 100))
        await asyncio.to_thread(own_kafka_broker.kill)
        with pytest.raises(LogUnavailable):
            await log.append(Message(spec.name, b"100", key=b"lost"))
        with pytest.raises(LogUnavailable):
            await until(lambda: False, consumer)
        await asyncio.to_thread(own_kafka_broker.start)
        await _patiently(lambda: log.append_all(numbered(spec.name, 50, first=101)))
        while not seen >= set(range(101, 151)):
            seen |= values(await _read_patiently(consumer, 1))
        async with member(log, "another", spec.name) as other:
            again: set[int] = set()
            while not again >= set(range(100)) | set(range(101, 151)):
                again |= values(await _read_patiently(other, 1))


async def test_a_broker_that_comes_back_elsewhere_is_found_by_a_new_client(own_kafka_broker: KafkaBroker) -> None:
    spec = TopicSpec(f"moved-{secrets.token_hex(4)}", 1, APPEND_TIME)
    elsewhere = free_port()
    addresses = f"{own_kafka_broker.bootstrap},127.0.0.1:{elsewhere}"
    log = KafkaLog(hasty(addresses, give_up_after_s=2.0), SystemClock())
    async with running(log, spec), member(log, "moved", spec.name) as consumer:
        await log.append(Message(spec.name, b"1"))
        await read(consumer, 1)
        await asyncio.to_thread(own_kafka_broker.kill)
        own_kafka_broker.port = elsewhere
        await asyncio.to_thread(own_kafka_broker.start)
        await _patiently(lambda: log.append(Message(spec.name, b"2")))
        found: set[int] = set()
        while 2 not in found:
            found |= values(await _read_patiently(consumer, 1))


def hasty(bootstrap: str, give_up_after_s: float = 30.0) -> KafkaSettings:
    """Shorter limits than those of production, so that an outage costs a test a few seconds only."""
    return KafkaSettings(
        bootstrap, append_timeout_s=1.0, session_timeout_s=2.0, silence_limit_s=1.5, give_up_after_s=give_up_after_s
    )


async def _patiently(call: Callable[[], Awaitable[T]]) -> T:
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await call()
            except LogUnavailable:
                await asyncio.sleep(0.2)


async def _read_patiently(consumer: LogConsumer, count: int) -> list[Record]:
    records: list[Record] = []
    async with asyncio.timeout(PATIENCE_S):
        while len(records) < count:
            batches: Mapping[Partition, Sequence[Record]] = await _patiently(consumer.poll)
            for batch in batches.values():
                records.extend(batch)
    return records
