"""Snapshots of workspaces: taken by the world's keeper at intervals, verified by a manifest, restored at a bandwidth."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from adapters.sim.core import Core, RestoreDue, SnapshotDropped, SnapshotWanted
from adapters.sim.instances import Instance
from adapters.sim.weather import DeadBoot

MACHINE_ENV = "FAILOVERD_MACHINE_ID"
WORKSPACE_ENV = "FAILOVERD_WORKSPACE"
MEGABYTE = 1_000_000


class SnapshotRefused(Exception):
    """It cannot be taken or restored now; the text says why."""


@dataclass(slots=True)
class Snapshot:
    """What a machine's workspace was. `machine_id` is the customer's machine, not the provider's host."""

    id: int
    machine_id: str
    instance_id: int
    label: str | None
    workspace: str
    taken_at: datetime
    size_bytes: int
    volume_ids: frozenset[int] = frozenset()
    """What its instance had mounted: another one on the same volume holds the same data."""
    manifest: Mapping[str, str] | None = None
    """Path to sha256; written last, so that a snapshot without one is not verified."""

    @property
    def verified(self) -> bool:
        return self.manifest is not None


@dataclass(slots=True)
class Restore:
    """A transfer of a snapshot into an instance; `rate` is bytes per simulated second."""

    snapshot_id: int
    instance_id: int
    workspace: str
    started_at: datetime
    bytes_total: int
    rate: float
    starts: int
    state: Literal["running", "done", "failed"] = "running"
    why: str | None = None

    def bytes_done(self, now: datetime) -> int:
        if self.state == "done":
            return self.bytes_total
        return min(self.bytes_total, int(self.rate * (now - self.started_at).total_seconds()))


@dataclass(slots=True)
class SnapshotKeeper:
    """Takes and keeps snapshots. What it wants done to files goes out as effects and comes back as `taken`."""

    core: Core
    instances: Mapping[int, Instance]
    has_body: bool
    """Without an embodiment nobody copies files: snapshots and restores are complete when their time has passed."""
    speaks: Callable[[int], bool] = lambda _instance_id: True
    """Whether an agent runs on the instance."""
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    restores: dict[tuple[int, int], Restore] = field(default_factory=dict)
    _next_id: int = 1

    def begin(self, now: datetime) -> None:
        """Start the rounds, one every interval."""
        self.core.after(now, self.core.settings.snapshot_interval, self._round)

    def _round(self, now: datetime) -> None:
        """One snapshot a machine: of its newest rental that speaks, so that an old one that returns spoils nothing."""
        newest: dict[str, Instance] = {}
        for instance in self.instances.values():
            machine = instance.env.get(MACHINE_ENV)
            if (
                machine is not None
                and instance.serves
                and self.speaks(instance.id)
                and self._is_heir(machine, instance)
            ):
                newest[machine] = instance
        for instance in newest.values():
            self.take(instance, now)
        self.begin(now)

    def _is_heir(self, machine: str, instance: Instance) -> bool:
        """Does the rental hold the machine's data? A candidate speaks before anything was restored to it: a snapshot
        of its empty workspace would outdate, and in time push out, the last good one."""
        before = next((one for one in self.of_machine(machine) if one.verified), None)
        if before is None or before.instance_id == instance.id:
            return True
        if before.volume_ids & _volumes_of(instance):
            return True
        return any(one.instance_id == instance.id and one.state == "done" for one in self.restores.values())

    def take(self, instance: Instance, now: datetime) -> Snapshot:
        """Begin a snapshot of a running instance. Nothing can be read from a dead host or a frozen container."""
        if not instance.serves:
            raise SnapshotRefused(f"instance {instance.id} is not running")
        low, high = self.core.settings.snapshot_gigabytes
        snapshot = Snapshot(
            id=self._next_id,
            machine_id=instance.env.get(MACHINE_ENV, ""),
            instance_id=instance.id,
            label=instance.label,
            workspace=instance.env.get(WORKSPACE_ENV, "/workspace"),
            taken_at=now,
            size_bytes=int(self.core.rng.uniform(low, high) * 1000 * MEGABYTE),
            volume_ids=_volumes_of(instance),
        )
        self._next_id += 1
        self.snapshots[snapshot.id] = snapshot
        self.core.emit(SnapshotWanted(snapshot.id))
        if not (self.has_body and instance.has_body):
            self.taken(snapshot.id, {})
        return snapshot

    def taken(self, snapshot_id: int, manifest: Mapping[str, str] | None) -> None:
        """The files are copied and their manifest is written; None means that the copy failed half-way."""
        snapshot = self.snapshots.get(snapshot_id)
        if snapshot is None:
            return
        if manifest is None:
            self._drop(snapshot)
            return
        snapshot.manifest = manifest
        kept = [one for one in self.snapshots.values() if one.machine_id == snapshot.machine_id and one.verified]
        for old in kept[: -self.core.settings.snapshots_kept]:
            if not self._is_being_restored(old):
                self._drop(old)

    def _is_being_restored(self, snapshot: Snapshot) -> bool:
        return any(one.snapshot_id == snapshot.id and one.state == "running" for one in self.restores.values())

    def _drop(self, snapshot: Snapshot) -> None:
        del self.snapshots[snapshot.id]
        self.core.emit(SnapshotDropped(snapshot.id))

    def of_machine(self, machine_id: str | None) -> list[Snapshot]:
        """The newest first; all machines where none is named."""
        found = [one for one in self.snapshots.values() if machine_id is None or one.machine_id == machine_id]
        return sorted(found, key=lambda one: (one.taken_at, one.id), reverse=True)

    def restore(self, snapshot: Snapshot, instance: Instance, workspace: str, now: datetime) -> Restore:
        """Begin or continue a restore; one that failed stays failed until the instance has started anew."""
        known = self.restores.get((snapshot.id, instance.id))
        if known is not None and (known.state != "failed" or known.starts == instance.starts):
            return self.check(known, now)
        if not (instance.serves and instance.ssh_open):
            raise SnapshotRefused(f"instance {instance.id} is not running with SSH open")
        low, high = self.core.settings.restore_megabytes_per_second
        rate = 0.0 if instance.fate is DeadBoot.NO_OUTBOUND else self.core.rng.uniform(low, high) * MEGABYTE
        restore = Restore(snapshot.id, instance.id, workspace, now, snapshot.size_bytes, rate, instance.starts)
        self.restores[snapshot.id, instance.id] = restore
        if rate > 0:
            self.core.after(now, restore.bytes_total / rate, lambda when: self._transferred(restore, when))
        return restore

    def check(self, restore: Restore, _now: datetime) -> Restore:
        """Bring a restore in line with its instance: it fails where that died, stopped or started anew."""
        instance = self.instances.get(restore.instance_id)
        if restore.state == "running" and (
            instance is None or not instance.serves or instance.starts != restore.starts
        ):
            restore.state, restore.why = "failed", "the instance ended during the restore"
        return restore

    def _transferred(self, restore: Restore, now: datetime) -> None:
        if self.check(restore, now).state == "running":
            self.core.emit(RestoreDue(restore.snapshot_id, restore.instance_id))
            if not self.has_body:
                restore.state = "done"

    def restored(self, snapshot_id: int, instance_id: int, why: str | None) -> None:
        """The files are in place, or they are not, and why."""
        restore = self.restores[snapshot_id, instance_id]
        restore.state, restore.why = ("done", None) if why is None else ("failed", why)


def _volumes_of(instance: Instance) -> frozenset[int]:
    return frozenset(mount.volume_id for mount in instance.mounts)
