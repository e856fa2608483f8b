"""The agents of simulated instances: the real agent as tasks of the world, beating into the simulated broker."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from adapters.sim.memory_bodies import MemoryAgent, MemoryBody
from adapters.virtual_clock import SeededRandom, VirtualClock, spawn
from daemon.agent import Agent, NotSent
from daemon.agent_settings import AgentSettings, parse
from daemon.simulation.broker import SimLog
from events import codec, topics
from events.schema import FromMachine
from events.topics import Message
from machines.errors import LogUnavailable

_OF_A_FILE = ("--token-file",)
"""Flags that name files: an instance in memory has none."""


class Air:
    """What lies between the agents and the broker."""

    def __init__(self) -> None:
        self.delays: dict[int, float] = {}
        """Seconds by which an instance's beats come late, up to this many, and out of order."""
        self.spoke_at: dict[int, float] = {}
        """When an agent of each instance last made a beat, wherever that went."""
        self.doubles: set[int] = set()
        """Instances whose beats arrive twice."""
        self.cut: set[int] = set()
        """Instances from which no beat gets out."""
        self.garbled: set[int] = set()
        """Instances whose beats nobody can read."""


class BeatSender:
    """One agent's way to the broker."""

    def __init__(self, instance: int, log: SimLog, clock: VirtualClock, random: SeededRandom, air: Air) -> None:
        self._instance, self._log, self._clock, self._random, self._air = instance, log, clock, random, air
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def send(self, event: FromMachine) -> None:
        """A frozen machine's beat does not leave it."""
        await self.thawed.wait()
        self._air.spoke_at[self._instance] = self._clock.monotonic()
        if self._instance in self._air.cut:
            raise NotSent("no way out")
        content = b"\xff not a beat" if self._instance in self._air.garbled else codec.encode(event)
        message = Message(topics.HEARTBEATS, content, str(event.machine_id).encode())
        delay = self._air.delays.get(self._instance, 0.0)
        if delay > 0:
            spawn(None, self._deliver(message, delay * self._random.jitter()), "late beat")
            return
        try:
            await self._log.append(message)
        except LogUnavailable as error:
            raise NotSent(str(error)) from error
        if self._instance in self._air.doubles:
            spawn(None, self._deliver(message, 2.0 * self._random.jitter()), "double beat")

    async def _deliver(self, message: Message, after_s: float) -> None:
        await self._clock.sleep(after_s)
        try:
            await self._log.append(message)
        except LogUnavailable:
            pass  # It is lost, as any beat may be.


class TaskAgent:
    """What a process does on a signal, this does on the same call."""

    def __init__(self, agent: Agent, sender: BeatSender) -> None:
        self._agent, self._sender = agent, sender
        self._task = spawn(None, agent.run(), f"agent of instance {agent.settings.instance_id}")

    @property
    def is_running(self) -> bool:
        return not self._task.done()

    def status(self) -> tuple[str, int] | None:
        return (self._agent.boot_id, self._agent.sequence) if self._agent.sequence else None

    def terminate(self) -> None:
        self._agent.stop()

    def kill(self) -> None:
        self._task.cancel()

    def pause(self) -> None:
        self._sender.thawed.clear()

    def resume(self) -> None:
        self._sender.thawed.set()


class Starter:
    """Starts what `failoverd agent ...` on an instance asked for."""

    def __init__(self, clock: VirtualClock, seed: str, air: Air) -> None:
        self._clock, self._air = clock, air
        self._random = SeededRandom(f"{seed}/agents")
        self.connect: Callable[[], SimLog] | None = None
        """Gives each agent its connection to the broker."""

    def start(self, instance_id: int, argv: Sequence[str], env: Mapping[str, str], body: MemoryBody) -> MemoryAgent:
        assert self.connect is not None
        sender = BeatSender(instance_id, self.connect(), self._clock, self._random, self._air)

        async def gpu() -> str:
            return "ok" if body.gpu_works else "gpu 0: fallen off the bus"

        return TaskAgent(Agent(_settings(argv, env), sender, self._clock, self._random.token(), gpu), sender)


def _settings(argv: Sequence[str], env: Mapping[str, str]) -> AgentSettings:
    """As the agent's own program reads them."""
    kept: list[str] = []
    words = iter(argv)
    for word in words:
        if word in _OF_A_FILE:
            next(words)
        else:
            kept.append(word)
    return replace(parse(kept, env), status_file=None, is_detached=False)
