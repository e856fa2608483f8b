"""What a snapshot's name and head say, whose it is, and how a restore is cut into parts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from types import MappingProxyType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from machines.model import InstanceId, MachineId, Registered
from machines.ports import StoredObject
from machines.snapshots import (
    DamagedSnapshot,
    Drawer,
    Head,
    Lineage,
    Manifest,
    SnapshotId,
    machine_of,
    pack_fence,
    pack_head,
    pack_manifest,
    portions,
    read_id,
    unpack_fence,
    unpack_head,
    unpack_manifest,
)

T0 = datetime(2026, 11, 28, 12, tzinfo=UTC)
times = st.timedeltas(timedelta(days=-9000), timedelta(days=9000)).map(lambda since: T0 + since)
names = st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=8)
paths = st.lists(names, min_size=1, max_size=4).map("/".join)
digests = st.text("0123456789abcdef", min_size=64, max_size=64)


def an_id(minutes: float, instance: int = 1, fence: int = 0) -> SnapshotId:
    return SnapshotId(T0 + timedelta(minutes=minutes), fence, InstanceId(instance), "0123abcd")


DRAWER = Drawer(MachineId(7))


def stored(*snapshots: SnapshotId, written: Mapping[SnapshotId, datetime] = MappingProxyType({})) -> list[StoredObject]:
    """Their heads, with when they were written where the store knows it."""
    return [StoredObject(DRAWER.head(one), 1, written.get(one)) for one in snapshots]


def a_head(snapshot: SnapshotId, manifest: bytes = b"{}") -> Head:
    return Head(
        machine=7,
        instance=snapshot.instance,
        fence=snapshot.fence,
        taken_at=snapshot.taken_at,
        seconds=1.5,
        files=1,
        size_bytes=2,
        added_bytes=3,
        restic=snapshot.restic + "f" * 56,
        manifest_sha256=hashlib.sha256(manifest).hexdigest(),
    )


@given(times, st.integers(0, 10**17), st.integers(0, 10**17))
def test_a_name_is_read_back(at: datetime, fence: int, instance: int) -> None:
    at = at.replace(microsecond=at.microsecond // 1000 * 1000)
    snapshot = SnapshotId(at, fence, InstanceId(instance), "0123abcd")
    assert read_id(str(snapshot)) == snapshot


@pytest.mark.parametrize("text", ["", "x", "20261128T120000.000Z-f1-i1-0123abc", "20261328T120000.000Z-f1-i1-0123abcd"])
def test_what_is_no_name_is_none(text: str) -> None:
    assert read_id(text) is None


def test_a_snapshot_without_a_head_is_none_and_the_newest_comes_first() -> None:
    drawer = Drawer(MachineId(7))
    older, newer, headless = an_id(1), an_id(2), an_id(3)
    listed = [drawer.head(older), drawer.head(newer), drawer.manifest(headless), drawer.manifest(older)]
    assert drawer.ids([*listed, f"{drawer.heads}notes.txt", f"{drawer.heads}x.json"]) == [newer, older]


def test_objects_say_whose_they_are() -> None:
    drawer = Drawer(MachineId(7))
    for name in (drawer.fence, drawer.head("x"), f"{drawer.repository}/config"):
        assert machine_of(name) == 7
    assert machine_of("state/m7/") is None


@given(st.dictionaries(paths, st.tuples(digests, st.integers(0, 2**50)), max_size=20))
def test_a_manifest_is_read_back_whatever_the_names_are(manifest: Manifest) -> None:
    body = pack_manifest(manifest)
    assert unpack_manifest(body, a_head(an_id(0), body)) == manifest


def test_names_that_are_no_utf_8_survive() -> None:
    manifest: Manifest = {"bad\udcff": ("0" * 64, 1)}
    body = pack_manifest(manifest)
    body.decode("ascii")
    assert unpack_manifest(body, a_head(an_id(0), body)) == manifest


def test_another_manifest_than_the_heads_is_refused() -> None:
    with pytest.raises(DamagedSnapshot):
        unpack_manifest(b'{"a": ["0", 1]}', a_head(an_id(0)))


def test_a_head_is_read_back_and_must_be_its_names() -> None:
    head = a_head(an_id(0))
    assert unpack_head(pack_head(head), an_id(0)) == head
    for body, name in ((pack_head(head), an_id(0, instance=2)), (pack_head(head)[:-2], an_id(0)), (b"", an_id(0))):
        with pytest.raises(DamagedSnapshot):
            unpack_head(body, name)


def test_a_fence_is_read_back() -> None:
    assert unpack_fence(pack_fence(3)) == 3
    with pytest.raises(DamagedSnapshot):
        unpack_fence(b"{}")


# -- whose it is


def test_what_a_replaced_instance_took_later_is_not_the_machines() -> None:
    """It came back after the host was thought dead, and went on with its work for nobody."""
    chosen, late = an_id(10, instance=1, fence=0), an_id(60, instance=1, fence=0)
    lineage = Lineage(InstanceId(2), chosen.taken_at)
    assert lineage.of([late, chosen, an_id(5)]) == [chosen, an_id(5)]
    own = an_id(30, instance=2, fence=1)
    assert lineage.of([late, chosen, own]) == [chosen, own]


def test_a_later_fence_goes_before_a_clock_that_is_ahead() -> None:
    wrong = an_id(500, instance=1, fence=0)
    own = an_id(1, instance=2, fence=1)
    assert DRAWER.newest_first(stored(wrong, own)) == [own, wrong]


def test_a_clock_that_was_ahead_and_is_right_now_makes_no_old_one_the_newest() -> None:
    wrong, right = an_id(190), an_id(20)
    there = stored(wrong, right, written={wrong: T0 + timedelta(minutes=10), right: T0 + timedelta(minutes=21)})
    assert DRAWER.newest_first(there) == [right, wrong]


def test_while_a_clock_is_ahead_the_newest_is_the_one_that_was_written_last() -> None:
    first, second = an_id(180), an_id(240)
    there = stored(first, second, written={first: T0, second: T0 + timedelta(minutes=60)})
    assert DRAWER.newest_first(there) == [second, first]


def test_a_store_that_was_copied_keeps_the_order_of_its_snapshots() -> None:
    first, second = an_id(10), an_id(20)
    there = stored(first, second, written={first: T0 + timedelta(days=9), second: T0 + timedelta(days=8)})
    assert DRAWER.newest_first(there) == [second, first]


def test_the_primarys_own_all_count() -> None:
    lineage = Lineage(InstanceId(1), T0)
    assert lineage.of([an_id(90, instance=1)]) == [an_id(90, instance=1)]


def test_nothing_counts_of_an_earlier_machine_of_the_same_id() -> None:
    at = T0 + timedelta(minutes=20)
    lineage = Lineage(InstanceId(1), None, fence=4, registered=Registered(at, 3))
    own = an_id(30, instance=1, fence=3)
    too_low, to_come = an_id(40, fence=2), an_id(50, fence=5)
    too_old = an_id(10, instance=2, fence=3)
    assert lineage.of([too_low, too_old, to_come, own]) == [own]


@pytest.mark.parametrize("fence", [3, 4])
def test_the_primarys_own_count_from_the_first_however_far_its_clock_is_behind(fence: int) -> None:
    """Also in the failover that it is for, which raised the fence."""
    behind = an_id(-300, instance=1, fence=3)
    lineage = Lineage(InstanceId(1), None, fence, Registered(T0, 3))
    assert lineage.of([behind]) == [behind]


def test_what_the_primary_was_restored_from_counts_however_far_its_clock_was_behind() -> None:
    chosen, other = an_id(-300, instance=1, fence=3), an_id(-360, instance=1, fence=3)
    lineage = Lineage(InstanceId(2), chosen.taken_at, 4, Registered(T0, 3))
    assert lineage.of([chosen, other]) == [chosen]


def test_without_a_hand_over_all_count_whoever_took_them() -> None:
    assert Lineage(None, None).of([an_id(2, instance=9), an_id(1)]) == [an_id(2, instance=9), an_id(1)]


# -- parts of a restore


def files(sizes: dict[str, int]) -> Manifest:
    return {path: ("0" * 64, size) for path, size in sizes.items()}


MB = 1_000_000


def test_a_small_restore_is_not_cut() -> None:
    assert portions(files({"a/x": MB, "b/y": MB})) == ()


def test_parts_are_of_like_size_and_cover_everything_once() -> None:
    manifest = files({f"run-{run}/step-{step}/w": 3 * MB for run in range(10) for step in range(20)})
    parts = portions(manifest)
    assert 2 <= len(parts) <= 9
    assert sum(part.size for part in parts) == 600 * MB
    covered = [path for part in parts for path in part.paths]
    for path in manifest:
        assert sum(f"/{path}".startswith(f"{above}/") or f"/{path}" == above for above in covered) == 1


def test_one_large_folder_is_cut_inside() -> None:
    manifest = files({f"all/of/it/part-{number}/w": 20 * MB for number in range(16)} | {"notes": 1})
    assert len(portions(manifest)) > 2


def test_what_lies_too_flat_is_not_cut() -> None:
    assert portions(files({f"file-{number}": MB for number in range(1000)})) == ()


def test_one_file_is_not_cut() -> None:
    assert portions(files({"model.bin": 900 * MB})) == ()
