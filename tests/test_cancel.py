"""A cancel takes hold at once, whatever the failover is at, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.demo_stage import Cast, Stage, stage
from daemon.leases import Leases
from daemon.runner import Outside, Runner
from machines.errors import NotYet
from machines.model import FailoverId, MachineId, Snapshot
from machines.policy import Policy
from machines.ports import Reach
from machines.states import State
from tests import test_api_stage
from tests.test_hold import until

SPEED = 40.0
WITHIN_REAL_S = 10.0
"""The hang lasts an hour; a busy computer takes a second or two for what otherwise takes milliseconds."""


@dataclass
class StuckShell:
    """The real shell, but for one command that never comes to its end."""

    shell: Any
    stuck_at: str
    is_stuck: bool = False

    async def reach(self, endpoint: Any) -> Reach:
        found: Reach = await self.shell.reach(endpoint)
        return found

    async def run(self, endpoint: Any, command: str, *rest: Any, **more: Any) -> Any:
        if self.stuck_at in command:
            self.is_stuck = True
            await asyncio.sleep(3600)
        return await self.shell.run(endpoint, command, *rest, **more)


@asynccontextmanager
async def playing(folder: Path, sharing: str) -> AsyncIterator[tuple[Stage, Cast, httpx.AsyncClient]]:
    """One healthy machine with a snapshot, and the daemon's API."""
    async with stage(folder, SPEED, 7, "calm", sharing, 3) as play:
        (one,) = await play.load(1)
        await play.register(one)
        token = {"Authorization": f"Bearer {play.daemon.token}"}
        async with httpx.AsyncClient(base_url=f"{play.api_url}/api/v1", headers=token) as http:

            async def ready() -> bool:
                row = (await http.get(f"/failover/readiness/{one.id}", params={"refresh": "true"})).json()
                warm = row["warm_pool_ready"] or sharing == "refused"
                return bool(warm and row["cpu_standby_ready"] and play.daemon.ingest.heard(one.instance))

            await until(play, ready)
            yield play, one, http


async def begin(http: httpx.AsyncClient, one: Cast, strategy: str) -> FailoverId:
    body = {"machine_id": int(one.id), "gpu_instance_id": int(one.instance), "ssh_host": "x", "ssh_port": 22}
    body["force_strategy"] = strategy
    answer = await http.post("/failover/execute", json=body, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    return FailoverId(answer.json()["failover_id"])


async def cancelled(play: Stage, http: httpx.AsyncClient, failover: FailoverId) -> float:
    """Real seconds from the cancel to the moment in which the failover has begun to unwind."""
    began = time.monotonic()
    assert (await http.post(f"/failovers/{failover}/cancel")).status_code == 202
    row = (await http.get(f"/failovers/{failover}")).json()
    assert row["cancel_asked"] is True

    async def unwinds() -> Any:
        found = (await http.get(f"/failovers/{failover}")).json()
        undone = [step for one in found["attempts"] for step in one["steps"] if "undo" in step["status"]]
        return found["state"] != "running" or undone or _undoing(await _marks(play, failover))

    await until(play, unwinds)
    return time.monotonic() - began


async def _marks(play: Stage, failover: FailoverId) -> list[str]:
    timeline = await play.daemon.store.transact(lambda tx: tx.timeline(failover))
    return [entry.mark.value for _, entry in timeline]


def _undoing(marks: list[str]) -> bool:
    return any(mark.startswith("und") for mark in marks)


@pytest.mark.parametrize(
    ("sharing", "strategy", "stuck_at"),
    [
        ("refused", "cpu_standby", "nvidia-smi"),
        ("refused", "cpu_standby", "sha256sum"),
        ("refused", "cpu_standby", "failoverd agent"),
        ("allowed", "warm_pool", "nvidia-smi -L"),
        ("allowed", "warm_pool", ".failoverd-machine"),
    ],
)
async def test_a_cancel_ends_a_step_that_hangs_and_everything_is_given_back(
    tmp_path: Path, sharing: str, strategy: str, stuck_at: str
) -> None:
    async with playing(tmp_path, sharing) as (play, one, http):
        before = {row["id"] for row in (await play.truth())["instances"]}
        runner = play.daemon.runner
        shell = StuckShell(runner.outside.shell, stuck_at)
        runner.outside = replace(runner.outside, shell=shell)
        failover = await begin(http, one, strategy)

        async def stuck() -> bool:
            return shell.is_stuck

        await until(play, stuck)
        assert await cancelled(play, http, failover) < WITHIN_REAL_S

        async def over() -> Any:
            found = (await http.get(f"/failovers/{failover}")).json()
            machine = (await http.get(f"/machines/{one.id}")).json()
            debts = (await http.get("/debts")).json()["count"]
            return found if found["state"] != "running" and machine["state"] == "healthy" and debts == 0 else None

        ended = await until(play, over)
        assert (ended["error"], ended["cancel_asked"]) == ("cancelled", True)
        # Whoever cancelled it knows of it.
        assert (ended["wants_a_look"], (await http.get("/fleet")).json()["unacknowledged"]) == (False, 0)
        truth = await play.truth()
        assert {row["id"] for row in truth["instances"]} == before
        assert [row["id"] for row in truth["instances"] if row["serving"]] == [one.instance]


class Busy:
    """A snapshot store that says: in an hour."""

    def __init__(self) -> None:
        self.asked = 0

    async def newest(self, machine: MachineId, now: datetime) -> Snapshot | None:
        self.asked += 1
        raise NotYet("it is being cleaned", timedelta(hours=1))


async def test_a_cancel_ends_a_wait_of_an_hour_at_once() -> None:
    """The clock stands still, so that nothing but the cancel can have ended the wait."""
    async with test_api_stage.stage() as s:
        await s.machine()
        leases = Leases(s.store, s.clock, "a")
        nothing: Any = None
        busy: Any = Busy()
        runner = Runner(s.store, s.loop, Outside(nothing, nothing, busy, nothing), Policy(), s.clock, "fo-x", leases)
        await s.begin({"Prefer": "respond-async"})
        runner.begin(MachineId(123))
        await test_api_stage.settle()
        running = (await s.stored()).failover
        assert running is not None
        assert busy.asked == 1
        answer = await s.http.post(f"/api/v1/failovers/{running.id}/cancel")
        assert answer.status_code == 202
        await test_api_stage.settle()
        row = (await s.http.get(f"/api/v1/failovers/{running.id}")).json()
        assert (row["state"], row["error"], row["cancel_asked"]) == ("failed", "cancelled", True)
        assert (await s.stored()).state is State.HEALTHY
        assert busy.asked == 1
        await runner.stop()
