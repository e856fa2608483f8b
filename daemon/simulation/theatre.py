"""What plays together in one simulation: a world, a broker, a database, and replicas of the daemon that come and go."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx

from adapters.sim.hosts import GPU_KINDS
from adapters.sim.memory_bodies import WORKLOAD
from adapters.sim.memory_world import MemoryWorld
from adapters.sim.settings import VolumeSharing, WorldSettings
from adapters.sql.store import SqlStore
from adapters.virtual_clock import SeededRandom, VirtualClock, VirtualLoop, spawn
from daemon.settings import Gce, PolicySection, Settings, Topics, Vast
from daemon.simulation.agents import Air, Starter
from daemon.simulation.books import Books
from daemon.simulation.broker import Broker, SimLog
from daemon.simulation.history import History
from daemon.simulation.replica import Replica
from daemon.simulation.store import StoreWeather
from events import topics
from machines.model import InstanceId, MachineId
from machines.pool import Wanted

T = TypeVar("T")

PUBLIC_KEY = "ssh-ed25519 simulated-key failoverd"
INTERVAL_S = 10.0
PARTITIONS = 3
FILES = 3
VOLUME_GB = 20.0
GPU = GPU_KINDS[0].name
HOSTS = 16
"""All of one kind of GPU: every search looks at each of them, and what it does not look for costs time."""
CREDIT = 100_000.0
"""Nobody's play ends for lack of money, unless the weather says so."""
COPY_EVERY_S, SNAPSHOT_EVERY_BESIDE_VMS_S = 100.0, 600.0
"""So that the copy on a CPU VM is mostly newer than the last snapshot, and sometimes not."""
REGIONAL_HOSTS = 40
"""Two or three in each region."""
AT_ONCE = 3
"""The cap on automatic failovers: small enough to be met by a fleet of eight."""
POLICY = {
    "max_concurrent": AT_ONCE,
    "max_per_provider": AT_ONCE - 1,
    "machine_cooldown_s": 120,
    "storm_cooldown_s": 120,
    "quarantine_s": 600,
    "suspension_s": 600,
}
"""The brakes are short, so that they are met, and left again, within a play."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a seed decides before anything happens."""

    seed: int
    machines: int
    replicas: int
    strategies: tuple[str, ...]
    """One for each machine."""
    sharing: VolumeSharing
    interval_s: float = INTERVAL_S
    partitions: int = PARTITIONS
    hosts: int = HOSTS
    policy: Mapping[str, float] = field(default_factory=lambda: POLICY)
    """What an operator sets of the fleet's policy."""
    cpu_vms: bool = False
    """Has every machine a CPU VM?"""
    pools: tuple[Wanted, ...] = ()
    """What an operator has rented ahead for each machine; none where nothing is said."""

    def pool(self, number: int) -> Wanted:
        return self.pools[number - 1] if self.pools else Wanted.NOTHING


@dataclass(frozen=True, slots=True)
class Person:
    """One machine as it stood at the beginning."""

    id: MachineId
    instance: InstanceId
    """0 where it begins with nothing, and its warm pool brings one."""
    strategy: str
    files: tuple[tuple[str, bytes], ...]
    volume: int | None
    standby: int | None


