"""The stage of the API's tests: the real store, loop, command plane and log, with virtual time and a small outside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
from fastapi import FastAPI

from adapters.embedded_log import EmbeddedLog
from adapters.sql.executor import Store
from adapters.sql.store import SqlStore
from adapters.vast import Circuit
from daemon.announce import Announcer
from daemon.api import Check, Services, create_app
from daemon.api.limits import Limits
from daemon.blindness import Blindness
from daemon.commands import Commands
from daemon.contracts import ContractWatch
from daemon.credit import CreditWatch
from daemon.event_feed import EventFeed
from daemon.ingest import Ingest, IngestSettings
from daemon.leases import Leases
from daemon.loop import Loop
from daemon.metrics import Meters
from daemon.metrics_page import MetricsPage
from daemon.policy_book import PolicyBook
from daemon.policy_desk import PolicyDesk
from daemon.publisher import Publisher
from daemon.readiness import ReadinessPoll
from daemon.registry import Registry
from daemon.settings import PolicySection
from daemon.tokens import TokenBook
from daemon.webhooks import WebhookDoor, WebhookPlace
from events import topics
from machines.detector import Detector
from machines.failover import AttemptEnded, Lost, Won
from machines.model import (
    Endpoint,
    FailoverId,
    HostId,
    Instance,
    InstanceId,
    Label,
    LandlordId,
    Listing,
    Machine,
    MachineId,
    Mode,
    Offer,
    OfferId,
    OfferQuery,
    Replacement,
    Setting,
    Snapshot,
    Status,
    Volume,
    VolumeId,
)

T = TypeVar("T")
TOKEN = "fa_operators_token"
WEBHOOK_SECRET = "whsec_of_the_stage"
BEGIN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
STORE_URL: str | None = None
"""Set by conftest.py: every test on this stage runs on both stores. None is SQLite in memory."""
HEADERS = {"Authorization": f"Bearer {TOKEN}"}

EXECUTE: dict[str, Any] = {
    "machine_id": 123,
    "gpu_instance_id": 456789,
    "ssh_host": "ssh4.vast.ai",
    "ssh_port": 12345,
    "workspace_path": "/workspace",
    "force_strategy": None,
}
"""The seed's request."""


