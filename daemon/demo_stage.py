"""The demo's stage: one simulated provider, real agents and the real daemon in one process and one event loop."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httpx

from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import VolumeSharing, WeatherName, WorldSettings
from adapters.system_clock import SystemClock
from daemon.compose import compose
from daemon.demo_agents import InProcessStarter
from daemon.lifecycle import Daemon
from daemon.settings import Http, PolicySection, Settings, Vast
from events import topics
from machines.model import InstanceId, MachineId

INTERVAL_S = 10.0
STOP_WITHIN_REAL_S = 10.0
FEWEST_HOSTS = 420
"""A market deep enough for hard weather, in which one offer in six becomes a usable instance."""
GPUS = ("RTX 4090", "RTX 3090", "RTX 5090")
VOLUME_GB = 20.0
WORK_FILES = 3
WORK_BYTES = 64 * 1024
NAMES = (
    *("alpha", "bravo", "charlie", "delta", "echo", "foxtrot", "golf", "hotel", "india", "juliett", "kilo", "lima"),
    *("mike", "november", "oscar", "papa", "quebec", "romeo", "sierra", "tango", "uniform", "victor", "whiskey"),
    *("xray", "yankee", "zulu"),
)


@dataclass(frozen=True, slots=True)
class Cast:
    """One machine of the demo, as it stood before anything happened to it."""

    id: MachineId
    name: str
    instance: InstanceId
    host: int
    gpu_name: str
    volume: int
    standby: InstanceId | None
    """None where the provider lets no two instances share a volume."""


@dataclass(frozen=True, slots=True)
class Stage:
    """What plays together. `http` reaches the provider's control plane without a socket."""

    clock: SystemClock
    world: SimServer
    daemon: Daemon
    http: httpx.AsyncClient
    starter: InProcessStarter
    folder: Path
    task: asyncio.Task[None]
    shares_volumes: bool

    def check(self) -> None:
        """Raise what the daemon fell over, if it has."""
        if self.task.done():
            self.task.result()
            raise RuntimeError("the daemon has ended by itself")

    @property
    def api_url(self) -> str:
        return f"http://{self.daemon.settings.http.host}:{self.daemon.api.port}"

    async def truth(self) -> dict[str, Any]:
        """What is so at the provider, whatever the daemon believes."""
        return cast("dict[str, Any]", await self._call("GET", "/sim/world"))

    async def kill_host(self, host: int) -> None:
        await self._call("POST", f"/sim/hosts/{host}/kill")

    async def crash(self, instance: InstanceId) -> None:
        """The container exits and no reboot helps; its host lives."""
        await self._call("POST", f"/sim/instances/{instance}/crash", {"reboot_helps": False})

    async def load(self, count: int) -> tuple[Cast, ...]:
        """Machines 1 to `count`."""
        return tuple([await self.load_one(number) for number in range(1, count + 1)])

    async def load_one(self, number: int) -> Cast:
        """A machine on a host of its own, beating, with work on its disk and a snapshot of it."""
        await self.daemon.has_key.wait()
        body = {
            "count": 1,
            "first": number,
            "gpu_name": GPUS[number % len(GPUS)],
            "label": name_of(number),
            "env": {"FAILOVERD_MACHINE_ID": "{n}"},
            "onstart": f"failoverd agent --machine-id {{n}} --interval {INTERVAL_S:g} --url {self.api_url} --detach",
            "volume_gb": VOLUME_GB,
            "mount_path": "/workspace",
            "standby": self.shares_volumes,
        }
        row, *others = (await self._call("POST", "/sim/instances", body))["instances"]
        person = Cast(
            MachineId(number),
            name_of(number),
            InstanceId(row["id"]),
            int(row["host"]),
            str(row["gpu_name"]),
            int(row["volumes"][0]["id"]),
            InstanceId(others[0]["id"]) if others else None,
        )
        await asyncio.to_thread(self._do_work, person)
        await self._call("POST", "/sim/snapshots", {"instance_id": person.instance})
        return person

    async def register(self, person: Cast) -> None:
        body = {
            "name": person.name,
            "gpu_instance_id": int(person.instance),
            "strategy": "both",
            "auto_failover": "on",
            "interval_s": INTERVAL_S,
            "volume_id": person.volume,
            **({"standby_gpu_instance_id": int(person.standby)} if person.standby is not None else {}),
        }
        await self.daemon.registry.put(person.id, body, "the demo")

    def work_of(self, instance: int) -> dict[str, bytes]:
        """The customer's files as they lie on the instance's disk now."""
        place = self._workspace(instance)
        return {path.name: path.read_bytes() for path in sorted(place.glob("checkpoint-*"))}

    def expected_work(self, person: Cast) -> dict[str, bytes]:
        return {f"checkpoint-{index}": _work(person.id, index) for index in range(WORK_FILES)}

    def _do_work(self, person: Cast) -> None:
        place = self._workspace(person.instance)
        place.mkdir(parents=True, exist_ok=True)
        for name, content in self.expected_work(person).items():
            (place / name).write_bytes(content)

    def _workspace(self, instance: int) -> Path:
        return self.folder / "world" / "instances" / str(instance) / "root" / "workspace"

    async def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        answer = await self.http.request(method, path, json=body)
        answer.raise_for_status()
        return answer.json()


