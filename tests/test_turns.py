"""Several replicas call the provider with one key: they book their turns in the store."""

from __future__ import annotations

import pytest

from adapters.sql.store import SqlStore


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
