"""A spot instance is taken away: told by a webhook, by its own agent, or by nobody; whichever comes first, one failover."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import httpx
import pytest

from adapters.sim.webhooks import Letter
from adapters.virtual_clock import spawn
from daemon.simulation.theatre import Plan, Theatre
from machines.problems import Problem
from tests import virtual_fleet
from tests.frozen.play import still_open
from tests.virtual_fleet import Fleet

URL = "http://127.0.0.1:8787/api/v1/webhooks/vast"
SOON_S = 20.0
"""Before silence alone would be noticed."""


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


@dataclass(frozen=True)
class Told:
    """How it was found out, and what came of it."""

    failovers: list[tuple[bool | None, str | None]]
    suspected_after_s: float
    because: list[str]
    """What was said of the machine, look by look."""
    serving: int
    letters: list[int]
    """What each delivery was answered."""
    violations: list[str]


def play(*, letters: bool = False, notice: bool = False, doubled: bool = False, late_s: float = 15.0) -> Told:
    async def story(fleet: Fleet) -> Told:
        theatre, world, answers = fleet.theatre, fleet.world, list[int]()
        world.core.settings = replace(
            world.core.settings,
            webhook_lost_rate=0.0 if letters else 1.0,
            webhook_double_rate=float(doubled),
            webhook_seconds=late_s,
        )
        theatre.world.on_letter = lambda letter: spawn(None, _deliver(theatre, letter, answers.append), "the postman")
        instance, began = fleet.primary(), theatre.clock.monotonic()
        instance.bid = 0.01
        world.rentals.lifecycle.preempt(instance, theatre.clock.now(), None)
        fleet.carry_out()
        if not notice:
            theatre.air.cut.add(instance.id)
        suspected = await fleet.until(lambda: theatre.books.machines()[0].state != "healthy")
        because = list[str]()

        def has_ended() -> bool:
            machine = theatre.books.machines()[0]
            because.append(machine.because)
            return machine.state == "healthy" and not still_open(theatre)

        await fleet.until(has_ended)
        await fleet.sleep(180.0)
        return Told(
            [(row.success, row.strategy) for row in theatre.books.failovers()],
            suspected - began,
            because,
            sum(body.serves for body in theatre.world.bodies.of.values()),
            answers,
            fleet.violations,
        )

    return virtual_fleet.play(story, Plan(3, 1, 1, ("cpu_standby",), "allowed"), vast={"webhook_url": URL})


async def _deliver(theatre: Theatre, letter: Letter, told: Callable[[int], None]) -> None:
    """As the HTTP door does it, in the replica's own turn."""

    async def receive() -> int:
        daemon = theatre.replicas[0].daemon
        assert daemon is not None
        try:
            return 200 if await daemon.webhooks.receive(httpx.Headers(letter.headers), letter.body) else 208
        except Problem as problem:
            return problem.status

    process = theatre.replicas[0].process
    assert process is not None
    told(await spawn(process, receive(), "the webhook's door"))


def holds(told: Told) -> None:
    assert told.failovers == [(True, "cpu_standby")]
    assert told.serving == 1
    assert told.violations == []


def test_a_webhook_alone_is_enough_to_look_and_the_provider_is_believed_not_the_webhook() -> None:
    told = play(letters=True)
    holds(told)
    assert told.letters == [200]
    assert told.suspected_after_s < SOON_S
    assert any("it is being stopped" in because for because in told.because)


def test_the_agents_own_notice_is_enough() -> None:
    told = play(notice=True)
    holds(told)
    assert told.letters == []
    assert told.suspected_after_s < SOON_S


def test_polling_alone_is_enough() -> None:
    told = play()
    holds(told)
    assert told.letters == []
    assert told.suspected_after_s > SOON_S


def test_all_three_ways_at_once_with_every_letter_twice_make_one_failover() -> None:
    told = play(letters=True, notice=True, doubled=True)
    holds(told)
    assert sorted(told.letters) == [200, 208]


def test_a_letter_that_comes_when_all_is_over_changes_nothing() -> None:
    told = play(letters=True, notice=True, late_s=250.0)
    holds(told)
    assert told.letters == [200]
