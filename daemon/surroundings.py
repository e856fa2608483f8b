"""What a daemon stands on: clocks, store, log, provider, shell and doors, chosen by whoever composes it.

`daemon/compose.py` chooses the real ones; the simulation chooses twins that run on virtual time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import httpx

from adapters.gce import ComputeWire
from adapters.sql.executor import Store
from adapters.vast import Turns
from daemon.api.services import Health, Services
from daemon.notify_wiring import Outlets
from machines.lease import LeaseTimes
from machines.ports import Clock, EventLog, Hook, Random, Shell

Job = Callable[[], Awaitable[object]]


class KeyedShell(Shell, Protocol):
    """A shell, and the key that the provider must know before it is let in."""

    @property
    def public_key(self) -> str: ...


class Timetable(Protocol):
    """Runs periodic jobs; `daemon.schedule.Schedule` fits."""

    def every(self, seconds: float, name: str, job: Job) -> None: ...
    def start(self) -> None: ...
    def stop(self) -> None: ...


class ApiDoor(Protocol):
    """The HTTP API's listener; `daemon.api.server.ApiServer` fits."""

    @property
    def port(self) -> int: ...
    @property
    def url(self) -> str: ...
    async def run(self) -> None: ...
    async def started(self) -> None: ...


@dataclass(frozen=True, slots=True)
class PlannedJob:
    """One periodic job of a daemon."""

    every_s: float
    name: str
    run: Job


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Everything that a daemon does not make itself."""

    clock: Clock
    random: Random
    replica: str
    """This process's id among the replicas, the same after a restart."""
    store: Store
    event_log: EventLog
    vast: httpx.AsyncClient
    keeper: httpx.AsyncClient
    """Where snapshots are kept; may be the provider's client."""
    shell: KeyedShell
    token: str
    """The API's."""
    timetable: Timetable
    api: Callable[[Services], ApiDoor]
    lease_times: LeaseTimes
    hook: Hook | None = None
    """The operator's program that hears of hand-overs."""
    compute: ComputeWire | None = None
    """The way to the provider of CPU VMs; None where none is configured."""
    outlets: Callable[[str, Health], Outlets] | None = None
    """Who is told of incidents; given the deployment's id. None: nobody is, and no job looks."""
    vm_shell: Shell | None = None
    """SSH to them, as whom they let in."""
    turns: Turns | None = None
    """What keeps several replicas together under the provider's thresholds; None where there is only one."""
    close: Callable[[], None] = lambda: None
    """The last thing at a stop."""
    to_log: Callable[[datetime], datetime] = lambda time: time
    """From the clock's time of day to the log's, where a broker's is never scaled."""
    from_log: Callable[[datetime], datetime] = lambda time: time
    log_speed: float = 1.0
    """How many scaled seconds pass in a second of the log's timestamps."""
    scan_every_s: float = 0.1
    """Between two looks for silent machines."""
    readiness_every_s: float = 30.0
    """Between two polls of what the strategies need."""
    publish_every_s: float = 0.2
    """Between two looks for announcements."""
