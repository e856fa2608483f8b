"""The only place where classes meet: builds one daemon from its settings."""

from __future__ import annotations

import asyncio
from datetime import datetime
from importlib import metadata

import httpx

from adapters.gce import VM_USER
from adapters.hook import CommandHook
from adapters.sim.keeper import SimSnapshots
from adapters.sql.executor import Store
from adapters.sql.migration import check, upgrade
from adapters.sql.store import SqlStore
from adapters.system_clock import SystemClock, SystemRandom
from adapters.vast import Circuit, VastApi, VastBilling, VastCloud, VastSettings, VastVolumes, vast_client
from daemon.announce import Announcer
from daemon.api.services import Services
from daemon.api.wiring import limits, listener
from daemon.bills import Bills
from daemon.blindness import Blindness
from daemon.command_door import CommandDoor
from daemon.commands import Commands
from daemon.configured import Configured
from daemon.contracts import ContractWatch
from daemon.cpu_standbys import CpuStandbys
from daemon.cpu_vm_watch import CpuVmWatch
from daemon.credit import CreditWatch
from daemon.event_feed import EventFeed
from daemon.health import Vitals
from daemon.ingest import Ingest
from daemon.leases import Leases
from daemon.lifecycle import Daemon
from daemon.loop import Loop
from daemon.metrics_wiring import measured
from daemon.notify_wiring import Outlets
from daemon.orphan_instances import OrphanInstances
from daemon.policy_book import PolicyBook
from daemon.policy_desk import PolicyDesk
from daemon.prepared_pools import PreparedPools
from daemon.prober import Prober
from daemon.provider_watch import ProviderWatch
from daemon.publisher import Publisher
from daemon.readiness import ReadinessPoll
from daemon.rearm import Rearm
from daemon.registry import Registry
from daemon.replicas import Replicas
from daemon.runner import Outside, Runner
from daemon.same_policy import SamePolicy
from daemon.schedule import Schedule
from daemon.setting_parts import (
    agent_line,
    compute_wire,
    configured_machines,
    cpu_cloud_of,
    endpoints,
    event_log,
    fitted,
    ingest_settings,
    keeper_client,
    lease_times,
    log_time_limits,
    ssh_shell,
    static_token,
    webhook_place,
)
from daemon.settings import Settings
from daemon.snapshot_wiring import real_snapshots
from daemon.standing_back import StandingBack
from daemon.state_folder import StateFolder
from daemon.store_watch import StoreWatch
from daemon.storm import StormWatch
from daemon.surroundings import Surroundings
from daemon.sweep import Sweep
from daemon.tokens import TokenBook
from daemon.topic_watch import TopicWatch
from daemon.turns import SharedTurns
from daemon.volume_claims import VolumeClaims
from daemon.volume_copies import VolumeCopies
from daemon.volume_debts import VolumeDebts
from daemon.volume_orphans import VolumeOrphans
from daemon.warm_pools import WarmPools
from daemon.webhooks import WebhookDoor
from daemon.workspace_keeping import WorkspaceKeeping
from daemon.workspace_wiring import vm_workspaces
from events import topics
from machines.detector import Detector
from machines.lease import FLEET
from machines.ports import SnapshotStore


async def compose(
    settings: Settings, clock: SystemClock | None = None, vast: httpx.AsyncClient | None = None
) -> Daemon:
    """Build the daemon on the real world. Raise SettingsError where the configuration cannot work."""
    random = SystemRandom()
    folder = StateFolder.claim(settings.state_dir, random)
    try:
        return await _compose(settings, folder, random, clock or SystemClock(settings.speed), vast)
    except BaseException:
        folder.close()
        raise


async def _compose(
    settings: Settings, folder: StateFolder, random: SystemRandom, clock: SystemClock, vast: httpx.AsyncClient | None
) -> Daemon:
    await asyncio.to_thread(check, settings.database_url)
    await asyncio.to_thread(upgrade, settings.database_url)
    vast = vast or vast_client(settings.vast.api_key.get_secret_value(), settings.vast.url)
    speaks_kafka = settings.kafka is not None
    store = Store(SqlStore(settings.database_url))
    surroundings = Surroundings(
        clock=clock,
        random=random,
        replica=folder.replica,
        store=store,
        event_log=event_log(settings, clock),
        vast=vast,
        keeper=keeper_client(settings, vast),
        shell=ssh_shell(settings, clock),
        compute=compute_wire(settings, clock),
        vm_shell=ssh_shell(settings, clock, VM_USER),
        token=static_token(settings, random),
        timetable=Schedule(clock),
        api=lambda services: listener(services, settings.http, clock),
        lease_times=lease_times(clock),
        close=folder.close,
        to_log=clock.to_wall if speaks_kafka else _as_it_is,
        from_log=clock.from_wall if speaks_kafka else _as_it_is,
        log_speed=settings.speed if speaks_kafka else 1.0,
        hook=CommandHook(settings.hooks.handed_over, settings.hooks.timeout_s, clock)
        if settings.hooks.handed_over
        else None,
        outlets=lambda source, health: Outlets(
            settings.notify, store, clock, source, health, lambda: clock.to_wall(clock.now())
        ),
        turns=SharedTurns(store, clock) if store.is_shared else None,
    )
    return await assemble(settings, surroundings)


