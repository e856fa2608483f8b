"""The broker comes back without its topics: they are made again, and everything goes on by itself."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from events import topics
from tests.servers import ladder
from tests.servers.kafka import KafkaBroker
from tests.servers.stack import Stack
from tests.stories import result_of, the_failover_of, wait_for_success, wait_until_healthy

SPEED = 10.0
MACHINES = 4
BACK_WITHIN_REAL_S = 75.0


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stack, KafkaBroker]]:
    with ladder.local_broker(tmp_path_factory.mktemp("kafka")) as broker:
        stack = Stack(tmp_path_factory.mktemp("anew"), broker.bootstrap, MACHINES, SPEED)
        try:
            stack.start()
            for machine in range(1, MACHINES + 1):
                wait_until_healthy(stack, machine)
            yield stack, broker
        finally:
            stack.stop()


def on_an_empty_disk(broker: KafkaBroker) -> None:
    broker.stop()
    shutil.rmtree(broker.folder / "data")
    broker.start()


def without_topics(broker: KafkaBroker) -> None:
    async def delete() -> None:
        admin = AIOKafkaAdminClient(bootstrap_servers=broker.bootstrap)
        await admin.start()
        try:
            await admin.delete_topics([spec.name for spec in topics.specs()])
        finally:
            await admin.close()

    asyncio.run(delete())


@pytest.mark.parametrize(
    ("machine", "lose"), [(1, on_an_empty_disk), (2, without_topics)], ids=["empty disk", "deleted"]
)
def test_lost_topics_are_made_again_and_everything_goes_on(
    scene: tuple[Stack, KafkaBroker], machine: int, lose: Callable[[KafkaBroker], None]
) -> None:
    stack, broker = scene
    wait_until_healthy(stack, machine)
    lose(broker)
    stack.until("it is told", lambda: "observer-blind" in stack.alerts())
    stack.until("the topics are there again", lambda: _heartbeats(stack) is not None, BACK_WITHIN_REAL_S)
    stack.until("the observer sees again", lambda: not stack.alerts(), BACK_WITHIN_REAL_S)
    stack.until("it is ready", lambda: stack._is_ok(f"{stack.voice.url}/readyz"), BACK_WITHIN_REAL_S)
    assert [number for number in range(1, MACHINES + 1) if stack.failovers(number)] == list(range(1, machine))
    old = stack.kill_host_of(machine)
    failover = the_failover_of(stack, machine)
    wait_for_success(stack, failover["failover_id"])
    assert wait_until_healthy(stack, machine)["gpu_instance_id"] != old
    stack.produce(topics.COMMANDS, b"3", b'{"command":"cancel","machine_id":3,"command_id":"anew-%d"}' % machine)
    assert result_of(stack, f"anew-{machine}")["code"] == "no_failover"


def _heartbeats(stack: Stack) -> Any:
    try:
        return [record for record in stack.records(topics.HEARTBEATS) if record.key is not None] or None
    except (AssertionError, TimeoutError):
        return None
