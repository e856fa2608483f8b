"""Polls what the strategies need, for all machines at once, and answers from the last poll or by asking now."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import structlog

from daemon.contracts import ContractWatch
from daemon.loop import Loop
from machines.cpu_vm import CpuVm, WorkspaceCopy
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
from machines.policy import Policies
from machines.ports import Clock, CpuCloud, GpuCloud, SnapshotStore, VmWorkspaces, VolumeStore
from machines.readiness import Findings, Readiness, judge_readiness, judge_regional, judge_warm_pool
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
_EXPECTED_S = {Rung.WARM_POOL: [30, 60], Rung.CPU_STANDBY: [600, 1200], Rung.REGIONAL_VOLUME: [30, 60]}
"""The contract's own figures (GET /failover/strategies)."""


class ReadinessPoll:
    """The readiness of every machine as of the last poll."""

    def __init__(
        self,
        loop: Loop,
        cloud: GpuCloud,
        snapshots: SnapshotStore,
        volumes: VolumeStore,
        policies: Policies,
        clock: Clock,
        contracts: ContractWatch,
        cpu_cloud: CpuCloud | None = None,
        vm_workspaces: VmWorkspaces | None = None,
    ) -> None:
        self._contracts = contracts
        self._vm_workspaces = vm_workspaces
        self._copies: dict[MachineId, WorkspaceCopy | None] = {}
        """The copy of its workspace that each machine's CPU VM has, as last looked at."""
        self._cpu_cloud = cpu_cloud
        self._vms: dict[MachineId, tuple[CpuVm | None, str | None]] = {}
        """Of each machine with a CPU VM, how its provider showed it last, and why it could not be asked."""
        self._loop = loop
        self._cloud = cloud
        self._snapshots = snapshots
        self._volumes = volumes
        self._free: dict[HostId, tuple[float, bool]] = {}
        """When each host was last asked for a free GPU (monotonic seconds), and its answer."""
        self._policies = policies
        self._clock = clock
        self._findings: dict[MachineId, Findings] = {}
        self._newest_seen: dict[MachineId, tuple[float, Snapshot | None]] = {}
        """When the store was last asked (monotonic seconds), and its answer."""
        self._missing: dict[InstanceId, int] = {}
        self._not_before = float("-inf")
        self.problem: str | None = None
        """What the provider's last listing failed with."""
        self._answered_at = clock.monotonic()
        self.answers: bool | None = None
        """Did the provider's last listing come? None before the first."""
        self.on_listed: Callable[[StepError | None], object] = lambda error: None
        """Hears what each listing failed with; None of one that came."""

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
            await self._contracts.look(machines, listing)
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

    async def poll_vms(self) -> None:
        """The CPU VMs of the same machines, apart from `poll`: their provider is another one, and may say nothing for long."""
        machines = [one for one in self._loop.machines() if self._loop.judges(one) and one.cpu_standby is not None]
        slots = asyncio.Semaphore(_MOST_AT_ONCE)

        async def one(machine: Machine) -> None:
            async with slots:
                self._vms[machine.id] = await self._ask_vm(machine)
                self._copies[machine.id] = await self._newest_copy(machine)

        await asyncio.gather(*(one(machine) for machine in machines))

    def _forget_the_removed(self, machines: Sequence[Machine], own: Sequence[Machine]) -> None:
        """Machines, and the hosts and instances that they have left; and what was found of another replica's machine when
        somebody asked, once it is old."""
        ids, recent = {machine.id for machine in machines}, self._clock.now() - _KEEP_OF_OTHERS
        ours = {machine.id for machine in own}
        hosts = {host for machine in machines for host in _hosts_of(machine)}
        primaries = {machine.primary for machine in machines}
        self._findings = {
            number: found
            for number, found in self._findings.items()
            if number in ids and (number in ours or found.checked_at >= recent)
        }
        self._newest_seen = {number: seen for number, seen in self._newest_seen.items() if number in ids}
        self._vms = {number: seen for number, seen in self._vms.items() if number in ids}
        self._copies = {number: copy for number, copy in self._copies.items() if number in ids}
        self._free = {host: answer for host, answer in self._free.items() if host in hosts}
        self._missing = {primary: rounds for primary, rounds in self._missing.items() if primary in primaries}

    async def readiness(self, machine: Machine, refresh: bool) -> Readiness:
        """As last verified; with `refresh` the providers are asked now."""
        if refresh or machine.id not in self._findings:
            listing, problem = await self._listing([machine])
            for host in _hosts_of(machine) if refresh else ():
                await self._ask_host(machine, host)
            self._newest_seen.pop(machine.id, None)
            if machine.cpu_standby is not None:
                self._vms[machine.id] = await self._ask_vm(machine)
                self._copies[machine.id] = await self._newest_copy(machine)
            self._findings[machine.id] = await self._find(machine, listing, problem)
        return judge_readiness(machine, self._findings.get(machine.id), self._policies.of(machine), self._clock.now())

    def snapshot_age_s(self, machine: MachineId) -> float | None:
        """Of the newest verified snapshot as of the last poll, never negative: the clock of its instance may be ahead. None
        where there is none, or none is known here."""
        found = self._findings.get(machine)
        if found is None or found.snapshot is None:
            return None
        return max(0.0, (self._clock.now() - found.snapshot.taken_at).total_seconds())

    def snapshot_size_bytes(self, machine: MachineId) -> int | None:
        """Of the same one."""
        found = self._findings.get(machine)
        return found.snapshot.size_bytes if found is not None and found.snapshot is not None else None

    def copy_age_s(self, machine: MachineId) -> float | None:
        """Of the copy of its workspace on its CPU VM, as of the last poll; None where there is none, or none is known here."""
        found = self._copies.get(machine)
        return (self._clock.now() - found.taken_at).total_seconds() if found is not None else None

    async def plan(self, machine: Machine, setting: Setting) -> dict[str, Any]:
        """What a failover would do now, by reads alone: steps, offers with prices, age of the data, expected times."""
        rungs = ladder(setting)
        snapshot = await self._newest(machine)
        steps = [_steps_of(rung, machine) for rung in rungs]
        return {
            "steps": steps,
            "offers": await self._offers(machine) if Rung.CPU_STANDBY in rungs else [],
            "snapshot_age_seconds": max(0.0, (self._clock.now() - snapshot).total_seconds()) if snapshot else None,
            "expected_seconds": {rung.value: _EXPECTED_S[rung] for rung in rungs if rung in _EXPECTED_S},
        }

    def _query(self, machine: Machine, not_hosts: frozenset[HostId], min_reliability: float) -> OfferQuery:
        workload, policy = machine.workload, self._policies.of(machine)
        return OfferQuery(
            workload.gpu_name,
            workload.num_gpus,
            workload.disk_gb,
            policy.price_cap(workload.max_price, machine.price_per_hour),
            min_reliability,
            workload.region,
            not_hosts,
            min_inet_down=policy.min_inet_down_mbps if not_hosts else 0.0,
        )

    async def _offers(self, machine: Machine) -> list[dict[str, Any]]:
        hosts = frozenset({machine.host}) if machine.host is not None else frozenset()
        query = self._query(machine, hosts, self._policies.of(machine).min_reliability)
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
            self.on_listed(None)
        except StepError as error:
            listing, self.problem = None, str(error)
            self.on_listed(error)
        self.answers = self.problem is None
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
        pools = {host: machine for machine in machines for host in _hosts_of(machine)}
        waiting = sorted(pools, key=lambda host: self._free.get(host, (float("-inf"), False))[0])
        for host in waiting[:_HOSTS_A_ROUND]:
            await self._ask_host(pools[host], host)

    async def _ask_host(self, machine: Machine, host: HostId) -> None:
        try:
            offers = await self._cloud.search(self._query(machine, frozenset(), 0.0), host)
        except StepError:
            return
        self._free[host] = (self._clock.monotonic(), bool(offers))

    async def _volume_faults(self, machine: Machine, listing: Listing | None) -> tuple[str | None, str | None, bool]:
        """Of the warm pool and of the regional volume, and whether the volume's copy is listed."""
        if machine.volume is None or listing is None or machine.host is None:
            return "no standby is provisioned for this machine", "the machine has no volume that was looked at", False
        try:
            volumes = await self._volumes.volumes(max_age_s=20.0)
        except StepError as error:
            fault = f"the provider did not show its volumes: {error}"
            return fault, fault, False
        known = self._free.get(machine.host)
        warm = judge_warm_pool(machine, listing, volumes, known[1] if known else None)
        regional, has_replica = judge_regional(
            machine, volumes, {host: is_free for host, (_, is_free) in self._free.items()}
        )
        return warm, regional, has_replica

    async def _find(self, machine: Machine, listing: Listing | None, provider_problem: str | None) -> Findings:
        now = self._clock.now()
        answers = provider_problem is None
        faults = await self._volume_faults(machine, listing)
        vm, vm_problem = self._vms.get(machine.id, (None, "it was not asked yet"))
        rest = (*faults, self._cpu_cloud is not None, vm, vm_problem, self._copies.get(machine.id))
        try:
            snapshot = await self._snapshot(machine.id, now)
        except NotYet as error:
            return Findings(now, None, False, answers, error.why, *rest)
        except StepError as error:
            return Findings(now, None, False, answers, str(error), *rest)
        return Findings(now, snapshot, True, answers, provider_problem, *rest)

    async def _ask_vm(self, machine: Machine) -> tuple[CpuVm | None, str | None]:
        """The machine's CPU VM as its provider shows it now, and why it could not be asked."""
        place = machine.cpu_standby.vm if machine.cpu_standby is not None else None
        if self._cpu_cloud is None or place is None:
            return None, None
        try:
            return await self._cpu_cloud.get(place), None
        except StepError as error:
            return None, str(error)

    async def _newest_copy(self, machine: Machine) -> WorkspaceCopy | None:
        return await self._vm_workspaces.newest(machine) if self._vm_workspaces is not None else None

    async def _snapshot(self, machine: MachineId, now: datetime) -> Snapshot | None:
        asked_at, snapshot = self._newest_seen.get(machine, (float("-inf"), None))
        if self._clock.monotonic() - asked_at >= _SNAPSHOT_EVERY_S:
            snapshot = await self._snapshots.newest(machine, now)
            self._newest_seen[machine] = (self._clock.monotonic(), snapshot)
        return snapshot


def _hosts_of(machine: Machine) -> tuple[HostId, ...]:
    """Where a GPU is of use to it beside its volume, or beside the copy of that."""
    if machine.volume is None or machine.host is None:
        return ()
    replica = machine.volume.replica
    return (machine.host,) if replica is None else (machine.host, replica.host)


def _steps_of(rung: Rung, machine: Machine) -> dict[str, Any]:
    return {"strategy": rung.value, "steps": [step.name for step in strategy_for(rung, machine).steps]}
