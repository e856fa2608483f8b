"""What came of rentals on a host is remembered, and makes races wide or narrow."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import timedelta

import pytest

from adapters.sql import SqlStore
from machines.journal import Entry, Mark
from machines.model import HostId
from machines.reputation import REMEMBERED, Boot, HostRecord, Reputation, boot_told
from tests.test_api_stage import BEGIN

A, B = HostId(20), HostId(30)
HOUR = timedelta(hours=1)


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def test_a_host_that_fails_is_left_alone_longer_each_time_and_one_good_boot_forgives() -> None:
    record = HostRecord(A)
    bans = []
    for _ in range(7):
        record = record.with_boot(is_dead=True, at=BEGIN)
        assert record.bad_until is not None
        bans.append((record.bad_until - BEGIN) / HOUR)
    assert bans == [1, 2, 4, 8, 16, 24, 24]
    good = record.with_boot(is_dead=False, at=BEGIN + HOUR)
    assert (good.boots, good.dead_boots, good.deaths_in_a_row, good.bad_until) == (8, 7, 0, None)


def test_the_odds_follow_the_market_and_a_hosts_own_record() -> None:
    nothing = Reputation()
    assert nothing.odds_of_death(A) == pytest.approx(0.1)
    hard = Reputation(100, 58)
    assert hard.odds_of_death(A) == pytest.approx(0.557, abs=0.01)
    assert hard.odds_that_all_die([A, B]) > 0.2 > hard.odds_that_all_die([A, B, HostId(40)])
    bad = Reputation(100, 58, {A: HostRecord(A, 4, 4, 4, BEGIN, BEGIN, BEGIN + HOUR)})
    assert bad.odds_of_death(A) > 0.8
    assert bad.bad_hosts(BEGIN) == {A}
    assert bad.bad_hosts(BEGIN + HOUR) == frozenset()


def test_only_a_dead_boot_and_a_winner_say_something_of_their_host() -> None:
    dead = Entry("rent_candidate", Mark.DROPPED, BEGIN, 3, {"host": 20}, why="it shows 0 GPUs instead of 1")
    loser = Entry("rent_candidate", Mark.DROPPED, BEGIN, 3, why="candidate 1 was first")
    winner = Entry("rent_candidate", Mark.DONE, BEGIN, output={"host": 30})
    other = Entry("check_place", Mark.DONE, BEGIN, output={"host": 30})
    told = [boot_told(entry, "rent_candidate") for entry in (dead, loser, winner, other)]
    assert told == [Boot(A, is_dead=True), None, Boot(B, is_dead=False), None]


def test_the_store_remembers_hosts_and_forgets_an_old_market(store: SqlStore) -> None:
    with store.transaction() as tx:
        assert tx.reputation(BEGIN) == Reputation()
        for is_dead in (True, True, False):
            tx.note_boot(Boot(A, is_dead), BEGIN)
        tx.note_boot(Boot(B, is_dead=False), BEGIN)
    with store.transaction() as tx:
        found = tx.reputation(BEGIN + HOUR)
        assert (found.boots, found.dead_boots, set(found.hosts)) == (4, 2, {A})
        assert found.hosts[A] == HostRecord(A, 3, 2, 0, BEGIN, BEGIN, None)
        assert tx.reputation(BEGIN + REMEMBERED + HOUR) == Reputation()
