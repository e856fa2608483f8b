"""What the daemon says of itself, by parts that really are in that state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

from adapters.sql import StoreUnavailable
from daemon.health import Vitals
from daemon.ingest import Ingest, IngestSettings
from daemon.publisher import Publisher
from daemon.store_watch import StoreWatch
from daemon.topic_watch import TopicWatch
from events import topics
from events.topics import TopicProblem, TopicSpec
from machines.detector import Detector
from machines.errors import LogUnavailable, NotYet
from tests.test_api_stage import Stage, settle, stage


def vitals(s: Stage) -> Vitals:
    policy = s.services.policies
    ingest = Ingest(IngestSettings(topics.HEARTBEATS, 1), s.log, Detector(policy.fleet), policy, s.clock, "d1", s.loop)
    publisher = Publisher(s.store, s.log, s.clock, lambda: True)
    watch = TopicWatch(s.log, topics.specs(), s.store, s.clock, lambda: False)
    return Vitals(s.loop, ingest, publisher, s.services.readiness, watch, StoreWatch(s.clock), s.clock, "embedded")


async def test_a_daemon_without_faults_says_so() -> None:
    async with stage() as s:
        found = vitals(s)()
        assert {name: (check.ok, check.vital) for name, check in found.items()} == {
            "loop": (True, True),
            "log": (True, False),
            "heartbeats": (True, False),
            "store": (True, False),
            "provider": (True, False),
        }


async def test_a_loop_that_stays_at_one_signal_fails_the_liveness() -> None:
    async with stage() as s:
        health, stuck = vitals(s), asyncio.Event()
        s.loop.blindness((0,), "a test holds the loop")
        s.loop._tell_blindness = lambda *_: stuck.wait()  # type: ignore[assignment,return-value]
        running = asyncio.create_task(s.loop.run())
        await settle()
        assert health()["loop"].ok
        await s.clock.advance(61)
        assert (health()["loop"].ok, health()["loop"].vital) == (False, True)
        stuck.set()
        await settle()
        assert health()["loop"].ok
        running.cancel()


async def test_a_provider_without_an_answer_is_a_fault_that_no_restart_mends() -> None:
    async with stage() as s:
        health = vitals(s)
        s.outside.fault = NotYet("the provider is away", timedelta(seconds=5))
        await s.services.readiness.poll()
        assert (health()["provider"].ok, health()["provider"].vital) == (False, False)


async def test_a_store_that_takes_no_writes_is_a_fault_although_it_answers_questions() -> None:
    async with stage() as s:
        watch = StoreWatch(s.clock)
        health = replace(vitals(s), store=watch)
        watch.heard(StoreUnavailable("attempt to write a readonly database"))
        watch.heard(None)
        await s.clock.advance(4)
        assert (health()["store"].ok, health()["store"].vital, health()["store"].for_s) == (False, False, 4.0)


class Broker:
    """A log whose topics are as a test wants them."""

    def __init__(self, *problems: TopicProblem) -> None:
        self.problems = problems
        self.is_away = False
        self.asked = 0

    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> tuple[TopicProblem, ...]:
        self.asked += 1
        if self.is_away:
            raise LogUnavailable("away")
        return self.problems


MISSING = TopicProblem("failover.events.v1", "topic", "missing, and its creation was refused", "there", "create it so")


def watch_of(s: Stage, broker: Any, is_failing: Callable[[], bool]) -> TopicWatch:
    return TopicWatch(broker, topics.specs(), s.store, s.clock, is_failing)


async def open_alerts(s: Stage) -> dict[str, str]:
    return {alert.key: alert.text for alert in await s.store.transact(lambda tx: tx.open_alerts())}


async def test_a_topic_that_cannot_be_made_is_named_with_its_remedy_until_it_is_there() -> None:
    async with stage() as s:
        broker = Broker(MISSING)
        watch = watch_of(s, broker, lambda: True)
        await watch.check()
        health = replace(vitals(s), topics=watch)
        for text in (health()["log"].detail, (await open_alerts(s))["topic-failover.events.v1"]):
            assert "failover.events.v1" in text
            assert "create it so" in text
        assert not health()["log"].ok
        broker.problems = ()
        await watch.check()
        assert health()["log"].ok
        assert await open_alerts(s) == {}


async def test_topics_are_looked_at_again_only_while_the_log_fails() -> None:
    async with stage() as s:
        broker, fails = Broker(), asyncio.Event()
        running = asyncio.create_task(watch_of(s, broker, fails.is_set).run())
        await settle()
        for change, asked in ((fails.clear, 0), (fails.set, 3), (fails.clear, 3)):
            change()
            for _ in range(3):
                await s.clock.advance(10)
            assert broker.asked == asked
        fails.set()
        broker.is_away = True
        await s.clock.advance(10)
        broker.is_away = False
        await s.clock.advance(10)
        assert broker.asked == 5, "an outage ends nothing"
        running.cancel()


async def test_what_a_process_before_told_of_the_topics_is_taken_back() -> None:
    async with stage() as s:
        await watch_of(s, Broker(MISSING), lambda: True).check()
        await watch_of(s, Broker(), lambda: False).ready()
        assert await open_alerts(s) == {}
