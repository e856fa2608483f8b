"""Snapshots as they lie in a store of objects: their names, what each says of itself, and which of them are a machine's.

Below `m<machine>/` lie the repository (`repo/`), for each snapshot a manifest (`snapshots/<id>.files`) and last of all a
head (`snapshots/<id>.json`), and the fence that was last published (`fence.json`). Without a head there is no snapshot.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import msgspec

from machines.model import InstanceId, MachineId, Registered
from machines.ports import StoredObject

_STAMP = "%Y%m%dT%H%M%S.%f"
_ID = re.compile(r"(\d{8}T\d{6}\.\d{3})Z-f(\d{1,18})-i(\d{1,18})-([0-9a-f]{8})")
_MACHINE = re.compile(r"m(\d{1,18})/")
_SAME_TIME = timedelta(milliseconds=2)
"""Ids name milliseconds."""


class DamagedSnapshot(ValueError):
    """A head or a manifest that cannot be read, or does not belong to its name."""


@dataclass(frozen=True, slots=True)
class SnapshotId:
    """What the name of a snapshot says: when it was begun, under which fence, on which instance, and restic's short id."""

    taken_at: datetime
    fence: int
    instance: InstanceId
    restic: str

    def __str__(self) -> str:
        return f"{name_begun(self.taken_at, self.fence, self.instance)}-{self.restic[:8]}"

    @property
    def order(self) -> tuple[int, datetime]:
        """A later fence outdates an earlier one, whatever the clocks of their instances said."""
        return self.fence, self.taken_at


def name_begun(at: datetime, fence: int, instance: int) -> str:
    """What is known of a snapshot's name before it is there: all but restic's id, which follows after a dash."""
    return f"{at.astimezone(UTC).strftime(_STAMP)[:-3]}Z-f{fence}-i{instance}"


def read_id(text: str) -> SnapshotId | None:
    """The inverse of `str`; None where it is no snapshot's name."""
    found = _ID.fullmatch(text)
    if found is None:
        return None
    try:
        taken_at = datetime.strptime(found[1], _STAMP).replace(tzinfo=UTC)
    except ValueError:
        return None
    return SnapshotId(taken_at, int(found[2]), InstanceId(int(found[3])), found[4])


@dataclass(frozen=True, slots=True)
class Drawer:
    """The names of one machine's objects."""

    machine: MachineId

    @property
    def root(self) -> str:
        return f"m{self.machine}/"

    @property
    def repository(self) -> str:
        return f"{self.root}repo"

    @property
    def heads(self) -> str:
        return f"{self.root}snapshots/"

    @property
    def fence(self) -> str:
        return f"{self.root}fence.json"

    def head(self, snapshot: SnapshotId | str) -> str:
        return f"{self.heads}{snapshot}.json"

    def manifest(self, snapshot: SnapshotId | str) -> str:
        return f"{self.heads}{snapshot}.files"

    def ids(self, names: Iterable[str]) -> list[SnapshotId]:
        """Of the snapshots that are there (those with a head), the newest first."""
        stems = (name.removeprefix(self.heads).removesuffix(".json") for name in names if name.endswith(".json"))
        found = [one for stem in stems if (one := read_id(stem)) is not None]
        return sorted(found, key=lambda one: one.order, reverse=True)

    def begun(self, stored: Iterable[StoredObject]) -> dict[SnapshotId, datetime]:
        """When each snapshot that is there was begun. The store knows when its head was written, and it was not begun
        later than that, whatever the clock of its instance said."""
        written = {one.name: one.written_at for one in stored}
        return {one: min(one.taken_at, written[self.head(one)] or one.taken_at) for one in self.ids(written)}

    def newest_first(self, stored: Iterable[StoredObject]) -> list[SnapshotId]:
        """Those that are there. An instance's clock that was ahead and is not any more makes no old one the newest."""
        begun = self.begun(stored)
        return sorted(begun, key=lambda one: (one.fence, begun[one], one.taken_at), reverse=True)


def machine_of(name: str) -> MachineId | None:
    """Whose object it is by its name; None for an object that is not ours."""
    found = _MACHINE.match(name)
    return MachineId(int(found[1])) if found else None


