"""The whole product as real processes: a simulated provider with real agents, and the daemon, beside a real broker."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import httpx
from aiokafka import ConsumerRecord

from adapters.sim.sandbox import RUN_ENV
from adapters.ssh import load_or_create_key
from tests.servers import processes, records
from tests.servers.process import ServerProcess, free_port
from tests.servers.replica import FAILOVERD, START_LIMIT_S, Replica, clean_environment
from tests.servers.wires import Wires

T = TypeVar("T")

LOOK_EVERY_S = 0.2
TOKEN = "fa_the_token_of_all_replicas_of_a_test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TAIL_LINES = 40


class Stack:
    """One world and one or more daemons on loopback, in one folder. Its time runs `speed` times faster.

    Daemons may be killed and started again on the same port and state; broker and database are somebody else's.
    """

    def __init__(
        self,
        folder: Path,
        bootstrap: str,
        machines: int,
        speed: float,
        *,
        replicas: int = 1,
        database: str | None = None,
        warm_pool: bool = False,
        wires: Sequence[Wires] = (),
        settings: Mapping[str, Any] | None = None,
    ) -> None:
        """`warm_pool`: every machine lies on a volume and has a standby. Several replicas need a `database`. `wires`: one
        for each replica, through which it reaches everything else. `settings` go before ours."""
        self.folder, self.bootstrap, self.machines, self.speed = folder.resolve(), bootstrap, machines, speed
        self.world_url = f"http://127.0.0.1:{free_port()}"
        names = ["daemon"] if replicas == 1 else [f"daemon-{number}" for number in range(1, replicas + 1)]
        ways = wires or [None] * replicas
        self.replicas = [
            Replica(name, self.folder / f"{name}.state", way) for name, way in zip(names, ways, strict=True)
        ]
        self.voice = self.replicas[0]
        """The replica that answers the questions of `get` and `post`."""
        self._database, self._warm_pool, self._own_settings = database, warm_pool, dict(settings or {})
        self._world_temporary = self.folder / "world"
        self._world: ServerProcess | None = None
        self._http = httpx.Client(timeout=10.0)
        self.patience_s = 60.0
        """How many real seconds `until` waits where nothing else is said."""

    # -- processes

    def start(self, replicas: Sequence[Replica] | None = None) -> None:
        """Return when the world has all its machines and each daemon (or those that are named) says that it is ready.
        Raise StartFailed."""
        self._world_temporary.mkdir()
        address = self.world_url.removeprefix("http://")
        options = ["--listen", address, "--speed", f"{self.speed:g}", "--machines", str(self.machines)]
        options += ["--agents-kafka", self.bootstrap, *(["--warm-pool"] if self._warm_pool else [])]
        options += ["--hosts", str(max(32, 8 * self.machines))]
        options += ["--ssh-key", self._key().export_public_key().decode().strip()]
        # The world makes its folder where temporary files go; there its processes can be told from all others.
        environment = {**clean_environment(), "TMPDIR": str(self._world_temporary)}
        self._world = ServerProcess([*FAILOVERD, "sim", *options], self.folder / "world.log", environment)
        self._world.start(self._has_machines, START_LIMIT_S)
        self._machine_entries = self._entries()
        for replica in self.replicas if replicas is None else replicas:
            self.start_daemon(replica)
        self.until("every machine is registered", lambda: len(self.get("/machines")["machines"]) == self.machines)

    def start_daemon(self, replica: Replica | None = None) -> None:
        """Return when it says that it is ready. Raise StartFailed."""
        (replica or self.voice).start(self._settings(), self._is_ok)

    def kill_daemon(self) -> None:
        """SIGKILL."""
        self.daemon.kill()

    def end_daemon(self) -> tuple[int, float]:
        """SIGTERM; the exit code and how many real seconds it took. Where it does not listen, the code is -9."""
        began = time.monotonic()
        self.daemon.stop()
        return self.daemon.wait(), time.monotonic() - began

    def pause_daemon(self) -> None:
        """SIGSTOP."""
        self.daemon.pause()

    def resume_daemon(self) -> None:
        self.daemon.resume()

    def stop(self) -> None:
        """End what was started here, by pid. Agents are the world's; those that outlived it are killed."""
        try:
            for replica in self.replicas:
                replica.stop()
            if self._world is not None:
                self._world.stop()
        finally:
            for pid in processes.marked(self._world_temporary):
                processes.kill(pid)
            self._http.close()

    @property
    def daemon(self) -> ServerProcess:
        return self.voice.process

    # -- the daemon's API

    def get(self, path: str, **parameters: Any) -> Any:
        """GET below /api/v1; the body of a success. Raise httpx.HTTPError."""
        answer = self._http.get(f"{self.voice.url}/api/v1{path}", params=parameters, headers=BEARER)
        return answer.raise_for_status().json()

    def post(
        self, path: str, body: Any = None, timeout_s: float = 10.0, headers: Mapping[str, str] | None = None
    ) -> httpx.Response:
        """POST below /api/v1, with a connection of its own: it may be called from another thread."""
        own = {**BEARER, **(headers or {})}
        return httpx.post(f"{self.voice.url}/api/v1{path}", json=body, headers=own, timeout=timeout_s)

    def machine(self, machine: int) -> Any:
        return self.get(f"/machines/{machine}")

    def failovers(self, machine: int) -> list[Any]:
        """The newest first."""
        found: list[Any] = self.get("/failovers", machine_id=machine)["failovers"]
        return found

    def alerts(self) -> dict[str, str]:
        """The open ones: key -> text."""
        return {row["key"]: row["text"] for row in self.get("/alerts")["alerts"]}

    def timeline(self, failover: str) -> Any:
        return self.get(f"/failovers/{failover}")

    def has_begun(self, failover: str, step: str) -> bool:
        """Was the step of that name begun in any attempt?"""
        attempts = self.timeline(failover)["attempts"]
        return any(row["name"] == step and row["status"] != "pending" for one in attempts for row in one["steps"])

    # -- the world's control plane

    def world(self) -> Any:
        """What is so at the provider, whatever the daemon believes."""
        return self.sim("GET", "/world")

    def sim(self, method: str, path: str, body: Any = None) -> Any:
        """A call below /sim; the body of a success. Raise httpx.HTTPError."""
        return self._http.request(method, f"{self.world_url}/sim{path}", json=body).raise_for_status().json()

    def instance(self, number: int) -> Any:
        """The world's row on an instance; None where there is none."""
        return next((row for row in self.world()["instances"] if row["id"] == number), None)

    def kill_host_of(self, machine: int) -> int:
        """The host under the machine's instance loses its power; the instance."""
        number: int = self.machine(machine)["gpu_instance_id"]
        self.kill_host_under(number)
        return number

    def kill_host_under(self, instance: int) -> None:
        self.sim("POST", f"/hosts/{self.instance(instance)['host']}/kill")

    def kill_agents_of(self, instance: int) -> None:
        """Only the agent's own process; its instance lives on. The world has no route for that."""
        mark = self._world_temporary
        for pid in processes.marked(mark):
            place = processes.variable(pid, RUN_ENV)
            if place is not None and Path(place).parent.name == str(instance) and b"agent" in processes.words(pid):
                processes.kill(pid)

    # -- the broker

    def records(self, topic: str) -> list[ConsumerRecord]:
        """Everything that lies in the topic now, partition after partition."""
        return asyncio.run(records.read(self.bootstrap, topic))

    def produce(self, topic: str, key: bytes | None, *values: bytes) -> None:
        asyncio.run(records.produce(self.bootstrap, topic, key, values))

    def has_read(self, group: str, topic: str) -> bool:
        """Has the group committed everything that lies in the topic now?"""
        return asyncio.run(records.has_read(self.bootstrap, group, topic))

    # -- waiting

    def until(self, what: str, look: Callable[[], T | None], limit_s: float | None = None) -> T:
        """Look until it is there, and return it. A daemon that does not answer is looked at again."""
        limit_s = self.patience_s if limit_s is None else limit_s
        deadline, seen = time.monotonic() + limit_s, "nothing"
        while time.monotonic() < deadline:
            try:
                found = look()
            except httpx.TransportError as error:
                found, seen = None, repr(error)
            else:
                seen = repr(found)
            if found:
                return found
            time.sleep(LOOK_EVERY_S)
        raise AssertionError(self._report(f"not within {limit_s:.0f} s: {what} (last seen: {seen})"))

    def never(self, what: str, look: Callable[[], Any], scaled_s: float) -> None:
        """Look for so many seconds of the world's time, and fail where it is ever there."""
        deadline = time.monotonic() + scaled_s / self.speed
        while time.monotonic() < deadline:
            if found := look():
                raise AssertionError(self._report(f"never expected: {what} (seen: {found!r})"))
            time.sleep(LOOK_EVERY_S)

    def _report(self, what: str) -> str:
        lines = [what]
        for log in (*(replica.log for replica in self.replicas), self.folder / "world.log"):
            if log.exists():
                lines += [f"the end of {log}:", *log.read_text(errors="replace").splitlines()[-TAIL_LINES:]]
        return "\n".join(lines)

    # -- parts

    def _has_machines(self) -> bool:
        try:
            rows = self.world()["instances"]
        except httpx.TransportError:
            return False
        return len(rows) == self.machines * (2 if self._warm_pool else 1)

    def _is_ok(self, url: str) -> bool:
        try:
            return self._http.get(url).status_code == 200
        except httpx.TransportError:
            return False

    def _settings(self) -> dict[str, Any]:
        """As in examples/kafka.yaml; what replicas must have in common is named."""
        shared = {"database": self._database} if self._database else {}
        return {
            "speed": self.speed,
            "http": {"token": TOKEN},
            "kafka": {"bootstrap": self.bootstrap},
            "vast": {"url": self.world_url, "api_key": "any"},
            "agent": {"kafka": self.bootstrap},
            "ssh": {"key_file": str(self._key_file)},
            "machines": self._machine_entries,
            **shared,
            **self._own_settings,
        }

    @property
    def _key_file(self) -> Path:
        return self.folder / "ssh_key"

    def _key(self) -> asyncssh.SSHKey:
        return load_or_create_key(self._key_file)

    def _entries(self) -> list[dict[str, Any]]:
        entries = []
        rows = self.world()["instances"]
        for number in range(1, self.machines + 1):
            own, *others = [row for row in rows if row["env"].get("FAILOVERD_MACHINE_ID") == str(number)]
            entry: dict[str, Any] = {"id": number, "name": f"machine-{number}", "gpu_instance_id": own["id"]}
            if self._warm_pool:
                (standby,) = others
                entry |= {"strategy": "both", "standby_gpu_instance_id": standby["id"]}
                entry |= {"volume_id": own["volumes"][0]["id"], "volume_path": own["volumes"][0]["path"]}
            entries.append(entry)
        return entries
