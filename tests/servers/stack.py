"""The whole product as real processes: a simulated provider with real agents, and the daemon, beside a real broker."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import asyncssh
import httpx
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from adapters.sim.sandbox import RUN_ENV
from adapters.ssh import load_or_create_key
from tests.servers.process import ServerProcess, free_port

T = TypeVar("T")

FAILOVERD = (sys.executable, "-m", "daemon.cli")
START_LIMIT_S = 60.0
LOOK_EVERY_S = 0.2
TOKEN = "fa_the_token_of_all_replicas_of_a_test"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
TAIL_LINES = 40


class Replica:
    """One daemon as a process of its own, on a state directory of its own; it may be killed and started again."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.url = f"http://127.0.0.1:{free_port()}"
        self._process: ServerProcess | None = None

    @property
    def process(self) -> ServerProcess:
        assert self._process is not None, "not started"
        return self._process

    @property
    def log(self) -> Path:
        return self.folder.parent / f"{self.name}.log"

    def start(self, settings: dict[str, Any], is_ready: Callable[[str], bool]) -> None:
        """Return when it says that it is ready. Raise StartFailed."""
        config = self.folder.parent / f"{self.name}.yaml"
        port = int(self.url.rpartition(":")[2])
        http = {**settings.get("http", {}), "port": port}
        config.write_text(yaml.safe_dump({**settings, "state_dir": str(self.folder), "http": http}))
        self._process = ServerProcess([*FAILOVERD, "run", "--config", str(config)], self.log, _environment())
        self._process.start(lambda: is_ready(f"{self.url}/readyz"), START_LIMIT_S)

    def stop(self) -> None:
        if self._process is not None:
            self._process.stop()

    def said(self, words: str) -> list[str]:
        """The lines of its log that have all these words."""
        lines = self.log.read_text(errors="replace").splitlines()
        return [line for line in lines if all(word in line for word in words.split())]


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
    ) -> None:
        """`warm_pool`: every machine lies on a volume and has a standby. Several replicas need a `database`."""
        self.folder, self.bootstrap, self.machines, self.speed = folder.resolve(), bootstrap, machines, speed
        self.world_url = f"http://127.0.0.1:{free_port()}"
        names = ["daemon"] if replicas == 1 else [f"daemon-{number}" for number in range(1, replicas + 1)]
        self.replicas = [Replica(name, self.folder / f"{name}.state") for name in names]
        self.voice = self.replicas[0]
        """The replica that answers the questions of `get` and `post`."""
        self._database, self._warm_pool = database, warm_pool
        self._world_temporary = self.folder / "world"
        self._world: ServerProcess | None = None
        self._http = httpx.Client(timeout=10.0)

    # -- processes

    def start(self) -> None:
        """Return when the world has all its machines and each daemon says that it is ready. Raise StartFailed."""
        self._world_temporary.mkdir()
        address = self.world_url.removeprefix("http://")
        options = ["--listen", address, "--speed", f"{self.speed:g}", "--machines", str(self.machines)]
        options += ["--agents-kafka", self.bootstrap, *(["--warm-pool"] if self._warm_pool else [])]
        options += ["--ssh-key", self._key().export_public_key().decode().strip()]
        # The world makes its folder where temporary files go; there its processes can be told from all others.
        environment = {**_environment(), "TMPDIR": str(self._world_temporary)}
        self._world = ServerProcess([*FAILOVERD, "sim", *options], self.folder / "world.log", environment)
        self._world.start(self._has_machines, START_LIMIT_S)
        self._machine_entries = self._entries()
        for replica in self.replicas:
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
            for pid in _processes_of(self._world_temporary):
                _kill(pid)
            self._http.close()

    @property
    def daemon(self) -> ServerProcess:
        return self.voice.process

    # -- the daemon's API

    def get(self, path: str, **parameters: Any) -> Any:
        """GET below /api/v1; the body of a success. Raise httpx.HTTPError."""
        answer = self._http.get(f"{self.voice.url}/api/v1{path}", params=parameters, headers=BEARER)
        return answer.raise_for_status().json()

    def post(self, path: str, body: Any = None, timeout_s: float = 10.0) -> httpx.Response:
        """POST below /api/v1, with a connection of its own: it may be called from another thread."""
        return httpx.post(f"{self.voice.url}/api/v1{path}", json=body, headers=BEARER, timeout=timeout_s)

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
        for pid in _processes_of(mark):
            place = _variable(pid, RUN_ENV)
            if place is not None and Path(place).parent.name == str(instance) and b"agent" in _words(pid):
                _kill(pid)

    # -- the broker

    def records(self, topic: str) -> list[ConsumerRecord]:
        """Everything that lies in the topic now, partition after partition."""
        return asyncio.run(_read(self.bootstrap, topic))

    def produce(self, topic: str, key: bytes | None, *values: bytes) -> None:
        asyncio.run(_produce(self.bootstrap, topic, key, values))

    def has_read(self, group: str, topic: str) -> bool:
        """Has the group committed everything that lies in the topic now?"""
        return asyncio.run(_has_read(self.bootstrap, group, topic))

    # -- waiting

    def until(self, what: str, look: Callable[[], T | None], limit_s: float = 60.0) -> T:
        """Look until it is there, and return it. A daemon that does not answer is looked at again."""
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


