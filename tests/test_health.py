"""What the daemon says of itself, by parts that really are in that state."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from daemon.health import Vitals
from daemon.ingest import Ingest, IngestSettings
from daemon.publisher import Publisher
from events import topics
from machines.detector import Detector
from machines.errors import NotYet
from tests.test_api_stage import Stage, settle, stage


def vitals(s: Stage) -> Vitals:
    policy = s.services.policy
    ingest = Ingest(IngestSettings(topics.HEARTBEATS, 1), s.log, Detector(policy), policy, s.clock, "d1", s.loop)
    publisher = Publisher(s.store, s.log, s.clock, lambda: True)
    return Vitals(s.loop, ingest, publisher, s.services.readiness, s.clock, "embedded")


async def test_a_daemon_without_faults_says_so() -> None:
    async with stage() as s:
        found = vitals(s)()
        assert {name: (check.ok, check.vital) for name, check in found.items()} == {
            "loop": (True, True),
            "log": (True, False),
            "heartbeats": (True, False),
            "provider": (True, False),
        }


async def test_a_loop_that_stays_at_one_signal_fails_the_liveness() -> None:
    async with stage() as s:
        health, stuck = vitals(s), asyncio.Event()
        s.loop.blindness((0,), "a test holds the loop")
        s.loop._alert_blindness = lambda *_: stuck.wait()
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
