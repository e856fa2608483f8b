"""Leases: one replica at a time, whatever pauses, and the fence refuses the one that was paused over the end of its lease."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import pytest

from adapters.sql import SqlStore, Store, Tx
from daemon.ingest import Ingest, IngestSettings
from daemon.leases import Leases
from events import topics
from machines.detector import Detector
from machines.errors import Fenced, Stale
from machines.failover import AttemptEnded, Lost
from machines.journal import Entry, Mark
from machines.lease import FLEET, Lease, LeaseTimes, LeaseWatch
from machines.model import FenceGrade, FenceProof
from machines.policy import Policy
from tests.test_api_stage import BEGIN, StillClock, settle, stage

TIMES = LeaseTimes(length_s=10.0, margin_s=2.0, renew_every_s=2.0)


# -- the watch


def test_a_count_that_stands_still_for_the_whole_length_is_free() -> None:
    watch = LeaseWatch(TIMES)
    watch.see([Lease("x", "a", 1)], 0.0)
    assert not watch.is_free("x", "b", 9.9)
    assert watch.is_free("x", "b", 10.0)
    assert watch.may_take(Lease("x", "a", 1), "b", 10.0)


def test_a_count_that_moves_is_a_living_holder() -> None:
    watch = LeaseWatch(TIMES)
    for second in range(0, 100, 5):
        watch.see([Lease("x", "a", second)], float(second))
        assert not watch.is_free("x", "b", second + 4.9)
    assert not watch.may_take(Lease("x", "a", 99), "b", 1000.0), "it moved since it was last seen"


def test_what_was_never_seen_is_free_to_ask_for_and_not_to_take() -> None:
    watch = LeaseWatch(TIMES)
    assert watch.is_free("x", "b", 0.0)
    assert not watch.may_take(Lease("x", "a", 1), "b", 1000.0)


def test_ones_own_is_free_at_once() -> None:
    watch = LeaseWatch(TIMES)
    watch.see([Lease("x", "a", 1)], 0.0)
    assert watch.is_free("x", "a", 0.0)
    assert watch.may_take(Lease("x", "a", 7), "a", 0.0)


@pytest.mark.parametrize("times", [(10.0, 0.0, 2.0), (10.0, 10.0, 2.0), (10.0, 2.0, 4.0), (10.0, 2.0, 0.0)])
def test_times_that_cannot_work_are_refused(times: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="renewals"):
        LeaseTimes(*times)


# -- in the store


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def test_a_lease_is_taken_only_from_whom_it_was_seen_with(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.take_lease("x", "a", None)
        assert tx.lease("x") == Lease("x", "a", 1)
    with pytest.raises(Stale), store.transaction() as tx:
        tx.take_lease("x", "b", None)
    with store.transaction() as tx:
        tx.renew_leases("a", ["x", "y"])
        tx.renew_leases("b", ["x"])
        assert tx.leases() == [Lease("x", "a", 2)], "nobody counts up what is another's"
    with pytest.raises(Stale), store.transaction() as tx:
        tx.take_lease("x", "b", Lease("x", "a", 1))
    with store.transaction() as tx:
        tx.take_lease("x", "b", Lease("x", "a", 2))
        tx.release_leases("a", ["x"])
        assert tx.leases() == [Lease("x", "b", 3)]
        tx.release_leases("b", ["x"])
        assert tx.leases() == []


def test_the_lease_of_a_failover_goes_with_its_end(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.take_lease("fo_1", "a", None)
        tx.drop_lease("fo_1")
        tx.drop_lease("fo_1")
        assert tx.leases() == []


# -- a replica


class Two:
    """Two replicas on one store, each with a clock of its own: one may stand still while the other's runs on."""

    def __init__(self, url: str) -> None:
        self.store = Store(SqlStore(url), inline=True)
        self.clock_a, self.clock_b = StillClock(), StillClock()
        self.a = Leases(self.store, self.clock_a, "a", TIMES)
        self.b = Leases(self.store, self.clock_b, "b", TIMES)

    async def pass_time(self, seconds: float, *alive: Leases) -> None:
        """Both clocks run on; only the living ones renew."""
        for _ in range(round(seconds)):
            await self.clock_a.advance(1)
            await self.clock_b.advance(1)
            for replica in alive:
                await replica.tend()


