"""What the ingest makes of the log: which beats are signs of life, and which only tell where a machine stood."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace

from adapters.embedded_log import EmbeddedLog
from adapters.system_clock import SystemClock
from daemon.ingest import Ingest, IngestSettings
from events import codec, topics
from events.schema import Heartbeat, Notice
from events.topics import Message
from machines.detector import Detector
from machines.errors import LogUnavailable
from machines.failover import Heard, Noticed, Signal, Silenced
from machines.model import InstanceId, Machine, MachineId, Mode
from machines.policy import Policy
from machines.states import State

MACHINE = Machine(
    MachineId(1), "alpha", State.DETECTING, mode=Mode.ON, primary=InstanceId(7001), partition=0, interval_s=10.0
)


@dataclass
class Sink:
    """Keeps what it is told."""

    posted: list[Signal] = field(default_factory=list)

    def post(self, machine_id, signal):
        self.posted.append(signal)

    def meet(self, beat, partition, is_live):
        raise AssertionError(f"{beat} is of the machine's own instance")

    def dead_letter(self, record, cause):
        raise AssertionError(cause)

    def blindness(self, partitions, because): ...

    def is_idle(self):
        return True


def beat(sequence: int, boot_id: str = "b1") -> Message:
    event = Heartbeat(1, 7001, boot_id, sequence, 10.0)
    return Message(topics.HEARTBEATS, codec.encode(event), b"1", partition=0)


def shutdown(boot_id: str) -> Message:
    event = Notice(1, 7001, boot_id, "shutdown", "the agent was told to end")
    return Message(topics.HEARTBEATS, codec.encode(event), b"1", partition=0)


async def until(is_so) -> None:
    async with asyncio.timeout(10):
        while not is_so():  # noqa: ASYNC110 - the ingest tells a sink, not an event
            await asyncio.sleep(0.01)


async def test_beats_from_before_the_assignment_are_history_and_later_ones_are_live() -> None:
    clock, sink = SystemClock(20.0), Sink()
    log, policy = EmbeddedLog(clock), Policy()
    await log.start()
    await log.ensure_topics(topics.specs(partitions=1))
    await log.append_all([shutdown("b0"), *(beat(sequence) for sequence in range(1, 6))])
    ingest = Ingest(IngestSettings(topics.HEARTBEATS, 1), log, Detector(policy), policy, clock, "d1", sink)
    ingest.know(lambda: (MACHINE,))
    ingest.follow(MACHINE)
    gaps: list[float] = []
    ingest.on_gaps = gaps.extend
    running = asyncio.create_task(ingest.run())
    try:
        await until(lambda: ingest.heard(InstanceId(7001)) is not None)
        await until(lambda: len(sink.posted) >= 5)
        history = [signal for signal in sink.posted if isinstance(signal, Heard)]
        assert history
        assert not any(signal.is_live for signal in history)
        assert not any(isinstance(signal, Noticed) for signal in sink.posted), "it was announced before we listened"
        await log.append(beat(6))
        await until(lambda: len(sink.posted) > len(history))
        fresh = sink.posted[len(history) :]
        assert all(isinstance(signal, Heard) and signal.is_live for signal in fresh)
        assert len(gaps) == 1, "only live beats tell how evenly agents beat"
        await log.append(shutdown("b1"))
        await until(lambda: isinstance(sink.posted[-1], Noticed))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await log.stop()


async def test_a_partition_whose_history_could_not_be_read_at_once_is_watched_all_the_same() -> None:
    """A rebalance that meets another one: the broker says nothing of offsets for a moment."""
    clock, sink = SystemClock(20.0), Sink()
    log, policy = EmbeddedLog(clock), Policy()
    await log.start()
    await log.ensure_topics(topics.specs(partitions=2))
    ingest = Ingest(IngestSettings(topics.HEARTBEATS, 2), log, Detector(policy), policy, clock, "d1", sink)
    ingest.know(lambda: (replace(MACHINE, state=State.HEALTHY, partition=1),))
    consumer, failures = ingest._consumer, iter((True, False, True))
    rewind = consumer.rewind

    async def fails_now_and_then(partition, since):
        if next(failures, False):
            raise LogUnavailable("offsets were not found")
        await rewind(partition, since)

    consumer.rewind = fails_now_and_then
    running = asyncio.create_task(ingest.run())
    try:
        await until(lambda: any(isinstance(signal, Silenced) for signal in sink.posted))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await log.stop()


async def test_one_that_stands_back_leaves_its_partitions_is_not_blind_and_hears_again_afterwards() -> None:
    clock, sink = SystemClock(20.0), Sink()
    log, policy = EmbeddedLog(clock), Policy()
    await log.start()
    await log.ensure_topics(topics.specs(partitions=1))
    settings = IngestSettings(topics.HEARTBEATS, 1)
    ingest = Ingest(settings, log, Detector(policy), policy, clock, "d1", sink)
    ingest.know(lambda: (MACHINE,))
    running = asyncio.create_task(ingest.run())
    try:
        await until(lambda: ingest.owns(MACHINE))
        ingest.stand_back(True)
        await until(lambda: ingest.owns_nothing)
        other = log.consumer(settings.group, topics.HEARTBEATS)
        await other.start()
        assert other.assignment(), "whoever is left has all"
        await clock.sleep(3 * settings.blind_after_s)
        assert ingest.blindness is None
        assert ingest.is_blind(MACHINE) == "its partition is not owned by this replica"
        await other.stop()
        await log.append(beat(1))
        ingest.stand_back(False)
        await until(lambda: ingest.owns(MACHINE) and any(isinstance(signal, Heard) for signal in sink.posted))
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await log.stop()


async def test_what_is_fetched_before_a_partition_is_taken_over_hides_none_of_its_history() -> None:
    clock, sink = SystemClock(20.0), Sink()
    log, policy = EmbeddedLog(clock), Policy()
    await log.start()
    await log.ensure_topics(topics.specs(partitions=1))
    await log.append_all([beat(sequence) for sequence in range(1, 6)])
    ingest = Ingest(IngestSettings(topics.HEARTBEATS, 1), log, Detector(policy), policy, clock, "d1", sink)
    ingest.know(lambda: (MACHINE,))
    consumer, polled = ingest._consumer, asyncio.Event()
    take_over = ingest._take_over

    async def comes_late() -> None:
        """The group assigns while a poll is under way: its records arrive before anything was taken over."""
        if polled.is_set():
            await take_over()

    poll = consumer.poll

    async def told(*limits):
        found = await poll(*limits)
        if found:
            polled.set()
        return found

    ingest._take_over, consumer.poll = comes_late, told
    running = asyncio.create_task(ingest.run())
    try:
        await until(lambda: len([one for one in sink.posted if isinstance(one, Heard)]) >= 5)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await log.stop()