class Theatre:
    """Everything of one simulation; it is composed here, as a daemon is composed in daemon/compose.py."""

    def __init__(self, plan: Plan, loop: VirtualLoop) -> None:
        self.plan, self.loop = plan, loop
        self.public_key = PUBLIC_KEY
        self.clock = VirtualClock(loop)
        """The world's own; each replica has one that may be wrong."""
        self.history = History(self.clock)
        self.air = Air()
        self.broker = Broker(self.clock)
        self.broker.create(topics.specs("", plan.partitions))
        self.sql = SqlStore.in_memory()
        self.books = Books(self.sql)
        self.store_weather = StoreWeather()
        starter = Starter(self.clock, str(plan.seed), self.air)
        starter.connect = lambda: SimLog(self.broker, self.clock)
        settings = WorldSettings(hosts=0, volume_sharing=plan.sharing, credit=CREDIT)
        if plan.cpu_vms:
            settings = replace(settings, snapshot_interval=SNAPSHOT_EVERY_BESIDE_VMS_S)
        self.world = MemoryWorld(plan.seed, settings, self.clock, starter)
        self.settings = Settings(
            state_dir=Path("never-written"),
            vast=Vast(url="http://world"),
            topics=Topics(partitions=plan.partitions),
            policy=PolicySection.model_validate(plan.policy),
            gce=Gce(project="simulated", zones=list(settings.vm_zones), copy_every_s=COPY_EVERY_S)
            if plan.cpu_vms
            else None,
        )
        self.replicas = [Replica(f"replica-{number}", self) for number in range(plan.replicas)]
        self.people: list[Person] = []
        self.on_commit: Callable[[Replica, str], None] = lambda replica, work: None
        self.on_call: Callable[[Replica, httpx.Request], None] = lambda replica, request: None
        self.on_answer: Callable[[Replica, httpx.Request, httpx.Response | None], None] = lambda *_: None
        self.on_vm_call: Callable[[Replica, str, Mapping[str, str], Any], None] = lambda *_: None
        self.on_world: Callable[[], None] = lambda: None
        self._tasks: list[asyncio.Task[Any]] = []

    def begin(self) -> None:
        """Load the machines and let the world's time run; no replica runs yet."""
        self.world.on_change = lambda: self.on_world()
        for _ in range(self.plan.hosts):
            self.world.world.market.draw_host(GPU_KINDS[0], 4)
        self.world.world.account.add_key({"ssh_key": PUBLIC_KEY})
        for number, strategy in enumerate(self.plan.strategies, 1):
            self.people.append(self._load(number, strategy))
        self._tasks.append(spawn(None, self.world.run(), "the world"))

    def random(self, name: str) -> SeededRandom:
        return SeededRandom(f"{self.plan.seed}/{name}")

    async def register(self) -> None:
        """An operator names the machines to whichever replica answers."""
        for person in self.people:
            body: dict[str, object] = {
                "strategy": person.strategy,
                "auto_failover": "on",
                "interval_s": self.plan.interval_s,
                "priority": int(person.id),
            }
            if person.instance:
                body["gpu_instance_id"] = int(person.instance)
            else:
                body |= {"onstart": WORKLOAD, "env": {"FAILOVERD_MACHINE_ID": str(person.id)}}
            if self.plan.pool(int(person.id)) is not Wanted.NOTHING:
                body["warm_pool"] = {"size_gb": int(VOLUME_GB), "gpu_name": GPU}
            if person.volume is not None:
                body["volume_id"] = person.volume
            if person.standby is not None:
                body["standby_gpu_instance_id"] = person.standby
            if self.plan.cpu_vms:
                body["cpu_standby"] = {"command": WORKLOAD}
            await self.ask(partial(Replica.register, machine=person.id, body=body))

    async def ask(self, question: Callable[[Replica], Coroutine[Any, Any, T]]) -> T | None:
        """Put it to the first replica that is awake, in that replica's own turn; None where none answers in time."""
        for replica in self.replicas:
            if replica.is_awake and replica.process is not None:
                task = spawn(replica.process, question(replica), f"question to {replica.name}")
                done, _ = await asyncio.wait([task], timeout=60.0)
                if done and not task.cancelled():
                    return task.result()
        return None

    def _load(self, number: int, strategy: str) -> Person:
        if self.plan.pool(number) is Wanted.FIRST:
            return Person(MachineId(number), InstanceId(0), strategy, (), None, None)
        return self._load_instance(number, strategy, has_pool=self.plan.pool(number) is Wanted.NOTHING)

    def _load_instance(self, number: int, strategy: str, *, has_pool: bool) -> Person:
        """`has_pool`: where its strategy uses one, it lies on a volume from the beginning, with a standby beside it."""
        with_volume = has_pool and strategy in ("warm_pool", "both", "regional_volume")
        shares = has_pool and strategy in ("warm_pool", "both") and self.plan.sharing == "allowed"
        body: dict[str, object] = {
            "count": 1,
            "first": number,
            "gpu_name": GPU,
            "label": "machine-{n}",
            "env": {"FAILOVERD_MACHINE_ID": "{n}"},
            "onstart": f"failoverd agent --machine-id {{n}} --interval {self.plan.interval_s:g} --kafka broker:9092 --detach\n"
            + WORKLOAD,
            "standby": shares,
            **({"volume_gb": VOLUME_GB, "mount_path": "/workspace"} if with_volume else {}),
        }
        instance, *others = self.world.load(body)
        files = tuple((f"work-{index}", _work(number, index)) for index in range(FILES))
        for name, content in files:
            self.world.bodies.of[instance.id].write(f"/workspace/{name}", content)
        self.world.world.snapshots.take(instance, self.clock.now())
        self.world.carry_out()
        return Person(
            MachineId(number),
            InstanceId(instance.id),
            strategy,
            files,
            instance.mounts[0].volume_id if instance.mounts else None,
            others[0].id if others else None,
        )


def _work(machine: int, index: int) -> bytes:
    """Bytes that no other machine's file has."""
    return hashlib.shake_256(f"{machine}/{index}".encode()).digest(64)
