"""Time jumps to the next deadline; processes are frozen and killed between two turns."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import pytest

from adapters.virtual_clock import (
    Process,
    SeededRandom,
    Standstill,
    VirtualClock,
    VirtualLoop,
    elsewhere,
    run_virtually,
    spawn,
)


def test_an_hour_of_sleep_takes_no_time_and_keeps_its_order() -> None:
    said: list[tuple[str, float]] = []

    async def story(loop: VirtualLoop) -> None:
        clock = VirtualClock(loop)

        async def one(name: str, seconds: float) -> None:
            await clock.sleep(seconds)
            said.append((name, clock.monotonic()))

        await asyncio.gather(one("late", 3600.0), one("early", 0.5), one("middle", 60.0))

    began = time.monotonic()
    run_virtually(story)
    assert said == [("early", 0.5), ("middle", 60.0), ("late", 3600.0)]
    assert time.monotonic() - began < 1.0


def test_a_frozen_process_goes_on_where_it_stood_and_a_killed_one_never() -> None:
    said: list[str] = []

    async def story(loop: VirtualLoop) -> None:
        clock = VirtualClock(loop)

        async def count(name: str) -> None:
            try:
                while True:
                    said.append(f"{name} {clock.monotonic():g}")
                    await clock.sleep(10.0)
            finally:
                said.append(f"{name} was cleaned up at {clock.monotonic():g}")

        frozen, killed = Process("frozen"), Process("killed")
        spawn(frozen, count("a"))
        spawn(killed, count("b"))
        await clock.sleep(5.0)
        loop.freeze(frozen)
        loop.kill(killed)
        await clock.sleep(60.0)
        loop.thaw(frozen)
        await clock.sleep(1.0)
        said.append("end")

    run_virtually(story)
    assert said[: said.index("end")] == ["a 0", "b 0", "a 65"]


def test_what_is_under_way_outside_goes_on_without_the_process_that_asked() -> None:
    done: list[float] = []

    async def story(loop: VirtualLoop) -> None:
        clock = VirtualClock(loop)

        async def effect() -> None:
            await clock.sleep(3.0)
            done.append(clock.monotonic())

        process = Process("asker")
        spawn(process, elsewhere(effect()))
        await clock.sleep(1.0)
        loop.kill(process)
        await clock.sleep(5.0)

    run_virtually(story)
    assert done == [3.0]


def test_an_alarm_that_is_set_off_wakes_at_once_and_its_moment_is_nobody_s_any_more() -> None:
    woken: list[float] = []

    async def story(loop: VirtualLoop) -> None:
        clock = VirtualClock(loop)

        async def wait(alarm: asyncio.Future[None]) -> None:
            await alarm
            woken.append(clock.monotonic())

        early, late = clock.alarm(60.0), clock.alarm(90.0)
        waiting = [asyncio.create_task(wait(early)), asyncio.create_task(wait(late))]
        await clock.sleep(5.0)
        early.set_result(None)
        await asyncio.gather(*waiting)

    run_virtually(story)
    assert woken == [5.0, 90.0]


def test_a_sleep_that_was_cancelled_holds_no_time_up() -> None:
    async def story(loop: VirtualLoop) -> None:
        sleeper = asyncio.create_task(VirtualClock(loop).sleep(3600.0))
        await VirtualClock(loop).sleep(1.0)
        sleeper.cancel()
        await asyncio.Event().wait()

    with pytest.raises(Standstill):
        run_virtually(story)


def test_the_time_of_day_follows_the_jumps_and_a_step_of_the_clock() -> None:
    async def story(loop: VirtualLoop) -> None:
        clock = VirtualClock(loop)
        began = clock.now()
        assert clock.now() == began
        await clock.sleep(2.5)
        assert clock.now() - began == timedelta(seconds=2.5)
        clock.skew = timedelta(hours=1)
        assert clock.now() - began == timedelta(hours=1, seconds=2.5)
        assert clock.since(began) == timedelta(seconds=2.5)

    run_virtually(story)


def test_waiting_for_nothing_is_an_error_and_not_a_hang() -> None:
    async def story(loop: VirtualLoop) -> None:
        await asyncio.Event().wait()

    with pytest.raises(Standstill):
        run_virtually(story)


def test_the_same_seed_makes_the_same_ids() -> None:
    first, second, other = SeededRandom("1/a"), SeededRandom("1/a"), SeededRandom("2/a")
    assert [first.token(), first.jitter()] == [second.token(), second.jitter()]
    assert first.token() != other.token()
