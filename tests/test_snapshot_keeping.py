"""Who is told to take a machine's snapshots, which keys are given out, and that every one of them is taken back."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from pydantic import SecretStr

from adapters.b2 import B2Key, B2Objects, B2Place
from adapters.folder import FolderObjects
from adapters.restic import ResticSettings, ResticSnapshots
from adapters.sql.records import SnapshotGrant
from adapters.system_clock import SystemClock
from daemon.settings import Snapshots
from daemon.snapshot_grants import late_alert, lineage_of, raise_alert_of
from daemon.snapshot_keeping import SnapshotKeeping, SnapshotRules
from daemon.snapshot_watch import SnapshotWatch
from daemon.snapshot_ways import ConfiguredWays, OwnKeyWays
from daemon.snapshot_wiring import real_snapshots
from daemon.sweep import Sweep
from machines.errors import NotYet
from machines.model import DebtKind, Endpoint, InstanceId, Machine, MachineId, Setting, Snapshot
from machines.ports import AccessKeys, ObjectStore, StoredObject
from machines.snapshots import (
    Drawer,
    Head,
    Lineage,
    Order,
    Place,
    SnapshotId,
    pack_fence,
    pack_head,
    unpack_fence,
    unpack_order,
)
from tests.servers.b2 import BUCKET, B2Server, b2_server
from tests.servers.process import free_port
from tests.servers.sandbox import SandboxMachine, sandbox_machine
from tests.test_api_machines import PATH
from tests.test_api_stage import BEGIN, Stage, StillClock, instance, stage

NUMBER, PRIMARY, HEIR = MachineId(123), 456789, 789012


@pytest.fixture(scope="module")
def b2() -> Iterator[B2Server]:
    with b2_server() as server:
        yield server


@dataclass
class Kept:
    stage: Stage
    b2: B2Server
    machine: SandboxMachine
    objects: B2Objects
    ways: OwnKeyWays
    keeping: SnapshotKeeping

    async def register(self, **changes: object) -> Machine:
        fresh = await self.stage.machine()
        return await self.change(fresh, ssh=self.machine.endpoint, **changes)

    async def change(self, machine: Machine, **changes: object) -> Machine:
        changed = replace(machine, **changes)  # type: ignore[arg-type]
        saved = await self.stage.store.transact(lambda tx: tx.save_machine(changed))
        self.stage.loop.follow(saved)
        return saved

    @property
    def order(self) -> Order | None:
        file = self.machine.root / ".failoverd" / "snapshots.json"
        return unpack_order(file.read_bytes()) if file.exists() else None

    async def grant(self) -> SnapshotGrant | None:
        return await self.stage.store.transact(lambda tx: tx.snapshot_grant(NUMBER))

    async def owed_keys(self) -> list[str | None]:
        debts = await self.stage.store.transact(lambda tx: tx.open_debts())
        return [debt.key for debt in debts if debt.kind is DebtKind.REVOKE_KEY]

    async def fence(self) -> int | None:
        body = await self.objects.get(Drawer(NUMBER).fence)
        return None if body is None else unpack_fence(body)

    async def alerts(self) -> list[str]:
        return [alert.text for alert in await self.stage.store.transact(lambda tx: tx.open_alerts())]

    async def newest(self) -> str | None:
        async def lineage(machine: MachineId) -> Lineage:
            return await self.stage.store.transact(lambda tx: lineage_of(tx, machine))

        store = ResticSnapshots(self.objects, self.machine.shell, self.ways, lineage, ResticSettings(""))
        found = await store.newest(NUMBER, self.stage.clock.now())
        return found.id if found is not None else None

    def sweep(self, keys: AccessKeys | None = None) -> Sweep:
        unused: Any = None
        parts: Any = (
            self.stage.store,
            self.stage.loop,
            unused,
            unused,
            unused,
            unused,
            self.stage.clock,
            unused,
            unused,
        )
        return Sweep(*parts, keys=keys or self.ways)

    @property
    def keys(self) -> set[str]:
        return set(self.b2.simulator.key_id_to_key) - {self.b2.key_id}


@asynccontextmanager
async def kept(b2: B2Server, tmp_path: Path, delete_after_s: float | None = None) -> AsyncIterator[Kept]:
    prefix, clock = f"{uuid4().hex}/", SystemClock()
    rules = SnapshotRules(3600.0, 7200.0, 24, "", delete_after_s)
    async with stage() as s, sandbox_machine(tmp_path / "machine") as machine:
        objects = B2Objects(B2Place(BUCKET, b2.key_id, b2.key, prefix, b2.url), clock)
        place = Place(kind="s3", bucket=BUCKET, prefix=prefix)
        ways = OwnKeyWays(objects, place, "secret", f"fo-{prefix[:6]}", clock)
        keeping = SnapshotKeeping(s.store, s.loop, machine.shell, objects, ways, rules, s.clock)
        yield Kept(s, b2, machine, objects, ways, keeping)


async def test_the_primary_is_told_once_and_given_a_key_of_its_own(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        before = k.keys
        await k.keeping.keep()
        order = k.order
        assert order is not None
        assert (order.machine, order.instance, order.fence, order.place.endpoint) == (NUMBER, PRIMARY, 0, b2.url)
        [key] = k.keys - before
        assert order.place.key_id == key
        assert order.password != "secret"
        grant = await k.grant()
        assert grant is not None
        assert (grant.instance, grant.fence, grant.key, grant.granted_at) == (PRIMARY, 0, key, BEGIN)
        assert (k.machine.root / ".failoverd" / "snapshots.workspace").read_text() == "/workspace"
        await k.keeping.keep()
        assert k.keys - before == {key}
        assert await k.fence() == 0


@pytest.mark.parametrize("changes", [{"setting": Setting.WARM_POOL}, {"primary": None}], ids=str)
async def test_a_machine_that_needs_no_snapshots_is_told_nothing(
    b2: B2Server, tmp_path: Path, changes: dict[str, object]
) -> None:
    async with kept(b2, tmp_path) as k:
        before = k.keys
        await k.register(**changes)
        await k.keeping.keep()
        assert (k.order, await k.grant(), k.keys) == (None, None, before)


async def test_a_rising_fence_owes_the_keys_end_in_the_same_transaction(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        await k.keeping.keep()
        grant = await k.grant()
        assert grant is not None
        asking = await k.stage.begin()
        assert (await k.stage.stored()).fence == 1
        assert await k.owed_keys() == [grant.key]
        after = await k.grant()
        assert after is not None
        assert after.key is None
        await k.keeping.keep()
        assert await k.fence() == 1
        assert await k.owed_keys() == [grant.key], "no key is given out while a failover runs"
        await k.sweep().pay_debts()
        assert grant.key not in k.keys
        assert await k.owed_keys() == []
        await k.stage.win()
        await asking


async def test_a_key_of_a_store_that_is_configured_no_more_is_never_called_revoked(
    b2: B2Server, tmp_path: Path
) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        await k.keeping.keep()
        asking = await k.stage.begin()
        place = Place(kind="path", folder="/mnt")
        sweep = k.sweep(ConfiguredWays(place, place, "secret"))
        for _ in range(10):
            await sweep.pay_debts()
            await k.stage.clock.advance(60)
        assert len(await k.owed_keys()) == 1
        assert [text for text in await k.alerts() if "delete it there by hand" in text]
        await k.stage.win()
        await asking


async def test_a_primary_that_was_kept_is_given_a_new_key_under_the_new_fence(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        await k.keeping.keep()
        first = k.order
        asking = await k.stage.begin()
        await k.stage.lose("no_offer_matches")
        await asking
        machine = await k.stage.stored()
        await k.change(machine, state=type(machine.state).HEALTHY)
        await k.keeping.keep()
        second = k.order
        assert first is not None
        assert second is not None
        assert (second.instance, second.fence) == (PRIMARY, machine.fence)
        assert second.place.key_id != first.place.key_id


async def test_after_a_hand_over_only_the_past_of_the_old_instance_counts(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        await k.keeping.keep()
        lineage = await k.stage.store.transact(lambda tx: lineage_of(tx, NUMBER))
        assert (lineage.primary, lineage.until) == (PRIMARY, BEGIN)
        asking = await k.stage.begin()
        await k.stage.win(new=HEIR)
        await asking
        lineage = await k.stage.store.transact(lambda tx: lineage_of(tx, NUMBER))
        assert lineage.primary == HEIR
        assert lineage.until is not None
        assert (BEGIN - lineage.until).total_seconds() == 300.0, "the age of what it was restored from"


async def test_a_machine_that_cannot_be_told_is_told_of(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        machine = await k.register()
        await k.change(machine, ssh=Endpoint("127.0.0.1", free_port()))
        for _ in range(3):
            await k.keeping.keep()
            await k.stage.clock.advance(700)
        assert [text for text in await k.alerts() if "cannot be told to take snapshots" in text]
        await k.change(await k.stage.stored(), ssh=k.machine.endpoint)
        await k.keeping.keep()
        assert k.order is not None
        assert await k.alerts() == []
        given = {name for name in k.keys if k.b2.simulator.key_id_to_key[name].name.startswith("fo-")}
        grant = await k.grant()
        assert grant is not None
        owed = await k.owed_keys()
        mine = {
            key
            for key in given
            if k.b2.simulator.key_id_to_key[key].name_prefix_or_none == k.objects._place.prefix + "m123/"
        }
        assert mine - set(owed) == {grant.key}, "every key that may be out there is known"


async def test_a_removed_machines_snapshots_are_told_of_and_go_only_by_the_settings(
    b2: B2Server, tmp_path: Path
) -> None:
    async with kept(b2, tmp_path, delete_after_s=1000.0) as k:
        await k.register()
        await k.keeping.keep()
        grant = await k.grant()
        assert grant is not None
        await k.objects.put("m123/repo/data/x", b"1" * 1000)
        await k.objects.put("m124/repo/data/x", b"another machine's")
        await k.stage.store.transact(lambda tx: tx.remove_machine(NUMBER))
        await k.keeping.find_leftovers()
        assert [text for text in await k.alerts() if "machine 123 was removed" in text]
        assert await k.owed_keys() == [grant.key]
        await k.stage.clock.advance(500)
        await k.keeping.find_leftovers()
        assert await k.objects.get("m123/repo/data/x") is not None
        assert await k.owed_keys() == [grant.key]
        await k.stage.clock.advance(600)
        await k.keeping.find_leftovers()
        assert await k.objects.list("m123/") == ()
        assert await k.objects.get("m124/repo/data/x") is not None
        assert (await k.grant(), await k.alerts()) == (None, [])


async def test_the_settings_of_b2_lead_to_keys_that_read_for_one_restore(b2: B2Server, tmp_path: Path) -> None:
    settings = Snapshots(
        kind="b2",
        bucket=BUCKET,
        access_key_id=b2.key_id,
        secret_access_key=SecretStr(b2.key),
        password=SecretStr("secret"),
        realm=b2.url,
    )
    async with kept(b2, tmp_path) as k:
        found = real_snapshots(settings, k.stage.store, k.machine.shell, SystemClock(), "fo-settings")
        assert found is not None
        assert await found.store.newest(NUMBER, BEGIN) is None
        first = await found.ways.to_read(NUMBER, InstanceId(HEIR))
        assert await found.ways.to_read(NUMBER, InstanceId(HEIR)) == first
        key = b2.simulator.key_id_to_key[first.place.key_id]
        assert "writeFiles" not in key.capabilities
        assert key.name_prefix_or_none == "failoverd/m123/"
        assert key.expiration_timestamp_or_none is not None
        assert (await found.ways.to_read(NUMBER, InstanceId(HEIR + 1))).place.key_id != first.place.key_id
        assert first.place.repository(Drawer(NUMBER)) == f"s3:{b2.url}/{BUCKET}/failoverd/m123/repo"


async def test_snapshots_that_stop_coming_are_told_of_until_one_comes(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        await k.keeping.keep()
        snapshots: Any = k.stage.outside
        watch = SnapshotWatch(k.stage.store, k.stage.loop, snapshots, SnapshotRules(600.0, 300.0, 3, ""), k.stage.clock)
        await watch.look()
        assert await k.alerts() == [], "it was told a moment ago"
        await k.stage.clock.advance(2200)
        await watch.look()
        assert await k.alerts() == ["machine 123 has no snapshot: on the machine, ~/.failoverd/snapshot.json says why"]
        k.stage.outside.snapshot = Snapshot("s", NUMBER, k.stage.clock.now(), 1)
        await watch.look()
        assert await k.alerts() == []
        await k.stage.clock.advance(2200)
        await watch.look()
        assert ["younger than 2200 s" in text for text in await k.alerts()] == [True]


async def test_snapshots_that_are_dated_ahead_of_our_clock_are_told_of_until_they_are_not(
    b2: B2Server, tmp_path: Path
) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        await k.keeping.keep()
        snapshots: Any = k.stage.outside
        watch = SnapshotWatch(k.stage.store, k.stage.loop, snapshots, SnapshotRules(600.0, 300.0, 3, ""), k.stage.clock)
        for ahead, is_told in ((30, False), (10_800, True), (0, False)):
            k.stage.outside.snapshot = Snapshot("s", NUMBER, k.stage.clock.now() + timedelta(seconds=ahead), 1)
            await watch.look()
            assert ["dates its snapshots 10800 s ahead" in text for text in await k.alerts()] == [True] * is_told


@pytest.mark.parametrize("age_s", [600.0, -600.0])
async def test_the_snapshot_that_a_machine_was_restored_from_counts_wherever_its_clock_stood(
    b2: B2Server, tmp_path: Path, age_s: float
) -> None:
    async with kept(b2, tmp_path) as k:
        await k.register()
        waiting = await k.stage.begin()
        chosen = SnapshotId(BEGIN - timedelta(seconds=age_s), 0, InstanceId(PRIMARY), "0" * 8)
        later = SnapshotId(chosen.taken_at + timedelta(seconds=1), 0, InstanceId(PRIMARY), "1" * 8)
        await k.objects.put(Drawer(NUMBER).head(chosen), a_head(chosen))
        await k.objects.put(Drawer(NUMBER).head(later), a_head(later))
        failover = await k.stage.win(new=HEIR, data_age_s=age_s)
        assert await k.newest() == str(chosen)
        assert (await waiting).json()["data_age_seconds"] == max(0.0, age_s)
        told = (await k.stage.http.get(f"/api/v1/failovers/{failover}")).json()
        assert (told["data_age_seconds"], told["new"]["data_age_seconds"]) == (max(0.0, age_s), max(0.0, age_s))


async def test_a_machine_that_is_registered_anew_outdates_what_the_earlier_one_left(
    b2: B2Server, tmp_path: Path
) -> None:
    async with kept(b2, tmp_path) as k:
        k.stage.outside.instances[PRIMARY] = instance(PRIMARY)
        k.stage.outside.instances[HEIR] = instance(HEIR)
        await k.register(fence=3)
        await k.keeping.keep()
        old = SnapshotId(BEGIN, 3, InstanceId(PRIMARY), "0" * 8)
        await k.objects.put(Drawer(NUMBER).head(old), a_head(old))
        assert (await k.stage.http.delete(f"{PATH}/123")).status_code == 200
        await k.stage.clock.advance(100)
        assert (await k.stage.http.put(f"{PATH}/123", json={"gpu_instance_id": HEIR})).status_code == 201
        anew = await k.change(await k.stage.stored(), ssh=k.machine.endpoint)
        assert anew.fence == 4
        await k.keeping.keep()
        assert (await k.fence(), k.order and k.order.fence) == (4, 4)
        assert await k.newest() is None
        own = SnapshotId(k.stage.clock.now(), 4, InstanceId(HEIR), "1" * 8)
        await k.objects.put(Drawer(NUMBER).head(own), a_head(own))
        assert await k.newest() == str(own)


@pytest.mark.parametrize("is_published", [True, False])
async def test_a_fence_in_the_store_is_never_lowered_and_who_stands_below_it_is_told_of(
    b2: B2Server, tmp_path: Path, is_published: bool
) -> None:
    """The database was lost, and the bucket was not."""
    async with kept(b2, tmp_path) as k:
        k.stage.outside.instances[PRIMARY] = instance(PRIMARY)
        old = SnapshotId(BEGIN, 3, InstanceId(PRIMARY), "0" * 8)
        await k.objects.put(Drawer(NUMBER).head(old), a_head(old))
        if is_published:
            await k.objects.put(Drawer(NUMBER).fence, pack_fence(3))
        await k.stage.clock.advance(100)
        before = k.keys
        assert (await k.stage.http.put(f"{PATH}/123", json={"gpu_instance_id": PRIMARY})).status_code == 201
        await k.change(await k.stage.stored(), ssh=k.machine.endpoint)
        await k.keeping.keep()
        assert (k.order, k.keys, await k.fence()) == (None, before, 3 if is_published else None)
        [told] = await k.alerts()
        assert "machine 123 takes no snapshots" in told
        assert "register it again (its fence then begins above 3)" in told
        assert await k.newest() is None
        assert (await k.stage.http.delete(f"{PATH}/123")).status_code == 200
        assert await k.alerts() == []
        await k.keeping.keep()
        assert (await k.stage.http.put(f"{PATH}/123", json={"gpu_instance_id": PRIMARY})).status_code == 201
        await k.change(await k.stage.stored(), ssh=k.machine.endpoint)
        await k.keeping.keep()
        assert (k.order and k.order.fence, await k.fence(), await k.alerts()) == (4, 4, [])
        assert await k.newest() is None


@pytest.mark.parametrize("how", ["removed", "another strategy"])
async def test_what_was_told_of_a_machines_snapshots_ends_with_them(b2: B2Server, tmp_path: Path, how: str) -> None:
    async with kept(b2, tmp_path) as k:
        machine = await k.register()
        await k.change(machine, ssh=Endpoint("127.0.0.1", free_port()))

        async def fail() -> None:
            for _ in range(3):
                await k.keeping.keep()
                await k.stage.clock.advance(700)

        await fail()
        now = k.stage.clock.now()
        await k.stage.store.transact(lambda tx: raise_alert_of(tx, NUMBER, late_alert(NUMBER), "late", now))
        assert len(await k.alerts()) == 2
        if how == "removed":
            await k.stage.http.delete(f"{PATH}/123")
        else:
            await k.stage.http.put(f"{PATH}/123", json={"strategy": "disabled"})
        assert await k.alerts() == []
        await k.stage.store.transact(lambda tx: raise_alert_of(tx, NUMBER, late_alert(NUMBER), "late", now))
        assert await k.alerts() == [], "a look that was under way tells nothing any more"


class Unsteady:
    """A store of objects that stops to answer, or lets something happen when the first object goes."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects
        self.answers = True
        self.at_first_deletion: Callable[[], Awaitable[object]] | None = None

    async def put(self, name: str, body: bytes) -> None:
        await self._objects.put(name, body)

    async def get(self, name: str) -> bytes | None:
        return await self._objects.get(name)

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        if not self.answers:
            raise NotYet("the bucket is away", timedelta(seconds=1))
        return await self._objects.list(prefix)

    async def delete(self, name: str) -> None:
        if self.at_first_deletion is not None:
            happens, self.at_first_deletion = self.at_first_deletion, None
            await happens()
        await self._objects.delete(name)


