"""This replica's leases: taken, renewed, watched, and believed only as long as its own clock allows.

A lease says who works on a failover, and who does the jobs of the whole fleet. Safety does not rest on it alone: a
replica that takes a failover from another one raises the machine's fence in the same transaction.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Collection
from typing import Any, TypeVar, cast

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from machines.errors import Fenced, Stale
from machines.lease import FLEET, Lease, LeaseTimes, LeaseWatch, is_work
from machines.ports import Clock

log = structlog.get_logger(__name__)

P = TypeVar("P")


class Leases:
    """`replica` is this process's id: the same after a restart on the same state directory, so that it finds its own
    leases again at once."""

    def __init__(self, store: Store, clock: Clock, replica: str, times: LeaseTimes | None = None) -> None:
        self._store = store
        self._clock = clock
        self._times = times or LeaseTimes()
        self._watch = LeaseWatch(self._times)
        self._until: dict[str, float] = {}
        self._stands_back = False
        self.replica = replica

    # -- what others ask

    def holds(self, name: str) -> bool:
        """By our own monotonic clock: after a pause this is False before anybody was asked."""
        until = self._until.get(name)
        return until is not None and self._clock.monotonic() < until

    def require(self, name: str) -> None:
        """Raise Fenced where the lease is not, or no longer, ours."""
        if not self.holds(name):
            raise Fenced(f"replica {self.replica} does not hold the lease of {name}")

    def is_free(self, name: str) -> bool:
        """Is it worth an `acquire`, by what was last seen?"""
        return not self._leaves(name) and self._watch.is_free(name, self.replica, self._clock.monotonic())

    def is_anothers(self, lease: Lease) -> bool:
        """Does a replica that lives hold it, and not we?"""
        return not self._watch.may_take(lease, self.replica, self._clock.monotonic())

    def of_others(self, tx: Tx, kind: str) -> list[Lease]:
        """Those that begin so, and that replicas hold which live; what dead ones held is dropped."""
        found = [one for one in tx.leases() if one.name.startswith(kind) and one.holder != self.replica]
        living = [one for one in found if self.is_anothers(one)]
        for over in (one for one in found if one not in living):
            tx.drop_lease(over.name)
        return living

    def guard(self, port: P, name: str) -> P:
        """The port, each of whose calls first looks whether the lease is still ours: the first thing that a replica
        does after a pause. A port that lets calls wait (`on_behalf_of`) looks again when they leave. They raise Fenced."""
        leave = getattr(port, "on_behalf_of", None)
        inner = port if leave is None else leave(lambda: self.require(name))
        return cast("P", _Guarded(inner, lambda: self.require(name)))

    # -- taking and giving back

    async def acquire(self, name: str, also: Callable[[Tx, bool], None] | None = None) -> bool:
        """Take it, or False where another replica has it. `also` writes into the same transaction, and hears whether the
        lease is taken from another replica; where it raises Stale, nothing is taken. Raise StoreUnavailable."""
        if self.holds(name):
            return True
        if self._leaves(name):
            return False
        began = self._clock.monotonic()

        def take(tx: Tx) -> str | None:
            lease = tx.lease(name)
            if lease is not None and not self._watch.may_take(lease, self.replica, began):
                raise Stale(f"replica {lease.holder} holds the lease of {name}")
            tx.take_lease(name, self.replica, lease)
            former = lease.holder if lease is not None and lease.holder != self.replica else None
            if also is not None:
                also(tx, former is not None)
            return former

        try:
            former = await self._store.transact(take)
        except Stale:
            return False
        if self._leaves(name):
            return False  # Since the question: it lapses, as the others do.
        self._believe(name, began)
        if former is not None:
            log.warning("lease_taken_over", lease=name, former_replica=former, replica=self.replica)
        return True

    @property
    def stands_back(self) -> bool:
        """Is all work left to other replicas?"""
        return self._stands_back

    def stand_back(self, stands_back: bool) -> None:
        """Leave all work to other replicas, from now on or no more. Its leases lapse, and are not given back: what is under
        way is cut off as a death would, and whoever takes it over raises the fence."""
        self._stands_back = stands_back
        for name in [name for name in self._until if self._leaves(name)]:
            self.forget(name)

    def _leaves(self, name: str) -> bool:
        return self._stands_back and is_work(name)

    def forget(self, name: str) -> None:
        """What it was for has ended; its row went with the end."""
        self._until.pop(name, None)

    async def release_all(self) -> None:
        """At a clean stop: another replica need not wait."""
        names, self._until = frozenset(self._until), {}
        try:
            await self._store.transact(lambda tx: tx.release_leases(self.replica, names))
        except StoreUnavailable as error:
            log.info("leases_not_released", because=str(error))

    # -- the tasks

    async def run(self) -> None:
        """Until cancelled: renew what is ours, watch what is not, and take the fleet's jobs where nobody does them."""
        while True:
            try:
                await self.tend()
            except StoreUnavailable as error:
                log.debug("leases_not_renewed", because=str(error))
            await self._clock.sleep(self._times.renew_every_s)

    async def tend(self) -> None:
        """One round. What is ours counts from before the question, what is another's from after the answer: where the
        store took its time, both replicas err to the safe side. Raise StoreUnavailable."""
        began = self._clock.monotonic()
        names = frozenset(self._until)

        def renew(tx: Tx) -> Collection[str]:
            tx.renew_leases(self.replica, names)
            standing = tx.leases()
            self._watch.see(standing, self._clock.monotonic())
            return frozenset(lease.name for lease in standing if lease.holder == self.replica) & names

        kept = await self._store.transact(renew)
        for name in names:
            if name in kept and not self._leaves(name):
                self._believe(name, began)
            else:
                self.forget(name)
        if not self.holds(FLEET) and self.is_free(FLEET) and await self.acquire(FLEET):
            log.info("fleet_jobs_taken", replica=self.replica)

    def _believe(self, name: str, began: float) -> None:
        """Counted from before the question: the answer may have taken long."""
        self._until[name] = began + self._times.length_s - self._times.margin_s


class _Guarded:
    """Any port: each coroutine method checks first."""

    def __init__(self, port: object, check: Callable[[], None]) -> None:
        self._port = port
        self._check = check

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not inspect.iscoroutinefunction(found):
            return found

        async def checked(*args: Any, **named: Any) -> Any:
            self._check()
            return await cast("Callable[..., Awaitable[Any]]", found)(*args, **named)

        return checked
