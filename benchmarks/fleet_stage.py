"""The processes of a large fleet: a world, one process that beats for those that never die, and replicas that come and go.

Broker and database are somebody else's. All that is real (sshd, agents, files) is real for the machines that will die and
for what replaces them; the others are rentals without a body (adapters/sim/loader.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from adapters.ssh import load_or_create_key
from adapters.system_clock import SystemClock
from tests.servers import processes
from tests.servers.process import ServerProcess, free_port
from tests.servers.replica import FAILOVERD, START_LIMIT_S, Replica, clean_environment

TOKEN = "fa_the_token_of_all_replicas_of_a_benchmark"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
GPU, OTHER_GPU = "RTX 4090", "RTX 3090"
"""Those that die, and all others: their replacements do not compete with rentals that never move."""
CREDIT = 1e7
_PUTS_AT_ONCE = 210
_WORK = "mkdir -p /workspace && seq {n} 2000 > /workspace/checkpoint"


@dataclass(frozen=True, slots=True)
class Mortal:
    """A machine that will die, and how."""

    id: int
    instance: int
    host: int
    has_standby: bool


class FleetStage:
    """Starts and stops everything, by pid."""

    def __init__(self, folder: Path, bootstrap: str, database: str, speed: float, policy: Mapping[str, Any]) -> None:
        self.folder, self.bootstrap, self.database, self.speed = folder.resolve(), bootstrap, database, speed
        self.clock = SystemClock(speed)
        self.world_url = f"http://127.0.0.1:{free_port()}"
        self.alive: list[Replica] = []
        self.ever: list[Replica] = []
        self._policy = dict(policy)
        self._temporary = self.folder / "world"
        self._world: ServerProcess | None = None
        self._herd: ServerProcess | None = None
        self._http = httpx.AsyncClient(timeout=600.0, limits=httpx.Limits(max_connections=_PUTS_AT_ONCE))

    # -- the world

    async def start_world(self, hosts: int, seed: int) -> None:
        """Return when it answers. Raise StartFailed."""
        self._temporary.mkdir(parents=True)
        key = load_or_create_key(self._key_file).export_public_key().decode().strip()
        address = self.world_url.removeprefix("http://")
        options = ["--listen", address, "--speed", f"{self.speed:g}", "--machines", "0", "--seed", str(seed)]
        options += ["--hosts", str(hosts), "--ssh-key", key]
        environment = {**clean_environment(), "TMPDIR": str(self._temporary)}
        self._world = ServerProcess([*FAILOVERD, "sim", *options], self.folder / "world.log", environment)
        await asyncio.to_thread(self._world.start, lambda: _answers(f"{self.world_url}/sim/faults"), START_LIMIT_S)
        await self.sim("PUT", "/account", {"credit": CREDIT})

    async def load_mortals(self, count: int, interval_s: float) -> list[Mortal]:
        """Machines 1 to `count` with bodies, work and agents, each on a host of its own; the first half has standbys."""
        warm = count // 2
        speed = "" if self.speed == 1.0 else f" --speed {self.speed:g}"
        agent = f"failoverd agent --detach --machine-id {{n}} --interval {interval_s:g} --kafka {self.bootstrap}{speed}"
        body: dict[str, Any] = {"gpu_name": GPU, "onstart": f"{_WORK}\n{agent}", "label": "machine-{n}"}
        # A host that no search shows could never be given a new standby.
        body |= {"env": {"FAILOVERD_MACHINE_ID": "{n}"}, "verified": True}
        rows: list[Any] = []
        if warm:
            shared = {"count": warm, "first": 1, "volume_gb": 20.0, "standby": True}
            rows += (await self.sim("POST", "/instances", {**body, **shared}))["instances"]
        rows += (await self.sim("POST", "/instances", {**body, "count": count - warm, "first": warm + 1}))["instances"]
        self.entries = [_entry(number, rows, interval_s) for number in range(1, count + 1)]
        own = {row["id"]: row for row in rows}
        return [
            Mortal(
                entry["id"],
                entry["gpu_instance_id"],
                own[entry["gpu_instance_id"]]["host"],
                "standby_gpu_instance_id" in entry,
            )
            for entry in self.entries
        ]

    async def load_herd(self, first: int, count: int, interval_s: float) -> None:
        """`count` more machines that only beat. Return when the first beats are on their way."""
        body = {"gpu_name": OTHER_GPU, "one_per_host": False, "bodies": False, "label": "machine-{n}"}
        body |= {"env": {"FAILOVERD_MACHINE_ID": "{n}"}, "count": count, "first": first}
        rows = (await self.sim("POST", "/instances", body))["instances"] if count else []
        numbered = [(int(row["env"]["FAILOVERD_MACHINE_ID"]), int(row["id"])) for row in rows]
        self.entries += [
            {"name": f"machine-{n}", "id": n, "gpu_instance_id": i, "interval_s": interval_s} for n, i in numbered
        ]
        listed = self.folder / "herd.txt"
        listed.write_text("".join(f"{number} {instance}\n" for number, instance in numbered))
        options = ["--kafka", self.bootstrap, "--machines", str(listed)]
        options += ["--interval", f"{interval_s:g}", "--speed", f"{self.speed:g}"]
        command = [FAILOVERD[0], "-m", "benchmarks.herd", *options]
        self._herd = ServerProcess(command, self.folder / "herd.log", clean_environment())
        await asyncio.to_thread(self._herd.start, lambda: True, START_LIMIT_S)

    async def sim(self, method: str, path: str, body: Any = None) -> Any:
        """A call below /sim; the body of a success. Raise httpx.HTTPError."""
        answer = await self._http.request(method, f"{self.world_url}/sim{path}", json=body)
        return answer.raise_for_status().json()

    # -- replicas

    async def add_replica(self) -> Replica:
        """A new one, on a state directory of its own. Return when it answers. Raise StartFailed."""
        name = f"replica-{len(self.ever) + 1}"
        replica = Replica(name, self.folder / f"{name}.state")
        self.ever.append(replica)
        await asyncio.to_thread(replica.start, self._settings(), lambda url: _answers(url.replace("/readyz", "/livez")))
        self.alive.append(replica)
        return replica

    async def end_replica(self, replica: Replica, *, politely: bool) -> None:
        self.alive.remove(replica)
        await asyncio.to_thread(replica.process.stop if politely else replica.process.kill)

    async def get(self, replica: Replica, path: str, **parameters: Any) -> httpx.Response:
        return await self._http.get(f"{replica.url}/api/v1{path}", params=parameters, headers=BEARER)

    async def register(self) -> None:
        """All machines over HTTP, spread over the replicas. Raise httpx.HTTPError."""
        slots = asyncio.Semaphore(_PUTS_AT_ONCE)

        async def put(index: int, entry: Mapping[str, Any]) -> None:
            async with slots:
                replica = self.alive[index % len(self.alive)]
                url = f"{replica.url}/api/v1/machines/{entry['id']}"
                body = {name: value for name, value in entry.items() if name != "id"}
                answer = await self._http.put(url, json=body, headers=BEARER)
                while answer.status_code == 503:  # The provider's limits: it says "try again".
                    await self.clock.sleep(self.clock.real(2.0))
                    answer = await self._http.put(url, json=body, headers=BEARER)
                answer.raise_for_status()

        await asyncio.gather(*(put(index, entry) for index, entry in enumerate(self.entries)))

    def said(self, words: str) -> list[str]:
        """The lines of all replicas that there ever were which have all these words."""
        return [line for replica in self.ever for line in replica.said(words)]

    def _settings(self) -> dict[str, Any]:
        return {
            "speed": self.speed,
            "database": self.database,
            "http": {"token": TOKEN},
            "kafka": {"bootstrap": self.bootstrap},
            "vast": {"url": self.world_url, "api_key": "any"},
            "agent": {"kafka": self.bootstrap},
            "ssh": {"key_file": str(self._key_file)},
            "policy": self._policy,
            "log_format": "json",
        }

    @property
    def _key_file(self) -> Path:
        return self.folder / "ssh_key"

    async def stop(self) -> None:
        """Agents are the world's; those that outlived it are killed."""
        try:
            for replica in self.alive:
                await asyncio.to_thread(replica.stop)
            for server in (self._herd, self._world):
                if server is not None:
                    await asyncio.to_thread(server.stop)
        finally:
            for pid in processes.marked(self._temporary):
                processes.kill(pid)
            await self._http.aclose()


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2.0).status_code == 200
    except httpx.TransportError:
        return False


def _entry(number: int, rows: Sequence[Any], interval_s: float) -> dict[str, Any]:
    """What `PUT /machines/{id}` takes, and the id."""
    own, *others = [row for row in rows if row["env"].get("FAILOVERD_MACHINE_ID") == str(number)]
    entry: dict[str, Any] = {"id": number, "name": f"machine-{number}", "gpu_instance_id": own["id"]}
    entry |= {"strategy": "cpu_standby", "interval_s": interval_s}
    if others:
        entry |= {"strategy": "warm_pool", "standby_gpu_instance_id": others[0]["id"]}
        entry |= {"volume_id": own["volumes"][0]["id"], "volume_path": own["volumes"][0]["path"]}
    return entry