class StillClock:
    """Time that stands until it is moved. A wait ends when its time has come, or with what it waits for."""

    def __init__(self) -> None:
        self._elapsed = 0.0
        self._alarms: list[tuple[float, asyncio.Future[None]]] = []

    def now(self) -> datetime:
        return BEGIN + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        return self._elapsed

    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        return self.now() - at

    def real(self, seconds: float) -> float:
        return seconds

    async def sleep(self, seconds: float) -> None:
        await self._alarm(seconds)

    async def breathe(self) -> None:
        await asyncio.sleep(0)

    async def wait_for(self, awaitable: Awaitable[T], seconds: float) -> T:
        task = asyncio.ensure_future(awaitable)
        alarm = self._alarm(seconds)
        try:
            await asyncio.wait([task, alarm], return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
            raise TimeoutError
        finally:
            alarm.cancel()
            task.cancel()

    async def advance(self, seconds: float) -> None:
        self._elapsed += seconds
        for at, alarm in self._alarms:
            if at <= self._elapsed and not alarm.done():
                alarm.set_result(None)
        self._alarms = [(at, alarm) for at, alarm in self._alarms if not alarm.done()]
        await settle()

    def _alarm(self, seconds: float) -> asyncio.Future[None]:
        alarm: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alarms.append((self._elapsed + seconds, alarm))
        return alarm


async def settle() -> None:
    """Let every task go as far as it can without time."""
    for _ in range(60):
        await asyncio.sleep(0)


class Numbers:
    """Ids that count, so that every run has the same."""

    def __init__(self) -> None:
        self._last = 0

    def token(self, length: int = 12) -> str:
        self._last += 1
        return f"{self._last:0{length}d}"

    def jitter(self) -> float:
        return 0.5


@dataclass
class Outside:
    """The provider and the snapshot store, as far as these routes can see them."""

    instances: dict[int, Instance] = field(default_factory=dict)
    offers: tuple[Offer, ...] = ()
    shelf: dict[VolumeId, Volume] = field(default_factory=dict)
    snapshot: Snapshot | None = None
    newer: Sequence[Snapshot] = ()
    asked: int = 0
    fault: Exception | None = None
    """What a listing fails with."""

    async def show(self, instance: InstanceId) -> Instance | None:
        return self.instances.get(instance)

    async def list(self, max_age_s: float = 0.0, about: object = None) -> Listing:
        self.asked += 1
        if self.fault is not None:
            raise self.fault
        return Listing({InstanceId(number): row for number, row in self.instances.items()}, True, BEGIN)

    async def logs(self, instance: InstanceId, lines: int, of_daemon: bool = False) -> str:
        if self.fault is not None:
            raise self.fault
        told = [f"{'daemon' if of_daemon else 'container'} of {instance}", "epoch 1", "epoch 2"]
        return "\n".join(told[-lines:])

    async def search(self, query: OfferQuery, host: HostId | None = None) -> tuple[Offer, ...]:
        return self.offers

    async def volumes(self, max_age_s: float = 0.0) -> Mapping[VolumeId, Volume]:
        return self.shelf

    async def newest(self, machine: MachineId, now: datetime) -> Snapshot | None:
        return self.snapshot

    async def verified(self, machine: MachineId, limit: int) -> Sequence[Snapshot]:
        return [*self.newer, *([self.snapshot] if self.snapshot is not None else [])][:limit]

    def make_ready(self, machine: int = 123) -> None:
        self.snapshot = Snapshot("s1", MachineId(machine), BEGIN - timedelta(minutes=5), 1000)
        self.offers = (Offer(OfferId(7), HostId(70), LandlordId(71), "RTX 4090", 1, 0.45, 0.99, "US"),)


def instance(number: int) -> Instance:
    return Instance(
        id=InstanceId(number),
        label=None,
        status=Status.RUNNING,
        wants_running=True,
        holds_gpu=True,
        host=HostId(60),
        landlord=LandlordId(61),
        ssh=Endpoint("ssh4.vast.ai", 12345),
        gpu_name="RTX 4090",
        num_gpus=1,
        is_interruptible=False,
        price_per_hour=0.4,
        detail="",
    )


@dataclass
class Stage:
    """One daemon behind its API, and what a test does to it."""

    services: Services
    app: FastAPI
    http: httpx.AsyncClient
    clock: StillClock
    outside: Outside
    store: Store
    loop: Loop
    log: EmbeddedLog

    async def machine(self, number: int = 123, primary: int | None = 456789, **more: Any) -> Machine:
        fresh = Machine(
            MachineId(number),
            f"machine-{number}",
            setting=more.pop("setting", Setting.CPU_STANDBY),
            mode=Mode.ON,
            primary=InstanceId(primary) if primary is not None else None,
            ssh=Endpoint("ssh4.vast.ai", 12345),
            because="registered by an operator",
            since=BEGIN,
            **more,
        )
        machine = await self.store.transact(lambda tx: tx.insert_machine(fresh))
        self.loop.follow(machine)
        return machine

    async def stored(self, number: int = 123) -> Machine:
        found = await self.store.transact(lambda tx: tx.machine(MachineId(number)))
        assert found is not None
        return found

    async def begin(self, headers: Mapping[str, str] | None = None, **more: Any) -> asyncio.Task[httpx.Response]:
        """Ask for a failover and leave the request waiting."""
        asking = self.http.post("/api/v1/failover/execute", json={**EXECUTE, **more}, headers=dict(headers or {}))
        task = asyncio.create_task(asking)
        await settle()
        return task

    async def win(self, number: int = 123, new: int = 789012, data_age_s: float = 300.0) -> FailoverId:
        """The running failover hands over."""
        running = (await self.stored(number)).failover
        assert running is not None
        won = Won(self.replacement(new, data_age_s))
        await self.loop.apply(MachineId(number), AttemptEnded(running.id, running.fence, won))
        return running.id

    @staticmethod
    def replacement(new: int = 789012, data_age_s: float = 300.0) -> Replacement:
        return Replacement(
            instance=InstanceId(new),
            label=Label("l"),
            host=HostId(70),
            landlord=LandlordId(71),
            ssh=Endpoint("ssh5.vast.ai", 54321),
            host_key=None,
            gpu_name="RTX 4090",
            price_per_hour=0.45,
            boot_id="b2",
            data_age_s=data_age_s,
        )

    async def lose(self, code: str, number: int = 123) -> FailoverId:
        """The running attempt is undone."""
        running = (await self.stored(number)).failover
        assert running is not None
        await self.loop.apply(
            MachineId(number), AttemptEnded(running.id, running.fence, Lost(code, f"because of {code}"))
        )
        return running.id


@asynccontextmanager
async def stage(
    token: str = TOKEN,
    inline: bool = True,
    health: Callable[[], Mapping[str, Check | str]] = dict,
    has_hook: bool = False,
    policies: PolicyBook | None = None,
    configured: Mapping[int, Mapping[str, Any]] | None = None,
    limits: Limits | None = None,
) -> AsyncIterator[Stage]:
    clock, outside, random = StillClock(), Outside(), Numbers()
    policy = policies or PolicyBook(PolicySection())
    store = Store(SqlStore.in_memory() if STORE_URL is None else SqlStore(STORE_URL), inline=inline)
    announcer = Announcer("test")
    tell_blindness = Blindness(store, clock, Leases(store, clock, "one")).tell
    loop = Loop(store, policy, clock, random, announcer, lambda machine, instance: "agent", tell_blindness, has_hook)
    registry = Registry(store, loop, outside, outside, announcer, clock, policies=policy)  # type: ignore[arg-type]
    desk = PolicyDesk(store, loop, policy, announcer, clock, configured or {})
    commands = Commands(store, loop, registry, announcer, clock, random, desk)
    log = EmbeddedLog(clock)
    await log.start()
    await log.ensure_topics(topics.specs())
    readiness = ReadinessPoll(loop, outside, outside, outside, policy, clock, ContractWatch(store, policy, clock))  # type: ignore[arg-type]
    credit = CreditWatch(store, outside, policy, clock)  # type: ignore[arg-type]
    webhooks = WebhookDoor(WebhookPlace(secret=WEBHOOK_SECRET), store, loop, credit, outside, clock, "test")  # type: ignore[arg-type]
    ingest = Ingest(IngestSettings(topics.HEARTBEATS, 1), log, Detector(policy), policy, clock, "d1", loop)
    publisher = Publisher(store, log, clock, lambda: True)
    feed, meters = EventFeed(store, clock, announcer), Meters(clock, "0.1.0")
    loop.on_saved, commands.on_asked = meters.saved, meters.command
    page = MetricsPage(
        meters,
        store,
        loop,
        ingest,
        publisher,
        readiness,
        Circuit(clock),
        credit,
        Leases(store, clock, "one"),
        feed,
        clock,
        "",
        False,
    )
    services = Services(
        store,
        loop,
        commands,
        registry,
        readiness,
        log,
        topics.HEARTBEATS,
        clock,
        token,
        policy,
        desk,
        "0.1.0",
        health,
        webhooks,
        outside,  # type: ignore[arg-type]
        outside,  # type: ignore[arg-type]
        feed,
        page,
        random,
        outside,  # type: ignore[arg-type]
        tokens=TokenBook(store, clock, random),
        limits=limits or Limits(),
    )
    app = create_app(services)
    transport = httpx.ASGITransport(app, client=("127.0.0.1", 1))
    async with httpx.AsyncClient(transport=transport, base_url="http://failoverd", headers=HEADERS) as client:
        yield Stage(services, app, client, clock, outside, store, loop, log)
    await log.stop()
    await store.close()


def has_shape(expected: Any, found: Any, nullable: frozenset[str] = frozenset(), at: str = "$") -> list[str]:
    """Where `found` lacks a field of the contract's example, or has another type there; more fields are welcome."""
    if isinstance(expected, dict):
        if not isinstance(found, dict):
            return [f"{at} is no object"]
        lacking = [f"{at}.{name} is missing" for name in expected if name not in found]
        wrong = [
            fault
            for name in expected
            if name in found and not (found[name] is None and name in nullable)
            for fault in has_shape(expected[name], found[name], nullable, f"{at}.{name}")
        ]
        return lacking + wrong
    if isinstance(expected, list) and isinstance(found, list):
        return [f for one in found[:1] for f in has_shape(expected[0], one, nullable, f"{at}[0]")] if expected else []
    if expected is None or type(expected) is type(found):
        return []
    return [f"{at} is {type(found).__name__}, not {type(expected).__name__}"]


def test_the_shape_of_an_answer_is_told_field_by_field() -> None:
    assert has_shape({"a": 1, "b": "x"}, {"a": True}) == ["$.b is missing", "$.a is bool, not int"]
    assert has_shape({"a": 1}, {"a": 2, "more": 3}) == []
