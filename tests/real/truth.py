"""The oracle: the provider's truth, looked at again and again while a story runs. No daemon is asked."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import httpx

from tests.servers.stack import Stack

LOOK_EVERY_REAL_S = 0.1
GONE_WITHIN_S = 120.0
"""What a call that was in flight still rents must be gone so many seconds of the world's time later."""


@dataclass
class Rental:
    """One instance as the world had it, from its creation to the last look that found it."""

    id: int
    machine: str | None
    label: str
    created_at: datetime
    seen_at: datetime
    worked: bool = False
    """Did its workload ever run?"""


class Truth:
    """What was ever true. `wrongs` must stay empty, whatever happens to the daemons."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._done = threading.Event()
        self.rentals: dict[int, Rental] = {}
        self.wrongs: list[str] = []
        self.looks = 0

    def of_machine(self, machine: int) -> list[Rental]:
        """Every rental there ever was for it, the oldest first."""
        found = [one for one in self.rentals.values() if one.machine == str(machine)]
        return sorted(found, key=lambda one: (one.created_at, one.id))

    def run(self) -> None:
        # A client of its own: this is another thread than the test's.
        with httpx.Client(timeout=10.0) as http:
            while not self._done.wait(LOOK_EVERY_REAL_S):
                self._see(http.get(f"{self._stack.world_url}/sim/world").raise_for_status().json())

    def end(self) -> None:
        self._done.set()

    def _see(self, world: Any) -> None:
        self.looks += 1
        now = datetime.fromisoformat(world["now"])
        working: dict[str, list[int]] = {}
        for row in world["instances"]:
            machine, works = row["env"].get("FAILOVERD_MACHINE_ID"), _works(row)
            created_at = datetime.fromisoformat(row["created_at"])
            known = self.rentals.setdefault(row["id"], Rental(row["id"], machine, row["label"], created_at, now))
            known.seen_at, known.worked = now, known.worked or works
            if works and machine is not None:
                working.setdefault(machine, []).append(row["id"])
        for machine, instances in working.items():
            if len(instances) > 1:
                self.wrongs.append(f"{now}: {instances} work for machine {machine} at the same time")


def _works(row: Any) -> bool:
    """A container alone does nothing: the customer's onstart waits until its instance is the machine."""
    return bool(row["serving"] and row["agents"])


@contextmanager
def watching(stack: Stack) -> Iterator[Truth]:
    """Look at the world from here on until the end. Raise what a look raised."""
    truth, failed = Truth(stack), []

    def run() -> None:
        try:
            truth.run()
        except Exception as error:  # told to the test's own thread
            failed.append(error)

    thread = threading.Thread(target=run, name="the provider's truth")
    thread.start()
    try:
        yield truth
    finally:
        truth.end()
        thread.join()
    if failed:
        raise failed[0]
    assert truth.looks > 0, "nobody looked"


def rented_for(truth: Truth, failover: str) -> list[str]:
    """The labels of all that was ever rented for the failover."""
    return [rental.label for rental in truth.rentals.values() if f"-{failover}-" in (rental.label or "")]


def rented_now(stack: Stack, failovers: Iterable[str]) -> dict[int, bool]:
    """The rentals of these failovers, and whether each does its machine's work, by the provider's truth."""
    marks = [f"-{failover}-" for failover in failovers]
    rows = [row for row in stack.world()["instances"] if any(mark in (row["label"] or "") for mark in marks)]
    return {row["id"]: _works(row) for row in rows}


def surplus_after(stack: Stack, failovers: Iterable[str], before: dict[int, bool]) -> set[int]:
    """What was still rented after the pause, all failovers being over: it never serves, and is gone within two minutes of
    the world's time (facts/scenarios.md, S2)."""
    names, surplus = tuple(failovers), set()
    deadline = time.monotonic() + GONE_WITHIN_S / stack.speed
    while time.monotonic() < deadline:
        fresh = {number: works for number, works in rented_now(stack, names).items() if number not in before}
        assert not any(fresh.values()), f"a surplus rental works: {fresh}"
        surplus |= fresh.keys()
        time.sleep(LOOK_EVERY_REAL_S)
    left = surplus & rented_now(stack, names).keys()
    assert not left, f"not destroyed within {GONE_WITHIN_S:.0f} s: {left}"
    return surplus
