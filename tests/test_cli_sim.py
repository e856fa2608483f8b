"""`failoverd sim --machines`: a fleet that runs at once and has something to lose."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from adapters.sim.server import SimServer, SimSettings
from adapters.system_clock import SystemClock
from daemon.cli_sim import SimOptions, load_machines


def options(**more: Any) -> SimOptions:
    return SimOptions("127.0.0.1:0", 1, 20.0, "calm", "allowed", None, 2, None, None, None, 10.0, **more)


@pytest.mark.parametrize("warm_pool", [False, True])
async def test_every_machine_has_files_of_its_own_in_a_verified_snapshot(warm_pool: bool) -> None:
    world = SimServer(SimSettings(), SystemClock(20.0))
    await world.start()
    try:
        await load_machines(world, options(warm_pool=warm_pool))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app=world.app), base_url="http://world") as http:
            manifests = [await manifest_of(http, machine) for machine in (1, 2)]
    finally:
        await world.stop()
    assert [sorted(manifest) for manifest in manifests] == [["checkpoint-1", "checkpoint-2", "checkpoint-3"]] * 2
    assert not set(manifests[0].values()) & set(manifests[1].values())


async def manifest_of(http: httpx.AsyncClient, machine: int) -> dict[str, str]:
    """Of the machine's newest verified snapshot, once that has files."""
    for _ in range(200):
        rows = (await http.get(f"/sim/snapshots?machine_id={machine}")).json()["snapshots"]
        newest = rows[0]
        if newest["verified"]:
            found: dict[str, str] = (await http.get(f"/sim/snapshots/{newest['id']}/manifest")).json()
            return found
        await asyncio.sleep(0.02)
    raise AssertionError("no snapshot was verified")