def _as_it_is(time: datetime) -> datetime:
    return time


async def assemble(settings: Settings, around: Surroundings) -> Daemon:
    """Build the daemon on what it is given. Raise StoreUnavailable."""
    clock, store, random = around.clock, around.store, around.random
    store_watch = StoreWatch(clock)
    store.on_end = store_watch.heard
    leases = Leases(store, clock, around.replica, around.lease_times)
    deployment = await store.transact(lambda tx: tx.deployment(lambda: f"fo-{random.token(6)}"))
    policies, prefix = (
        PolicyBook(settings.policy, lambda policy: fitted(policy, clock)),
        settings.topics.prefix,
    )
    circuit = Circuit(clock)
    vast = VastApi(around.vast, clock, random, VastSettings(), around.turns, circuit)
    cloud = VastCloud(vast, clock, f"{deployment}-", VastSettings(), around.shell.public_key)
    kept = real_snapshots(settings.snapshots, store, around.shell, clock, deployment)
    snapshots: SnapshotStore = SimSnapshots(around.keeper) if kept is None else kept.store
    volumes = VastVolumes(vast, clock)
    announcer = Announcer(deployment, prefix)
    tell_blindness = Blindness(store, clock, leases).tell
    loop = Loop(
        store,
        policies,
        clock,
        random,
        announcer,
        agent_line(settings, around.token),
        tell_blindness,
        around.hook is not None,
    )
    ingest = Ingest(
        ingest_settings(settings, around),
        around.event_log,
        Detector(policies.fleet, log_time_limits(clock)),
        policies,
        clock,
        random.token(12),
        loop,
    )
    cpu_cloud = cpu_cloud_of(settings, around)
    vms = vm_workspaces(settings, around, cpu_cloud)
    outside = Outside(cloud, around.shell, snapshots, volumes, vms)
    runner = Runner(store, loop, outside, policies, clock, deployment, leases, circuit.is_open)
    credit = CreditWatch(store, cloud, policies, clock)
    witnesses = endpoints(settings.ssh.witnesses)
    prober = Prober(loop, cloud, around.shell, clock, credit.credit, witnesses)
    loop.wire(ingest, prober.probe, runner.begin)
    fleet_cloud, fleet_volumes = leases.guard(cloud, FLEET), leases.guard(volumes, FLEET)
    fleet_shell = leases.guard(around.shell, FLEET)
    rearm = Rearm(store, loop, fleet_cloud, fleet_volumes, fleet_shell, policies, clock, deployment, announcer)
    claims = VolumeClaims(store, fleet_volumes, clock, deployment)
    copies = VolumeCopies(store, loop, fleet_cloud, fleet_volumes, fleet_shell, policies, clock, claims, announcer)
    warm_pools = WarmPools(store, loop, fleet_cloud, fleet_volumes, fleet_shell, policies, clock, deployment, announcer)
    fleet_vms = leases.guard(cpu_cloud, FLEET) if cpu_cloud is not None else None
    fleet_copies = leases.guard(vms, FLEET) if vms is not None else None
    cpu_standbys = CpuStandbys(store, loop, fleet_vms, clock, deployment, announcer, fleet_copies)
    sweep = Sweep(
        store,
        loop,
        runner,
        fleet_cloud,
        fleet_volumes,
        rearm,
        clock,
        leases,
        VolumeDebts(store, fleet_cloud, fleet_volumes, clock, claims, copies, announcer),
        warm_pools=warm_pools,
        cpu_standbys=cpu_standbys,
        keys=None if kept is None else kept.ways,
        hook=around.hook,
        is_provider_out=circuit.is_open,
    )
    contracts = ContractWatch(store, policies, clock)
    readiness = ReadinessPoll(loop, cloud, snapshots, volumes, policies, clock, contracts, cpu_cloud, vms)
    provider_watch = ProviderWatch(store, clock, cloud, cloud, lambda: circuit.is_open() or leases.stands_back)
    readiness.on_listed = provider_watch.heard
    registry = Registry(
        store, loop, cloud, volumes, announcer, clock, makes_cpu_vms=cpu_cloud is not None, policies=policies
    )
    desk = PolicyDesk(
        store,
        loop,
        policies,
        announcer,
        clock,
        configured_machines(settings),
        lambda: not store.is_shared or leases.holds(FLEET),
    )
    commands = Commands(store, loop, registry, announcer, clock, random, desk)
    door = CommandDoor(
        prefix + topics.COMMANDS,
        f"{settings.topics.group}-commands",
        around.event_log,
        commands,
        store,
        announcer,
        clock,
        around.from_log,
    )
    publisher = Publisher(
        store,
        around.event_log,
        clock,
        lambda: leases.holds(FLEET),
        around.publish_every_s,
        prefix + topics.EVENTS,
    )
    watch = TopicWatch(
        around.event_log,
        topics.specs(prefix, settings.topics.partitions),
        store,
        clock,
        lambda: ingest.blindness is not None or publisher.problem is not None,
    )
    webhooks = WebhookDoor(
        webhook_place(settings),
        store,
        loop,
        credit,
        vast,
        clock,
        deployment,
    )
    version, feed = metadata.version("failoverd"), EventFeed(store, clock, announcer)
    health = Vitals(
        loop, ingest, publisher, readiness, watch, store_watch, clock, "kafka" if settings.kafka else "embedded"
    )
    outlets = around.outlets(deployment, health) if around.outlets else None
    services = Services(
        store=store,
        loop=loop,
        commands=commands,
        registry=registry,
        readiness=readiness,
        event_log=around.event_log,
        heartbeat_topic=prefix + topics.HEARTBEATS,
        clock=clock,
        token=around.token,
        policies=policies,
        desk=desk,
        version=version,
        webhooks=webhooks,
        cloud=cloud,
        volumes=volumes,
        events=feed,
        metrics=measured(
            version,
            clock,
            store,
            loop,
            runner,
            commands,
            around.vast,
            ingest,
            publisher,
            readiness,
            circuit,
            credit,
            leases,
            feed,
            prefix,
            settings.kafka is not None,
            outlets.notifying if outlets else None,
        ),
        random=random,
        health=health,
        notifying=outlets.notifying if outlets else None,
        snapshots=snapshots,
        tokens=TokenBook(store, clock, random),
        limits=limits(settings.http),
        from_log=around.from_log,
    )
    return Daemon(
        settings=settings,
        clock=clock,
        store=store,
        event_log=around.event_log,
        cloud=cloud,
        http=((around.vast, around.keeper) if around.keeper is not around.vast else (around.vast,))
        + ((outlets.http,) if outlets else ()),
        loop=loop,
        ingest=ingest,
        runner=runner,
        prober=prober,
        sweep=sweep,
        vm_watch=CpuVmWatch(store, loop, fleet_vms, policies, clock, deployment, announcer),
        readiness=readiness,
        registry=registry,
        configured=Configured(store, registry, clock),
        commands=commands,
        desk=desk,
        same_policy=SamePolicy(store, leases, policies, clock),
        standing_back=StandingBack(store, leases, ingest, circuit, clock, around.readiness_every_s),
        door=door,
        publisher=publisher,
        schedule=around.timetable,
        api=around.api(services),
        leases=leases,
        storm=StormWatch(store, policies, clock),
        credit=credit,
        provider_watch=provider_watch,
        webhooks=webhooks,
        prepared_pools=PreparedPools(store, loop, fleet_cloud, clock, announcer),
        replicas=Replicas(store, loop, fleet_volumes, policies, clock, announcer),
        bills=Bills(store, VastBilling(vast), clock),
        orphans=OrphanInstances(store, fleet_cloud, policies, clock, deployment),
        volume_orphans=VolumeOrphans(store, fleet_volumes, policies, clock, deployment),
        readiness_every_s=around.readiness_every_s,
        close=around.close,
        topics=watch,
        token=around.token,
        public_key=around.shell.public_key,
        deployment=deployment,
        compute=around.compute,
        outlets=outlets,
        workspaces=None
        if settings.gce is None or fleet_copies is None
        else WorkspaceKeeping(store, loop, fleet_copies, settings.gce.copy_every_s, clock, announcer),
        keeping=None if kept is None else kept.keeping(loop, fleet_shell),
        snapshot_watch=None if kept is None else kept.watch(loop),
    )
