"""`failoverd snapshot`: takes one snapshot by the order that the daemon laid down on this machine, and says what came of it.

A process of its own, started by the agent: it runs with low priority, may be ended at any time, and gives its memory back.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from adapters.restic import Restic
from adapters.system_clock import SystemClock
from daemon.snapshot_places import objects_at
from daemon.snapshot_taker import Before, Outdated, Taken, take
from daemon.workspace_scan import Look, Seen
from machines.errors import FailoverdError
from machines.snapshots import DamagedSnapshot, Order, unpack_order

ORDER_FILE = "~/.failoverd/snapshots.json"
WORKSPACE_FILE = "snapshots.workspace"
"""Beside the order: the path of the workspace."""
NICE = 10
TAKEN, NOT_TAKEN, OUTDATED = 0, 1, 3

log = logging.getLogger("failoverd.snapshot")


class Memory(msgspec.Struct):
    """What an instance remembers of its last snapshot: a cache of digests, of no use anywhere else."""

    instance: int
    was_mount: bool
    files: dict[str, tuple[int, int, int, int, str]]


def main(argv: Sequence[str]) -> int:
    """0 taken, 1 not taken, 3 another instance is the machine now. One line of JSON says more."""
    parser = argparse.ArgumentParser("failoverd snapshot", description="Takes one snapshot of the workspace now.")
    parser.add_argument("--order", type=Path, default=Path(ORDER_FILE), metavar="FILE", help=f"default: {ORDER_FILE}")
    parser.add_argument(
        "--speed", type=float, default=1.0, metavar="X", help="beside a simulated world that runs so much faster"
    )
    given = parser.parse_args(argv)
    file: Path = given.order.expanduser()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    _be_nice()
    try:
        order = unpack_order(file.read_bytes())
        workspace = Path(os.fsdecode((file.parent / WORKSPACE_FILE).read_bytes()))
    except OSError as error:
        why = (
            f"no order: {error.filename}: {error.strerror}; this verb belongs on the GPU machine, where the daemon lays the "
            "order down over SSH; elsewhere there is: failoverd snapshot list MACHINE"
        )
        return _say(NOT_TAKEN, {"error": why})
    except DamagedSnapshot as error:
        return _say(NOT_TAKEN, {"error": f"{file}: {error}"})
    return asyncio.run(_take(order, workspace, file.parent, SystemClock(given.speed)))


def _be_nice() -> None:
    """The machine is the workload's. A group of our own may be ended as one."""
    try:
        os.nice(NICE)
    except OSError:
        pass
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))


async def _take(order: Order, workspace: Path, folder: Path, clock: SystemClock) -> int:
    drawer, place = order.drawer, order.place
    restic = Restic(
        place.repository(drawer), order.password, place.variables(), place.options(), folder / "restic-cache"
    )
    memory_file = folder / "snapshot-memory.json"
    try:
        await asyncio.to_thread(_install, order)
        async with asyncio.timeout(order.limit_s):
            taken = await take(order, workspace, restic, objects_at(place, clock), clock, _before(memory_file, order))
    except Outdated as error:
        return _say(OUTDATED, {"error": str(error)})
    except TimeoutError:
        return _say(NOT_TAKEN, {"error": f"it took longer than {order.limit_s:g} s (snapshots.limit_s)"})
    except (FailoverdError, OSError) as error:
        return _say(NOT_TAKEN, {"error": str(error)})
    _remember(memory_file, order, taken)
    head = taken.head
    return _say(
        TAKEN,
        {
            "id": str(taken.id),
            "taken_at": head.taken_at.isoformat(),
            "files": head.files,
            "size_bytes": head.size_bytes,
            "added_bytes": head.added_bytes,
            "seconds": round(head.seconds, 3),
            "trouble": taken.trouble,
        },
    )


def _install(order: Order) -> None:
    """Where restic is missing. Its own words go to the log."""
    if shutil.which("restic") is None and order.install:
        subprocess.run(["/bin/sh", "-c", order.install], stdin=subprocess.DEVNULL, stdout=sys.stderr, check=False)


def _before(file: Path, order: Order) -> Before:
    """Nothing where the file is missing, damaged or another instance's: then everything is read anew."""
    try:
        memory = msgspec.json.decode(file.read_bytes(), type=Memory)
    except (OSError, msgspec.DecodeError):
        return Before()
    if memory.instance != order.instance:
        return Before()
    files = {path: Seen(Look(*row[:4]), row[4]) for path, row in memory.files.items()}
    return Before(memory.was_mount, files)


def _remember(file: Path, order: Order, taken: Taken) -> None:
    """Paths that are no UTF-8 are read anew each time."""
    files = {path: (*seen.look, seen.digest) for path, seen in taken.files.items() if path.isprintable()}
    try:
        fresh = file.with_name(file.name + ".new")
        fresh.write_bytes(msgspec.json.encode(Memory(order.instance, taken.head.was_mount, files)))
        fresh.replace(file)
    except OSError as error:
        log.warning("memory_not_written because=%s", json.dumps(str(error)))


def _say(code: int, said: dict[str, Any]) -> int:
    print(json.dumps(said), flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
