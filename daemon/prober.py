"""Asks the second sources about a suspect: the provider, its SSH port, and a witness that we ourselves are online."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

import structlog

from adapters.sql.errors import StoreUnavailable
from daemon.loop import Loop
from machines.errors import StepError
from machines.evidence import may_be_unpaid, provider_testimony, ssh_testimony, with_credit, without_credit
from machines.failover import Probed
from machines.model import Endpoint, Instance, InstanceId, Machine, MachineId, Source, Testimony, Word
from machines.ports import Clock, GpuCloud, Reach, Shell
from machines.states import State

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 32
_LISTING_MAX_AGE_S = 4.0
_WITNESS_MAX_AGE_S = 5.0
_WITNESSES = 3


class Prober:
    """One round of questions per machine at a time."""

    def __init__(
        self,
        loop: Loop,
        cloud: GpuCloud,
        shell: Shell,
        clock: Clock,
        credit: Callable[[], Awaitable[float | None]],
        witnesses: Sequence[Endpoint] = (),
    ) -> None:
        """`credit` is the account's, of a moment ago; it raises as a call of the provider does."""
        self._loop = loop
        self._cloud = cloud
        self._shell = shell
        self._clock = clock
        self._credit = credit
        self._witnesses = tuple(witnesses)
        self._tasks: dict[MachineId, asyncio.Task[None]] = {}
        self._slots = asyncio.Semaphore(_MOST_AT_ONCE)
        self._seen: dict[Endpoint, tuple[float, Reach]] = {}
        self.on_crash: Callable[[asyncio.Task[None]], object] = lambda task: None
        """Hears of a round that raised what no round may raise."""

    def use_witnesses(self, witnesses: Sequence[Endpoint]) -> None:
        """From the next round on these."""
        self._witnesses = tuple(witnesses)

    def probe(self, machine: MachineId) -> None:
        """Ask, unless a round is under way; the answer comes back as a signal."""
        if machine in self._tasks:
            return
        task = asyncio.create_task(self._round(machine), name=f"probe of machine {machine}")
        self._tasks[machine] = task
        task.add_done_callback(lambda done: self._done(machine, done))

    async def stop(self) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, machine: MachineId, task: asyncio.Task[None]) -> None:
        self._tasks.pop(machine, None)
        if not task.cancelled() and task.exception() is not None:
            log.error("probe_crashed", machine=machine, exc_info=task.exception())
            self.on_crash(task)

    async def _round(self, machine_id: MachineId) -> None:
        async with self._slots:
            try:
                machine = await self._loop.machine(machine_id)
            except (StepError, StoreUnavailable):
                return
            if machine.primary is None:
                return
            said = await self.ask(machine, machine.primary)
            self._loop.post(machine_id, Probed(machine.primary, said))

    async def ask(self, machine: Machine, primary: InstanceId) -> tuple[Testimony, ...]:
        """What the provider and the SSH port say of the machine's primary now."""
        (provider, shown, answered), reach, witness = await asyncio.gather(
            self._ask_provider(machine, primary), self._reach(machine.ssh), self._has_witness(machine)
        )
        if shown is not None and shown.ssh is not None and shown.ssh != machine.ssh:
            # A container gets a new port at each start: what the old one says is nobody's word.
            reach, machine = await self._reach(shown.ssh), replace(machine, ssh=shown.ssh)
        at = self._clock.now()
        if machine.ssh is None:
            return (provider, Testimony(Source.SSH, Word.UNKNOWN, "its SSH endpoint is not known", at))
        return (provider, ssh_testimony(reach, witness, answered, at))

    async def _ask_provider(self, machine: Machine, primary: InstanceId) -> tuple[Testimony, Instance | None, bool]:
        """Its word, the row that it rests on, and whether it has answered: a row that says nothing is no answer. A listing
        from before the suspicion would only say how it was then."""
        suspected_s = self._clock.since(machine.since).total_seconds() if machine.since else 0.0
        try:
            max_age_s = max(0.0, min(_LISTING_MAX_AGE_S, suspected_s))
            listing = await self._cloud.list(max_age_s, about=(primary,))
            shown = None if primary in listing.instances else await self._cloud.show(primary)
        except StepError as error:
            said = f"the provider gave no answer: {error}"
            return Testimony(Source.PROVIDER, Word.UNKNOWN, said, self._clock.now()), None, False
        row = listing.instances.get(primary) or shown
        said_of_it = await self._paid(provider_testimony(primary, listing, shown, listing.at), row)
        return said_of_it, row, row is None or said_of_it.word is not Word.UNKNOWN

    async def _paid(self, said: Testimony, row: Instance | None) -> Testimony:
        """An empty account stops everything at once: that must not look like as many deaths."""
        if not may_be_unpaid(said, row):
            return said
        try:
            return with_credit(said, await self._credit())
        except (StepError, StoreUnavailable) as error:
            return without_credit(said, str(error))

    async def _reach(self, endpoint: Endpoint | None) -> Reach:
        return Reach.UNKNOWN if endpoint is None else await self._shell.reach(endpoint)

    async def _has_witness(self, suspect: Machine) -> bool:
        """Does any other host answer us now? A port that is mute for us alone says nothing of its machine."""
        others = [*self._witnesses, *self._healthy_endpoints(suspect)][: _WITNESSES + len(self._witnesses)]
        answers = await asyncio.gather(*(self._cached_reach(endpoint) for endpoint in others))
        return Reach.ANSWERED in answers

    def _healthy_endpoints(self, suspect: Machine) -> list[Endpoint]:
        found: list[Endpoint] = []
        for machine in self._loop.machines():
            if machine.state is State.HEALTHY and machine.ssh is not None and machine.host != suspect.host:
                found.append(machine.ssh)
                if len(found) == _WITNESSES:
                    break
        return found

    async def _cached_reach(self, endpoint: Endpoint) -> Reach:
        now = self._clock.monotonic()
        known = self._seen.get(endpoint)
        if known is not None and now - known[0] <= self._max_age_s():
            return known[1]
        reach = await self._shell.reach(endpoint)
        now = self._clock.monotonic()
        # Machines move, so an endpoint is seldom asked again: what is too old to be believed is not kept.
        self._seen = {other: seen for other, seen in self._seen.items() if now - seen[0] <= self._max_age_s()}
        self._seen[endpoint] = (now, reach)
        return reach

    def _max_age_s(self) -> float:
        return max(_WITNESS_MAX_AGE_S, self._clock.real(0.5))
