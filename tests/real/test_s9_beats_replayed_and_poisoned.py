"""S9: an hour of beats comes again, the consumers' places are set back, and what is no beat lies among them.

A replay changes no verdict: whoever died meanwhile is recovered once, and nobody else is. Poison is put aside with its
cause, and the partition goes on.
"""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from aiokafka.errors import MessageSizeTooLargeError

from events import codec, topics
from tests.real.truth import watching
from tests.servers import databases, records
from tests.servers.kafka import KafkaBroker
from tests.servers.stack import Stack
from tests.stories import (
    differences,
    headers,
    silence,
    the_failover_of,
    value,
    wait_for_success,
    wait_until_healthy,
)

SPEED = 10.0
MINUTE = 60.0
HOUR = 60 * MINUTE
GROUP = "failoverd"
BESIDE, DYING, REPLACED, POISONED = MACHINES = (1, 2, 3, 4)
BURSTS = 8
SESSION_REAL_S = 7.0
"""Until the broker forgets a member that was killed."""


@pytest.fixture(scope="module")
def stack(
    own_kafka_broker: KafkaBroker, postgres_server: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    with databases.on_server(postgres_server, migrated=False) as url:
        folder = tmp_path_factory.mktemp("s9-beats")
        everything = Stack(folder, own_kafka_broker.bootstrap, len(MACHINES), SPEED, replicas=2, database=url)
        try:
            everything.start()
            yield everything
        finally:
            everything.stop()


def test_an_hour_of_beats_that_comes_again_changes_no_verdict(stack: Stack) -> None:
    for number in MACHINES:
        wait_until_healthy(stack, number)
    with watching(stack) as truth:
        replaced = stack.kill_host_of(REPLACED)
        wait_for_success(stack, the_failover_of(stack, REPLACED)["failover_id"])
        wait_until_healthy(stack, REPLACED)
        bursts = an_hour_of_beats(stack)
        assert any(value["instance_id"] == replaced for value in map(json.loads, bursts[0][REPLACED]))
        dead = stack.kill_host_of(DYING)
        for burst in bursts[: BURSTS // 2]:
            send(stack, burst)
            time.sleep(0.5)
        for replica in stack.replicas:
            replica.process.kill()
        time.sleep(SESSION_REAL_S)
        asyncio.run(records.go_back(stack.bootstrap, GROUP, topics.HEARTBEATS))
        for replica in stack.replicas:
            stack.start_daemon(replica)
        for burst in bursts[BURSTS // 2 :]:
            send(stack, burst)
            time.sleep(0.5)
        wait_for_success(stack, the_failover_of(stack, DYING)["failover_id"])
        assert wait_until_healthy(stack, DYING)["gpu_instance_id"] != dead
        stack.never("another verdict", lambda: verdicts(stack) != {REPLACED: 1, DYING: 1}, MINUTE)
        for number in MACHINES:
            wait_until_healthy(stack, number)
        stack.until("every debt is paid", lambda: stack.get("/debts")["count"] == 0)
        stack.until("the world has what the machines claim, and nothing else", lambda: not differences(stack))
    assert not truth.wrongs


def an_hour_of_beats(stack: Stack) -> list[dict[int, list[bytes]]]:
    """All that the machines said so far, again and again, until an hour of it is there; in bursts, machine by machine."""
    said: dict[int, list[bytes]] = {number: [] for number in MACHINES}
    for record in stack.records(topics.HEARTBEATS):
        if record.key is not None:
            said[value(record)["machine_id"]].append(record.value)
    bursts: list[dict[int, list[bytes]]] = []
    for _ in range(BURSTS):
        burst = {}
        for number, beats in said.items():
            count = round(HOUR / BURSTS / json.loads(beats[-1])["interval_s"])
            burst[number] = (beats * (1 + count // len(beats)))[: max(count, len(beats))]
        bursts.append(burst)
    return bursts


def send(stack: Stack, burst: dict[int, list[bytes]]) -> None:
    for number, beats in burst.items():
        stack.produce(topics.HEARTBEATS, b"%d" % number, *beats)


def verdicts(stack: Stack) -> dict[int, int]:
    """How many failovers each machine had."""
    counts = {number: len(stack.failovers(number)) for number in MACHINES}
    return {number: count for number, count in counts.items() if count}


POISON: dict[str, bytes] = {
    "invalid UTF-8": b'{"machine_id":4,"instance_id":1,"boot_id":"\xff\xfe","sequence":1}',
    "cut short": b'{"machine_id":4,"instance_id":1,"boot',
    "another version": b'{"kind":"heartbeat.v9","machine_id":4}',
    "deeply nested": b'{"machine_id":4,"boot_id":' + b"[" * 20_000 + b"]" * 20_000 + b"}",
    "no number": b'{"machine_id":4,"instance_id":1,"boot_id":"b","sequence":NaN}',
    "wrong machine": b'{"machine_id":"four","instance_id":1,"boot_id":"b","sequence":1}',
    "impossible interval": b'{"machine_id":4,"instance_id":1,"boot_id":"b","sequence":1,"interval_s":1e9}',
    "too long": b'{"machine_id":4,"note":"' + b"x" * 70_000 + b'"}',
    "no JSON": bytes(range(256)),
    "empty": b"",
}
VERY_LONG = b'{"machine_id":4,"note":"' + b"y" * 5_000_000 + b'"}'
"""Five megabytes; the broker takes them only where it is told to."""
TAKEN_BYTES = 6_000_000


def test_poison_is_put_aside_with_its_cause_and_nobody_is_condemned_by_it(stack: Stack) -> None:
    for number in MACHINES:
        wait_until_healthy(stack, number)
    before = verdicts(stack)
    number = silence(stack, POISONED)
    with pytest.raises(MessageSizeTooLargeError):
        stack.produce(topics.HEARTBEATS, b"%d" % POISONED, VERY_LONG)
    asyncio.run(records.allow(stack.bootstrap, topics.HEARTBEATS, TAKEN_BYTES))
    with watching(stack) as truth, poisoning(stack):
        letters = stack.until("every poison is a dead letter", lambda: dead_letters(stack))
        assert {name: headers(letters[name])["x-dlq-topic"] for name in POISON} == dict.fromkeys(
            POISON, topics.HEARTBEATS
        )
        assert all(headers(letter)["x-dlq-error-code"] for letter in letters.values())
        stack.never("a verdict", lambda: verdicts(stack) != before, 1.5 * MINUTE)
        machine = stack.machine(POISONED)
        assert (machine["state"], machine["gpu_instance_id"]) == ("detecting", number), "it is mute, and not dead"
        assert stack.instance(number)["serving"]
        others = [wait_until_healthy(stack, one)["id"] for one in MACHINES if one != POISONED]
        assert verdicts(stack) == before, others
        # The partitions go on: a real death is noticed among the poison.
        dead = stack.kill_host_of(BESIDE)
        wait_for_success(stack, the_failover_of(stack, BESIDE)["failover_id"])
        assert wait_until_healthy(stack, BESIDE)["gpu_instance_id"] != dead
    assert verdicts(stack) == {**before, BESIDE: 1}
    assert not truth.wrongs


@contextmanager
def poisoning(stack: Stack) -> Iterator[None]:
    """In the place of the machine's beats, and on every machine's partition, until the end."""
    done = threading.Event()

    def run() -> None:
        for number in (BESIDE, DYING, REPLACED):
            stack.produce(topics.HEARTBEATS, b"%d" % number, *POISON.values())
        stack.produce(topics.HEARTBEATS, None, *POISON.values())
        stack.produce(topics.HEARTBEATS, b"%d" % POISONED, VERY_LONG)
        while not done.is_set():
            stack.produce(topics.HEARTBEATS, b"%d" % POISONED, *POISON.values())
            done.wait(1.0)

    thread = threading.Thread(target=run, name="poison")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def dead_letters(stack: Stack) -> dict[str, Any] | None:
    """By the poison's name, once each lies there; of what is too long only the beginning is kept."""
    found = {record.value or b"": record for record in stack.records(topics.DEAD_LETTERS)}
    kept = {name: poison[: codec.MAX_RECORD_BYTES] for name, poison in POISON.items()}
    letters = {name: found[beginning] for name, beginning in kept.items() if beginning in found}
    is_complete = letters.keys() == POISON.keys() and VERY_LONG[: codec.MAX_RECORD_BYTES] in found
    return letters if is_complete else None
