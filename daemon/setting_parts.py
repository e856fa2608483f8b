"""From the settings to the parts that a daemon is made of: each is built here, and put together in daemon/compose.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import httpx
import structlog

from adapters.embedded_log import EmbeddedLog
from adapters.gce import ComputeWire, GceAccess, GceCloud, GceSettings, GoogleCompute
from adapters.kafka import KafkaLog
from adapters.ssh import AsyncsshShell, KeyUnusable, ShellSettings, load_or_create_key
from adapters.system_clock import SystemClock, SystemRandom
from adapters.vast import vast_client
from daemon.agent_line import AgentLine
from daemon.ingest import IngestSettings, LogTime
from daemon.kafka_wiring import kafka_settings
from daemon.settings import Settings, SettingsError
from daemon.state_folder import write_secret
from daemon.surroundings import Surroundings
from daemon.webhooks import WebhookPlace
from events import topics
from machines.cpu_vm import Zone
from machines.detector import LogTimeLimits
from machines.lease import LeaseTimes
from machines.model import Endpoint
from machines.policy import Policy
from machines.ports import Clock, CpuCloud, EventLog

log = structlog.get_logger(__name__)


def compute_wire(settings: Settings, clock: Clock) -> ComputeWire | None:
    gce = settings.gce
    return GoogleCompute(GceAccess(gce.credentials_file, gce.endpoint), clock) if gce is not None else None


def cpu_cloud_of(settings: Settings, around: Surroundings) -> CpuCloud | None:
    """None where the operator configured no provider of CPU VMs."""
    gce = settings.gce
    if gce is None or around.compute is None:
        return None
    made_of = GceSettings(
        project=gce.project,
        zones=tuple(Zone(zone) for zone in gce.zones),
        machine_type=gce.machine_type,
        image=gce.image,
        disk_gb=gce.disk_gb,
        network=gce.network,
        is_spot=gce.spot,
        ssh_key=around.shell.public_key,
    )
    return GceCloud(around.compute, around.clock, made_of)


def webhook_place(settings: Settings) -> WebhookPlace:
    secret = settings.vast.webhook_secret
    return WebhookPlace(settings.vast.webhook_url, secret.get_secret_value() if secret else None)


def agent_line(settings: Settings, token: str) -> AgentLine:
    """Agents of replacements beat to the broker, unless an address was named for them."""
    return AgentLine(
        token,
        settings.agent.kafka or (settings.kafka.bootstrap if settings.kafka and not settings.agent.url else None),
        settings.agent.url or f"{settings.http.scheme}://{settings.http.host}:{settings.http.port}",
        settings.topics.prefix,
        settings.agent.install,
        settings.speed,
    )


def configured_machines(settings: Settings) -> dict[int, dict[str, object]]:
    """What the configuration says of each of its machines, by id."""
    return {entry.id: entry.model_dump(exclude_unset=True) for entry in settings.machines}


def fitted(policy: Policy, clock: Clock) -> Policy:
    """No source answers faster at a higher speed: evidence is never called stale within five real seconds, or a busy
    machine would ask for ever."""
    return replace(policy, evidence_max_age_s=max(policy.evidence_max_age_s, clock.real(5.0)))


def _tick_every_s(clock: Clock) -> float:
    """Once a second, but never more than ten times a real one."""
    return max(1.0, clock.real(0.1))


def lease_times(clock: Clock) -> LeaseTimes:
    """No process renews faster at a higher speed: a lease is never shorter than four real seconds."""
    length_s = max(10.0, clock.real(4.0))
    return LeaseTimes(length_s, length_s / 5, length_s / 5)


def log_time_limits(clock: Clock) -> LogTimeLimits:
    """The clamp follows the ticks; a gap is never judged on less than a real second."""
    tick = _tick_every_s(clock)
    return LogTimeLimits(max_step_s=2 * tick, max_gap_s=max(2 * tick, clock.real(1.0)))


def ingest_settings(settings: Settings, around: Surroundings) -> IngestSettings:
    return IngestSettings(
        topic=settings.topics.prefix + topics.HEARTBEATS,
        partitions=settings.topics.partitions,
        group=settings.topics.group,
        tick_every_s=_tick_every_s(around.clock),
        scan_every_s=around.scan_every_s,
        blind_after_s=max(3.0, around.clock.real(1.0)),
        log_time=LogTime(around.log_speed, around.to_log),
    )


def event_log(settings: Settings, clock: Clock) -> EventLog:
    return EmbeddedLog(clock) if settings.kafka is None else KafkaLog(kafka_settings(settings.kafka), clock)


def keeper_client(settings: Settings, vast: httpx.AsyncClient) -> httpx.AsyncClient:
    """The world keeps the snapshots where it serves the provider's API, unless another URL is named."""
    if settings.snapshots.url is None:
        return vast
    return vast_client(settings.vast.api_key.get_secret_value(), settings.snapshots.url)


def ssh_shell(settings: Settings, clock: SystemClock, user: str = "root") -> AsyncsshShell:
    path = settings.ssh.key_file or settings.state_dir / "ssh_key"
    try:
        return AsyncsshShell(load_or_create_key(path), clock, ShellSettings(username=user))
    except KeyUnusable as error:
        remedy = "name an OpenSSH private key without a passphrase, or a file that is not there yet: it is made"
        raise SettingsError(f"ssh.key_file: {path}: {error}; remedy: {remedy}") from error


def static_token(settings: Settings, random: SystemRandom) -> str:
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


def endpoints(texts: Sequence[str]) -> list[Endpoint]:
    """Of host:port, as the settings have checked them."""
    parts = [text.rpartition(":") for text in texts]
    return [Endpoint(host, int(port)) for host, _, port in parts]
