"""`SnapshotStore` over a store of objects, and restic on the replacement."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Protocol

from adapters.restic.remote import AskJob, Door, Progress, State, check_job, is_denial, read_answer, restore_job
from machines.errors import NotYet, Refused, Unknown
from machines.model import Endpoint, InstanceId, MachineId, Snapshot
from machines.ports import ObjectStore, RestoreReport, Shell
from machines.snapshots import (
    DamagedSnapshot,
    Drawer,
    Head,
    Lineage,
    Manifest,
    Place,
    SnapshotId,
    portions,
    read_id,
    unpack_head,
    unpack_manifest,
)

_SOON, _SOONEST, _LATEST = timedelta(seconds=2), 1.0, 15.0
_MOST_FAILURES = 4
"""So often a job that ended with an error is set going again before the restore counts as failed."""
_ASK_S = 30.0
_MB = 1_000_000


@dataclass(frozen=True, slots=True)
class Way:
    """How a machine gets at its snapshots, to read them."""

    place: Place
    password: str


class Ways(Protocol):
    async def to_read(self, machine: MachineId, instance: InstanceId) -> Way:
        """For the instance that is to take the machine's place. Raise NotYet."""
        ...


@dataclass(frozen=True, slots=True)
class ResticSettings:
    install: str = ""
    """Run where restic is missing on a replacement."""


