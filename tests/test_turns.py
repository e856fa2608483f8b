"""Several replicas call the provider with one key: they book their turns in the store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import update

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.store import SqlStore
from adapters.sql.tables import TURNS
from adapters.system_clock import SystemClock
from daemon.turns import SharedTurns

LIST = "GET /instances"


def book(store: SqlStore, spacing_s: float = 1.0, most_s: float = 60.0) -> float:
    return store.transact(lambda tx: tx.book_turn(LIST, spacing_s, most_s))


def shift(store: SqlStore, seconds: float) -> None:
    """What the row looks like to a clock that was set back by so much."""
    with store.transaction() as tx:
        tx._connection.execute(update(TURNS).values(free_at=TURNS.c.free_at + seconds))


def test_turns_of_a_route_follow_one_another_and_other_routes_are_their_own(database_url: str) -> None:
    store = SqlStore(database_url)

    def book(route: str) -> float:
        return store.transact(lambda tx: tx.book_turn(route, 100.0))

    assert book("PUT /asks") == pytest.approx(0.0, abs=0.5)
    assert book("PUT /asks") == pytest.approx(100.0, abs=5)
    assert book("PUT /asks") == pytest.approx(200.0, abs=5)
    assert book("GET /instances") == pytest.approx(0.0, abs=0.5)
    store.close()


def test_a_turn_that_has_passed_is_not_saved_up(database_url: str) -> None:
    store = SqlStore(database_url)
    for _ in range(3):
        assert store.transact(lambda tx: tx.book_turn("GET /instances", 0.0)) == pytest.approx(0.0, abs=0.5)
    store.close()


@pytest.mark.parametrize(("spacing_s", "ahead_s"), [(1.0, 3600.0), (1.0, 61.0), (10.0, 201.0), (1.0, float("inf"))])
def test_a_turn_further_ahead_than_any_queue_was_written_by_another_clock(
    database_url: str, spacing_s: float, ahead_s: float
) -> None:
    store = SqlStore(database_url)
    book(store)
    shift(store, ahead_s)
    assert book(store, spacing_s) == pytest.approx(0.0, abs=0.5)
    assert book(store, spacing_s) == pytest.approx(spacing_s, abs=0.5), "and the row is mended"
    store.close()


@pytest.mark.parametrize(("spacing_s", "ahead_s"), [(1.0, 50.0), (10.0, 150.0)])
def test_a_turn_as_far_ahead_as_a_queue_may_be_is_believed(database_url: str, spacing_s: float, ahead_s: float) -> None:
    store = SqlStore(database_url)
    book(store, 0.0)
    shift(store, ahead_s)
    assert book(store, spacing_s, 300.0) == pytest.approx(ahead_s, abs=5)
    store.close()


def test_a_turn_that_nobody_would_wait_for_is_told_and_not_taken(database_url: str) -> None:
    store = SqlStore(database_url)
    assert book(store, 40.0) == pytest.approx(0.0, abs=0.5)
    for _ in range(3):
        assert book(store, 40.0, most_s=10.0) == pytest.approx(40.0, abs=5)
    store.close()


def test_a_hold_is_everybodys_and_a_queue_behind_it_is_believed(database_url: str) -> None:
    store = SqlStore(database_url)

    def hold(seconds: float) -> None:
        store.transact(lambda tx: tx.hold_turn(LIST, seconds))

    hold(20.0)
    hold(5.0)
    assert book(store) == pytest.approx(20.0, abs=2)
    hold(12 * 3600.0)
    waits = [book(store) for _ in range(20)]
    assert waits == pytest.approx([30.0 + number for number in range(20)], abs=5)
    store.close()


async def test_turns_of_a_fast_clock_are_booked_in_real_seconds(database_url: str) -> None:
    store = Store(SqlStore(database_url))
    turns = SharedTurns(store, SystemClock(speed=10.0))
    await turns.hold(LIST, 200.0)
    assert await turns.book(LIST, 100.0, 300.0) == pytest.approx(200.0, abs=50)
    assert await turns.book(LIST, 100.0, 600.0) == pytest.approx(300.0, abs=50)
    assert await turns.book(LIST, 100.0, 60.0) == pytest.approx(400.0, abs=50)
    await store.close()


class AwayStore:
    """A store whose database does not answer."""

    async def transact(self, work: Callable[[Any], Any]) -> Any:
        await asyncio.sleep(0)
        raise StoreUnavailable("away")


async def test_without_the_store_everybody_calls_at_once_for_the_provider_says_no_by_itself() -> None:
    turns = SharedTurns(AwayStore(), SystemClock())  # type: ignore[arg-type]
    assert await turns.book(LIST, 1.0, 60.0) == 0.0
    await turns.hold(LIST, 20.0)
