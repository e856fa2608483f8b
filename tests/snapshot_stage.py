"""A workspace, a place for its snapshots, and the order that binds them: what tests of real snapshots stand on."""

from __future__ import annotations

import hashlib
import os
import random
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import msgspec

from adapters.restic import Restic
from adapters.system_clock import SystemClock
from daemon.snapshot_places import objects_at
from daemon.snapshot_taker import Before, Taken, take
from machines.model import MachineId
from machines.ports import ObjectStore
from machines.snapshots import Drawer, Order, Place
from tests.servers.s3 import Bucket

MACHINE = 7


def s3_place(bucket: Bucket) -> Place:
    return Place(
        kind="s3",
        prefix=f"run-{uuid4().hex}/",
        bucket=bucket.name,
        endpoint=bucket.endpoint,
        key_id=bucket.key_id,
        secret=bucket.secret,
    )


def folder_place(folder: Path) -> Place:
    folder.mkdir(parents=True, exist_ok=True)
    return Place(kind="path", prefix="all/", folder=str(folder))


def an_order(place: Place, **changes: object) -> Order:
    order = Order(
        machine=MACHINE,
        instance=7001,
        fence=1,
        place=place,
        password="long and random",
        every_s=3600.0,
        limit_s=120.0,
        keep=2,
        install="",
    )
    return msgspec.structs.replace(order, **changes)


@dataclass
class Keeper:
    """Takes snapshots as an instance does."""

    order: Order
    workspace: Path
    cache: Path

    @property
    def objects(self) -> ObjectStore:
        return objects_at(self.order.place, SystemClock())

    @property
    def restic(self) -> Restic:
        place, drawer = self.order.place, self.order.drawer
        return Restic(
            place.repository(drawer), self.order.password, place.variables(), place.options(), self.cache / "cache"
        )

    async def take(self, before: Before | None = None, restic: Restic | None = None) -> Taken:
        return await take(
            self.order, self.workspace, restic or self.restic, self.objects, SystemClock(), before or Before()
        )

    def as_instance(self, instance: int, fence: int) -> Keeper:
        order = msgspec.structs.replace(self.order, instance=instance, fence=fence)
        return Keeper(order, self.workspace, self.cache)


def fill(folder: Path, count: int, size: int, seed: str = "") -> None:
    """`count` files of `size` bytes in a tree, no two alike, with what trips programs up among them."""
    for number in range(count):
        place = folder / f"run-{number % 20:02d}" / f"part {number % 7}"
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{number:05d}.bin").write_bytes(content(f"{seed}{number}", size))
    (folder / "odd").mkdir(exist_ok=True)
    for name in ("back\\slash", "new\nline", 'quo\'te "two"', "star*[x]?", " blank ", "-dash"):
        (folder / "odd" / name).write_bytes(name.encode())
    with open(os.fsencode(folder / "odd") + b"/bad\xff", "wb") as file:
        file.write(b"no utf-8")
    (folder / "empty.txt").touch()
    (folder / "empty folder").mkdir(exist_ok=True)
    if not (folder / "link").is_symlink():
        (folder / "link").symlink_to("empty.txt")


def content(seed: str, size: int) -> bytes:
    """Bytes that no compression makes smaller."""
    return random.Random(seed).randbytes(size)


def tree(folder: Path) -> dict[bytes, bytes]:
    """What lies there: relative path -> digest, link's target, or nothing for a folder."""
    found: dict[bytes, bytes] = {}
    root = os.fsencode(folder)
    for here, folders, names in os.walk(root):
        for name in folders + names:
            path = os.path.join(here, name)
            inside = os.path.relpath(path, root)
            if os.path.islink(path):
                found[inside] = b"-> " + os.readlink(path)
            elif os.path.isdir(path):
                found[inside] = b""
            else:
                with open(path, "rb") as file:
                    found[inside] = hashlib.sha256(file.read()).digest()
    return found


def drawer() -> Drawer:
    return Drawer(MachineId(MACHINE))