def a_folder(place: Path) -> FolderObjects:
    place.mkdir()
    return FolderObjects(place, "")


async def a_removed_machine(k: Kept, objects: ObjectStore, files: int) -> SnapshotKeeping:
    rules = SnapshotRules(3600.0, 7200.0, 24, "", 1000.0)
    keeping = SnapshotKeeping(k.stage.store, k.stage.loop, k.machine.shell, objects, k.ways, rules, k.stage.clock)
    await k.register()
    await keeping.keep()
    for number in range(files):
        await objects.put(f"m123/repo/data/{number}", b"1")
    await k.stage.store.transact(lambda tx: tx.remove_machine(NUMBER))
    await keeping.find_leftovers()
    return keeping


async def test_snapshots_of_a_machine_that_comes_back_meanwhile_are_not_all_deleted(
    b2: B2Server, tmp_path: Path
) -> None:
    async with kept(b2, tmp_path) as k:
        objects = Unsteady(a_folder(tmp_path / "objects"))
        keeping = await a_removed_machine(k, objects, 60)
        await k.stage.clock.advance(1100)
        objects.at_first_deletion = k.stage.machine
        await keeping.find_leftovers()
        assert len(await objects.list("m123/")) == 61 - 20
        assert await k.grant() is not None


async def test_what_lies_in_a_store_that_does_not_answer_is_told_as_it_was(b2: B2Server, tmp_path: Path) -> None:
    async with kept(b2, tmp_path) as k:
        objects = Unsteady(a_folder(tmp_path / "objects"))
        keeping = await a_removed_machine(k, objects, 3)
        before = await k.stage.store.transact(lambda tx: tx.lost_things())
        assert [one.machine for one in before] == [NUMBER]
        objects.answers = False
        await keeping.find_leftovers()
        assert await k.stage.store.transact(lambda tx: tx.lost_things()) == before


