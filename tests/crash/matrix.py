"""The crash matrix: `python -m tests.crash.matrix` kills at every boundary of every strategy, on both stores, and prints
what became of it.

The boundaries are those that uncrashed runs pass, as the tripwire names them; nobody keeps a list by hand. After each
crash a new daemon starts on the same store beside the same world, and the end must be the same: one serving instance with
the machine's work, the same strategy, nothing rented that nothing claims, no debt. What runs side by side does not always
pass the same boundaries: one that only some of the uncrashed runs passed is listed as such, with the tries that it took.

With `--weather hard`, `--journal previous` or another `--harm` it plays on the virtual clock (tests/crash/virtual.py), on SQLite in memory: in
weather the end is held against the invariants, and a journal that an older version left half-done against its uncrashed end.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import structlog

from daemon.simulate import be_quiet
from tests.crash import virtual
from tests.crash.theatre import STORIES, Ending, new_database, play
from tests.crash.tripwire import Tripwire
from tests.servers import databases, ladder

LOOKS = 3
"""Uncrashed runs from which the boundaries are taken."""
TRIES, TRIES_OF_CHANCE = 4, 12
SAME, NOT_REACHED = "same", "not reached"


@dataclass(frozen=True, slots=True)
class Boundary:
    name: str
    passed: int
    """By how many of the uncrashed runs."""
    looks: int

    @property
    def is_certain(self) -> bool:
        return self.passed == self.looks

    def __str__(self) -> str:
        return self.name if self.is_certain else f"{self.name} [passed by {self.passed} of {self.looks}]"


@dataclass(frozen=True, slots=True)
class Crash:
    """What became of the crash at one boundary, and at which try it came to it."""

    boundary: Boundary
    result: str
    tries: int

    @property
    def is_different(self) -> bool:
        return self.result not in (SAME, NOT_REACHED)


class Matrix:
    """One story on one store."""

    def __init__(self, story: str, store: str, dsn: str | None, slots: asyncio.Semaphore) -> None:
        self.story, self.store = story, store
        self._dsn, self._slots = dsn, slots

    async def enumerate(self, looks: int = LOOKS) -> tuple[Ending, list[Boundary]]:
        """How the uncrashed runs end, and every boundary that they passed, in order. Raise ValueError where they differ."""
        wires = [Tripwire() for _ in range(looks)]
        endings = await asyncio.gather(*(self._play(wire) for wire in wires))
        if len(set(endings)) != 1 or endings[0].faults:
            raise ValueError(f"{self.story} on {self.store}: the uncrashed runs end as {set(endings)}")
        passed = Counter(point for wire in wires for point in wire.points)
        return endings[0], [Boundary(point, passed[point], looks) for point in _merged([list(w.points) for w in wires])]

    async def crash_at(self, boundary: Boundary, wanted: Ending) -> Crash:
        """Until one of the tries comes to the boundary."""
        most = TRIES if boundary.is_certain else TRIES_OF_CHANCE
        for number in range(1, most + 1):
            result = await self._crash(boundary.name, wanted)
            if result != NOT_REACHED:
                return Crash(boundary, result, number)
        return Crash(boundary, NOT_REACHED, most)

    async def _crash(self, point: str, wanted: Ending) -> str:
        wire = Tripwire(point)
        try:
            found = await self._play(wire)
        except TimeoutError:
            return "it did not come to its end"
        except Exception as error:
            return f"{type(error).__name__}: {error}"
        if not wire.is_dead:
            return NOT_REACHED if found == wanted else f"uncrashed, yet {found} instead of {wanted}"
        return SAME if found == wanted else f"{found} instead of {wanted}"

    async def _play(self, wire: Tripwire) -> Ending:
        async with self._slots, new_database(self.store, self._dsn) as database:
            return await play(self.story, (wire, Tripwire()), database)


def _merged(runs: Sequence[Sequence[str]]) -> list[str]:
    """Every point of all runs; what the first one lacks stands where another one passed it."""
    merged = list(runs[0])
    for run in runs[1:]:
        before = 0
        for point in run:
            if point in merged:
                before = merged.index(point) + 1
            else:
                merged.insert(before, point)
                before += 1
    return merged


async def run_story(
    story: str, store: str, dsn: str | None, every: int, at_once: int, *, first: int = 0, looks: int = LOOKS
) -> list[Crash]:
    """Every n-th boundary from `first` on with what became of the crash there, printed as it is known."""
    matrix = Matrix(story, store, dsn, asyncio.Semaphore(at_once))
    wanted, boundaries = await matrix.enumerate(looks)
    print(f"{story} on {store}: {len(boundaries)} boundaries, uncrashed: {wanted}", flush=True)

    async def one(number: int, boundary: Boundary) -> Crash:
        crash = await matrix.crash_at(boundary, wanted)
        note = f" (at try {crash.tries})" if crash.result == SAME and crash.tries > 1 else ""
        print(f"  {number:3d}  {boundary!s:<90} {crash.result}{note}", flush=True)
        return crash

    chosen = list(enumerate(boundaries, 1))[first::every]
    return list(await asyncio.gather(*(one(number, boundary) for number, boundary in chosen)))


def summary(story: str, store: str, crashes: Sequence[Crash]) -> str:
    count = Counter(crash.result if not crash.is_different else "different" for crash in crashes)
    chance = [crash for crash in crashes if not crash.boundary.is_certain]
    reached = sum(crash.result == SAME for crash in chance)
    return (
        f"{story:<16} {store:<11} {len(crashes):4d} boundaries: {count[SAME]:4d} same, {count[NOT_REACHED]:3d} not reached, "
        f"{count['different']:3d} different; {len(chance)} only sometimes passed, of which {reached} reached"
    )


async def run_matrix(stories: Sequence[str], stores: Sequence[str], every: int, at_once: int) -> int:
    """How many crashes did not come to the same end, or not to a boundary that each uncrashed run passed."""
    found: dict[tuple[str, str], list[Crash]] = {}
    with _server(stores) as dsn:
        for store in stores:
            for story in stories:
                found[story, store] = await run_story(story, store, dsn, every, at_once)
    print()
    for (story, store), crashes in found.items():
        print(summary(story, store, crashes))
        for crash in crashes:
            if crash.result != SAME:
                print(f"    {crash.boundary}: {crash.result} after {crash.tries} tries")
    everything = [crash for crashes in found.values() for crash in crashes]
    return sum(c.is_different or (c.result == NOT_REACHED and c.boundary.is_certain) for c in everything)


@contextmanager
def _server(stores: Sequence[str]) -> Iterator[str | None]:
    if "postgresql" not in stores:
        yield None
        return
    with ladder.local_postgres(durable=False) as server:
        yield server.dsn


def _differ_on_the_virtual_clock(options: argparse.Namespace) -> bool:
    be_quiet()
    seeds = range(1, options.seeds + 1)
    is_hard = options.weather == "hard"
    fresh = (*virtual.stories(is_hard, seeds), *virtual.pools(is_hard, seeds))
    pieces = list(virtual.frozen() if options.journal == "previous" else fresh)
    pieces = [piece for piece in pieces if options.only in piece.name]
    crashes = virtual.run(pieces, options.every, harm=virtual.Harm(options.harm))
    different = [crash for crash in crashes if crash.fault is not None]
    print(f"\n{len(pieces)} stories, {len(crashes)} crashes, {len(different)} different")
    return bool(different) or not crashes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--story", choices=[*STORIES, "all"], default="all")
    parser.add_argument("--store", choices=[*databases.KINDS, "both"], default="both")
    parser.add_argument("--every", type=int, default=1, help="only every n-th boundary")
    parser.add_argument("--at-once", type=int, default=4, help="crashes that are played side by side")
    parser.add_argument("--weather", choices=["calm", "hard"], default="calm")
    parser.add_argument("--seeds", type=int, default=2, help="weathers of each story")
    parser.add_argument("--journal", choices=["fresh", "previous"], default="fresh")
    parser.add_argument("--harm", choices=[harm.value for harm in virtual.Harm], default=virtual.Harm.CRASH.value)
    parser.add_argument(
        "--only", default="", help="in weather, and of previous journals: those with this in their name"
    )
    options = parser.parse_args()
    if options.weather == "hard" or options.journal == "previous" or options.harm != virtual.Harm.CRASH.value:
        sys.exit(1 if _differ_on_the_virtual_clock(options) else 0)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    stories = list(STORIES) if options.story == "all" else [options.story]
    stores = databases.KINDS if options.store == "both" else (options.store,)
    sys.exit(1 if asyncio.run(run_matrix(stories, stores, options.every, options.at_once)) else 0)


if __name__ == "__main__":
    main()
