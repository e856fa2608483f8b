"""A fleet on the virtual clock, for tests and commands that tell its story themselves: the whole daemon, the simulated world
and the oracle of the simulation."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from adapters.sim.instances import Instance
from adapters.virtual_clock import VirtualLoop, run_virtually
from daemon.settings import PolicySection, Vast
from daemon.simulation.oracle import Oracle
from daemon.simulation.run import WARM_UP_S
from daemon.simulation.theatre import Plan, Theatre

T = TypeVar("T")


@dataclass(frozen=True)
class Fleet:
    """What a story acts on."""

    theatre: Theatre
    oracle: Oracle

    @property
    def world(self) -> Any:
        return self.theatre.world.world

    @property
    def violations(self) -> list[str]:
        return [str(one) for one in self.oracle.violations]

    def primary(self, machine: int = 1) -> Instance:
        """The instance that embodies the machine now."""
        row = self.theatre.books.machines()[machine - 1]
        found: Instance = self.world.instances[row.primary]
        return found

    def carry_out(self) -> None:
        """What was done to the world by hand comes into effect."""
        self.theatre.world.carry_out()

    async def sleep(self, seconds: float) -> None:
        await self.theatre.clock.sleep(seconds)

    async def until(self, happened: Callable[[], bool], within_s: float = 1800.0) -> float:
        """When it happened, in seconds of the play. Raise AssertionError where it did not, or the oracle objects."""
        deadline = self.theatre.clock.monotonic() + within_s
        while not happened():
            assert not self.violations, self.violations
            assert self.theatre.clock.monotonic() < deadline, f"it did not come to that within {within_s:.0f} s"
            await self.sleep(0.5)
        return self.theatre.clock.monotonic()


def play(
    story: Callable[[Fleet], Awaitable[T]],
    plan: Plan,
    *,
    vast: Mapping[str, Any] | None = None,
    policy: Mapping[str, float] | None = None,
) -> T:
    """Tell the story to a fleet that is registered and warm."""
    return run_virtually(lambda loop: _play(loop, story, plan, vast or {}, policy or {}))


async def _play(
    loop: VirtualLoop,
    story: Callable[[Fleet], Awaitable[T]],
    plan: Plan,
    vast: Mapping[str, Any],
    policy: Mapping[str, float],
) -> T:
    theatre = Theatre(plan, loop)
    section = PolicySection.model_validate({**plan.policy, **policy})
    news = {"vast": Vast(url="http://world", **vast), "policy": section}
    theatre.settings = theatre.settings.model_copy(update=news)
    oracle = Oracle(theatre)
    theatre.on_commit, theatre.on_call = oracle.on_commit, oracle.on_call
    theatre.on_answer, theatre.on_world = oracle.on_answer, oracle.on_world
    theatre.on_vm_call = oracle.on_vm_call
    theatre.begin()
    for replica in theatre.replicas:
        replica.start()
    await theatre.clock.sleep(5.0)
    await theatre.register()
    await theatre.clock.sleep(WARM_UP_S)
    return await story(Fleet(theatre, oracle))
