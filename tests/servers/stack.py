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

import httpx
import yaml
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRecord
from aiokafka.admin import AIOKafkaAdminClient

from adapters.sim.sandbox import RUN_ENV
from tests.servers.process import ServerProcess, free_port

T = TypeVar("T")

FAILOVERD = (sys.executable, "-m", "daemon.cli")
START_LIMIT_S = 60.0
LOOK_EVERY_S = 0.2
TAIL_LINES = 40


class Stack:
    """One world and one daemon on loopback, in one folder. The world's time and the daemon's run `speed` times faster.

    The daemon may be killed and started again on the same port and state; the broker is somebody else's.
    """

    def __init__(self, folder: Path, bootstrap: str, machines: int, speed: float) -> None:
        self.folder, self.bootstrap, self.machines, self.speed = folder.resolve(), bootstrap, machines, speed
        self.world_url = f"http://127.0.0.1:{free_port()}"
        self.daemon_url = f"http://127.0.0.1:{free_port()}"
        self._config = self.folder / "failoverd.yaml"
        self._world_temporary = self.folder / "world"
        self._world: ServerProcess | None = None
        self._daemon: ServerProcess | None = None
        self._http = httpx.Client(timeout=10.0)

    # -- processes

    def start(self) -> None:
        """Return when the world has all its machines and the daemon says that it is ready. Raise StartFailed."""
        self._world_temporary.mkdir()
        address = self.world_url.removeprefix("http://")
        options = ["--listen", address, "--speed", f"{self.speed:g}", "--machines", str(self.machines)]
        command = [*FAILOVERD, "sim", *options, "--agents-kafka", self.bootstrap]
        # The world makes its folder where temporary files go; there its processes can be told from all others.
        environment = {**_environment(), "TMPDIR": str(self._world_temporary)}
        self._world = ServerProcess(command, self.folder / "world.log", environment)
        self._world.start(self._has_machines, START_LIMIT_S)
        self._config.write_text(yaml.safe_dump(self._settings()))
        self.start_daemon()

    def start_daemon(self) -> None:
        """Return when it says that it is ready. Raise StartFailed."""
        command = [*FAILOVERD, "run", "--config", str(self._config)]
        self._daemon = ServerProcess(command, self.folder / "daemon.log", _environment())
        self._daemon.start(lambda: self._is_ok(f"{self.daemon_url}/readyz"), START_LIMIT_S)

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
            for process in (self._daemon, self._world):
                if process is not None:
                    process.stop()
        finally:
            for pid in _processes_of(self._world_temporary):
                _kill(pid)
            self._http.close()

    @property
    def daemon(self) -> ServerProcess:
        assert self._daemon is not None, "not started"
        return self._daemon

    # -- the daemon's API

    def get(self, path: str, **parameters: Any) -> Any:
        """GET below /api/v1; the body of a success. Raise httpx.HTTPError."""
        answer = self._http.get(f"{self.daemon_url}/api/v1{path}", params=parameters, headers=self._bearer())
        return answer.raise_for_status().json()

    def post(self, path: str, body: Any = None, timeout_s: float = 10.0) -> httpx.Response:
        """POST below /api/v1, with a connection of its own: it may be called from another thread."""
        url = f"{self.daemon_url}/api/v1{path}"
        return httpx.post(url, json=body, headers=self._bearer(), timeout=timeout_s)

    def machine(self, machine: int) -> Any:
        return self.get(f"/machines/{machine}")

    def failovers(self, machine: int) -> list[Any]:
        """The newest first."""
        found: list[Any] = self.get("/failovers", machine_id=machine)["failovers"]
        return found

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
        self.sim("POST", f"/hosts/{self.instance(number)['host']}/kill")
        return number

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
        for log in (self.folder / "daemon.log", self.folder / "world.log"):
            if log.exists():
                lines += [f"the end of {log}:", *log.read_text(errors="replace").splitlines()[-TAIL_LINES:]]
        return "\n".join(lines)

    # -- parts

    def _has_machines(self) -> bool:
        try:
            return len(self.world()["instances"]) == self.machines
        except httpx.TransportError:
            return False

    def _is_ok(self, url: str) -> bool:
        try:
            return self._http.get(url).status_code == 200
        except httpx.TransportError:
            return False

    def _settings(self) -> dict[str, Any]:
        """As in examples/kafka.yaml."""
        rows = {row["label"]: row["id"] for row in self.world()["instances"]}
        names = [(number, f"machine-{number}") for number in range(1, self.machines + 1)]
        return {
            "state_dir": str(self.folder / "state"),
            "speed": self.speed,
            "http": {"port": int(self.daemon_url.rpartition(":")[2])},
            "kafka": {"bootstrap": self.bootstrap},
            "vast": {"url": self.world_url, "api_key": "any"},
            "agent": {"kafka": self.bootstrap},
            "machines": [{"id": number, "name": name, "gpu_instance_id": rows[name]} for number, name in names],
        }

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {(self.folder / 'state' / 'token').read_text().strip()}"}


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
