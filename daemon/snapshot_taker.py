"""Takes one snapshot of a workspace: backed up, checked, its manifest written, and last of all its head.

Whatever fails before the head leaves the snapshots that were there as they are. The order of the writes is the proof:
a head is only ever written for what the repository was seen to hold.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from adapters.restic import Backup, Listed, Restic, ResticFailed
from daemon.workspace_scan import Seen, look_at, scan
from machines.errors import FailoverdError
from machines.model import InstanceId
from machines.ports import Clock, ObjectStore, StoredObject
from machines.snapshots import (
    DamagedSnapshot,
    Drawer,
    Head,
    Manifest,
    Order,
    SnapshotId,
    name_begun,
    pack_head,
    pack_manifest,
    read_id,
    unpack_fence,
)

_MOST_DUMPED = 2000
"""Files that changed while they were saved are read back one by one."""
_BROKEN_AFTER_S = 86_400.0
"""What still has no head so long after it was begun gets none any more: no cache of a store lives nearly so long."""


class NotTaken(FailoverdError):
    """There is no new snapshot; the older ones are untouched. The text says why."""


class Outdated(NotTaken):
    """A newer instance is the machine: this one must leave its snapshots alone."""


Held = Mapping[str, Sequence[str]]
"""The ids of what is in the repository, each with its tags."""


@dataclass(frozen=True, slots=True)
class Before:
    """What this instance remembers of its last snapshot."""

    was_mount: bool = False
    files: dict[str, Seen] | None = None


@dataclass(frozen=True, slots=True)
class Taken:
    id: SnapshotId
    head: Head
    files: dict[str, Seen]
    trouble: str | None = None
    """What went wrong after it was there: older ones may still lie beside it."""


async def take(
    order: Order, workspace: Path, restic: Restic, objects: ObjectStore, clock: Clock, before: Before
) -> Taken:
    """Raise NotTaken, ResticFailed, or what the store of objects raises."""
    began, now = clock.monotonic(), clock.now()
    started_at = now.replace(microsecond=now.microsecond // 1000 * 1000)
    await require_fence(order, objects)
    is_mount = _require_workspace(workspace, before)
    seen = await asyncio.to_thread(scan, workspace, before.files or {})
    if not seen:
        raise NotTaken(f"{workspace} holds no file: an empty workspace is not kept, it may not be mounted")
    await _prepare(order, restic, objects)
    begun = name_begun(started_at, order.fence, order.instance)
    tags = (f"fence-{order.fence}", f"instance-{order.instance}", begun)
    backup = await restic.backup(workspace, f"m{order.machine}", tags)
    whole, listed = await restic.files(backup.id)
    manifest = await _manifest(workspace, restic, backup, listed, seen)
    await restic.check()
    body = pack_manifest(manifest)
    head = Head(
        machine=order.machine,
        instance=order.instance,
        fence=order.fence,
        taken_at=started_at,
        seconds=clock.monotonic() - began,
        files=len(manifest),
        size_bytes=sum(size for _, size in manifest.values()),
        added_bytes=backup.added_bytes,
        restic=whole,
        manifest_sha256=hashlib.sha256(body).hexdigest(),
        was_mount=is_mount,
        host=os.uname().nodename,
    )
    name = SnapshotId(started_at, order.fence, InstanceId(order.instance), whole[:8])
    await require_fence(order, objects)
    await objects.put(order.drawer.manifest(name), body)
    await objects.put(order.drawer.head(name), pack_head(head))
    return Taken(name, head, seen, await _tidy(order, name, restic, objects))


async def require_fence(order: Order, objects: ObjectStore) -> None:
    """Raise Outdated where the daemon has published a higher fence than the one that we were given."""
    body = await objects.get(order.drawer.fence)
    try:
        fence = unpack_fence(body) if body is not None else 0
    except DamagedSnapshot as error:
        raise NotTaken(str(error)) from error
    if fence > order.fence:
        raise Outdated(f"the machine's fence is {fence}, ours is {order.fence}: another instance is the machine now")


def _require_workspace(workspace: Path, before: Before) -> bool:
    """Is it a mount of its own? Raise NotTaken where it is not there, or was a mount and is none now."""
    if not workspace.is_dir():
        raise NotTaken(f"{workspace} is not there")
    is_mount = os.path.ismount(workspace)
    if before.was_mount and not is_mount:
        raise NotTaken(f"{workspace} was a mount, and nothing is mounted there now")
    return is_mount


async def _prepare(order: Order, restic: Restic, objects: ObjectStore) -> None:
    """The repository is there, and nobody dead holds it."""
    config = f"{order.drawer.repository}/config"
    if not any(found.name == config for found in await objects.list(config)):
        await restic.init()
    if await objects.list(f"{order.drawer.repository}/locks/"):
        await restic.unlock()


async def _manifest(
    workspace: Path, restic: Restic, backup: Backup, listed: Sequence[Listed], seen: dict[str, Seen]
) -> Manifest:
    """What the snapshot holds, not what the disk does: a file that was not touched from before it was read until now is
    in the snapshot as it was read; any other is read back from there."""
    manifest: Manifest = {}
    in_snapshot = {one.path for one in listed}
    for path, file in seen.items():
        if look_at(f"{workspace}/{path}") != file.look:
            continue
        if _written(path) in in_snapshot:
            manifest[path] = (file.digest, file.look.size)
        else:
            raise NotTaken(f"restic could not read {path!r}, which is there: {restic.last_words}")
    known = {_written(path) for path in manifest}
    changed = [one.path for one in listed if one.path not in known and "\ufffd" not in one.path]
    if len(changed) > _MOST_DUMPED:
        raise NotTaken(f"{len(changed)} files changed while they were saved, at most {_MOST_DUMPED} are read back")
    for path in changed:
        manifest[path] = await restic.digest(backup.id, path)
    return manifest


def _written(path: str) -> str:
    """As restic writes a path in JSON: each byte that is no UTF-8 is U+FFFD."""
    return "".join("\ufffd" if "\udc80" <= letter <= "\udcff" else letter for letter in path)


async def _tidy(order: Order, taken: SnapshotId, restic: Restic, objects: ObjectStore) -> str | None:
    """Keep the one just taken and the newest few beside it. A listing may be old or lack names, so it is believed only
    where it knows the one just taken, and what it lacks is no reason to remove anything. What cannot be done now is done
    after the next one."""
    try:
        await require_fence(order, objects)
        stored = await objects.list(order.drawer.heads)
        surplus = _surplus(order, taken, stored)
        held = await restic.snapshots()
        broken = await _broken(order, taken, stored, held, objects)
        await _remove(order.drawer, [*surplus, *broken], objects)
        gone = {one.restic for one in (*surplus, *broken)} - {taken.restic}
        unwanted = [one for one in held if one[:8] in gone]
        if unwanted:
            await restic.forget(unwanted)
    except (FailoverdError, ResticFailed) as error:
        return f"older snapshots were not removed: {error}"
    return None


def _surplus(order: Order, taken: SnapshotId, stored: Sequence[StoredObject]) -> list[SnapshotId]:
    """Those with a head for which there is no room. Under each fence first those that would be younger than the one just
    taken: the clock was set back since, and they would push out what is taken from now on. Raise NotTaken where the
    listing cannot be believed."""
    begun = order.drawer.begun(stored)
    if taken not in begun:
        raise NotTaken("the store does not list the one just taken")
    others = [one for one in order.drawer.newest_first(stored) if one != taken]
    others.sort(key=lambda one: (-one.fence, begun[one] > taken.taken_at))
    return others[max(0, order.keep - 1) :]


async def _broken(
    order: Order, taken: SnapshotId, stored: Sequence[StoredObject], held: Held, objects: ObjectStore
) -> list[SnapshotId]:
    """What a run left that wrote no head, or removed no more than that. It is older than any run that goes on, and its head
    was asked for by name: the listing alone proves no absence. What bears no tag of ours in the repository stays there."""
    drawer = order.drawer
    before = taken.taken_at - timedelta(seconds=max(_BROKEN_AFTER_S, 2 * order.limit_s))
    halves = {*_with_a_manifest(drawer, stored), *_in_the_repository(held)} - drawer.begun(stored).keys() - {taken}
    old = sorted((one for one in halves if one.taken_at < before), key=lambda one: one.order)
    return [one for one in old if await objects.get(drawer.head(one)) is None]


def _with_a_manifest(drawer: Drawer, stored: Iterable[StoredObject]) -> list[SnapshotId]:
    names = (one.name for one in stored if one.name.endswith(".files"))
    stems = (name.removeprefix(drawer.heads).removesuffix(".files") for name in names)
    return [one for stem in stems if (one := read_id(stem)) is not None]


def _in_the_repository(held: Held) -> list[SnapshotId]:
    """By the tag that says what their heads would be called."""
    names = (f"{tag}-{restic[:8]}" for restic, tags in held.items() for tag in tags)
    return [one for name in names if (one := read_id(name)) is not None]


async def _remove(drawer: Drawer, gone: Sequence[SnapshotId], objects: ObjectStore) -> None:
    """The heads first, so that nothing is believed in that is about to go."""
    for one in gone:
        await objects.delete(drawer.head(one))
    for one in gone:
        await objects.delete(drawer.manifest(one))