class CountedKeys:
    def __init__(self) -> None:
        self.made = 0

    async def s3_door(self) -> str:
        return "http://127.0.0.1"

    async def write_key(self, name: str, prefix: str) -> B2Key:
        raise AssertionError

    async def read_key(self, name: str, prefix: str, lives_s: int) -> B2Key:
        self.made += 1
        return B2Key(f"key-{self.made}", "secret")

    async def revoke(self, key: str) -> None: ...


async def test_candidates_that_race_keep_the_ways_that_they_were_given() -> None:
    keys, clock = CountedKeys(), StillClock()
    ways = OwnKeyWays(keys, Place(kind="s3", bucket=BUCKET), "secret", "fo", clock)
    first, second = [await ways.to_read(NUMBER, InstanceId(one)) for one in (1, 2)]
    assert first.place.key_id != second.place.key_id
    assert [await ways.to_read(NUMBER, InstanceId(one)) for one in (1, 2)] == [first, second]
    await clock.advance(13 * 3600)
    assert (await ways.to_read(NUMBER, InstanceId(1))).place.key_id == "key-3"
    assert len(ways._reading) == 1
    for one in range(2000):
        await ways.to_read(NUMBER, InstanceId(one))
    assert len(ways._reading) <= 1024


def a_head(one: SnapshotId) -> bytes:
    return pack_head(
        Head(
            machine=int(NUMBER),
            instance=int(one.instance),
            fence=one.fence,
            taken_at=one.taken_at,
            seconds=1.0,
            files=1,
            size_bytes=1,
            added_bytes=1,
            restic=one.restic,
            manifest_sha256="",
        )
    )
