"""A machine whose host died is recovered from its real snapshots: every file, and nothing that its old instance does later."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from machines.model import MachineId
from machines.snapshots import Drawer, unpack_fence
from machines.states import State
from tests.recovery_stage import MACHINE, Recovery, progress_of, recovery
from tests.servers.s3 import Bucket, require_restic
from tests.snapshot_stage import tree


@pytest.fixture(autouse=True)
def _quiet(quiet_simulation: None) -> None:
    require_restic()


async def test_a_dead_hosts_machine_comes_back_with_every_file_and_its_return_changes_nothing(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    async with recovery(tmp_path, s3_bucket) as s:
        old = await s.load(2000, 50_000)
        before = await asyncio.to_thread(tree, s.workspace(old))
        await s.until("a snapshot", s.snapshots, 90)
        [chosen] = await s.snapshots()
        host = (await s.instance(old))["host"]
        await s.sim("POST", f"/hosts/{host}/kill")
        story = await s.recovered(120)
        assert story["state"] == "succeeded", _told(story)
        assert story["strategy_succeeded"] == "cpu_standby"
        new = story["new_gpu_instance_id"]
        assert new != old
        assert await asyncio.to_thread(tree, s.workspace(new)) == before
        assert any(re.search(r"of 100\.0 MB restored", told) for told in progress_of(story)), progress_of(story)
        assert story["data_age_seconds"] > 0
        await _holds_after_a_return(s, old, new, host, chosen.instance)


async def _holds_after_a_return(s: Recovery, old: int, new: int, host: int, chosen: int) -> None:
    """The old instance comes back, with its order and its key, and goes on with its work."""
    assert chosen == old
    fence = s.daemon.loop.machines()[0].fence

    async def published() -> bool:
        body = await s.objects.get(Drawer(MACHINE).fence)
        return body is not None and unpack_fence(body) == fence

    await s.until("the new fence is published", published)
    await s.sim("POST", f"/hosts/{host}/revive")
    await s.until("the new instance takes its own snapshot", lambda: _has_own(s, new), 90)
    assert {one.instance for one in await s.snapshots()} == {old, new}
    assert [one.instance for one in await s.snapshots()].count(old) == 1
    newest = await s.daemon.readiness.readiness(s.daemon.loop.machines()[0], refresh=True)
    assert newest.snapshot_age_s is not None
    machine = await s.daemon.store.transact(lambda tx: tx.machine(MACHINE))
    assert machine is not None
    assert machine.primary == new
    assert machine.state in (State.HEALTHY, State.RECOVERED)


async def _has_own(s: Recovery, instance: int) -> bool:
    return any(one.instance == instance for one in await s.snapshots())


async def test_an_agent_says_what_it_took_and_a_removed_machines_snapshots_are_told_of(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    async with recovery(tmp_path, s3_bucket) as s:
        instance = await s.load(50, 1000)
        await s.until("a snapshot", s.snapshots, 60)
        folder = s.world.place(instance, "/root") / ".failoverd"
        report = await s.until("a report", lambda: (folder / "snapshot.json").exists() and folder / "snapshot.json")
        told = json.loads(report.read_text())
        assert (told["error"], told["files"], told["instance"]) == (None, 58, instance)
        assert (folder / "snapshots.json").stat().st_mode & 0o077 == 0
        await s.daemon.registry.remove(MachineId(MACHINE))
        assert s.daemon.keeping is not None
        await s.daemon.keeping.find_leftovers()
        alerts = await s.daemon.store.transact(lambda tx: tx.open_alerts())
        assert any("was removed, and its snapshots are kept" in alert.text for alert in alerts)
        assert await s.snapshots()


def _told(story: Any) -> str:
    """The attempts as lines, for a test that failed."""
    lines = [f"{story['state']}: {story['error']} {story['error_detail']}"]
    for attempt in story["attempts"]:
        lines.append(f"{attempt['strategy']}: {attempt['code']} {attempt['why']}")
        lines += [f"  {step['name']} {step['status']} {step['error']}" for step in attempt["steps"]]
        lines += [f"  candidate {one['number']} {one['status']} {one['why']}" for one in attempt["candidates"]]
    return "\n".join(lines)