def _environment() -> dict[str, str]:
    """Ours without the settings of any other daemon."""
    return {name: value for name, value in os.environ.items() if not name.startswith("FAILOVERD_")}


def _processes_of(folder: Path) -> list[int]:
    """The pids of what runs on instances of the world in that folder."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        place = _variable(int(entry.name), RUN_ENV)
        if place is not None and Path(place).is_relative_to(folder):
            found.append(int(entry.name))
    return found


def _variable(pid: int, name: str) -> str | None:
    mark = os.fsencode(f"{name}=")
    for pair in _read_words(Path(f"/proc/{pid}/environ")):
        if pair.startswith(mark):
            return os.fsdecode(pair.removeprefix(mark))
    return None


def _words(pid: int) -> list[bytes]:
    return _read_words(Path(f"/proc/{pid}/cmdline"))


def _read_words(path: Path) -> list[bytes]:
    try:
        return path.read_bytes().split(b"\0")
    except OSError:
        return []  # It ended meanwhile, or belongs to somebody else.


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # It ended meanwhile.


async def _read(bootstrap: str, topic: str) -> list[ConsumerRecord]:
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    async with asyncio.timeout(20):
        await consumer.start()
        try:
            partitions = sorted(consumer.assignment())
            assert partitions, f"there is no topic {topic}"
            ends = await consumer.end_offsets(partitions)
            found: list[ConsumerRecord] = []
            while any([await consumer.position(one) < ends[one] for one in partitions]):
                for records in (await consumer.getmany(timeout_ms=200)).values():
                    found += records
        finally:
            await consumer.stop()
    return sorted(found, key=lambda record: (record.partition, record.offset))


async def _produce(bootstrap: str, topic: str, key: bytes | None, values: Sequence[bytes]) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap, acks="all")
    async with asyncio.timeout(20):
        await producer.start()
        try:
            for value in values:
                await producer.send_and_wait(topic, value, key=key)
        finally:
            await producer.stop()


async def _has_read(bootstrap: str, group: str, topic: str) -> bool:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    consumer = AIOKafkaConsumer(topic, bootstrap_servers=bootstrap)
    async with asyncio.timeout(20):
        await admin.start()
        try:
            await consumer.start()
            try:
                ends = await consumer.end_offsets(list(consumer.assignment()))
            finally:
                await consumer.stop()
            read = await admin.list_consumer_group_offsets(group)
        finally:
            await admin.close()
    return all(end == 0 or (one in read and read[one].offset >= end) for one, end in ends.items())
