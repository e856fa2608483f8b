"""Snapshots by real restic in a real bucket and in a folder: what is written, in which order, and what is refused."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from adapters.restic import Backup, Restic, ResticFailed
from adapters.system_clock import SystemClock
from daemon import workspace_scan
from daemon.snapshot_places import objects_at
from daemon.snapshot_taker import Before, NotTaken, Outdated, Taken, take
from machines.errors import NotYet
from machines.ports import ObjectStore, StoredObject
from machines.snapshots import Place, SnapshotId, pack_fence, unpack_head, unpack_manifest
from tests.servers.s3 import require_restic
from tests.snapshot_stage import Keeper, an_order, content, drawer, fill, folder_place, s3_place, tree


@pytest.fixture(params=["s3", "path"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    require_restic()
    if request.param == "s3":
        return s3_place(request.getfixturevalue("s3_bucket"))
    return folder_place(tmp_path / "store")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    """In a folder, which is quicker."""
    require_restic()
    workspace = tmp_path / "workspace"
    fill(workspace, 20, 1000)
    return Keeper(an_order(folder_place(tmp_path / "store")), workspace, tmp_path)


async def names(objects: ObjectStore) -> list[str]:
    return [found.name for found in await objects.list(drawer().heads)]


async def test_a_snapshot_says_what_it_holds_and_is_what_it_says(place: Place, tmp_path: Path) -> None:
    workspace = tmp_path / "workspace"
    fill(workspace, 60, 5000)
    keeper = Keeper(an_order(place), workspace, tmp_path)
    taken = await keeper.take()
    assert taken.trouble is None
    objects = keeper.objects
    assert await names(objects) == [drawer().manifest(taken.id), drawer().head(taken.id)]
    head = unpack_head(await objects.get(drawer().head(taken.id)) or b"", taken.id)
    manifest = unpack_manifest(await objects.get(drawer().manifest(taken.id)) or b"", head)
    on_disk = {name: digest for name, digest in tree(workspace).items() if digest and not digest.startswith(b"->")}
    assert {os.fsencode(path): bytes.fromhex(digest) for path, (digest, _) in manifest.items()} == on_disk
    assert head.files == len(manifest) == 60 + 8
    assert head.size_bytes == sum(
        path.stat().st_size for path in workspace.rglob("*") if path.is_file() and not path.is_symlink()
    )
    assert (head.machine, head.instance, head.fence) == (7, 7001, 1)
    restored = tmp_path / "restored"
    await keeper.restic._say("restore", head.restic, "--target", str(restored))
    assert tree(restored) == tree(workspace)


async def test_only_so_many_are_kept_and_the_newest_among_them(keeper: Keeper) -> None:
    before = Before()
    for number in range(3):
        (keeper.workspace / "step").write_text(str(number))
        taken = await keeper.take(before)
        assert taken.trouble is None
        before = Before(files=taken.files)
    listed = drawer().ids(await names(keeper.objects))
    assert len(listed) == 2
    assert listed[0] == taken.id
    assert {one.restic for one in listed} == {one[:8] for one in await keeper.restic.snapshots()}
    assert len(await names(keeper.objects)) == 4


async def test_what_was_not_touched_is_not_read_again(keeper: Keeper, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await keeper.take()
    read: list[str] = []
    usual = workspace_scan._digest
    monkeypatch.setattr(workspace_scan, "_digest", lambda path: read.append(path) or usual(path))
    (keeper.workspace / "new").write_text("x")
    second = await keeper.take(Before(files=first.files))
    assert read == [f"{keeper.workspace}/new"]
    assert second.head.files == first.head.files + 1


class Busy(Restic):
    """While it saves, the workload goes on."""

    meanwhile: Callable[[], None] = staticmethod(lambda: None)
    after: Callable[[], None] = staticmethod(lambda: None)

    async def backup(self, workspace: Path, host: str, tags: object) -> Backup:
        self.meanwhile()
        made = await super().backup(workspace, host, tags)  # type: ignore[arg-type]
        self.after()
        return made


def busy(keeper: Keeper) -> Busy:
    place, order = keeper.order.place, keeper.order
    return Busy(place.repository(drawer()), order.password, place.variables(), place.options(), keeper.cache / "cache")


async def test_the_manifest_is_the_snapshots_truth_while_the_workload_writes(keeper: Keeper) -> None:
    restic, workspace = busy(keeper), keeper.workspace

    def before() -> None:
        (workspace / "changed").write_text("as it was saved")
        (workspace / "new").write_text("also saved")
        (workspace / "gone").unlink()

    def after() -> None:
        (workspace / "changed").write_text("later than the snapshot")
        (workspace / "too late").write_text("not in it")
        (workspace / "deleted later").unlink()

    for name in ("changed", "gone", "deleted later"):
        (workspace / name).write_text(f"{name} at first")
    restic.meanwhile, restic.after = before, after
    taken = await keeper.take(restic=restic)
    body = await keeper.objects.get(drawer().manifest(taken.id)) or b""
    manifest = unpack_manifest(body, taken.head)
    wanted = {"changed": b"as it was saved", "new": b"also saved", "deleted later": b"deleted later at first"}
    for name, text in wanted.items():
        assert manifest[name] == (hashlib.sha256(text).hexdigest(), len(text)), name
    assert "gone" not in manifest
    assert "too late" not in manifest


@pytest.mark.parametrize("state", ["missing", "empty", "only folders"])
async def test_a_workspace_without_a_file_is_never_kept(keeper: Keeper, tmp_path: Path, state: str) -> None:
    good = await keeper.take()
    hollow = Keeper(keeper.order, tmp_path / "hollow", tmp_path)
    if state != "missing":
        hollow.workspace.mkdir()
    if state == "only folders":
        (hollow.workspace / "a" / "b").mkdir(parents=True)
    with pytest.raises(NotTaken):
        await hollow.take()
    assert drawer().ids(await names(keeper.objects)) == [good.id]


async def test_a_workspace_that_was_a_mount_and_is_none_now_is_not_kept(keeper: Keeper) -> None:
    with pytest.raises(NotTaken, match="nothing is mounted"):
        await keeper.take(Before(was_mount=True))
    assert await names(keeper.objects) == []


async def test_an_instance_that_was_replaced_takes_and_removes_nothing(keeper: Keeper) -> None:
    first = await keeper.take()
    await keeper.objects.put(drawer().fence, pack_fence(2))
    held = await keeper.objects.list("")
    with pytest.raises(Outdated):
        await keeper.take()
    assert await keeper.objects.list("") == held
    heir = keeper.as_instance(7002, 2)
    second = await heir.take()
    assert drawer().ids(await names(keeper.objects)) == [second.id, first.id]


async def test_one_that_is_replaced_while_it_saves_writes_no_head(keeper: Keeper) -> None:
    restic, store = busy(keeper), Path(keeper.order.place.folder) / "all"
    restic.after = lambda: (store / drawer().fence).write_bytes(pack_fence(2))  # type: ignore[assignment, return-value]
    with pytest.raises(Outdated):
        await keeper.take(restic=restic)
    assert await names(keeper.objects) == []


class Failing:
    """A store that fails at the n-th change."""

    def __init__(self, objects: ObjectStore, at: int) -> None:
        self._objects, self.left = objects, at

    def _count(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise NotYet("the bucket is away", timedelta(seconds=1))

    async def put(self, name: str, body: bytes) -> None:
        self._count()
        await self._objects.put(name, body)

    async def get(self, name: str) -> bytes | None:
        return await self._objects.get(name)

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        return await self._objects.list(prefix)

    async def delete(self, name: str) -> None:
        self._count()
        await self._objects.delete(name)


async def test_a_failure_at_any_change_leaves_every_snapshot_that_has_a_head_whole(keeper: Keeper) -> None:
    for _ in range(2):
        await keeper.take()
    for at in range(1, 6):
        failing = Failing(keeper.objects, at)
        try:
            taken = await take(keeper.order, keeper.workspace, keeper.restic, failing, SystemClock(), Before())
            assert at > 4 or taken.trouble is not None
        except NotYet:
            assert at <= 2
        listed = drawer().ids(await names(keeper.objects))
        assert len(listed) >= 2
        there = {one[:8] for one in await keeper.restic.snapshots()}
        for one in listed:
            assert one.restic in there
            head = unpack_head(await keeper.objects.get(drawer().head(one)) or b"", one)
            unpack_manifest(await keeper.objects.get(drawer().manifest(one)) or b"", head)
    later = Skewed(timedelta(hours=25))
    taken = await take(keeper.order, keeper.workspace, keeper.restic, keeper.objects, later, Before())
    assert taken.trouble is None
    assert len(await names(keeper.objects)) == 4
    assert len(await keeper.restic.snapshots()) == 2


class Skewed(SystemClock):
    """A rented machine's clock that is wrong."""

    def __init__(self, by: timedelta) -> None:
        self.by = by
        super().__init__()

    def now(self) -> datetime:
        return super().now() + self.by


