"""The daemon with a provider of CPU VMs: over Google's client and HTTP, from the request to the answer of readiness."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from daemon.compose import compose
from daemon.settings import Gce, Http, Settings, Vast
from tests.cpu_clouds import SPEED, A, B, Served, served

TOKEN = "fa_a_token_for_a_test"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}


@asynccontextmanager
async def daemon_on(there: Served, folder: Path) -> AsyncIterator[httpx.AsyncClient]:
    """A whole daemon in this process, asked over its HTTP API."""
    settings = Settings(
        state_dir=folder,
        speed=SPEED,
        vast=Vast(url=there.url, api_key=SecretStr("any")),
        http=Http(port=0, token=TOKEN),
        gce=Gce(project="proj-1", zones=[A, B], endpoint=there.url),
    )
    daemon = await compose(settings, there.clock)
    task = asyncio.create_task(daemon.run())
    try:
        await daemon.api.started()
        async with httpx.AsyncClient(base_url=f"{daemon.api.url}/api/v1", headers=HEADERS, timeout=20) as http:
            yield http
    finally:
        task.cancel()
        await asyncio.wait([task])


async def until(what: str, look: Callable[[], Awaitable[Any]]) -> Any:
    async with asyncio.timeout(30):
        while True:
            found = await look()
            if found:
                return found
            await asyncio.sleep(0.1)
    raise AssertionError(what)


async def test_a_machine_is_ready_with_its_vm_and_says_what_mends_it_without(tmp_path: Path) -> None:
    async with served() as there, daemon_on(there, tmp_path) as http, httpx.AsyncClient(base_url=there.url) as world:
        there.server.world.compute.exhausted[A] = "ZONE_RESOURCE_POOL_EXHAUSTED"
        loaded = await world.post("/sim/instances", json={"env": {"FAILOVERD_MACHINE_ID": "1"}})
        instance = loaded.json()["instances"][0]["id"]

        async def ready() -> Any:
            return (await http.get("/failover/readiness/1", params={"refresh": "true"})).json()

        put = await http.put("/machines/1", json={"gpu_instance_id": instance, "auto_failover": "observe"})
        assert put.status_code == 201, put.text
        assert put.json()["cpu_standby"] is None
        lacking = await ready()
        assert (lacking["cpu_standby_ready"], lacking["cpu_standby_status"]["association_exists"]) == (False, False)
        assert lacking["cpu_standby_status"]["why"] == "it has no CPU VM"
        assert 'PUT /api/v1/machines/1 {"cpu_standby": {}}' in lacking["recommended_action"]

        wished = await http.put("/machines/1", json={"cpu_standby": {}})
        assert wished.json()["cpu_standby"]["vm"] is None
        assert (await ready())["cpu_standby_status"]["why"] == "its CPU VM is being made"

        async def made() -> Any:
            found = (await http.get("/machines/1")).json()["cpu_standby"]["vm"]
            return found if found and (await ready())["cpu_standby_ready"] else None

        vm = await until("its VM", made)
        assert vm["zone"] == B
        found = await ready()
        assert (found["overall_ready"], found["recommended_action"]) == (True, None)
        assert found["cpu_standby_status"]["cpu_vm_running"]
        status = (await http.get("/failover/status/1")).json()
        assert (status["cpu_standby"]["gcp_zone"], status["cpu_standby"]["state"]) == (B, "active")

        there.server.world.advance(there.clock.now())
        [truth] = (await world.get("/sim/world")).json()["vms"]
        assert (str(truth["id"]), truth["label"]) == (vm["id"], vm["name"])
        await world.post(f"/sim/vms/{B}/{vm['name']}/preempt")
        stopped = await ready()
        assert (stopped["cpu_standby_ready"], stopped["cpu_standby_status"]["cpu_vm_running"]) == (True, False)

        async def running() -> bool:
            return bool((await ready())["cpu_standby_status"]["cpu_vm_running"])

        await until("it is started again", running)

        await http.delete("/machines/1")

        async def nothing() -> bool:
            return not (await world.get("/sim/world")).json()["vms"]

        await until("it is deleted", nothing)