@pytest.fixture
def two(database_url: str) -> Two:
    return Two(database_url)


async def test_one_of_two_does_the_fleets_jobs_and_the_other_takes_them_when_it_falls_silent(two: Two) -> None:
    await two.a.tend()
    await two.b.tend()
    assert (two.a.holds(FLEET), two.b.holds(FLEET)) == (True, False)
    await two.pass_time(60, two.a, two.b)
    assert (two.a.holds(FLEET), two.b.holds(FLEET)) == (True, False)
    await two.pass_time(9, two.b)
    assert (two.a.holds(FLEET), two.b.holds(FLEET)) == (False, False), "a stops before b may begin"
    await two.pass_time(3, two.b)
    assert (two.a.holds(FLEET), two.b.holds(FLEET)) == (False, True)
    await two.pass_time(20, two.a, two.b)
    assert (two.a.holds(FLEET), two.b.holds(FLEET)) == (False, True), "no way back"
    await two.store.close()


async def test_at_no_time_do_two_hold_it_however_long_one_is_paused(two: Two) -> None:
    for pause in range(1, 30):
        holder, other = (two.a, two.b) if two.a.holds(FLEET) else (two.b, two.a)
        for _ in range(pause):
            await two.pass_time(1, other)
            assert not (two.a.holds(FLEET) and two.b.holds(FLEET))
        await two.pass_time(2, holder, other)
        assert two.a.holds(FLEET) or two.b.holds(FLEET)
    await two.store.close()


class LateStore:
    """The way of one replica to the store: what it asks first waits until time has passed, and is answered with what
    stands there then."""

    def __init__(self, store: Store, wait: Callable[[], Awaitable[None]]) -> None:
        self._store = store
        self._waits = [wait]

    async def transact(self, work: Callable[[Tx], Any]) -> Any:
        if self._waits:
            await self._waits.pop()()
        return await self._store.transact(work)


async def test_a_look_at_the_leases_that_waited_counts_from_when_it_was_answered(two: Two) -> None:
    """Else a lease that was just renewed would look as if it had stood still since the question."""
    await two.a.tend()

    async def wait() -> None:
        await two.pass_time(TIMES.length_s + 1, two.a)

    late = Leases(LateStore(two.store, wait), two.clock_b, "b", TIMES)  # type: ignore[arg-type]
    await late.tend()
    standing = await two.store.transact(lambda tx: tx.leases())
    assert [lease.holder for lease in standing] == ["a"]
    assert two.a.holds(FLEET)
    assert all(late.is_anothers(lease) for lease in standing)
    await two.store.close()


class Slow:
    """A port whose call lasts until it is told to end."""

    def __init__(self) -> None:
        self.end = asyncio.Event()

    async def call(self) -> str:
        await self.end.wait()
        return "its end"


async def test_a_call_may_last_longer_than_the_lease_while_that_is_renewed(two: Two) -> None:
    slow = Slow()
    assert await two.a.acquire("fo_1")
    calling = asyncio.create_task(two.a.guard(slow, "fo_1").call())
    await two.pass_time(5 * TIMES.length_s, two.a, two.b)
    assert two.a.holds("fo_1")
    assert not two.b.is_free("fo_1")
    slow.end.set()
    assert await calling == "its end"
    assert await two.a.guard(slow, "fo_1").call() == "its end", "the next call finds the lease as well"
    await two.store.close()


async def test_the_call_after_one_that_outlasted_the_lease_is_refused(two: Two) -> None:
    """What the long call itself brought is refused by the fence, which the replica that took over has raised."""
    slow = Slow()
    assert await two.a.acquire("fo_1")
    calling = asyncio.create_task(two.a.guard(slow, "fo_1").call())
    await two.pass_time(TIMES.length_s, two.b)
    slow.end.set()
    assert await calling == "its end"
    with pytest.raises(Fenced):
        await two.a.guard(slow, "fo_1").call()
    await two.store.close()