class Forgetful:
    """A store whose listing of heads lacks the names of which the test says so: it is cached, or not yet consistent."""

    def __init__(self, objects: ObjectStore, lacks: Callable[[StoredObject], bool], tells_times: bool = True) -> None:
        self._objects, self._lacks, self._tells_times = objects, lacks, tells_times

    async def put(self, name: str, body: bytes) -> None:
        await self._objects.put(name, body)

    async def get(self, name: str) -> bytes | None:
        return await self._objects.get(name)

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        found = await self._objects.list(prefix)
        if prefix != drawer().heads:
            return found
        told = (one if self._tells_times else replace(one, written_at=None) for one in found)
        return tuple(one for one in told if not self._lacks(one))

    async def delete(self, name: str) -> None:
        await self._objects.delete(name)


async def take_with(keeper: Keeper, objects: ObjectStore, by: timedelta = timedelta(0)) -> Taken:
    return await take(keeper.order, keeper.workspace, keeper.restic, objects, Skewed(by), Before())


async def whole(keeper: Keeper) -> list[SnapshotId]:
    """Those that have head, manifest and data, as the store has them."""
    listed, held = set(await names(keeper.objects)), {one[:8] for one in await keeper.restic.snapshots()}
    return [one for one in drawer().ids(listed) if drawer().manifest(one) in listed and one.restic in held]


