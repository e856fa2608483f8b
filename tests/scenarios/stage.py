"""Plays a script with the whole daemon on a virtual clock, under the eyes of the oracle."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

import httpx

from adapters.sim.hosts import Host
from adapters.sim.instances import Instance
from adapters.virtual_clock import VirtualLoop, run_virtually, spawn
from daemon.simulation.agents import TaskAgent
from daemon.simulation.ending import what_is_left
from daemon.simulation.intents import mutation_of
from daemon.simulation.operators import Operators
from daemon.simulation.oracle import Oracle
from daemon.simulation.replica import Replica
from daemon.simulation.run import CALM_S, QUIET_S
from daemon.simulation.theatre import Theatre
from daemon.simulation.weather import Weather
from tests.scenarios import words
from tests.scenarios.script import Happening, Script, Trigger
from tests.scenarios.transcript import Telling, Transcript

SETTLES_S = 75.0
"""From the daemon's first moment: every machine has been heard, and is judged."""


@dataclass(frozen=True, slots=True)
class Played:
    lines: tuple[str, ...]
    violations: tuple[str, ...]


@dataclass(slots=True)
class Stage:
    """What the words of a script act on."""

    theatre: Theatre
    weather: Weather
    operators: Operators
    transcript: Transcript
    oracle: Oracle
    triggers: list[Trigger]
    hosts: dict[int, Host] = field(default_factory=dict)
    """Of machines whose host died: the one that did."""
    frozen: dict[int, Instance] = field(default_factory=dict)
    workers: dict[int, Replica] = field(default_factory=dict)
    boots: dict[int, str] = field(default_factory=dict)
    """Of the instances with which the story began."""
    records: dict[int, str] = field(default_factory=dict)
    """Of machines whose record is garbled: what stood there."""
    marks: Counter[str] = field(default_factory=Counter)
    """How many rows of each failover's journal were looked at."""

    # -- what is heard

    def on_commit(self, replica: Replica, work: str) -> None:
        self.oracle.on_commit(replica, work)
        self.transcript.look(replica.name)
        for row in self.theatre.books.failovers() if self.triggers else ():
            rows = self.theatre.books.journal(row.id, self.marks[row.id])
            self.marks[row.id] += len(rows)
            for entry in rows:
                self.pull(f"{entry.step} {entry.mark}", row.machine)

    def on_call(self, replica: Replica, request: httpx.Request) -> None:
        self.oracle.on_call(replica, request)
        self._of_provider("call", request)

    def on_answer(self, replica: Replica, request: httpx.Request, response: httpx.Response | None) -> None:
        self.oracle.on_answer(replica, request, response)
        self._of_provider("answer", request)

    def _of_provider(self, when: str, request: httpx.Request) -> None:
        mutation = mutation_of(request) if self.triggers else None
        if mutation is not None:
            self.pull(f"{when} {mutation.what}", None)

    def pull(self, seen: str, machine: int | None) -> None:
        """A trigger is pulled once."""
        for trigger in [one for one in self.triggers if one.seen == seen and one.machine in (None, machine)]:
            self.triggers.remove(trigger)
            for happening in trigger.then:
                if happening.at_s:
                    spawn(None, self._later(happening), happening.what)
                else:
                    self.act(happening.what)

    async def _later(self, happening: Happening) -> None:
        await self.theatre.clock.sleep(happening.at_s)
        self.act(happening.what)

    def act(self, what: str) -> None:
        self.transcript.say(f"* {what}")
        words.act(self, what)


def play(script: Script) -> Played:
    """Raise Unreadable."""
    return run_virtually(lambda loop: _play(loop, script))


async def _play(loop: VirtualLoop, script: Script) -> Played:
    plan = script.plan()
    theatre = Theatre(plan, loop)
    transcript = Transcript(theatre.clock, theatre.books, plan.replicas > 1)
    theatre.history = Telling(theatre.clock, hear=transcript.hear)
    oracle = Oracle(theatre)
    weather = Weather(theatre, oracle.seen)
    stage = Stage(theatre, weather, weather._operators, transcript, oracle, list(script.triggers))
    theatre.on_commit, theatre.on_call = stage.on_commit, stage.on_call
    theatre.on_answer, theatre.on_world = stage.on_answer, oracle.on_world
    await _settle(stage)
    began = theatre.clock.monotonic()
    for happening in sorted(script.happenings, key=lambda one: one.at_s):
        await _until(stage, began + happening.at_s)
        stage.act(happening.what)
    await _until(stage, began + script.until_s)
    left = await _calm_down(stage) if script.ends_calmly else []
    for trigger in stage.triggers:
        transcript.lines.append(f"never seen: {trigger.seen}")
    return Played(tuple(transcript.lines), (*(str(one) for one in oracle.violations), *left))


async def _settle(stage: Stage) -> None:
    theatre = stage.theatre
    theatre.begin()
    for replica in theatre.replicas:
        replica.start()
    await theatre.clock.sleep(5.0)
    await theatre.register()
    spawn(None, _watch(stage), "the oracle")
    await _until(stage, SETTLES_S)
    for person in theatre.people:
        agent = theatre.world.bodies.of[person.instance].agent
        assert isinstance(agent, TaskAgent)
        stage.boots[int(person.id)] = agent._agent.boot_id
    stage.transcript.begin()


async def _watch(stage: Stage) -> None:
    while True:
        stage.oracle.on_second()
        await stage.theatre.clock.sleep(1.0)


async def _until(stage: Stage, at_s: float) -> None:
    while not stage.oracle.violations and (left := at_s - stage.theatre.clock.monotonic()) > 0:
        await stage.theatre.clock.sleep(min(left, 5.0))


async def _calm_down(stage: Stage) -> list[str]:
    """Until everything has come to its end and stays so for a minute; what is left after that is wrong."""
    clock = stage.theatre.clock
    stage.transcript.say("* all is well again")
    stage.transcript.is_calm = True
    stage.weather.clear()
    deadline, quiet_since = clock.monotonic() + CALM_S, clock.monotonic()
    left: list[tuple[str, str]] = []
    while not stage.oracle.violations and clock.monotonic() < deadline:
        left = what_is_left(stage.theatre)
        quiet_since = clock.monotonic() if left else quiet_since
        if clock.monotonic() - quiet_since >= QUIET_S:
            return []
        await clock.sleep(5.0)
    return [f"{name}: {text}" for name, text in left]