def name_of(number: int) -> str:
    """alpha, bravo, ... zulu, alpha-2, ..."""
    lap, place = divmod(number - 1, len(NAMES))
    return NAMES[place] + (f"-{lap + 1}" if lap else "")


def _work(machine: int, index: int) -> bytes:
    """Bytes that no other machine's file has, and that any reader can make again."""
    return hashlib.shake_256(f"{machine}/{index}".encode()).digest(WORK_BYTES)


@asynccontextmanager
async def stage(
    folder: Path,
    speed: float,
    seed: int,
    weather: str,
    volume_sharing: str,
    machines: int,
    policy: PolicySection | None = None,
) -> AsyncIterator[Stage]:
    """Everything up and answering; at the end everything is taken down again. `policy` instead of the usual one."""
    clock = SystemClock(speed)
    starter = InProcessStarter(clock)
    sim = SimSettings(
        seed=seed,
        weather=cast(WeatherName, weather),
        volume_sharing=cast(VolumeSharing, volume_sharing),
        folder=folder / "world",
        world=WorldSettings(hosts=max(FEWEST_HOSTS, 4 * machines)),
    )
    world = SimServer(sim, clock, starter)
    settings = Settings(
        state_dir=folder / "daemon",
        http=Http(port=0),
        vast=Vast(url="http://world"),
        speed=speed,
        policy=policy or PolicySection(),
    )
    transport = httpx.ASGITransport(app=world.app)
    async with httpx.AsyncClient(transport=transport, base_url="http://world") as control:
        await world.start()
        try:
            provider = httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://world")
            daemon = await compose(settings, clock, provider)
            starter.connect(daemon.event_log, settings.topics.prefix + topics.HEARTBEATS)
            async with _running(daemon) as task:
                yield Stage(clock, world, daemon, control, starter, folder, task, volume_sharing == "allowed")
        finally:
            await world.stop()


@asynccontextmanager
async def _running(daemon: Daemon) -> AsyncIterator[asyncio.Task[None]]:
    """The daemon as a task. If it falls, that is an error of the demo and not a long wait for nothing."""
    ready = asyncio.Event()
    task = asyncio.create_task(daemon.run(ready.set), name="failoverd")
    waiting = asyncio.create_task(ready.wait())
    try:
        await asyncio.wait({task, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield task
    finally:
        waiting.cancel()
        task.cancel()
        await asyncio.wait({task}, timeout=STOP_WITHIN_REAL_S)
        if not task.done():
            raise RuntimeError(f"the daemon did not stop within {STOP_WITHIN_REAL_S:g} s")
        if not task.cancelled():
            task.result()
