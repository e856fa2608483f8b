"""S1: one partition of the heartbeats stands still, because the broker that leads it is gone; the others go on.

Only the machines of that partition are frozen; whoever dies elsewhere is recovered, and whoever died there is after it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.partitioner import DefaultPartitioner

from events import topics
from tests.real.truth import watching
from tests.servers import databases, ladder
from tests.servers.kafka import KafkaBroker
from tests.servers.stack import Stack
from tests.stories import differences, the_failover_of, wait_for_success, wait_until_healthy

SPEED = 10.0
MINUTE = 60.0
MACHINES = 6
PARTITIONS = 8


@dataclass(frozen=True)
class Scene:
    stack: Stack
    second: KafkaBroker
    """Leads nothing but the partition on which the first machine speaks."""
    stalled: int


@pytest.fixture(scope="module")
def scene(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as servers:
        first = servers.enter_context(ladder.local_broker(tmp_path_factory.mktemp("kafka-1")))
        # The groups' own topic lies where there is only one node yet.
        asyncio.run(make_a_group(first.bootstrap))
        second = servers.enter_context(ladder.local_broker(tmp_path_factory.mktemp("kafka-2"), joins=first))
        url = servers.enter_context(databases.on_server(postgres_server, migrated=False))
        stalled = asyncio.run(make_topics(first.bootstrap))
        folder = tmp_path_factory.mktemp("s1-partition")
        stack = Stack(folder, first.bootstrap, MACHINES, SPEED, replicas=2, database=url)
        try:
            stack.start()
            yield Scene(stack, second, stalled)
        finally:
            stack.stop()


async def make_a_group(bootstrap: str) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id="first", enable_auto_commit=False)
    async with asyncio.timeout(30):
        await consumer.start()
        try:
            await consumer.committed(TopicPartition(topics.HEARTBEATS, 0))
        finally:
            await consumer.stop()


async def make_topics(bootstrap: str) -> int:
    """As the daemon would make them, but one partition of the heartbeats is led by the second node: that of machine 1."""
    stalled = partition_of(1)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        new = []
        for spec in topics.specs("", PARTITIONS):
            leaders = {number: [1] for number in range(spec.partitions)}
            if spec.name == topics.HEARTBEATS:
                leaders[stalled] = [2]
            new.append(NewTopic(spec.name, -1, -1, leaders, dict(spec.settings)))
        answer = await admin.create_topics(new)
        assert [code for _, code, _ in answer.topic_errors] == [0] * len(new), answer
    finally:
        await admin.close()
    return stalled


def partition_of(machine: int) -> int:
    """Where the agents' producer puts the machine's beats."""
    everywhere = list(range(PARTITIONS))
    chosen: int = DefaultPartitioner()(b"%d" % machine, everywhere, everywhere)
    return chosen


def test_only_the_machines_of_a_partition_that_stands_still_are_frozen(scene: Scene) -> None:
    stack = scene.stack
    frozen = [number for number in range(1, MACHINES + 1) if partition_of(number) == scene.stalled]
    others = [number for number in range(1, MACHINES + 1) if number not in frozen]
    dead_there, dead_elsewhere = frozen[0], others[0]
    for number in range(1, MACHINES + 1):
        wait_until_healthy(stack, number)
    with watching(stack) as truth:
        scene.second.stop()
        try:
            stack.until("it is told", lambda: "observer-blind" in stack.alerts())
            old = {number: stack.kill_host_of(number) for number in (dead_there, dead_elsewhere)}
            failover = the_failover_of(stack, dead_elsewhere)["failover_id"]
            wait_for_success(stack, failover)
            stack.never("a verdict on a frozen machine", lambda: any(map(stack.failovers, frozen)), MINUTE / 2)
            assert list(stack.alerts()) == ["observer-blind"], "one alert, and not one a machine"
        finally:
            scene.second.start()
        stack.until("the observer sees again", lambda: not stack.alerts())
        wait_for_success(stack, the_failover_of(stack, dead_there)["failover_id"])
        for number in range(1, MACHINES + 1):
            wait_until_healthy(stack, number)
        assert {number for number in range(1, MACHINES + 1) if stack.failovers(number)} == set(old)
        stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
        stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
    assert not truth.wrongs
