"""Restores by real restic over real SSH, out of a bucket: what is told while they run, and what cuts them off."""

from __future__ import annotations

import asyncio
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from adapters.restic import ResticSettings, ResticSnapshots, Way
from adapters.restic.remote import AskJob, read_answer
from adapters.system_clock import SystemClock
from machines.errors import NotYet, Refused
from machines.model import InstanceId, MachineId, Snapshot
from machines.ports import RestoreReport
from machines.snapshots import Lineage
from tests.servers.s3 import Bucket, require_restic
from tests.servers.sandbox import SandboxMachine, sandbox_machine
from tests.snapshot_stage import MACHINE, Keeper, an_order, drawer, fill, s3_place, tree

OLD, NEW = InstanceId(7001), InstanceId(7002)
CLOCK = SystemClock()


@dataclass
class Stage:
    keeper: Keeper
    machine: SandboxMachine
    store: ResticSnapshots
    target: Path
    lineage: Lineage
    install: str = ""

    async def newest(self) -> Snapshot:
        found = await self.store.newest(MachineId(MACHINE), CLOCK.now())
        assert found is not None
        return found

    async def restored(self, snapshot: Snapshot, patience: int = 200) -> tuple[RestoreReport, list[str]]:
        """Asked again until it is done; what was told meanwhile."""
        told: list[str] = []
        for _ in range(patience):
            try:
                return await self.ask(snapshot), told
            except NotYet as error:
                told.append(error.why)
                await asyncio.sleep(0.2)
        raise AssertionError(f"never done: {told[-3:]}")

    async def ask(self, snapshot: Snapshot) -> RestoreReport:
        return await self.store.restore(snapshot, NEW, self.machine.endpoint, str(self.target))

    def job(self, snapshot: Snapshot) -> Path:
        return self.machine.root / ".failoverd" / "restore" / snapshot.id


class OneWay:
    def __init__(self, keeper: Keeper) -> None:
        self.keeper = keeper

    async def to_read(self, machine: MachineId, instance: InstanceId) -> Way:
        return Way(self.keeper.order.place, self.keeper.order.password)


@asynccontextmanager
async def stage(bucket: Bucket, tmp_path: Path) -> AsyncIterator[Stage]:
    require_restic()
    keeper = Keeper(an_order(s3_place(bucket)), tmp_path / "workspace", tmp_path)
    async with sandbox_machine(tmp_path / "replacement") as machine:
        lineage = Lineage(OLD, None)

        async def told(_: MachineId) -> Lineage:
            return one.lineage

        store = ResticSnapshots(keeper.objects, machine.shell, OneWay(keeper), told, ResticSettings("exit 1"))
        one = Stage(keeper, machine, store, tmp_path / "replacement" / "workspace", lineage)
        yield one


async def test_a_restore_tells_how_far_it_is_and_gives_back_every_byte(s3_bucket: Bucket, tmp_path: Path) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 400, 250_000)
        await s.keeper.take()
        snapshot = await s.newest()
        await _checked(s, snapshot)
        report, told = await s.restored(snapshot)
        assert tree(s.target) == tree(s.keeper.workspace)
        assert report.bytes_done == snapshot.size_bytes > 100_000_000
        progress = [re.fullmatch(r"([\d,.]+) of 100\.0 MB restored, [\d,.]+ MB/s(, \d+ s left)?", why) for why in told]
        assert any(progress), told
        manifest = await s.store.manifest(snapshot)
        assert len(manifest) == 408
        assert await s.ask(snapshot) == report
        secret = s.keeper.order.place.secret
        assert not any(secret.encode() in words for words in _command_lines())
        job = s.job(snapshot) / "job"
        assert job.stat().st_mode & 0o077 == 0


async def test_a_restore_whose_restic_is_killed_goes_on(s3_bucket: Bucket, tmp_path: Path) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 300, 500_000)
        await s.keeper.take()
        snapshot = await s.newest()
        kills = 0
        while not (s.target / "link").is_symlink():
            try:
                await s.ask(snapshot)
            except NotYet:
                pass
            parts = sorted(path.name for path in s.job(snapshot).glob("part.*"))
            if kills < 2 and len(parts) > kills:
                kills += await asyncio.to_thread(_kill_restic_of, s.job(snapshot))
            await asyncio.sleep(0.05)
        await s.restored(snapshot)
        assert kills == 2
        assert tree(s.target) == tree(s.keeper.workspace)


async def test_a_cut_connection_does_not_end_a_restore(s3_bucket: Bucket, tmp_path: Path) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 100, 500_000)
        await s.keeper.take()
        snapshot = await s.newest()
        with pytest.raises(NotYet):
            await s.ask(snapshot)
        s.machine.cut()
        for _ in range(600):
            if (s.job(snapshot) / "done").exists():
                break
            await asyncio.sleep(0.1)
        report, told = await s.restored(snapshot)
        assert told == []
        assert tree(s.target) == tree(s.keeper.workspace)
        assert report.seconds >= 0


