"""The rows of regional volumes: found by each of their ids, and following the machine that lies on them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from adapters.sql import SqlStore
from adapters.sql.tx import Tx
from machines.model import HostId, MachineId, VolumeId, VolumeMount
from machines.volumes import FORMER_HANDLES, RegionalVolume, VolumeStatus

T0 = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
MACHINE = MachineId(7)
MAIN, COPY = VolumeId(881), VolumeId(990)


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def volume(number: int | None, **more: object) -> RegionalVolume:
    one = RegionalVolume(0, "US", 50, VolumeStatus.AVAILABLE, T0, volume=None if number is None else VolumeId(number))
    return replace(one, **more)  # type: ignore[arg-type]


def both(tx: Tx) -> tuple[RegionalVolume, RegionalVolume]:
    """A regional volume that a machine lies on, and its copy."""
    main = tx.insert_volume(volume(MAIN, handle=MAIN, name="mine", machine=MACHINE, host=HostId(1)))
    copy = tx.insert_volume(volume(COPY, replica_of=main.number, copied_from=MAIN, copied_at=T0, host=HostId(2)))
    return main, copy


def test_a_volume_is_found_by_each_of_its_ids(store: SqlStore) -> None:
    main, copy = store.transact(both)
    with store.transaction() as tx:
        assert tx.regional_volumes() == [main, copy]
        assert tx.regional_volume(MAIN) == tx.row_of_volume(MAIN) == tx.volume_row(main.number) == main
        assert tx.regional_volume(COPY) is None, "a copy is known by its volume alone"
        assert tx.replicas_of(main.number) == [copy]
        assert tx.drop_volume(COPY)
        assert not tx.drop_volume(COPY)
        assert tx.drop_volume_row(main.number)
        assert tx.regional_volumes() == []
        assert not tx.save_volume(main)


def test_a_machine_that_goes_on_with_the_copy_takes_name_and_id_along(store: SqlStore) -> None:
    main, copy = store.transact(both)
    before, after = VolumeMount(MAIN, "/workspace"), VolumeMount(COPY, "/workspace")
    store.transact(lambda tx: tx.follow_volume(MACHINE, before, after, {MAIN}))
    with store.transaction() as tx:
        now, left = tx.volume_row(copy.number), tx.volume_row(main.number)
        assert now is not None
        assert left is not None
        assert (now.handle, now.name, now.machine, now.replica_of) == (MAIN, "mine", MACHINE, None)
        assert (left.handle, left.machine, left.status) == (None, None, VolumeStatus.DELETING)
        assert tx.regional_volume(MAIN) == now


def test_the_former_volume_that_nobody_owes_its_deletion_is_kept_under_an_id_of_its_own(store: SqlStore) -> None:
    main, copy = store.transact(both)
    store.transact(lambda tx: tx.follow_volume(MACHINE, VolumeMount(MAIN, "/w"), VolumeMount(COPY, "/w")))
    with store.transaction() as tx:
        kept = replace(main, handle=VolumeId(FORMER_HANDLES + main.number), machine=None)
        assert tx.volume_row(main.number) == tx.regional_volume(kept.handle or MAIN) == kept
        assert tx.row_of_volume(COPY) == tx.regional_volume(MAIN)
        assert tx.replicas_of(copy.number) == []


def test_volumes_that_are_owed_their_deletion_say_so_wherever_the_machine_went(store: SqlStore) -> None:
    store.transact(both)
    store.transact(lambda tx: tx.follow_volume(MACHINE, VolumeMount(MAIN, "/w"), None, {MAIN, COPY}))
    with store.transaction() as tx:
        assert [row.status for row in tx.regional_volumes()] == [VolumeStatus.DELETING] * 2


def test_a_machine_that_leaves_its_volume_leaves_the_row_without_one(store: SqlStore) -> None:
    main, _ = store.transact(both)
    store.transact(lambda tx: tx.follow_volume(MACHINE, VolumeMount(MAIN, "/workspace"), None))
    with store.transaction() as tx:
        assert tx.volume_row(main.number) == replace(main, machine=None)
        tx.follow_volume(MACHINE, None, VolumeMount(MAIN, "/data"))
        assert tx.volume_row(main.number) == main
        tx.follow_volume(MACHINE, None, VolumeMount(VolumeId(5), "/data"))  # One that nobody entered.


def test_two_rows_never_name_one_volume(store: SqlStore) -> None:
    store.transact(both)
    for twin in (volume(MAIN), volume(None, handle=MAIN)):
        with pytest.raises(Exception, match=r"(?i)unique"), store.transaction() as tx:
            tx.insert_volume(twin)
    with store.transaction() as tx:
        for _ in range(2):
            tx.insert_volume(volume(None))
