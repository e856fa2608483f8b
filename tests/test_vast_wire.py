"""VastCloud over a real socket, with a clock that runs fast: time-outs stay real seconds, everything else is scaled."""

from __future__ import annotations

import time

import pytest

from adapters.sim.faults import Fault, FaultKind
from adapters.sim.server import SimServer, SimSettings
from adapters.system_clock import SystemClock, SystemRandom
from adapters.vast import VastApi, VastCloud, VastSettings, vast_client
from machines.errors import NotYet, Unknown
from machines.model import Claim, InstanceId, Label, OfferQuery, Status, Workload


async def test_a_lost_create_over_the_wire_is_adopted_and_destroyed_in_a_world_that_runs_fast() -> None:
    clock = SystemClock(speed=100.0)
    server = SimServer(SimSettings(has_bodies=False), clock)
    await server.start()
    url = f"http://127.0.0.1:{await server.listen()}"
    try:
        async with vast_client("any", url) as client:
            settings = VastSettings(timeout_s=0.5)
            cloud = VastCloud(VastApi(client, clock, SystemRandom(), settings), clock, "fo-", settings)
            offer = (await cloud.search(OfferQuery(None, 1, 32.0, 5.0, 0.5)))[0]
            claim = Claim(Label("fo-1"), offer, clock.now(), Workload())
            server.world.faults.order(Fault(FaultKind.TIMEOUT_AFTER, "create_instance", count=1), clock.now(), None)
            began = time.monotonic()
            with pytest.raises(Unknown):
                await cloud.rent(claim)
            assert 0.4 < time.monotonic() - began < 5.0
            number = None
            while number is None or (await cloud.list()).instances[number].status is not Status.RUNNING:
                number = await _patiently(cloud, clock, claim) if number is None else number
            await cloud.destroy(number)
            assert server.world.instances == {}
    finally:
        await server.stop()


async def _patiently(cloud: VastCloud, clock: SystemClock, claim: Claim) -> InstanceId | None:
    try:
        return await cloud.adopt(claim)
    except NotYet as wait:
        await clock.sleep(wait.delay.total_seconds())
        return None
