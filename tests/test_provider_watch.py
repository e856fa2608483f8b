"""A key that the provider refuses, and a provider that is away: one alert, told to people, and over with the next good answer."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.vast import KeyDead
from daemon.provider_watch import AWAY_ALERT, KEY_ALERT, ProviderWatch
from daemon.simulation.theatre import Plan
from machines.errors import NotYet, StepError, Unknown
from machines.model import Listing
from machines.notifications import Level, level_of
from tests.test_api_metrics import scraped
from tests.test_api_stage import Stage, stage
from tests.virtual_fleet import Fleet, play

REFUSED, AWAY = KeyDead("Vast does not accept our key"), Unknown("HTTP 503")
ONE = Plan(5, 1, 1, ("cpu_standby",), "allowed")


@asynccontextmanager
async def watched() -> AsyncIterator[tuple[Stage, ProviderWatch]]:
    """The poll of an API's stage, whose provider's fault is set by the test, with its watch."""
    async with stage() as s:
        watch = ProviderWatch(s.store, s.clock, s.outside, s.outside, lambda: s.outside.fault is not None)  # type: ignore[arg-type]
        s.services.readiness.on_listed = watch.heard  # type: ignore[attr-defined]
        yield s, watch


async def polled(s: Stage, watch: ProviderWatch, fault: StepError | None, times: int = 1) -> list[str]:
    """The alerts that stand after so many polls, half a minute apart, that met the fault."""
    s.outside.fault = fault
    for _ in range(times):
        await s.services.readiness.poll()  # type: ignore[attr-defined]
        await watch.look()
        await s.clock.advance(30)
    return [alert.key for alert in await s.store.transact(lambda tx: tx.open_alerts())]


async def test_a_refused_key_is_told_at_the_second_refusal_and_over_with_a_good_answer() -> None:
    async with watched() as (s, watch):
        assert await polled(s, watch, REFUSED) == []
        assert await polled(s, watch, REFUSED) == [KEY_ALERT]
        assert await polled(s, watch, REFUSED, 20) == [KEY_ALERT], "one trouble, one alert"
        [alert] = await s.store.transact(lambda tx: tx.open_alerts())
        assert "vast.api_key" in alert.text
        assert await polled(s, watch, AWAY, 20) == [KEY_ALERT], "no answer says nothing about the key"
        assert await polled(s, watch, None) == []


async def test_one_refusal_between_good_answers_is_nobodys_business() -> None:
    async with watched() as (s, watch):
        for fault in (REFUSED, None, REFUSED, None):
            assert await polled(s, watch, fault) == []


async def test_refusals_of_one_moment_are_one() -> None:
    async with watched() as (s, watch):
        watch.heard(REFUSED)
        watch.heard(REFUSED)
        await watch.look()
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


@pytest.mark.parametrize("fault", [AWAY, NotYet("rate limited", timedelta(seconds=5))])
async def test_a_provider_that_is_away_for_five_minutes_is_told_and_over_when_it_answers(fault: StepError) -> None:
    async with watched() as (s, watch):
        assert await polled(s, watch, None) == []
        assert await polled(s, watch, fault, 9) == []
        assert await polled(s, watch, fault, 3) == [AWAY_ALERT]
        assert await polled(s, watch, REFUSED, 2) == [KEY_ALERT], "it answers, and what it says is worse"
        assert await polled(s, watch, None) == []


async def test_somebody_asks_whether_an_outage_is_over_and_only_then() -> None:
    async with watched() as (s, watch):
        asked: list[str] = []

        async def lists(max_age_s: float = 0.0, about: object = None) -> Listing:
            asked.append("list")
            raise AWAY

        async def tells_credit() -> float | None:
            asked.append("credit")
            return None

        s.outside.list, s.outside.credit = lists, tells_credit  # type: ignore[method-assign,assignment]
        await watch.probe()
        assert asked == []
        s.outside.fault = AWAY
        await watch.probe()
        assert asked == ["list", "credit"], "it may be an outage of one alone"


async def test_a_replica_that_has_asked_nothing_yet_ends_nothing() -> None:
    async with watched() as (s, watch):
        assert await polled(s, watch, REFUSED, 2) == [KEY_ALERT]
        another = ProviderWatch(s.store, s.clock, s.outside, s.outside, lambda: s.outside.fault is not None)  # type: ignore[arg-type]
        await another.look()
        assert [alert.key for alert in await s.store.transact(lambda tx: tx.open_alerts())] == [KEY_ALERT]
        another.heard(None)
        await another.look()
        assert await s.store.transact(lambda tx: tx.open_alerts()) == []


async def test_the_metric_says_whether_the_last_listing_came() -> None:
    async with watched() as (s, watch):
        assert "failoverd_provider_up{provider=vast}" not in await scraped(s)
        for fault, up in ((AWAY, 0.0), (None, 1.0)):
            await polled(s, watch, fault)
            assert (await scraped(s))["failoverd_provider_up{provider=vast}"] == up


def test_both_are_critical() -> None:
    assert {level_of(KEY_ALERT), level_of(AWAY_ALERT)} == {Level.CRITICAL}


@pytest.mark.parametrize(("kind", "key"), [(FaultKind.AUTH_ERROR, KEY_ALERT), (FaultKind.STATUS, AWAY_ALERT)])
def test_a_whole_daemon_tells_it_and_ends_it(kind: FaultKind, key: str, quiet_simulation: None) -> None:
    async def story(fleet: Fleet) -> None:
        books, faults = fleet.theatre.books, fleet.world.faults
        faults.order(Fault(kind), fleet.theatre.clock.now(), None)
        await fleet.until(lambda: key in books.alerts(), 600.0)
        faults.clear()
        await fleet.until(lambda: not books.alerts(), 300.0)
        assert books.failovers() == []
        assert fleet.violations == []

    play(story, ONE)
