"""A fleet with real snapshots: the simulated provider with instances in the flesh, real agents, SSH, restic and a bucket.

As a command it shows the recovery at full size: `python -m tests.recovery_stage --files 20000 --megabytes 1000`.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import structlog
from pydantic import SecretStr

from adapters.sim.server import SimServer, SimSettings
from adapters.sim.settings import WorldSettings
from adapters.system_clock import SystemClock
from daemon.api.auth import beat_token
from daemon.compose import compose
from daemon.lifecycle import Daemon
from daemon.settings import Http, PolicySection, Settings, Snapshots, Vast
from daemon.snapshot_places import objects_at
from daemon.timeline import timeline
from machines.model import MachineId
from machines.ports import ObjectStore
from machines.snapshots import Drawer, Place, SnapshotId
from tests.servers import s3
from tests.servers.process import free_port
from tests.servers.s3 import Bucket
from tests.snapshot_stage import fill, tree

TOKEN = "fa_token-of-the-recovery"
SPEED = 10.0
INTERVAL_S = 10.0
MACHINE = MachineId(1)
WORLD = WorldSettings(hosts=60, snapshot_interval=1e9)
"""Its own keeper of snapshots would copy everything again and again: here it takes none."""


@dataclass(frozen=True, slots=True)
class Recovery:
    daemon: Daemon
    world: SimServer
    http: httpx.AsyncClient
    clock: SystemClock
    place: Place

    @property
    def objects(self) -> ObjectStore:
        return objects_at(self.place, self.clock)

    async def sim(self, method: str, path: str, body: Any = None) -> Any:
        answer = await self.http.request(method, f"/sim{path}", json=body)
        return answer.raise_for_status().json()

    async def instance(self, number: int) -> Any:
        rows = (await self.sim("GET", "/world"))["instances"]
        return next((row for row in rows if row["id"] == number), None)

    async def load(self, files: int, size: int) -> int:
        """A machine with work on its disk; the instance."""
        await self.daemon.has_key.wait()
        settings = self.daemon.settings
        url = f"http://{settings.http.host}:{settings.http.port}"
        body = {
            "count": 1,
            "first": int(MACHINE),
            "gpu_name": "RTX 4090",
            "label": "work",
            "env": {"FAILOVERD_MACHINE_ID": "{n}", "FAILOVERD_BEAT_TOKEN": beat_token(TOKEN, int(MACHINE))},
            "onstart": f"failoverd agent --machine-id {{n}} --interval {INTERVAL_S:g} --url {url}"
            f" --speed {SPEED:g} --detach",
        }
        [row] = (await self.sim("POST", "/instances", body))["instances"]
        number = int(row["id"])
        await asyncio.to_thread(fill, self.workspace(number), files, size)
        entry = {"gpu_instance_id": number, "strategy": "cpu_standby", "auto_failover": "on", "interval_s": INTERVAL_S}
        await self.daemon.registry.put(MACHINE, entry, "the test")
        return number

    def workspace(self, instance: int) -> Path:
        return self.world.place(instance, "/workspace")

    async def snapshots(self) -> list[SnapshotId]:
        """The newest first."""
        drawer = Drawer(MACHINE)
        return drawer.ids([found.name for found in await self.objects.list(drawer.heads)])

    async def until(self, what: str, look: Callable[[], Any], limit_s: float = 60.0) -> Any:
        """`look` may be a coroutine function; in real seconds."""
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            found = look()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return found
            await asyncio.sleep(0.1)
        raise AssertionError(f"not within {limit_s:g} s: {what}")

    async def recovered(self, limit_s: float) -> Any:
        """The record of the machine's failover once it has ended, with its journal as people see it."""

        async def ended() -> Any:
            found = await self.daemon.store.transact(lambda tx: tx.failovers(MACHINE, limit=1))
            return found[0] if found and found[0].ended_at is not None else None

        record = await self.until("the failover has ended", ended, limit_s)
        entries = await self.daemon.store.transact(lambda tx: tx.timeline(record.id))
        return timeline(record, entries)


@asynccontextmanager
async def recovery(folder: Path, bucket: Bucket, every_s: float = 600.0) -> AsyncIterator[Recovery]:
    clock = SystemClock(SPEED)
    world = SimServer(SimSettings(seed=7, folder=folder / "world", world=WORLD), clock)
    prefix = f"recovery-{folder.name}"
    snapshots = Snapshots(
        kind="s3",
        bucket=bucket.name,
        prefix=prefix,
        endpoint=bucket.endpoint,
        access_key_id=bucket.key_id,
        secret_access_key=SecretStr(bucket.secret),
        password=SecretStr("a long random text"),
        every_s=every_s,
        keep=3,
        install="",
    )
    settings = Settings(
        state_dir=folder / "daemon",
        http=Http(port=free_port(), token=SecretStr(TOKEN)),
        vast=Vast(url="http://world"),
        snapshots=snapshots,
        speed=SPEED,
        policy=PolicySection(boot_timeout_s=1200),
    )
    place = Place(
        kind="s3",
        prefix=f"{prefix}/",
        bucket=bucket.name,
        endpoint=bucket.endpoint,
        key_id=bucket.key_id,
        secret=bucket.secret,
    )
    control = httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://world")
    provider = httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://world")
    async with control:
        await world.start()
        try:
            daemon = await compose(settings, clock, provider)
            ready = asyncio.Event()
            running = asyncio.create_task(daemon.run(ready.set))
            try:
                await asyncio.wait({running, asyncio.create_task(ready.wait())}, return_when="FIRST_COMPLETED")
                yield Recovery(daemon, world, control, clock, place)
                if running.done():
                    running.result()
            finally:
                running.cancel()
                await asyncio.wait({running}, timeout=15.0)
        finally:
            await world.stop()


def progress_of(story: Any) -> list[str]:
    """What the restore told."""
    [restore] = [step for step in story["attempts"][-1]["steps"] if step["name"] == "restore"]
    return [told["why"] for told in restore["progress"]]


async def show(files: int, size: int) -> int:
    """The whole story at any size; 1 where something is not as it must be."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    with tempfile.TemporaryDirectory(prefix="snap-recovery-") as temporary:
        folder = Path(temporary)
        with s3.s3_server(folder / "s3") as bucket:
            async with recovery(folder, bucket) as stage:
                old = await stage.load(files, size)
                say(f"machine {MACHINE} is instance {old}: {files} files of {size:,} bytes and some odd ones")
                before = await asyncio.to_thread(tree, stage.workspace(old))
                await stage.until("a snapshot", stage.snapshots, 280)
                say(f"snapshot {(await stage.snapshots())[0]}")
                host = (await stage.instance(old))["host"]
                await stage.sim("POST", f"/hosts/{host}/kill")
                say(f"host {host} lost its power")
                story = await stage.recovered(280)
                for told in progress_of(story):
                    say(f"  restore: {told}")
                new = story["new_gpu_instance_id"]
                say(f"{story['state']}: instance {new}, data age {story['data_age_seconds']:.0f} simulated s")
                after = await asyncio.to_thread(tree, stage.workspace(new)) if new else {}
                say(
                    f"{sum(after.get(path) == digest for path, digest in before.items())} of {len(before)} are identical"
                )
                return 0 if before == after and progress_of(story) else 1


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--megabytes", type=int, default=1000)
    given = parser.parse_args()
    return asyncio.run(show(given.files, given.megabytes * 1_000_000 // given.files))


if __name__ == "__main__":
    sys.exit(main())
