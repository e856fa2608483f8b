"""One composed daemon: in which order it starts and stops, and the jobs that it does meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx
import structlog

from adapters.gce import ComputeWire
from adapters.sql.executor import Store
from adapters.vast import VastCloud
from daemon import life_sign, notifying, retention, standing_back
from daemon.bills import Bills
from daemon.command_door import CommandDoor
from daemon.commands import Commands
from daemon.configured import Configured
from daemon.cpu_vm_watch import CpuVmWatch
from daemon.credit import CreditWatch
from daemon.ingest import Ingest
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.notify_wiring import Outlets
from daemon.orphan_instances import OrphanInstances
from daemon.policy_desk import PolicyDesk
from daemon.prepared_pools import PreparedPools
from daemon.prober import Prober
from daemon.provider_watch import ProviderWatch
from daemon.publisher import Publisher, drain
from daemon.readiness import ReadinessPoll
from daemon.registry import Registry
from daemon.replicas import Replicas
from daemon.runner import Runner
from daemon.same_policy import SamePolicy
from daemon.settings import Settings
from daemon.snapshot_keeping import SnapshotKeeping
from daemon.snapshot_watch import SnapshotWatch
from daemon.standing_back import StandingBack
from daemon.storm import StormWatch
from daemon.surroundings import ApiDoor, Job, PlannedJob, Timetable
from daemon.sweep import Sweep
from daemon.topic_watch import TopicWatch
from daemon.volume_orphans import VolumeOrphans
from daemon.webhooks import WebhookDoor
from daemon.workspace_keeping import WorkspaceKeeping
from machines.errors import StepError
from machines.lease import FLEET
from machines.ports import Clock, EventLog

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Daemon:
    """One composed daemon. `run` works until it is cancelled."""

    settings: Settings
    clock: Clock
    store: Store
    event_log: EventLog
    cloud: VastCloud
    http: tuple[httpx.AsyncClient, ...]
    loop: Loop
    ingest: Ingest
    runner: Runner
    prober: Prober
    sweep: Sweep
    vm_watch: CpuVmWatch
    readiness: ReadinessPoll
    registry: Registry
    configured: Configured
    commands: Commands
    desk: PolicyDesk
    same_policy: SamePolicy
    standing_back: StandingBack
    door: CommandDoor
    publisher: Publisher
    schedule: Timetable
    api: ApiDoor
    leases: Leases
    storm: StormWatch
    credit: CreditWatch
    provider_watch: ProviderWatch
    webhooks: WebhookDoor
    prepared_pools: PreparedPools
    replicas: Replicas
    bills: Bills
    orphans: OrphanInstances
    volume_orphans: VolumeOrphans
    readiness_every_s: float
    close: Callable[[], None]
    topics: TopicWatch
    token: str
    public_key: str
    deployment: str
    keeping: SnapshotKeeping | None
    snapshot_watch: SnapshotWatch | None
    """Both None where the simulated world keeps the snapshots."""
    compute: ComputeWire | None = None
    """The way to the provider of CPU VMs."""
    outlets: Outlets | None = None
    """Who is told of incidents."""
    workspaces: WorkspaceKeeping | None = None
    """None where there are no CPU VMs."""
    has_key: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once our SSH key is on the provider's account: what is created from then on bears it."""

    async def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Start in the order in which things depend on each other, and stop in the reverse."""
        await self.event_log.start()
        await self.loop.load()
        await self.desk.settle()
        for job in self.jobs():
            self.schedule.every(job.every_s, job.name, job.run)
        try:
            async with asyncio.TaskGroup() as group:
                await self.leases.tend()
                await self.desk.settle()
                group.create_task(self.leases.run())
                group.create_task(self._prepare_topics(group))
                group.create_task(self.loop.run())
                group.create_task(self.publisher.run())
                group.create_task(self.api.run())
                group.create_task(self._prepare_provider())
                await self.api.started()
                self.schedule.start()
                await self.sweep.resume()
                ready()
        finally:
            await self._stop()

    async def _stop(self) -> None:
        self.schedule.stop()
        await self.configured.stop()
        await self.prober.stop()
        await self.runner.stop()
        await drain(self.publisher, self.clock, 2.0)
        await self.leases.release_all()
        await self.event_log.stop()
        for client in self.http:
            await client.aclose()
        if self.compute is not None:
            self.compute.close()
        await self.store.close()
        self.close()

    def jobs(self) -> tuple[PlannedJob, ...]:
        """Most jobs are the fleet's: one replica does them. What a replica must know or judge itself, each does."""
        every_replica = (
            PlannedJob(1, "alarms", self.sweep.ring),
            PlannedJob(3, "resume", self.sweep.resume),
            PlannedJob(self.readiness_every_s, "readiness", self.readiness.poll),
            PlannedJob(5, "debts", self._by_one(self.sweep.pay_debts)),
            PlannedJob(2, "hooks", self._by_one(self.sweep.tell_hooks)),
            PlannedJob(5, "debts of CPU VMs", self._by_one(self.sweep.pay_vm_debts)),
            PlannedJob(20, "orphans", self._by_one(self.orphans.find)),
            PlannedJob(300, "credit", self._by_one(self.credit.look)),
            PlannedJob(3600, "bill", self._by_one(self.bills.read)),
            PlannedJob(30, "provider", self._by_one(self.provider_watch.look)),
            PlannedJob(5, "probe of the provider", self.provider_watch.probe),
            PlannedJob(10, "storm", self._by_one(self.storm.look)),
            PlannedJob(30, "replicas", self._by_one(self.replicas.look)),
            PlannedJob(30, "warm pools", self._by_one(self.prepared_pools.look)),
            PlannedJob(60, "orphan volumes", self._by_one(self.volume_orphans.find)),
            PlannedJob(60, "what machines inherit", self.desk.settle),
            PlannedJob(600, "outbox", self._by_one(self.publisher.clean)),
            PlannedJob(retention.EVERY_S, "old rows", self._by_one(retention.Retention(self.store, self.clock).clean)),
        )
        of_a_shared_store = (
            PlannedJob(1, "changes of other replicas", self.loop.catch_up),
            PlannedJob(60, "all machines", self.loop.load),
            PlannedJob(30, "policies of other replicas", self.same_policy.look),
            PlannedJob(standing_back.LOOK_EVERY_S, "standing back", self.standing_back.look),
            PlannedJob(standing_back.TELL_EVERY_S, "replicas that are cut off", self._by_one(self.standing_back.tell)),
        )
        of_our_own_store = (PlannedJob(5, "what an outage hid", self.loop.make_up),)
        of_vms = (
            PlannedJob(30, "CPU VMs", self._by_one(self.vm_watch.look)),
            PlannedJob(self.readiness_every_s, "readiness of CPU VMs", self.readiness.poll_vms),
        )
        of_the_webhook = (PlannedJob(30, "webhook", self._by_one(self.webhooks.ensure)),)
        return (
            every_replica
            + self._snapshot_jobs()
            + self._notify_jobs()
            + (of_the_webhook if self.webhooks.is_wanted else ())
            + (of_vms if self.compute is not None else ())
            + self._workspace_jobs()
            + (of_a_shared_store if self.store.is_shared else of_our_own_store)
        )

    def _workspace_jobs(self) -> tuple[PlannedJob, ...]:
        if self.workspaces is None:
            return ()
        return (PlannedJob(5, "workspaces on CPU VMs", self._by_one(self.workspaces.keep)),)

    def _snapshot_jobs(self) -> tuple[PlannedJob, ...]:
        if self.keeping is None or self.snapshot_watch is None:
            return ()
        return (
            PlannedJob(10, "snapshots", self._by_one(self.keeping.keep)),
            PlannedJob(600, "late snapshots", self._by_one(self.snapshot_watch.look)),
            PlannedJob(3600, "leftover snapshots", self._by_one(self.keeping.find_leftovers)),
        )

    def _notify_jobs(self) -> tuple[PlannedJob, ...]:
        if self.outlets is None:
            return ()
        return (
            PlannedJob(notifying.LOOK_EVERY_S, "notifications", self._by_one(self.outlets.notifying.look)),
            PlannedJob(3600, "old notifications", self._by_one(self.outlets.notifying.clean)),
            PlannedJob(life_sign.EVERY_S, "sign of life", self._by_one(self.outlets.life_sign.give)),
        )

    def _by_one(self, job: Job) -> Job:
        async def run() -> None:
            if self.leases.holds(FLEET):
                await job()

        return run

    async def _prepare_topics(self, group: asyncio.TaskGroup) -> None:
        """Only topics that are there and right are consumed; from then on they are watched."""
        await self.topics.ready()
        group.create_task(self.ingest.run())
        group.create_task(self.door.run())
        group.create_task(self.topics.run())

    async def _prepare_provider(self) -> None:
        """Our SSH key must be on the account before anything is rented; then the configured machines are registered."""
        told = None
        while True:
            try:
                await self.cloud.ensure_ssh_key(self.public_key)
                self.has_key.set()
                break
            except StepError as error:
                if str(error) != told:
                    told = str(error)
                    log.warning("provider_unavailable", error=told, effect="no key on the account yet")
                await self.clock.sleep(self.clock.real(5.0))
        await self.configured.register(self.settings.machines)
