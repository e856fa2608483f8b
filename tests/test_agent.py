"""The agent in virtual time: when it beats, what it says, and what it survives."""

from __future__ import annotations

import asyncio
import heapq
import json
import logging
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from daemon.agent import Agent, NotSent
from daemon.agent_settings import AgentSettings
from daemon.gpu_health import no_gpu
from events.schema import FromMachine, Heartbeat, Notice

SETTINGS = AgentSettings(machine_id=123, instance_id=7001)


class VirtualClock:
    """Time that moves only by `advance`."""

    def __init__(self) -> None:
        self.at = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return datetime(2030, 1, 1, tzinfo=UTC) + timedelta(seconds=self.at)

    def monotonic(self) -> float:
        return self.at

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self.now() - at

    def real(self, seconds: float) -> float:
        return seconds

    async def sleep(self, seconds: float) -> None:
        self._count += 1
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        heapq.heappush(self._sleepers, (self.at + max(0.0, seconds), self._count, woken))
        await woken

    async def breathe(self) -> None:
        await asyncio.sleep(0)

    async def wait_for(self, awaitable: Awaitable[Any], seconds: float) -> Any:
        task = asyncio.ensure_future(awaitable)
        timer = asyncio.ensure_future(self.sleep(seconds))
        try:
            await asyncio.wait({task, timer}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done():
                raise TimeoutError
            return task.result()
        finally:
            task.cancel()
            timer.cancel()

    async def advance(self, seconds: float) -> None:
        end = self.at + seconds
        await self.settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, woken = heapq.heappop(self._sleepers)
            self.at = max(self.at, due)
            if not woken.done():
                woken.set_result(None)
            await self.settle()
        self.at = end

    async def settle(self) -> None:
        for _ in range(20):
            await asyncio.sleep(0)


class Road:
    """A sender that keeps what arrived and when, and can be broken."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.arrived: list[tuple[float, FromMachine]] = []
        self.broken: Callable[[], Awaitable[None]] | None = None

    async def send(self, event: FromMachine) -> None:
        if self.broken is not None:
            await self.broken()
        self.arrived.append((self.clock.at, event))

    @property
    def sequences(self) -> list[int]:
        return [event.sequence for _, event in self.arrived if isinstance(event, Heartbeat)]


async def unreachable() -> None:
    raise NotSent("connection refused")


async def hanging() -> None:
    await asyncio.get_running_loop().create_future()


async def buggy() -> None:
    raise KeyError("in a client library")


Story = Callable[[VirtualClock, Road, Agent, "asyncio.Task[None]"], Coroutine[Any, Any, None]]


def tell(story: Story, settings: AgentSettings = SETTINGS, boot_id: str = "b1") -> None:
    async def told() -> None:
        clock = VirtualClock()
        road = Road(clock)
        agent = Agent(settings, road, clock, boot_id, no_gpu)
        running = asyncio.create_task(agent.run())
        try:
            await story(clock, road, agent, running)
        finally:
            running.cancel()
            await asyncio.wait({running})

    asyncio.run(told())


def test_the_first_beat_comes_within_a_second_and_the_others_keep_the_interval() -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(60)
        times = [at for at, _ in road.arrived]
        assert 0 < times[0] < 1
        assert 0 < times[1] - times[0] < 10
        assert [later - before for before, later in pairwise(times[1:])] == pytest.approx([10] * 5)

    tell(story)


def test_a_beat_names_machine_instance_boot_and_interval_and_its_sequence_rises_by_one() -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(30)
        assert [event for _, event in road.arrived] == [
            Heartbeat(123, 7001, "b1", sequence, 10.0, None) for sequence in range(1, len(road.arrived) + 1)
        ]

    tell(story)


def test_agents_started_at_once_take_different_places_in_the_interval() -> None:
    places = []

    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(12)
        places.append(road.arrived[1][0])

    for number in range(20):
        tell(story, boot_id=f"boot-{number}")
    assert max(places) - min(places) > 5


@pytest.mark.parametrize("broken", [unreachable, hanging, buggy])
def test_beats_that_cannot_be_sent_are_dropped_and_the_next_ones_go_out(
    broken: Callable[[], Awaitable[None]], caplog: pytest.LogCaptureFixture
) -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        road.broken = broken
        await clock.advance(3600)
        lost = agent.sequence
        assert 359 <= lost <= 362
        assert road.arrived == []
        road.broken = None
        await clock.advance(20)
        assert road.sequences[0] > lost - 1
        assert len(road.arrived) in (2, 3)

    with caplog.at_level(logging.WARNING):
        tell(story)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["beats_failing", "beats_well_again"]


def test_what_was_slept_through_is_not_made_up_for() -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(30)
        before = len(road.arrived)
        clock.at += 600  # the whole virtual machine stood still
        await clock.advance(0)
        assert len(road.arrived) == before + 1
        await clock.advance(9)
        assert len(road.arrived) == before + 1

    tell(story)


def test_the_status_file_tells_of_each_beat_also_of_one_that_was_not_sent(tmp_path: Path) -> None:
    file = tmp_path / "new" / "agent.json"

    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(1)
        assert json.loads(file.read_text()) | {"at": ""} == {"boot_id": "b1", "sequence": 1, "at": "", "sent_ok": True}
        assert json.loads(file.read_text())["at"].startswith("2030-01-01T00:00:0")
        road.broken = unreachable
        await clock.advance(60)
        status = json.loads(file.read_text())
        assert status["sequence"] == agent.sequence > 5
        assert status["sent_ok"] is False
        assert [path.name for path in file.parent.iterdir()] == ["agent.json"]

    tell(story, replace(SETTINGS, status_file=file))


def test_a_status_file_that_cannot_be_written_stops_no_beat(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("")

    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(60)
        assert len(road.arrived) >= 6

    tell(story, replace(SETTINGS, status_file=tmp_path / "file" / "agent.json"))
    assert [record.getMessage().split()[0] for record in caplog.records] == ["status_file_failing"]


def test_stopped_it_announces_the_shutdown_and_ends() -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(30)
        agent.stop()
        await clock.settle()
        assert running.done()
        event = road.arrived[-1][1]
        assert isinstance(event, Notice)
        assert (event.machine_id, event.instance_id, event.boot_id, event.what) == (123, 7001, "b1", "shutdown")

    tell(story)


def test_stopped_while_a_send_hangs_it_still_ends_within_two_seconds() -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        road.broken = hanging
        await clock.advance(2)
        agent.stop()
        await clock.advance(2)
        assert running.done()

    tell(story)


def test_cancelled_it_falls_silent_without_a_word() -> None:
    async def story(clock: VirtualClock, road: Road, agent: Agent, running: asyncio.Task[None]) -> None:
        await clock.advance(30)
        running.cancel()
        await clock.advance(60)
        assert running.cancelled()
        assert all(isinstance(event, Heartbeat) for _, event in road.arrived)
        assert road.arrived[-1][0] <= 30

    tell(story)


def test_a_broken_gpu_is_in_the_beat_and_in_one_log_line(caplog: pytest.LogCaptureFixture) -> None:
    says: list[str | None] = ["ok"]

    async def probe() -> str | None:
        return says[0]

    async def told() -> None:
        clock = VirtualClock()
        road = Road(clock)
        running = asyncio.create_task(Agent(SETTINGS, road, clock, "b1", probe).run())
        await clock.advance(20)
        says[0] = "gpu 0: fallen off the bus"
        await clock.advance(40)
        running.cancel()
        await asyncio.wait({running})
        gpus = [event.gpu for _, event in road.arrived if isinstance(event, Heartbeat)]
        assert gpus[0] == "ok"
        assert gpus[-3:] == ["gpu 0: fallen off the bus"] * 3

    asyncio.run(told())
    assert [record.getMessage().split()[0] for record in caplog.records] == ["gpu_failing"]