class ResticSnapshots:
    """A machine's snapshots are those that its lineage holds (machines/snapshots.py). Every call may be repeated."""

    def __init__(
        self,
        objects: ObjectStore,
        shell: Shell,
        ways: Ways,
        lineage: Callable[[MachineId], Awaitable[Lineage]],
        settings: ResticSettings,
    ) -> None:
        self._objects, self._shell, self._ways = objects, shell, ways
        self._lineage, self._settings = lineage, settings
        self._failures: dict[tuple[str, InstanceId], int] = {}
        self._manifests: dict[str, tuple[Head, Manifest]] = {}
        """Of the last few that were asked for: a restore asks again and again."""

    async def newest(self, machine: MachineId, now: datetime) -> Snapshot | None:
        """The newest of the machine's own."""
        return next(iter(await self.verified(machine, 1)), None)

    async def verified(self, machine: MachineId, limit: int) -> Sequence[Snapshot]:
        """The machine's own; one whose head cannot be read is none."""
        drawer, found = Drawer(machine), list[Snapshot]()
        there = drawer.newest_first(await self._objects.list(drawer.heads))
        for snapshot in (await self._lineage(machine)).of(there):
            if len(found) == limit:
                break
            try:
                head = await self._head(machine, snapshot)
            except Refused:
                continue
            found.append(Snapshot(str(snapshot), machine, snapshot.taken_at, head.size_bytes))
        return found

    async def check_download(
        self, snapshot: Snapshot, instance: InstanceId, endpoint: Endpoint, host_key: str | None = None
    ) -> None:
        """restic is put there, and fetches something. Our own way to the store is looked at first: where that is cut, the
        instance is not to blame."""
        await self._head(snapshot.machine, _id_of(snapshot))
        door = await self._door(snapshot.machine, instance)
        body = check_job(door, self._settings.install)
        found = await self._ask(AskJob(f"check-{snapshot.id}", "/"), endpoint, host_key, body)
        match found.state:
            case State.DONE:
                self._failures.pop((f"check-{snapshot.id}", instance), None)
                return
            case State.FAILED:
                raise self._not_fetched(snapshot, instance, found.why)
            case State.RUNNING:
                raise NotYet(f"instance {instance} is {found.phase}", _SOON)

    def _not_fetched(self, snapshot: Snapshot, instance: InstanceId, why: str) -> NotYet | Refused:
        """Where the store does not know the key, it is asked again for a while, and never the instance's fault."""
        if not is_denial(why):
            return Refused("restore_failed", f"instance {instance} cannot fetch from the store: {why}")
        key = (f"check-{snapshot.id}", instance)
        self._failures[key] = self._failures.get(key, 0) + 1
        if self._failures[key] < _MOST_FAILURES:
            return NotYet(f"the store does not let instance {instance} in: {why}", _SOON)
        del self._failures[key]
        return Refused("provider_unavailable", f"the store of snapshots refused the key of instance {instance}: {why}")

    async def restore(
        self,
        snapshot: Snapshot,
        instance: InstanceId,
        endpoint: Endpoint,
        workspace_path: str,
        host_key: str | None = None,
    ) -> RestoreReport:
        """Idempotent and resumable: what was done before a cut stays done."""
        head, manifest = await self._read(snapshot)
        door = await self._door(snapshot.machine, instance)
        body = restore_job(door, self._settings.install, head.restic, portions(manifest), head.size_bytes)
        found = await self._ask(AskJob(snapshot.id, workspace_path), endpoint, host_key, body)
        match found.state:
            case State.DONE:
                self._failures.pop((snapshot.id, instance), None)
                return RestoreReport(head.size_bytes, float(found.seconds), _speed(head.size_bytes, found.seconds))
            case State.FAILED:
                self._fail(snapshot, instance, found)
            case State.RUNNING:
                pass
        raise NotYet(*_how_far(found, head.size_bytes))

    def _fail(self, snapshot: Snapshot, instance: InstanceId, found: Progress) -> None:
        """Raise Refused where it has failed too often; else NotYet, and the next call sets it going again."""
        key = (snapshot.id, instance)
        self._failures[key] = self._failures.get(key, 0) + 1
        if self._failures[key] >= _MOST_FAILURES:
            del self._failures[key]
            raise Refused("restore_failed", f"it failed {_MOST_FAILURES} times on instance {instance}: {found.why}")
        raise NotYet(f"it goes on after a failure: {found.why}", _SOON)

    async def manifest(self, snapshot: Snapshot) -> Mapping[str, str]:
        """Path in the workspace -> SHA-256 (hex)."""
        return {path: digest for path, (digest, _) in (await self._read(snapshot))[1].items()}

    # -- parts

    async def _head(self, machine: MachineId, snapshot: SnapshotId) -> Head:
        """Raise Refused where there is none, or none that can be read."""
        body = await self._objects.get(Drawer(machine).head(snapshot))
        if body is None:
            raise Refused("no_snapshot", f"snapshot {snapshot} of machine {machine} is not there any more")
        try:
            return unpack_head(body, snapshot)
        except DamagedSnapshot as error:
            raise Refused("no_snapshot", str(error)) from error

    async def _read(self, snapshot: Snapshot) -> tuple[Head, Manifest]:
        known = self._manifests.get(snapshot.id)
        if known is not None:
            return known
        head = await self._head(snapshot.machine, _id_of(snapshot))
        body = await self._objects.get(Drawer(snapshot.machine).manifest(snapshot.id))
        if body is None:
            raise Refused("restore_failed", f"the manifest of snapshot {snapshot.id} is not there any more")
        try:
            found = head, unpack_manifest(body, head)
        except DamagedSnapshot as error:
            raise Refused("restore_failed", f"snapshot {snapshot.id}: {error}") from error
        while len(self._manifests) >= _MANIFESTS_KEPT:
            del self._manifests[next(iter(self._manifests))]
        self._manifests[snapshot.id] = found
        return found

    async def _door(self, machine: MachineId, instance: InstanceId) -> Door:
        way = await self._ways.to_read(machine, instance)
        place = way.place
        return Door(place.repository(Drawer(machine)), way.password, place.variables(), place.options())

    async def _ask(self, job: AskJob, endpoint: Endpoint, host_key: str | None, body: bytes) -> Progress:
        try:
            said = await self._shell.run(endpoint, job.line(), host_key, timeout_s=_ASK_S, stdin=body)
        except Unknown as error:
            raise NotYet(f"the connection broke; the job goes on: {error.why}", _SOON) from error
        found = read_answer(said.stdout) if said.exit_status == 0 else None
        if found is None:
            why = (
                f"the instance could not be asked (status {said.exit_status}): {said.stderr[:200] or said.stdout[:200]}"
            )
            raise NotYet(why, _SOON)
        return found


_MANIFESTS_KEPT = 4


def _id_of(snapshot: Snapshot) -> SnapshotId:
    found = read_id(snapshot.id)
    if found is None:
        raise Refused("no_snapshot", f"{snapshot.id} is no snapshot of this store")
    return found


def _how_far(found: Progress, total: int) -> tuple[str, timedelta]:
    """The words of the timeline, and when to look again."""
    if found.phase != "restoring":
        return f"{found.phase} restic", _SOON
    done = min(found.bytes_done, total)
    rate = done / max(found.seconds, 1)
    left = (total - done) / rate if rate > 0 else None
    text = f"{done / _MB:,.1f} of {total / _MB:,.1f} MB restored, {_speed(done, found.seconds)}"
    if left is None:
        return text, _SOON
    return f"{text}, {left:.0f} s left", timedelta(seconds=min(_LATEST, max(_SOONEST, left / 4)))


def _speed(size: int, seconds: float) -> str:
    return f"{size / _MB / max(seconds, 1):,.1f} MB/s"
