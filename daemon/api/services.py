"""What the HTTP door is handed: the parts of the daemon that its routes speak to, and nothing that they must build."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Protocol

from fastapi import Depends, Request

from adapters.sql.executor import Store
from daemon.api.limits import Limits
from daemon.commands import Commands
from daemon.event_feed import EventFeed
from daemon.loop import Loop
from daemon.notifying import Notifying
from daemon.policy_desk import PolicyDesk
from daemon.registry import Registry
from daemon.tokens import TokenBook
from daemon.webhooks import WebhookDoor
from machines.model import Machine, MachineId, Setting
from machines.policy import Policies
from machines.ports import Clock, EventLog, GpuCloud, Random, SnapshotStore, VolumeStore
from machines.problems import unknown_machine
from machines.readiness import Readiness


class ReadinessSource(Protocol):
    """Who knows whether a machine could fail over now; `daemon.readiness.ReadinessPoll` fits."""

    async def readiness(self, machine: Machine, refresh: bool) -> Readiness:
        """As last verified; with `refresh` the providers are asked now."""
        ...

    def snapshot_age_s(self, machine: MachineId) -> float | None: ...
    def copy_age_s(self, machine: MachineId) -> float | None: ...
    async def plan(self, machine: Machine, setting: Setting) -> dict[str, Any]:
        """What a failover would do now, by reads alone: steps, offers with prices, age of the data, expected times."""
        ...


@dataclass(frozen=True, slots=True)
class Check:
    """One finding about the daemon's own health."""

    ok: bool
    detail: str = ""
    vital: bool = False
    """A restart of the process is the remedy: this one speaks at /livez too."""
    for_s: float | None = None
    """Seconds for which it has been wrong, where that is known."""


class Health(Protocol):
    """The daemon's findings about itself by name, from memory: asking must cost nothing and wait for nobody.

    A plain text is a fact to be shown, and is never wrong.
    """

    def __call__(self) -> Mapping[str, Check | str]: ...


class Metrics(Protocol):
    """What is measured; `daemon.metrics_page.MetricsPage` fits."""

    async def render(self, accept: str) -> tuple[bytes, str]:
        """(page, media type), in the form that the header Accept asks for."""
        ...


@dataclass(frozen=True, slots=True)
class Services:
    """Everything behind the routes."""

    store: Store
    loop: Loop
    commands: Commands
    registry: Registry
    readiness: ReadinessSource
    event_log: EventLog
    heartbeat_topic: str
    clock: Clock
    token: str = field(repr=False)
    """The one static token, of scope admin; every beat token is derived from it. Empty: nobody is let in."""
    policies: Policies
    desk: PolicyDesk
    version: str
    health: Health
    webhooks: WebhookDoor
    cloud: GpuCloud
    volumes: VolumeStore
    events: EventFeed
    metrics: Metrics
    random: Random
    snapshots: SnapshotStore
    tokens: TokenBook
    """The stored ones."""
    limits: Limits = field(default_factory=Limits)
    notifying: Notifying | None = None
    """None where nobody was configured to be told."""
    from_log: Callable[[datetime], datetime] = lambda time: time
    """The log's time of day as the clock shows it."""

    async def machine(self, machine_id: int) -> Machine:
        """As stored now. Raise Problem (404), StoreUnavailable."""
        found = await self.store.transact(lambda tx: tx.machine(MachineId(machine_id)))
        if found is None:
            raise unknown_machine(machine_id)
        return found


async def _services_of(request: Request) -> Services:
    services: Services = request.app.state.services
    return services


Wired = Annotated[Services, Depends(_services_of)]
"""The app's services, as a route declares them."""