async def test_a_machine_without_restic_is_told_to_install_it_and_refused_where_that_fails(
    s3_bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 5, 1000)
        await s.keeper.take()
        snapshot = await s.newest()
        bare = tmp_path / "bare"
        bare.mkdir()
        for name in ("sh", "mkdir", "cat", "mv", "date", "setsid", "grep", "sed", "tail", "rm"):
            (bare / name).symlink_to(Path("/bin") / name if (Path("/bin") / name).exists() else Path("/usr/bin") / name)
        monkeypatch.setenv("PATH", str(bare))
        with pytest.raises(Refused, match="could not be installed"):
            await _checked(s, snapshot)


async def test_a_store_that_the_machine_cannot_reach_is_the_machines_fault_and_not_the_stores(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 5, 1000)
        await s.keeper.take()
        snapshot = await s.newest()
        wrong = Keeper(an_order(s.keeper.order.place, password="wrong"), s.keeper.workspace, tmp_path)
        s.store._ways = OneWay(wrong)
        with pytest.raises(Refused, match="cannot fetch"):
            await _checked(s, snapshot)
        for _ in range(3):
            await _until_told(s, snapshot, "goes on after a failure")
        with pytest.raises(Refused, match="failed 4 times"):
            await s.restored(snapshot)


async def test_a_late_return_of_the_old_instance_is_not_restored_from(s3_bucket: Bucket, tmp_path: Path) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 5, 1000)
        chosen = await s.keeper.take()
        s.lineage = Lineage(NEW, chosen.id.taken_at)
        (s.keeper.workspace / "written by nobody").write_text("after the hand-over")
        await s.keeper.take()
        assert (await s.newest()).id == str(chosen.id)
        own = await s.keeper.as_instance(NEW, 2).take()
        assert (await s.newest()).id == str(own.id)


async def test_a_snapshot_whose_head_or_manifest_is_spoilt_is_passed_over(s3_bucket: Bucket, tmp_path: Path) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 5, 1000)
        first, second = await s.keeper.take(), await s.keeper.take()
        objects = s.keeper.objects
        await objects.put(drawer().head(second.id), b"{}")
        assert (await s.newest()).id == str(first.id)
        await objects.delete(drawer().head(second.id))
        await objects.put(drawer().manifest(first.id), b'{"x": ["0", 1]}')
        with pytest.raises(Refused, match="not the one that its head names"):
            await s.ask(await s.newest())
        assert await s.store.newest(MachineId(99), CLOCK.now()) is None


async def test_a_key_that_the_store_refuses_is_asked_for_again_and_never_the_instances_fault(
    s3_bucket: Bucket, tmp_path: Path
) -> None:
    async with stage(s3_bucket, tmp_path) as s:
        fill(s.keeper.workspace, 1, 1000)
        await s.keeper.take()
        snapshot = await s.newest()
        good = s.keeper.order
        wrong = msgspec.structs.replace(good.place, key_id="nobody")
        s.keeper.order = msgspec.structs.replace(good, place=wrong)
        with pytest.raises(Refused) as refused:
            await _checked(s, snapshot)
        assert refused.value.code == "provider_unavailable"
        with pytest.raises(NotYet):
            await s.store.check_download(snapshot, NEW, s.machine.endpoint)
        s.keeper.order = good
        await _checked(s, snapshot)


@pytest.mark.parametrize("text", ["", "running", "running 1 2", "done x 0 ready", "busy 1 2 3 x\n"])
def test_what_is_no_answer_of_ours_is_none(text: str) -> None:
    assert read_answer(text) is None


def test_the_line_carries_odd_paths() -> None:
    assert "'\"'\"'" in AskJob("id", "/it's").line()


async def _checked(s: Stage, snapshot: Snapshot) -> None:
    for _ in range(200):
        try:
            await s.store.check_download(snapshot, NEW, s.machine.endpoint)
            return
        except NotYet:
            await asyncio.sleep(0.1)
    raise AssertionError("the check never ended")


async def _until_told(s: Stage, snapshot: Snapshot, words: str) -> None:
    for _ in range(200):
        try:
            await s.ask(snapshot)
        except NotYet as error:
            if words in error.why:
                return
        await asyncio.sleep(0.1)
    raise AssertionError(f"never told: {words}")


def _kill_restic_of(job: Path) -> int:
    """1 where there was one."""
    try:
        pid = int((job / "restic").read_text())
        if b"restic" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGKILL)
            return 1
    except (OSError, ValueError):
        pass
    return 0


def _command_lines() -> list[bytes]:
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(place.read_bytes())
        except OSError:
            continue
    return found
