"""The old instance speaks at every step of every strategy, and after the hand-over (facts/scenarios.md, S3).

Before the point of no return its word cancels the failover; here it is a lie each time (a beat that was late on its way),
so the machine is failed over once more. From the point of no return on it changes nothing. The oracle is the provider's
truth: an instance that was replaced never serves again, and no two that share a volume run at the same time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from daemon.demo_checks import check_all
from daemon.demo_stage import Cast, Stage, stage
from daemon.demo_watch import Look, look
from daemon.settings import PolicySection
from events import codec, topics
from events.schema import Heartbeat
from events.topics import Message
from machines.model import Debt, DebtKind, Rung
from machines.ports import EventLog
from machines.states import State

SPEED = 10.0
APART_S = 12.0
RUN_REAL_S = 220.0
ENDS_WITHIN_REAL_S = 10.0
BYSTANDERS = 4
CPU_STANDBY = (
    "choose_snapshot",
    "fence_primary",
    "rent_candidate",
    "restore",
    "verify",
    "start_agent",
    "await_heartbeat",
)
WARM_POOL = (
    *("check_standby", "fence_primary", "start_standby", "await_running"),
    *("verify_workspace", "start_agent", "await_heartbeat"),
)
ALONE_BEFORE, ALONE_AFTER = ("check_place",), ("await_release", "rent_candidate", "verify_workspace", "start_agent")


@dataclass
class Story:
    """How one machine dies, when its old instance speaks, and whether that may cancel the failover."""

    how: str
    step: str
    cancels: bool
    """If so, the replacement is heard only after the old instance (`OldFirst`): which is faster proves nothing."""
    person: Cast | None = None
    wrong: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return f"{self.how}, speaks at {self.step}"


RESTLESS = PolicySection(machine_cooldown_s=0, false_alarm_budget=0)
"""Each machine's old instance speaks again on purpose, and most die a second time at once."""
SHARED = [
    Story("crash", "detecting", cancels=False),
    Story("crash", "reboot", cancels=False),
    *(Story("crash", step, cancels=True) for step in WARM_POOL),
    Story("crash", "after", cancels=False),
    *(Story("kill", step, cancels=True) for step in CPU_STANDBY),
    Story("kill", "after", cancels=False),
]
ALONE = [
    *(Story("crash", step, cancels=True) for step in ALONE_BEFORE),
    *(Story("crash", step, cancels=False) for step in ALONE_AFTER),
    Story("crash", "after", cancels=False),
]


@pytest.mark.parametrize(("sharing", "stories"), [("allowed", SHARED), ("refused", ALONE)], ids=["shared", "alone"])
async def test_at_no_time_two_serve_whenever_the_old_instance_speaks(
    tmp_path: Path, sharing: str, stories: list[Story]
) -> None:
    count = len(stories) + BYSTANDERS
    async with asyncio.timeout(RUN_REAL_S), stage(tmp_path, SPEED, 1, "calm", sharing, count, RESTLESS) as s:
        cast = await s.load(count)
        for one in cast:
            await s.register(one)
        oracle = Oracle(s, stories)
        gate = OldFirst(s.daemon.event_log)
        s.starter.connect(gate, s.starter.topic)
        async with asyncio.TaskGroup() as group:
            watching = group.create_task(oracle.run())
            await oracle.until(lambda now: all(m.state is State.HEALTHY for m in now.machines.values()))
            await oracle.until(lambda now: not now.debts)
            plays = [
                group.create_task(play(s, oracle, gate, story, person, number * APART_S))
                for number, (story, person) in enumerate(zip(stories, cast, strict=False))
            ]
            await asyncio.gather(*plays)
            await oracle.until(lambda now: not now.running() and not owed_by(now))
            watching.cancel()
        end, truth = await look(s.daemon.store, s.clock), await s.truth()
    found = {str(story): faults(story, end) for story in stories}
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
    of_truth = ("one_serving_instance_per_machine", "nothing_unclaimed")
    checks = check_all(cast, [], truth, replace(end, debts=owed_by(end)), {}, [])
    assert [check for check in checks if not check.ok and check.name in of_truth] == []


def faults(story: Story, end: Look) -> list[str]:
    assert story.person is not None
    ended = end.failovers_of(story.person.id)
    codes = [one["error"] for one in ended]
    allowed = [["cancelled", None]] if story.cancels else [[None]]
    # The debt of starting it again may have mended what a reboot could not: then there was nothing more to do.
    allowed += [["cancelled"]] if story.cancels else []
    told = [] if codes in allowed else [f"the failovers ended with {codes} instead of {allowed}"]
    return [*sorted(set(story.wrong)), *told]


