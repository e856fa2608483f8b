"""Polls what the strategies need, for all machines at once, and answers from the last poll or by asking now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from daemon.loop import Loop
from machines.errors import NotYet, StepError
from machines.failover import Noticed
from machines.model import (
    HostId,
    InstanceId,
    Listing,
    Machine,
    MachineId,
    OfferQuery,
    Rung,
    Setting,
    Snapshot,
    Source,
)
from machines.policy import Policy
from machines.ports import Clock, GpuCloud, SnapshotStore, VolumeStore
from machines.readiness import Findings, Readiness, judge_readiness, judge_warm_pool
from machines.states import State
from machines.strategies.ladder import ladder, strategy_for

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 8
_GONE_ROUNDS = 2
_HOSTS_A_ROUND = 2
_REST, _QUICK_S, _LONGEST_REST_S = 4.0, 5.0, 60.0
"""After a listing that took longer than `_QUICK_S`, so many times as long passes before the next, within a bound."""
_KEEP_OF_OTHERS = timedelta(minutes=2)
_SNAPSHOT_EVERY_S = 120.0
"""So often the store of snapshots is asked about one machine, unless somebody wants to know now."""
_EXPECTED_S = {Rung.WARM_POOL: [30, 60], Rung.CPU_STANDBY: [600, 1200]}
"""The contract's own figures (GET /failover/strategies)."""


