"""Polls what the strategies need, for all machines at once, and answers from the last poll or by asking now."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Any

import structlog

from daemon.loop import Loop
from machines.errors import NotYet, StepError
from machines.failover import Noticed
from machines.model import InstanceId, Listing, Machine, MachineId, OfferQuery, Rung, Setting, Source
from machines.policy import Policy
from machines.ports import Clock, GpuCloud, SnapshotStore
from machines.readiness import Findings, Readiness, judge_readiness
from machines.states import State
from machines.strategies.ladder import STRATEGIES, ladder

log = structlog.get_logger(__name__)

_MOST_AT_ONCE = 8
_GONE_ROUNDS = 2


class ReadinessPoll:
    """The readiness of every machine as of the last poll."""

    def __init__(self, loop: Loop, cloud: GpuCloud, snapshots: SnapshotStore, policy: Policy, clock: Clock) -> None:
        self._loop = loop
        self._cloud = cloud
        self._snapshots = snapshots
        self._policy = policy
        self._clock = clock
        self._findings: dict[MachineId, Findings] = {}
        self._missing: dict[InstanceId, int] = {}
        self.problem: str | None = None
        """What the provider's last listing failed with."""

    async def poll(self) -> None:
        """One listing for all, then each machine's newest snapshot."""
        listing, problem = await self._listing()
        if listing is not None:
            self._notice_the_gone(listing)
        slots = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(machine: Machine) -> None:
            async with slots:
                self._findings[machine.id] = await self._find(machine, problem)

        await asyncio.gather(*(one(machine) for machine in self._loop.machines()))

    async def readiness(self, machine: Machine, refresh: bool) -> Readiness:
        """As last verified; with `refresh` the providers are asked now."""
        if refresh or machine.id not in self._findings:
            _, problem = await self._listing()
            self._findings[machine.id] = await self._find(machine, problem)
        return judge_readiness(machine, self._findings.get(machine.id), self._policy, self._clock.now())

    async def plan(self, machine: Machine, setting: Setting) -> dict[str, Any]:
        """What a failover would do now, by reads alone: steps, offers with prices, age of the data, expected times."""
        rungs = ladder(setting)
        snapshot = await self._newest(machine)
        steps: list[dict[str, Any]] = [
            {"strategy": rung.value, "steps": [step.name for step in STRATEGIES[rung].steps]}
            if rung in STRATEGIES
            else {"strategy": rung.value, "steps": [], "note": "nothing is provisioned for it"}
            for rung in rungs
        ]
        return {
            "steps": steps,
            "offers": await self._offers(machine) if Rung.CPU_STANDBY in rungs else [],
            "snapshot_age_seconds": (self._clock.now() - snapshot).total_seconds() if snapshot else None,
            "expected_seconds": {"cpu_standby": [600, 1200]} if Rung.CPU_STANDBY in rungs else {},
        }

    async def _offers(self, machine: Machine) -> list[dict[str, Any]]:
        workload = machine.workload
        hosts = frozenset({machine.host}) if machine.host is not None else frozenset()
        query = OfferQuery(
            workload.gpu_name,
            workload.num_gpus,
            workload.disk_gb,
            self._policy.price_cap(workload.max_price, machine.price_per_hour),
            self._policy.min_reliability,
            workload.region,
            hosts,
        )
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

    async def _listing(self) -> tuple[Listing | None, str | None]:
        try:
            listing, self.problem = await self._cloud.list(max_age_s=5.0), None
        except StepError as error:
            listing, self.problem = None, str(error)
        return listing, self.problem

    def _notice_the_gone(self, listing: Listing) -> None:
        """A beating machine whose rental a complete listing lacks, twice: stale beats may still arrive (S4 d)."""
        if not listing.complete or not listing.instances:
            return
        for machine in self._loop.machines():
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

    async def _find(self, machine: Machine, provider_problem: str | None) -> Findings:
        now = self._clock.now()
        answers = provider_problem is None
        try:
            snapshot = await self._snapshots.newest(machine.id, now)
        except NotYet as error:
            return Findings(now, None, False, answers, error.why)
        except StepError as error:
            return Findings(now, None, False, answers, str(error))
        return Findings(now, snapshot, True, answers, provider_problem)
