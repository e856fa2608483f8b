"""The only place where classes meet: builds one daemon from its settings, and runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib import metadata

import httpx
import structlog

from adapters.embedded_log import EmbeddedLog
from adapters.kafka import KafkaLog, KafkaSettings
from adapters.sim.keeper import SimSnapshots
from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.migration import check, upgrade
from adapters.sql.store import SqlStore
from adapters.ssh import AsyncsshShell, KeyUnusable, load_or_create_key
from adapters.system_clock import SystemClock, SystemRandom
from adapters.vast import VastApi, VastCloud, VastSettings, VastVolumes, vast_client
from daemon.agent_line import AgentLine
from daemon.announce import Announcer
from daemon.api.app import create_app
from daemon.api.server import ApiServer
from daemon.api.services import Services
from daemon.blindness import Blindness
from daemon.command_door import CommandDoor
from daemon.commands import Commands
from daemon.health import Vitals
from daemon.ingest import Ingest, IngestSettings, LogTime
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.prober import Prober
from daemon.publisher import Publisher, drain
from daemon.readiness import ReadinessPoll
from daemon.rearm import Rearm
from daemon.registry import Registry
from daemon.runner import Outside, Runner
from daemon.schedule import Schedule
from daemon.settings import Settings, SettingsError
from daemon.state_folder import StateFolder, write_secret
from daemon.store_watch import StoreWatch
from daemon.storm import StormWatch
from daemon.surroundings import ApiDoor, Job, PlannedJob, Surroundings, Timetable
from daemon.sweep import Sweep
from daemon.topic_watch import TopicWatch
from daemon.turns import SharedTurns
from events import topics
from machines.detector import Detector, LogTimeLimits
from machines.errors import Stale, StepError
from machines.lease import FLEET, LeaseTimes
from machines.model import Endpoint, MachineId
from machines.policy import Policy
from machines.ports import Clock, EventLog
from machines.problems import Problem

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
    readiness: ReadinessPoll
    registry: Registry
    commands: Commands
    door: CommandDoor
    publisher: Publisher
    schedule: Timetable
    api: ApiDoor
    leases: Leases
    storm: StormWatch
    readiness_every_s: float
    close: Callable[[], None]
    topics: TopicWatch
    token: str
    public_key: str
    deployment: str
    has_key: asyncio.Event = field(default_factory=asyncio.Event)
    """Set once our SSH key is on the provider's account: what is created from then on bears it."""

    async def run(self, ready: Callable[[], object] = lambda: None) -> None:
        """Start in the order in which things depend on each other, and stop in the reverse."""
        await self.event_log.start()
        await self.loop.load()
        for job in self.jobs():
            self.schedule.every(job.every_s, job.name, job.run)
        try:
            async with asyncio.TaskGroup() as group:
                await self.leases.tend()
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
        await self.prober.stop()
        await self.runner.stop()
        await drain(self.publisher, self.clock, 2.0)
        await self.leases.release_all()
        await self.event_log.stop()
        for client in self.http:
            await client.aclose()
        await self.store.close()
        self.close()

    def jobs(self) -> tuple[PlannedJob, ...]:
        """Most jobs are the fleet's: one replica does them. What a replica must know or judge itself, each does."""
        every_replica = (
            PlannedJob(1, "alarms", self.sweep.ring),
            PlannedJob(3, "resume", self.sweep.resume),
            PlannedJob(self.readiness_every_s, "readiness", self.readiness.poll),
            PlannedJob(5, "debts", self._by_one(self.sweep.pay_debts)),
            PlannedJob(30, "orphans", self._by_one(self.sweep.find_orphans)),
            PlannedJob(10, "storm", self._by_one(self.storm.look)),
            PlannedJob(600, "outbox", self._by_one(self.publisher.clean)),
        )
        of_a_shared_store = (
            PlannedJob(1, "changes of other replicas", self.loop.catch_up),
            PlannedJob(60, "all machines", self.loop.load),
        )
        return every_replica + (of_a_shared_store if self.store.is_shared else ())

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

    async def _alert(self, key: str, text: str) -> None:
        now = self.clock.now()
        try:
            await self.store.transact(lambda tx: tx.raise_alert(key, text, now))
        except StoreUnavailable as error:
            log.warning("alert_not_stored", key=key, text=text, because=str(error))

    async def _prepare_provider(self) -> None:
        """Our SSH key must be on the account before anything is rented; then the configured machines are registered."""
        while True:
            try:
                await self.cloud.ensure_ssh_key(self.public_key)
                self.has_key.set()
                break
            except StepError as error:
                log.warning("provider_unavailable", error=str(error), effect="no key on the account yet")
                await self.clock.sleep(self.clock.real(5.0))
        for entry in self.settings.machines:
            await self._register(MachineId(entry.id), entry.model_dump(exclude={"id"}, exclude_unset=True))

    async def _register(self, machine: MachineId, body: dict[str, object]) -> None:
        """Configuration registers what is new; what the daemon learned since (a new primary) is not overwritten."""
        while True:
            try:
                known = await self.store.transact(lambda tx: tx.machine(machine))
                learned = ("gpu_instance_id", "ssh_host", "ssh_port") if known is not None and known.primary else ()
                news = {name: value for name, value in body.items() if name not in learned}
                await self.registry.put(machine, news, "configuration")
                return
            except (StoreUnavailable, Stale) as error:
                # The database is away, or another replica registers the same machines at this moment.
                log.warning("registration_postponed", machine=machine, because=str(error))
                await self.clock.sleep(self.clock.real(1.0))
            except Problem as problem:
                if problem.status < 500:
                    log.error("machine_not_registered", machine=machine, problem=str(problem), remedy=problem.remedy)
                    await self._alert(f"machine-{machine}-registration", f"machine {machine}: {problem}")
                    return
                await self.clock.sleep(self.clock.real(5.0))


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
        event_log=_event_log(settings, clock),
        vast=vast,
        keeper=_keeper_client(settings, vast),
        shell=_shell(settings, clock),
        token=_token(settings, random),
        timetable=Schedule(clock),
        api=lambda services: ApiServer(create_app(services), settings.http.host, settings.http.port, clock),
        lease_times=_lease_times(clock),
        close=folder.close,
        to_log=clock.to_wall if speaks_kafka else _as_it_is,
        from_log=clock.from_wall if speaks_kafka else _as_it_is,
        log_speed=settings.speed if speaks_kafka else 1.0,
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
    policy, prefix = _policy(settings, clock), settings.topics.prefix
    cloud = VastCloud(around.vast, clock, f"{deployment}-", VastSettings(), random, around.turns)
    snapshots = SimSnapshots(around.keeper)
    volumes = VastVolumes(VastApi(around.vast, clock, random, VastSettings(), around.turns), clock)
    announcer = Announcer(deployment, prefix)
    tell_blindness = Blindness(store, clock, leases).tell
    loop = Loop(store, policy, clock, random, announcer, _agent_line(settings, around.token), tell_blindness)
    ingest = Ingest(
        _ingest_settings(settings, around),
        around.event_log,
        Detector(policy, _limits(clock)),
        policy,
        clock,
        random.token(12),
        loop,
    )
    runner = Runner(store, loop, Outside(cloud, around.shell, snapshots, volumes), policy, clock, deployment, leases)
    prober = Prober(loop, cloud, around.shell, clock, [_endpoint(text) for text in settings.ssh.witnesses])
    loop.wire(ingest, prober.probe, runner.begin)
    fleet_cloud, fleet_volumes = leases.guard(cloud, FLEET), leases.guard(volumes, FLEET)
    fleet_shell = leases.guard(around.shell, FLEET)
    rearm = Rearm(store, loop, fleet_cloud, fleet_shell, policy, clock, deployment, announcer)
    sweep = Sweep(store, loop, runner, fleet_cloud, fleet_volumes, rearm, clock, deployment, leases)
    readiness = ReadinessPoll(loop, cloud, snapshots, volumes, policy, clock)
    registry = Registry(store, loop, cloud, announcer, clock)
    commands = Commands(store, loop, registry, announcer, clock, random)
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
    publisher = Publisher(store, around.event_log, clock, lambda: leases.holds(FLEET), around.publish_every_s)
    watch = TopicWatch(
        around.event_log,
        topics.specs(prefix, settings.topics.partitions),
        store,
        clock,
        lambda: ingest.blindness is not None or publisher.problem is not None,
    )
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
        policy=policy,
        version=metadata.version("failoverd"),
        health=Vitals(
            loop, ingest, publisher, readiness, watch, store_watch, clock, "kafka" if settings.kafka else "embedded"
        ),
    )
    return Daemon(
        settings=settings,
        clock=clock,
        store=store,
        event_log=around.event_log,
        cloud=cloud,
        http=(around.vast, around.keeper) if around.keeper is not around.vast else (around.vast,),
        loop=loop,
        ingest=ingest,
        runner=runner,
        prober=prober,
        sweep=sweep,
        readiness=readiness,
        registry=registry,
        commands=commands,
        door=door,
        publisher=publisher,
        schedule=around.timetable,
        api=around.api(services),
        leases=leases,
        storm=StormWatch(store, policy, clock),
        readiness_every_s=around.readiness_every_s,
        close=around.close,
        topics=watch,
        token=around.token,
        public_key=around.shell.public_key,
        deployment=deployment,
    )