async def test_a_replica_that_ends_cleanly_is_not_waited_for(two: Two) -> None:
    await two.a.tend()
    await two.b.tend()
    await two.a.release_all()
    await two.b.tend()
    assert two.b.holds(FLEET)
    await two.store.close()


async def test_a_restarted_replica_has_its_own_leases_again_at_once(two: Two) -> None:
    taken: list[bool] = []
    assert await two.a.acquire("fo_1", lambda tx, is_from_another: taken.append(is_from_another))
    await two.b.tend()
    again = Leases(two.store, two.clock_a, "a", TIMES)
    assert again.is_free("fo_1")
    assert await again.acquire("fo_1", lambda tx, is_from_another: taken.append(is_from_another))
    assert taken == [False, False], "nobody's fence is raised against oneself"
    assert not two.b.is_free("fo_1")
    assert not await two.b.acquire("fo_1")
    await two.store.close()


class Port:
    name = "a port"

    def __init__(self) -> None:
        self.calls = 0

    async def act(self) -> int:
        self.calls += 1
        return self.calls


async def test_every_call_of_a_guarded_port_looks_first(two: Two) -> None:
    port = Port()
    guarded = two.a.guard(port, "fo_1")
    with pytest.raises(Fenced):
        await guarded.act()
    await two.a.acquire("fo_1")
    assert (await guarded.act(), guarded.name) == (1, "a port")
    await two.clock_a.advance(8)
    with pytest.raises(Fenced):
        await guarded.act()
    assert port.calls == 1
    await two.store.close()


async def test_a_takeover_raises_the_fence_and_the_former_holders_late_writes_change_nothing() -> None:
    async with stage() as s:
        machine = await s.machine()
        waiting = await s.begin()
        failover = (await s.stored()).failover
        assert failover is not None
        clock = StillClock()
        former = Leases(s.store, s.clock, "former", TIMES)
        assert await former.acquire(failover.id)
        other = Leases(s.store, clock, "other", TIMES)
        await other.tend()
        await clock.advance(10)

        def raise_fence(tx: Tx, is_from_another: bool) -> None:
            assert is_from_another
            s.loop.raise_fence(tx, machine.id, failover.id)

        assert await other.acquire(failover.id, raise_fence)
        now = await s.stored()
        assert now.failover == replace(failover, fence=failover.fence + 1)
        assert now.fence == failover.fence + 1
        proof = FenceProof(FenceGrade.STOPPED, "read back", BEGIN)
        late = Entry("restore", Mark.DONE, BEGIN)
        with pytest.raises(Fenced):
            await s.loop.save_proof(machine.id, failover, proof, ())
        with pytest.raises(Fenced):
            await s.loop.hand_over(machine.id, failover, s.replacement())
        with pytest.raises(Fenced):
            await s.store.transact(lambda tx: tx.append_entry(machine.id, failover.id, 1, failover.fence, late))
        await s.loop.apply(machine.id, AttemptEnded(failover.id, failover.fence, Lost("cancelled", "late")))
        assert await s.stored() == now
        await s.win()
        await waiting


async def test_an_alarm_is_followed_by_whoever_judges_the_machine_or_else_by_who_does_the_fleets_jobs() -> None:
    async with stage() as s:
        machine = await s.machine()
        policy = Policy()
        settings = IngestSettings(topics.HEARTBEATS, partitions=8)
        ingest = Ingest(settings, s.log, Detector(policy), policy, s.clock, "d1", s.loop)
        s.loop.wire(ingest, lambda machine: None, lambda machine: None)
        assert ingest.owns_nothing
        assert [s.loop.rings_for(machine.id, by_fleet) for by_fleet in (True, False)] == [True, False]
        running = asyncio.create_task(ingest.run())
        await settle()
        assert ingest.owns(machine)
        assert [s.loop.rings_for(machine.id, by_fleet) for by_fleet in (True, False)] == [True, True]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