class ReadinessPoll:
    """The readiness of every machine as of the last poll."""

    def __init__(
        self,
        loop: Loop,
        cloud: GpuCloud,
        snapshots: SnapshotStore,
        volumes: VolumeStore,
        policy: Policy,
        clock: Clock,
    ) -> None:
        self._loop = loop
        self._cloud = cloud
        self._snapshots = snapshots
        self._volumes = volumes
        self._free: dict[HostId, tuple[float, bool]] = {}
        """When each host was last asked for a free GPU (monotonic seconds), and its answer."""
        self._policy = policy
        self._clock = clock
        self._findings: dict[MachineId, Findings] = {}
        self._newest_seen: dict[MachineId, tuple[float, Snapshot | None]] = {}
        """When the store was last asked (monotonic seconds), and its answer."""
        self._missing: dict[InstanceId, int] = {}
        self._not_before = float("-inf")
        self.problem: str | None = None
        """What the provider's last listing failed with."""
        self._answered_at = clock.monotonic()

    @property
    def problem_for_s(self) -> float | None:
        """For how long the provider has not answered; None while it does."""
        return None if self.problem is None else self._clock.monotonic() - self._answered_at

    async def poll(self) -> None:
        """One listing for all whose heartbeats this replica judges, then each machine's newest snapshot. In a large account
        that takes long, and others need the provider's patience too: a poll follows at some distance."""
        began = self._clock.monotonic()
        if began < self._not_before:
            return
        machines = [machine for machine in self._loop.machines() if self._loop.judges(machine)]
        listing, problem = await self._listing(machines)
        if listing is not None:
            self._notice_the_gone(listing, machines)
            # One that failed cost patience too, but told nothing: the next may tell who is gone.
            ended = self._clock.monotonic()
            took = ended - began
            self._not_before = ended + (min(_REST * took, _LONGEST_REST_S) if took > _QUICK_S else 0.0)
        self._forget_the_removed(self._loop.machines(), machines)
        await self._ask_hosts(machines)
        slots = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(machine: Machine) -> None:
            async with slots:
                self._findings[machine.id] = await self._find(machine, listing, problem)

        await asyncio.gather(*(one(machine) for machine in machines))

    def _forget_the_removed(self, machines: Sequence[Machine], own: Sequence[Machine]) -> None:
        """Machines, and the hosts and instances that they have left; and what was found of another replica's machine when
        somebody asked, once it is old."""
        ids, recent = {machine.id for machine in machines}, self._clock.now() - _KEEP_OF_OTHERS
        ours = {machine.id for machine in own}
        hosts, primaries = {machine.host for machine in machines}, {machine.primary for machine in machines}
        self._findings = {
            number: found
            for number, found in self._findings.items()
            if number in ids and (number in ours or found.checked_at >= recent)
        }
        self._newest_seen = {number: seen for number, seen in self._newest_seen.items() if number in ids}
        self._free = {host: answer for host, answer in self._free.items() if host in hosts}
        self._missing = {primary: rounds for primary, rounds in self._missing.items() if primary in primaries}

    async def readiness(self, machine: Machine, refresh: bool) -> Readiness:
        """As last verified; with `refresh` the providers are asked now."""
        if refresh or machine.id not in self._findings:
            listing, problem = await self._listing([machine])
            if refresh and machine.volume is not None and machine.host is not None:
                await self._ask_host(machine)
            self._newest_seen.pop(machine.id, None)
            self._findings[machine.id] = await self._find(machine, listing, problem)
        return judge_readiness(machine, self._findings.get(machine.id), self._policy, self._clock.now())

    async def plan(self, machine: Machine, setting: Setting) -> dict[str, Any]:
        """What a failover would do now, by reads alone: steps, offers with prices, age of the data, expected times."""
        rungs = ladder(setting)
        snapshot = await self._newest(machine)
        steps = [_steps_of(rung, machine) for rung in rungs]
        return {
            "steps": steps,
            "offers": await self._offers(machine) if Rung.CPU_STANDBY in rungs else [],
            "snapshot_age_seconds": (self._clock.now() - snapshot).total_seconds() if snapshot else None,
            "expected_seconds": {rung.value: _EXPECTED_S[rung] for rung in rungs if rung in _EXPECTED_S},
        }

    def _query(self, machine: Machine, not_hosts: frozenset[HostId], min_reliability: float) -> OfferQuery:
        workload = machine.workload
        return OfferQuery(
            workload.gpu_name,
            workload.num_gpus,
            workload.disk_gb,
            self._policy.price_cap(workload.max_price, machine.price_per_hour),
            min_reliability,
            workload.region,
            not_hosts,
        )

    async def _offers(self, machine: Machine) -> list[dict[str, Any]]:
        hosts = frozenset({machine.host}) if machine.host is not None else frozenset()
        query = self._query(machine, hosts, self._policy.min_reliability)
        try:
            offers = await self._cloud.search(query)
        except StepError as error:
            return [{"error": str(error)}]
        return [
            {
                "offer_id": offer.id,
                "gpu_name": offer.gpu_name,
                "price_per_hour": offer.price_per_hour,
                "reliability": offer.reliability,
                "geolocation": offer.region,
            }
            for offer in offers[:5]
        ]

    async def _newest(self, machine: Machine) -> datetime | None:
        try:
            snapshot = await self._snapshots.newest(machine.id, self._clock.now())
        except StepError:
            return None
        return snapshot.taken_at if snapshot else None

    async def _listing(self, machines: Sequence[Machine]) -> tuple[Listing | None, str | None]:
        about = {machine.primary for machine in machines if machine.primary is not None}
        about |= {machine.standby.instance for machine in machines if machine.standby is not None}
        try:
            listing, self.problem = await self._cloud.list(max_age_s=5.0, about=about), None
            self._answered_at = self._clock.monotonic()
        except StepError as error:
            listing, self.problem = None, str(error)
        return listing, self.problem

    def _notice_the_gone(self, listing: Listing, machines: Sequence[Machine]) -> None:
        """A beating machine whose rental a complete listing lacks, twice: stale beats may still arrive (S4 d)."""
        if not listing.complete or not listing.instances:
            return
        for machine in machines:
            primary = machine.primary
            if primary is None or machine.state not in (State.HEALTHY, State.RECOVERED):
                continue
            if primary in listing.instances:
                self._missing.pop(primary, None)
                continue
            self._missing[primary] = self._missing.get(primary, 0) + 1
            if self._missing[primary] >= _GONE_ROUNDS:
                del self._missing[primary]
                self._loop.post(machine.id, Noticed(primary, Source.PROVIDER, "its rental is in no listing"))

    async def _ask_hosts(self, machines: Sequence[Machine]) -> None:
        """A free GPU on the hosts of warm pools: a few hosts a round, the longest unasked first, for each asking takes
        the turn of a search that a failover may be waiting for."""
        pools = {
            machine.host: machine for machine in machines if machine.volume is not None and machine.host is not None
        }
        waiting = sorted(pools, key=lambda host: self._free.get(host, (float("-inf"), False))[0])
        for host in waiting[:_HOSTS_A_ROUND]:
            await self._ask_host(pools[host])

    async def _ask_host(self, machine: Machine) -> None:
        assert machine.host is not None
        try:
            offers = await self._cloud.search(self._query(machine, frozenset(), 0.0), machine.host)
        except StepError:
            return
        self._free[machine.host] = (self._clock.monotonic(), bool(offers))

    async def _warm_pool_fault(self, machine: Machine, listing: Listing | None) -> str | None:
        if machine.volume is None or listing is None or machine.host is None:
            return "no standby is provisioned for this machine"
        try:
            volumes = await self._volumes.volumes(max_age_s=20.0)
        except StepError as error:
            return f"the provider did not show its volumes: {error}"
        known = self._free.get(machine.host)
        return judge_warm_pool(machine, listing, volumes, known[1] if known else None)

    async def _find(self, machine: Machine, listing: Listing | None, provider_problem: str | None) -> Findings:
        now = self._clock.now()
        answers = provider_problem is None
        warm = await self._warm_pool_fault(machine, listing)
        try:
            snapshot = await self._snapshot(machine.id, now)
        except NotYet as error:
            return Findings(now, None, False, answers, error.why, warm)
        except StepError as error:
            return Findings(now, None, False, answers, str(error), warm)
        return Findings(now, snapshot, True, answers, provider_problem, warm)

    async def _snapshot(self, machine: MachineId, now: datetime) -> Snapshot | None:
        asked_at, snapshot = self._newest_seen.get(machine, (float("-inf"), None))
        if self._clock.monotonic() - asked_at >= _SNAPSHOT_EVERY_S:
            snapshot = await self._snapshots.newest(machine, now)
            self._newest_seen[machine] = (self._clock.monotonic(), snapshot)
        return snapshot


def _steps_of(rung: Rung, machine: Machine) -> dict[str, Any]:
    strategy = strategy_for(rung, machine)
    if strategy is None:
        return {"strategy": rung.value, "steps": [], "note": "nothing is provisioned for it"}
    return {"strategy": rung.value, "steps": [step.name for step in strategy.steps]}
