"""The official Vast CLI against the simulated world: `python -m tests.vast_cli.check`, exit code 0 or 1.

The CLI's exit codes say nothing (facts/vast-api.md 15), so every operation is judged by the world's own truth. It lives
in an environment of its own, made from the hash-pinned lock beside this file.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx

from adapters.sim.instances import Instance
from adapters.sim.server import SimServer, SimSettings
from adapters.system_clock import SystemClock

HERE = Path(__file__).parent
LOCK = HERE / "requirements.lock"
VENV = HERE.parents[1] / ".cache" / "vastai-venv"
SPEED = 30.0
PATIENCE = 600.0
"""Simulated seconds that a state may take to come."""


class Failed(Exception):
    """The world's truth is not what the operation should have made it."""


def cli_program() -> Path:
    """The CLI in its own environment, made or renewed where the lock has changed."""
    stamp, digest = VENV / "lock.sha256", hashlib.sha256(LOCK.read_bytes()).hexdigest()
    if not stamp.exists() or stamp.read_text() != digest:
        venv.create(VENV, with_pip=True, clear=True)
        pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--require-hashes", "-r", str(LOCK)], check=True)
        stamp.write_text(digest)
    return VENV / "bin" / "vastai"


class Cli:
    """Runs the CLI against one world, with a home of its own."""

    def __init__(self, program: Path, url: str, home: Path) -> None:
        self._program = program
        places = {name: str(home) for name in ("HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME")}
        self._env = {"PATH": os.environ["PATH"], "VAST_URL": url, "VASTAI_NO_UPDATE_CHECK": "1", **places}

    async def __call__(self, *words: str) -> str:
        """Return what it printed; raise Failed where it crashed or complained."""
        child = await asyncio.create_subprocess_exec(
            str(self._program), *words, "--api-key", "check",
            env=self._env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = (text.decode() for text in await child.communicate())
        if child.returncode != 0 or "Traceback" in err or '"error": true' in err:
            raise Failed(f"vastai {' '.join(words)}: exit {child.returncode}\n{out}{err}")
        return out

    async def rows(self, *words: str) -> Any:
        return json.loads(await self(*words, "--raw"))


def expect(is_true: bool, what: str) -> None:
    if not is_true:
        raise Failed(what)


class Check:
    """The operations in their order; each leaves what the next one needs."""

    def __init__(self, cli: Cli, sim: SimServer, clock: SystemClock) -> None:
        self._cli, self._sim, self._world, self._clock = cli, sim, sim.world, clock
        self._offer: dict[str, Any] = {}
        self._id = self._volume_id = 0

    @property
    def _instance(self) -> Instance:
        return self._world.instances[self._id]

    async def _until(self, what: str, is_so: Callable[[], bool]) -> None:
        deadline = self._clock.monotonic() + PATIENCE
        while not is_so():
            if self._clock.monotonic() > deadline:
                raise Failed(f"not within {PATIENCE:.0f} simulated seconds: {what}")
            await self._clock.sleep(1.0)

    def operations(self) -> tuple[tuple[str, Callable[[], Awaitable[None]]], ...]:
        return (
            ("search offers", self.search_offers),
            ("create instance", self.create_instance),
            ("show instances", self.show_instances),
            ("show instance", self.show_instance),
            ("stop instance", self.stop_instance),
            ("start instance", self.start_instance),
            ("label instance", self.label_instance),
            ("reboot instance", self.reboot_instance),
            ("ssh-url", self.ssh_url),
            ("logs", self.logs),
            ("recycle instance", self.recycle_instance),
            ("destroy instance", self.destroy_instance),
            ("create interruptible instance", self.create_interruptible),
            ("change bid", self.change_bid),
            ("search volumes", self.search_volumes),
            ("create volume", self.create_volume),
            ("show volumes", self.show_volumes),
            ("create instance with volume", self.create_with_volume),
            ("delete volume in use", self.delete_volume_in_use),
            ("delete volume", self.delete_volume),
            ("list all pages", self.list_all_pages),
            ("show user", self.show_user),
        )

    async def search_offers(self) -> None:
        words = "gpu_name=RTX_4090 num_gpus=1 dph_total<=0.9 reliability>0.9 verified=any"
        offers = await self._cli.rows("search", "offers", words, "-o", "dph_total")
        expect(bool(offers) and all(offer["gpu_name"] == "RTX 4090" for offer in offers), f"{len(offers)} offers")
        expect(all(offer["id"] in self._world.market.asks for offer in offers), "offers that the world does not make")
        self._offer = offers[0]

    async def _create(self, *words: str) -> dict[str, Any]:
        made: dict[str, Any] = await self._cli.rows(
            "create", "instance", str(self._offer["id"]), "--image", "pytorch/pytorch:latest", "--disk", "32", *words
        )
        expect(made["success"], f"refused: {made}")
        self._id = made["new_contract"]
        return made

    async def create_instance(self) -> None:
        env = "-e A=1 -e B=two -p 8000:8000 -h web1"
        await self._create("--ssh", "--direct", "--label", "fo-web", "--env", env, "--onstart-cmd", "echo hi")
        expect(self._instance.label == "fo-web" and self._instance.env["B"] == "two", "label or env was lost")
        await self._until("running", lambda: self._instance.ssh_open)

    async def show_instances(self) -> None:
        rows = await self._cli.rows("show", "instances")
        expect([row["id"] for row in rows] == sorted(self._world.instances), f"{rows}")
        await self._cli("show", "instances")

    async def show_instance(self) -> None:
        row = await self._cli.rows("show", "instance", str(self._id))
        expect(row["actual_status"] == "running" and row["label"] == "fo-web", f"{row}")

    async def stop_instance(self) -> None:
        await self._cli("stop", "instance", str(self._id))
        expect(self._instance.intended == "stopped", "stop was not meant")
        await self._until("exited", lambda: self._instance.actual == "exited" and not self._instance.is_up)

    async def start_instance(self) -> None:
        await self._cli("start", "instance", str(self._id))
        await self._until("running again", lambda: self._instance.ssh_open and self._instance.starts == 2)

    async def label_instance(self) -> None:
        await self._cli("label", "instance", str(self._id), "fo-web-2")
        expect(self._instance.label == "fo-web-2", f"label is {self._instance.label}")

    async def reboot_instance(self) -> None:
        await self._cli("reboot", "instance", str(self._id))
        await self._until("rebooted", lambda: self._instance.ssh_open and self._instance.starts == 3)

    async def ssh_url(self) -> None:
        url = (await self._cli("ssh-url", str(self._id))).strip()
        expect(url == f"ssh://root@127.0.0.1:{self._instance.port}", url)

    async def logs(self) -> None:
        text = await self._cli("logs", str(self._id), "--tail", "1")
        expect("onstart: echo hi" in text, text)

    async def recycle_instance(self) -> None:
        await self._cli("recycle", "instance", str(self._id))
        await self._until("recycled", lambda: self._instance.ssh_open and self._instance.starts == 4)

    async def destroy_instance(self) -> None:
        await self._cli("destroy", "instance", str(self._id), "-y")
        expect(self._id not in self._world.instances, "it still exists")

    async def create_interruptible(self) -> None:
        await self.search_offers()
        await self._create("--bid_price", "0.30")
        expect(self._instance.bid == 0.30, "not interruptible")

    async def change_bid(self) -> None:
        await self._cli("change", "bid", str(self._id), "--price", "0.35")
        expect(self._instance.bid == 0.35, f"bid is {self._instance.bid}")
        await self.destroy_instance()

    async def search_volumes(self) -> None:
        machine_id = self._offer["machine_id"]
        offers = await self._cli.rows("search", "volumes", f"disk_space>50 machine_id={machine_id} verified=any")
        expect([offer["machine_id"] for offer in offers] == [machine_id], f"{offers}")
        self._volume_id = offers[0]["id"]

    async def create_volume(self) -> None:
        await self._cli.rows("create", "volume", str(self._volume_id), "-s", "50", "-n", "fo_vol")
        volumes = list(self._world.volumes.volumes.values())
        expect(len(volumes) == 1 and volumes[0].label == "fo_vol" and volumes[0].size_gb == 50, f"{volumes}")
        self._volume_id = volumes[0].id

    async def show_volumes(self) -> None:
        rows = await self._cli.rows("show", "volumes")
        expect([row["id"] for row in rows] == [self._volume_id], f"{rows}")

    async def create_with_volume(self) -> None:
        words = f"machine_id={self._offer['machine_id']} num_gpus=1 rented=true verified=any"
        self._offer = (await self._cli.rows("search", "offers", words))[0]
        await self._create("--ssh", "--link-volume", str(self._volume_id), "--mount-path", "/data")
        expect(self._world.volumes.volumes[self._volume_id].holders == [self._id], "not mounted")

    async def delete_volume_in_use(self) -> None:
        try:
            await self._cli.rows("delete", "volume", str(self._volume_id))
        except Failed as failed:
            expect("existing instances use that volume" in str(failed), str(failed))
        expect(self._volume_id in self._world.volumes.volumes, "deleted although in use")
        await self.destroy_instance()

    async def delete_volume(self) -> None:
        await self._until("released", lambda: not self._world.volumes.volumes[self._volume_id].holders)
        await self._cli.rows("delete", "volume", str(self._volume_id))
        expect(not self._world.volumes.volumes, "it still exists")

    async def list_all_pages(self) -> None:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(self._sim.app), base_url="http://sim") as http:
            (await http.post("/sim/instances", json={"count": 30, "label": "page-{n}"})).raise_for_status()
        rows = await self._cli.rows("show", "instances")
        expect(len(rows) == 30 and [row["id"] for row in rows] == sorted(self._world.instances), f"{len(rows)} rows")

    async def show_user(self) -> None:
        user = await self._cli.rows("show", "user")
        expect(user["credit"] < self._world.settings.credit, "nothing was billed")


async def check(program: Path) -> bool:
    """Run every operation; print one line each, and stop at the first that fails."""
    clock = SystemClock(SPEED)
    with tempfile.TemporaryDirectory() as home:
        sim = SimServer(SimSettings(seed=7), clock)
        await sim.start()
        try:
            cli = Cli(program, f"http://127.0.0.1:{await sim.listen()}", Path(home))
            for name, operation in Check(cli, sim, clock).operations():
                began = clock.monotonic()
                try:
                    await operation()
                except Failed as failed:
                    print(f"FAILED  {name}: {failed}")
                    return False
                print(f"ok      {name} ({(clock.monotonic() - began) / SPEED:.1f} s)", flush=True)
        finally:
            await sim.stop()
    return True


if __name__ == "__main__":
    sys.exit(0 if asyncio.run(check(cli_program())) else 1)