class Head(msgspec.Struct, frozen=True, kw_only=True):
    """What a snapshot says of itself. Written last: its presence says that everything else was written and checked."""

    machine: int
    instance: int
    fence: int
    taken_at: datetime
    seconds: float
    """How long it took, the check included."""
    files: int
    size_bytes: int
    added_bytes: int
    """What it added to the repository."""
    restic: str
    """The whole id in the repository."""
    manifest_sha256: str
    was_mount: bool = False
    """The workspace was a mount of its own: one that is not mounted later is not believed to be empty."""
    host: str = ""


Manifest = dict[str, tuple[str, int]]
"""Path in the workspace -> (SHA-256 in hex, bytes). Bytes of a path that are no UTF-8 are surrogates (PEP 383)."""


def pack_manifest(manifest: Manifest) -> bytes:
    """JSON; what is no UTF-8 in a path goes out as `\\udcXX`, which msgspec and strict readers refuse."""
    return json.dumps(manifest, ensure_ascii=True, sort_keys=True, separators=(",", ":")).encode()


def unpack_manifest(body: bytes, head: Head) -> Manifest:
    """Raise DamagedSnapshot where it is not the one that the head was written for."""
    if hashlib.sha256(body).hexdigest() != head.manifest_sha256:
        raise DamagedSnapshot("the manifest is not the one that its head names")
    try:
        found = json.loads(body)
        return {str(path): (str(digest), int(size)) for path, (digest, size) in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        raise DamagedSnapshot(f"the manifest cannot be read: {error}") from error


def pack_head(head: Head) -> bytes:
    return msgspec.json.encode(head)


def unpack_head(body: bytes, snapshot: SnapshotId) -> Head:
    """Raise DamagedSnapshot."""
    try:
        head = msgspec.json.decode(body, type=Head)
    except msgspec.DecodeError as error:
        raise DamagedSnapshot(f"the head of {snapshot} cannot be read: {error}") from error
    if (head.fence, head.instance, head.restic[:8]) != (snapshot.fence, snapshot.instance, snapshot.restic):
        raise DamagedSnapshot(f"the head of {snapshot} is another snapshot's")
    return head


class PublishedFence(msgspec.Struct, frozen=True):
    """The machine's fence as the daemon last published it beside the snapshots. An agent with a lower one takes none."""

    fence: int


def pack_fence(fence: int) -> bytes:
    return msgspec.json.encode(PublishedFence(fence))


def unpack_fence(body: bytes) -> int:
    """Raise DamagedSnapshot."""
    try:
        return msgspec.json.decode(body, type=PublishedFence).fence
    except msgspec.DecodeError as error:
        raise DamagedSnapshot(f"the published fence cannot be read: {error}") from error


@dataclass(frozen=True, slots=True)
class Lineage:
    """Which instances' snapshots are the machine's.

    The present primary's all are. Another instance's count only up to what the primary was restored from: what that one
    wrote later it wrote as a machine that had been replaced. Both times are of the instance that took the snapshots, so
    the clocks of two computers are never compared there.

    None counts that an earlier machine of the same id left: its fence is too low, or, where our memory of it was lost, the
    snapshot is older than the registration by the clock of its instance, or under a fence that is still to come. That
    clock has no say in what the present primary took or was restored from: it may be hours behind ours.
    """

    primary: InstanceId | None
    until: datetime | None
    """None where nothing is known of a hand-over: then the newest counts, whoever took it."""
    fence: int | None = None
    """The machine's own now; None where nothing is known of it."""
    registered: Registered | None = None

    def holds(self, snapshot: SnapshotId) -> bool:
        if not self._bears_its_fence(snapshot):
            return False
        if snapshot.instance == self.primary or self._was_restored_from(snapshot):
            return True
        begun, until = self.registered, self.until
        return (begun is None or snapshot.taken_at >= begun.at - _SAME_TIME) and (
            until is None or snapshot.taken_at <= until + _SAME_TIME
        )

    def _bears_its_fence(self, snapshot: SnapshotId) -> bool:
        """One of this life. In a failover it is lower than the machine's own, which rose when that began."""
        lowest = self.registered.fence if self.registered is not None else 0
        return lowest <= snapshot.fence and (self.fence is None or snapshot.fence <= self.fence)

    def _was_restored_from(self, snapshot: SnapshotId) -> bool:
        return self.until is not None and abs(snapshot.taken_at - self.until) <= _SAME_TIME

    def of(self, snapshots: Iterable[SnapshotId]) -> list[SnapshotId]:
        """Those that count, in the order in which they were given."""
        return [one for one in snapshots if self.holds(one)]


class Place(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A folder of objects as a machine reaches it: over the S3 protocol, or as a path that is mounted there."""

    kind: str
    """"s3" or "path"."""
    prefix: str = ""
    bucket: str = ""
    endpoint: str | None = None
    region: str = "us-east-1"
    path_style: bool = True
    folder: str = ""
    key_id: str = ""
    secret: str = ""

    def repository(self, drawer: Drawer) -> str:
        """As restic names it."""
        inside = f"{self.prefix}{drawer.repository}"
        if self.kind == "path":
            return f"{self.folder.rstrip('/')}/{inside}"
        return f"s3:{self.endpoint or f'https://s3.{self.region}.amazonaws.com'}/{self.bucket}/{inside}"

    def variables(self) -> dict[str, str]:
        """What restic finds its way in with."""
        if self.kind == "path":
            return {}
        return {
            "AWS_ACCESS_KEY_ID": self.key_id,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": self.region,
        }

    def options(self) -> tuple[str, ...]:
        """Of restic's command line."""
        if self.kind == "path":
            return ()
        lookup = "path" if self.path_style else "dns"
        return ("-o", f"s3.bucket-lookup={lookup}", "-o", f"s3.region={self.region}", "-o", "s3.connections=8")


class Order(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What an agent is told about snapshots: a file that the daemon lays down on the machine's present instance."""

    machine: int
    instance: int
    fence: int
    place: Place
    password: str
    """Of this machine's repository alone."""
    every_s: float
    limit_s: float
    """One that takes longer is given up."""
    keep: int
    install: str
    """Run where restic is missing."""

    @property
    def drawer(self) -> Drawer:
        return Drawer(MachineId(self.machine))


def pack_order(order: Order) -> bytes:
    return msgspec.json.encode(order)


def unpack_order(body: bytes) -> Order:
    """Raise DamagedSnapshot."""
    try:
        return msgspec.json.decode(body, type=Order)
    except msgspec.DecodeError as error:
        raise DamagedSnapshot(f"the order cannot be read: {error}") from error


def repository_password(secret: str, machine: MachineId) -> str:
    """Of one machine's repository: who learns it reads no other machine's. `printf m7 | openssl dgst -sha256 -hmac SECRET`
    gives the same."""
    return hmac.new(secret.encode(), f"m{machine}".encode(), hashlib.sha256).hexdigest()


@dataclass(frozen=True, slots=True)
class Portion:
    """A part of a restore that is done or not: paths of the workspace, and how many bytes lie below them."""

    paths: tuple[str, ...]
    size: int


_PORTIONS = 8
_MOST_PATHS = 200
_SMALL = 64 * 1024 * 1024


def portions(manifest: Manifest) -> tuple[Portion, ...]:
    """Cut a restore into a few parts of like size, so that one that was cut off goes on and does not begin again. What no
    part names (empty folders, links) is the rest. Nothing is cut where there is little, or where it lies too flat."""
    total = sum(size for _, size in manifest.values())
    if total < _SMALL:
        return ()
    nodes = _nodes([(tuple(path.split("/")), size) for path, (_, size) in manifest.items()], (), total / _PORTIONS)
    if not 1 < len(nodes) <= _MOST_PATHS:
        return ()
    found: list[Portion] = []
    paths: list[str] = []
    size = 0
    for path, below in nodes:
        paths.append("/" + "/".join(path))
        size += below
        if size >= total / _PORTIONS:
            found.append(Portion(tuple(paths), size))
            paths, size = [], 0
    return (*found, Portion(tuple(paths), size)) if paths else tuple(found)


def _nodes(
    files: Sequence[tuple[tuple[str, ...], int]], above: tuple[str, ...], most: float
) -> list[tuple[tuple[str, ...], int]]:
    """Entries of a folder with their sizes; a folder that is larger than `most` is replaced by its own entries."""
    depth = len(above)
    entries: dict[str, list[tuple[tuple[str, ...], int]]] = {}
    for path, size in files:
        entries.setdefault(path[depth], []).append((path, size))
    if len(entries) > _MOST_PATHS:
        return [(above, sum(size for _, size in files))] if above else [((), 0)] * (_MOST_PATHS + 1)
    found: list[tuple[tuple[str, ...], int]] = []
    for name, below in sorted(entries.items()):
        size = sum(size for _, size in below)
        here = (*above, name)
        if size > most and any(len(path) > depth + 1 for path, _ in below):
            found += _nodes(below, here, most)
        else:
            found.append((here, size))
    return found