def _agent_line(settings: Settings, token: str) -> AgentLine:
    """Agents of replacements beat to the broker, unless an address was named for them."""
    return AgentLine(
        token,
        settings.agent.kafka or (settings.kafka.bootstrap if settings.kafka and not settings.agent.url else None),
        settings.agent.url or f"http://{settings.http.host}:{settings.http.port}",
        settings.topics.prefix,
        settings.agent.install,
        settings.speed,
    )


def _policy(settings: Settings, clock: Clock) -> Policy:
    """No source answers faster at a higher speed: evidence is never called stale within five real seconds, or a busy
    machine would ask for ever."""
    policy = settings.policy.policy()
    return replace(policy, evidence_max_age_s=max(policy.evidence_max_age_s, clock.real(5.0)))


def _tick_every_s(clock: Clock) -> float:
    """Once a second, but never more than ten times a real one."""
    return max(1.0, clock.real(0.1))


def _lease_times(clock: Clock) -> LeaseTimes:
    """No process renews faster at a higher speed: a lease is never shorter than four real seconds."""
    length_s = max(10.0, clock.real(4.0))
    return LeaseTimes(length_s, length_s / 5, length_s / 5)


def _limits(clock: Clock) -> LogTimeLimits:
    """The clamp follows the ticks; a gap is never judged on less than a real second."""
    tick = _tick_every_s(clock)
    return LogTimeLimits(max_step_s=2 * tick, max_gap_s=max(2 * tick, clock.real(1.0)))


