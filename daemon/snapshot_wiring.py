"""Snapshots as the settings want them: the store, and what keeps it. Client libraries are imported where they are used."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import msgspec
from pydantic import SecretStr

from adapters.restic import ResticSettings, ResticSnapshots
from adapters.sql.executor import Store
from daemon.loop import Loop
from daemon.settings import Snapshots
from daemon.snapshot_grants import lineage_of
from daemon.snapshot_keeping import SnapshotKeeping, SnapshotRules
from daemon.snapshot_places import objects_at
from daemon.snapshot_watch import SnapshotWatch
from daemon.snapshot_ways import ConfiguredWays, OwnKeyWays, Ways
from machines.model import MachineId
from machines.ports import Clock, ObjectStore, Shell
from machines.snapshots import Lineage, Place


@dataclass(frozen=True, slots=True)
class RealSnapshots:
    """What a daemon has where its snapshots are not the simulated world's."""

    store: ResticSnapshots
    ways: Ways
    keeping: Callable[[Loop, Shell], SnapshotKeeping]
    watch: Callable[[Loop], SnapshotWatch]


def real_snapshots(
    settings: Snapshots, store: Store, shell: Shell, clock: Clock, deployment: str
) -> RealSnapshots | None:
    """None where the simulated world keeps them."""
    if settings.kind == "world":
        return None
    objects, ways = objects_and_ways(settings, clock, deployment)

    async def lineage(machine: MachineId) -> Lineage:
        return await store.transact(lambda tx: lineage_of(tx, machine))

    rules = SnapshotRules(settings.every_s, settings.limit_s, settings.keep, settings.install, settings.delete_after_s)
    snapshots = ResticSnapshots(objects, shell, ways, lineage, ResticSettings(settings.install))
    return RealSnapshots(
        snapshots,
        ways,
        lambda loop, shell: SnapshotKeeping(store, loop, shell, objects, ways, rules, clock),
        lambda loop: SnapshotWatch(store, loop, snapshots, rules, clock),
    )


def objects_and_ways(settings: Snapshots, clock: Clock, deployment: str) -> tuple[ObjectStore, Ways]:
    place, password = _place(settings), _secret(settings.password)
    if settings.kind != "b2":
        read = place
        if settings.read_access_key_id is not None:
            secret = _secret(settings.read_secret_access_key)
            read = msgspec.structs.replace(place, key_id=settings.read_access_key_id, secret=secret)
        return objects_at(place, clock), ConfiguredWays(place, read, password)
    from adapters.b2 import B2Objects, B2Place

    where = B2Place(place.bucket, place.key_id, place.secret, place.prefix, settings.realm or "production")
    objects = B2Objects(where, clock)
    bare = msgspec.structs.replace(place, key_id="", secret="")
    return objects, OwnKeyWays(objects, bare, password, deployment, clock)


def _place(settings: Snapshots) -> Place:
    prefix = f"{settings.prefix}/" if settings.prefix else ""
    if settings.kind == "path":
        return Place(kind="path", prefix=prefix, folder=str(settings.folder))
    return Place(
        kind="s3",
        prefix=prefix,
        bucket=settings.bucket or "",
        endpoint=settings.endpoint,
        region=settings.region,
        path_style=settings.path_style,
        key_id=settings.access_key_id or "",
        secret=_secret(settings.secret_access_key),
    )


def _secret(value: SecretStr | None) -> str:
    return value.get_secret_value() if value is not None else ""