async def test_a_listing_that_lacks_the_one_just_taken_removes_nothing(keeper: Keeper) -> None:
    earlier = [(await keeper.take()).id for _ in range(2)]
    for lacks in (lambda one: True, lambda one: str(earlier[1]) not in one.name):
        taken = await take_with(keeper, Forgetful(keeper.objects, lacks))
        assert taken.trouble == "older snapshots were not removed: the store does not list the one just taken"
        earlier.append(taken.id)
    assert await whole(keeper) == earlier[::-1]


async def test_what_a_listing_lacks_is_not_removed_however_old_it_is(keeper: Keeper) -> None:
    """Neither a snapshot whose head it does not show, nor one of which it shows only the manifest."""
    old = [(await take_with(keeper, keeper.objects, timedelta(days=-3))).id for _ in range(2)]
    unseen, half_seen = map(str, old)
    partial = Forgetful(keeper.objects, lambda one: unseen in one.name or one.name.endswith(f"{half_seen}.json"))
    taken = await take_with(keeper, partial)
    assert taken.trouble is None
    assert await whole(keeper) == [taken.id, *old[::-1]]


async def test_what_a_broken_run_left_goes_after_a_day_and_what_others_put_there_stays(keeper: Keeper) -> None:
    foreign = (await keeper.restic.init(), await keeper.restic.backup(keeper.workspace, "elsewhere", ()))[1]
    with pytest.raises(NotYet):
        await take_with(keeper, Failing(keeper.objects, 1))
    with pytest.raises(NotYet):
        await take_with(keeper, Failing(keeper.objects, 2))
    first = await keeper.take()
    assert first.trouble is None
    assert (len(await names(keeper.objects)), len(await keeper.restic.snapshots())) == (3, 4), "too young to be judged"
    second = await take_with(keeper, keeper.objects, timedelta(hours=25))
    assert await whole(keeper) == [second.id, first.id]
    assert len(await names(keeper.objects)) == 4
    assert {one[:8] for one in await keeper.restic.snapshots()} == {foreign.id[:8], first.id.restic, second.id.restic}


@pytest.mark.parametrize("tells_times", [True, False])
async def test_after_a_clock_that_was_ahead_the_newest_that_were_taken_stay(keeper: Keeper, tells_times: bool) -> None:
    store = Forgetful(keeper.objects, lambda one: False, tells_times)
    for _ in range(2):
        await take_with(keeper, store, timedelta(hours=3))
    right: list[SnapshotId] = []
    for _ in range(3):
        taken = await take_with(keeper, store)
        assert taken.trouble is None
        right.append(taken.id)
        assert taken.id in await whole(keeper)
        assert drawer().newest_first(await keeper.objects.list(drawer().heads))[0] == taken.id
    assert await whole(keeper) == right[:0:-1]


async def test_after_a_clock_that_was_set_back_the_newest_that_were_taken_stay(keeper: Keeper) -> None:
    for _ in range(2):
        await keeper.take()
    behind = [(await take_with(keeper, keeper.objects, timedelta(hours=-5))).id for _ in range(3)]
    assert await whole(keeper) == behind[:0:-1]


async def test_a_backup_that_was_killed_leaves_nothing_in_the_way(keeper: Keeper) -> None:
    await keeper.take()
    (keeper.workspace / "large").write_bytes(content("large", 30_000_000))
    await asyncio.to_thread(_kill_a_backup_of, keeper)
    for _ in range(2):
        taken = await keeper.take()
    assert taken.trouble is None
    assert len(await names(keeper.objects)) == 4


async def test_another_password_opens_nothing_and_breaks_nothing(keeper: Keeper, tmp_path: Path) -> None:
    good = await keeper.take()
    place = keeper.order.place
    stranger = Keeper(an_order(place, password="another"), keeper.workspace, tmp_path / "stranger")
    with pytest.raises(ResticFailed):
        await stranger.take()
    assert drawer().ids(await names(objects_at(place, SystemClock()))) == [good.id]


def _kill_a_backup_of(keeper: Keeper) -> None:
    locks = Path(keeper.order.place.folder) / "all" / drawer().repository / "locks"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    environment = keeper.restic._environment
    process = subprocess.Popen(["restic", "backup", "."], cwd=keeper.workspace, env=environment, **quiet)
    while not list(locks.iterdir()):
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert list(locks.iterdir()), "it left its lock"