def _ingest_settings(settings: Settings, around: Surroundings) -> IngestSettings:
    return IngestSettings(
        topic=settings.topics.prefix + topics.HEARTBEATS,
        partitions=settings.topics.partitions,
        group=settings.topics.group,
        tick_every_s=_tick_every_s(around.clock),
        scan_every_s=around.scan_every_s,
        blind_after_s=max(3.0, around.clock.real(1.0)),
        log_time=LogTime(around.log_speed, around.to_log),
    )


def _event_log(settings: Settings, clock: Clock) -> EventLog:
    kafka = settings.kafka
    if kafka is None:
        return EmbeddedLog(clock)
    password = kafka.sasl_password.get_secret_value() if kafka.sasl_password else None
    return KafkaLog(
        KafkaSettings(
            bootstrap=kafka.bootstrap,
            security_protocol=kafka.security_protocol,
            sasl_mechanism=kafka.sasl_mechanism,
            sasl_username=kafka.sasl_username,
            sasl_password=password,
            ssl_cafile=str(kafka.ssl_cafile) if kafka.ssl_cafile else None,
            replication_factor=kafka.replication_factor,
        ),
        clock,
    )


def _keeper_client(settings: Settings, vast: httpx.AsyncClient) -> httpx.AsyncClient:
    """The world keeps the snapshots where it serves the provider's API, unless another URL is named."""
    if settings.snapshots.url is None:
        return vast
    return vast_client(settings.vast.api_key.get_secret_value(), settings.snapshots.url)


def _shell(settings: Settings, clock: SystemClock) -> AsyncsshShell:
    path = settings.ssh.key_file or settings.state_dir / "ssh_key"
    try:
        return AsyncsshShell(load_or_create_key(path), clock)
    except KeyUnusable as error:
        remedy = "name an OpenSSH private key without a passphrase, or a file that is not there yet: it is made"
        raise SettingsError(f"ssh.key_file: {path}: {error}; remedy: {remedy}") from error


def _token(settings: Settings, random: SystemRandom) -> str:
    """The configured token, or one that is made once and kept where only we can read it."""
    if settings.http.token is not None:
        return settings.http.token.get_secret_value()
    path = settings.state_dir / "token"
    try:
        if not path.exists():
            write_secret(path, "fa_" + random.token(40))
            log.info("token_made", file=str(path))
        token = path.read_text().strip()
    except OSError as error:
        raise SettingsError(f"state_dir: {path}: {error.strerror}; remedy: make it readable, or remove it") from error
    if not token:
        raise SettingsError(f"state_dir: {path} is empty: nobody could get in; remedy: remove it, and one is made")
    return token


def _endpoint(text: str) -> Endpoint:
    """Of host:port, as the settings have checked it."""
    host, _, port = text.rpartition(":")
    return Endpoint(host, int(port))