async def play(s: Stage, oracle: Oracle, gate: OldFirst, story: Story, person: Cast, after_s: float) -> None:
    """The machine dies, its old instance speaks once at the step, and the machine is seen to be well in the end."""
    story.person = person
    await s.clock.sleep(after_s)
    if story.cancels:
        gate.close(person)
    await (s.crash(person.instance) if story.how == "crash" else s.kill_host(person.host))
    await oracle.until(lambda now: is_at(story, person, now))
    await speak(s, person)
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(oracle.until(lambda now: has_ended(person, now)), ENDS_WITHIN_REAL_S)
    gate.open(person)
    await oracle.until(lambda now: is_well(person, now))


def owed_by(now: Look) -> list[Debt]:
    """A new standby may have to wait for as long as other tenants have the host's GPUs."""
    return [debt for debt in now.debts if debt.kind is not DebtKind.REARM]


def is_well(person: Cast, now: Look) -> bool:
    """On whichever instance; the machine is heard, and nothing is under way."""
    machine = now.machines[person.id]
    owed = any(debt.machine == person.id for debt in owed_by(now))
    return (
        machine.state is State.HEALTHY and machine.failover is None and not owed and bool(now.failovers_of(person.id))
    )


def is_at(story: Story, person: Cast, now: Look) -> bool:
    machine = now.machines[person.id]
    if story.step == "detecting":
        return machine.state is State.DETECTING
    if story.step == "after":
        return machine.primary != person.instance
    failovers = now.failovers_of(person.id)
    attempts = failovers[-1]["attempts"] if failovers else []
    # Before the ladder the primary's reboot awaits a heartbeat too.
    meant = [one for one in attempts if (one["strategy"] == Rung.REPAIR_PRIMARY.value) == (story.step == "reboot")]
    steps = [step for attempt in meant for step in attempt["steps"]]
    return any(step["name"] == story.step and step["status"] in ("running", "waiting", "done") for step in steps)


def has_ended(person: Cast, now: Look) -> bool:
    """Its first failover, in whichever way."""
    return any(one["state"] != "running" for one in now.failovers_of(person.id)[:1])


async def speak(s: Stage, person: Cast) -> None:
    """A beat of the old instance, newer than all that were heard of it, from the boot that was last heard."""
    machine = await s.daemon.loop.machine(person.id)
    heard = s.daemon.ingest.heard(person.instance)
    boot = heard.boot_id if heard is not None else machine.boot_id
    beat = Heartbeat(int(person.id), int(person.instance), boot, 1_000_000_000)
    await s.daemon.event_log.append(Message(topics.HEARTBEATS, codec.encode(beat), str(person.id).encode()))


class OldFirst:
    """The log as the agents reach it: while a machine's gate is closed, none but its old instance is heard there."""

    def __init__(self, log: EventLog) -> None:
        self._log = log
        self._closed: dict[int, tuple[int, asyncio.Event]] = {}

    def close(self, person: Cast) -> None:
        self._closed[person.id] = (person.instance, asyncio.Event())

    def open(self, person: Cast) -> None:
        if person.id in self._closed:
            self._closed[person.id][1].set()

    async def append(self, message: Message) -> None:
        event = codec.decode_from_machine(message.value)
        old, opened = self._closed.get(event.machine_id, (event.instance_id, asyncio.Event()))
        if event.instance_id != old:
            await opened.wait()
        await self._log.append(message)


class Oracle:
    """Looks at the provider and at the daemon's rows again and again: does anything serve that must not?"""

    def __init__(self, s: Stage, stories: Sequence[Story]) -> None:
        self._stage, self._stories = s, stories
        self._looked = asyncio.Condition()
        self._now = Look(s.clock.now())

    async def run(self) -> None:
        while True:
            self._stage.check()
            truth, now = await self._stage.truth(), await look(self._stage.daemon.store, self._stage.clock)
            up = {row["id"] for row in truth["instances"] if row["serving"]}
            working = {row["id"] for row in truth["instances"] if row["serving"] and row["agents"]}
            for story in self._stories:
                if story.person is not None:
                    story.wrong += wrongs(story.person, now, truth["volumes"], up, working)
            async with self._looked:
                self._now = now
                self._looked.notify_all()
            await asyncio.sleep(0.05)

    async def until(self, is_so: Callable[[Look], bool]) -> None:
        async with self._looked:
            await self._looked.wait_for(lambda: bool(self._now.machines) and is_so(self._now))


def wrongs(person: Cast, now: Look, volumes: Sequence[dict[str, Any]], up: set[int], working: set[int]) -> list[str]:
    """`up` are the instances that run, `working` those of them whose workload was started."""
    found = []
    primary = now.machines[person.id].primary
    if primary != person.instance and person.instance in up:
        found.append(f"{person.instance} serves although {primary} is the machine")
    for volume in volumes:
        holders = [number for number in volume["instances"] if number in working]
        if volume["id"] == person.volume and len(holders) > 1:
            found.append(f"{holders} work on volume {person.volume} at the same time")
    return found
