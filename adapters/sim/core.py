"""What every part of the world shares: the seed's generator, the agenda of coming events, and the effects on bodies.

The world is sans-IO. Time comes in with each call; what ought to happen to files, sockets and processes goes out as
effects, which an embodiment carries out or, in a pure simulation, nobody does.
"""

import heapq
import random  # noqa: TID251 - seeded: the whole world follows from one seed
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Protocol, TypeAlias

from adapters.sim.settings import WorldSettings


@dataclass(frozen=True, slots=True)
class Created:
    """A contract exists: its folder, host key and start script are laid down."""

    instance_id: int


@dataclass(frozen=True, slots=True)
class Booted:
    """The container runs: its start script is run."""

    instance_id: int


@dataclass(frozen=True, slots=True)
class SshOpened:
    instance_id: int


@dataclass(frozen=True, slots=True)
class Halted:
    """The container stopped; `hard` means that its host lost power, so nothing is asked politely."""

    instance_id: int
    hard: bool = False


@dataclass(frozen=True, slots=True)
class Wiped:
    """The container was made anew: its own disk is empty, its volumes are not."""

    instance_id: int


@dataclass(frozen=True, slots=True)
class Frozen:
    instance_id: int


@dataclass(frozen=True, slots=True)
class Thawed:
    instance_id: int


@dataclass(frozen=True, slots=True)
class GpuBroken:
    """The driver has lost the GPU; everything else goes on. A new start of the container mends it."""

    instance_id: int


@dataclass(frozen=True, slots=True)
class Erased:
    instance_id: int


@dataclass(frozen=True, slots=True)
class VolumeMade:
    volume_id: int
    cloned_from: int | None = None


@dataclass(frozen=True, slots=True)
class VolumeErased:
    volume_id: int


@dataclass(frozen=True, slots=True)
class SnapshotWanted:
    snapshot_id: int


@dataclass(frozen=True, slots=True)
class SnapshotDropped:
    snapshot_id: int


@dataclass(frozen=True, slots=True)
class RestoreDue:
    """The simulated transfer is through: now the files really move."""

    snapshot_id: int
    instance_id: int


Effect: TypeAlias = (
    Created
    | Booted
    | SshOpened
    | Halted
    | Wiped
    | Frozen
    | Thawed
    | GpuBroken
    | Erased
    | VolumeMade
    | VolumeErased
    | SnapshotWanted
    | SnapshotDropped
    | RestoreDue
)


class PortSource(Protocol):
    """Where the public SSH ports of containers come from: numbers in a simulation, bound sockets in the flesh."""

    def renew(self, instance_id: int) -> int:
        """Return a port that nobody else holds, and give back the one that the instance held before."""

    def shared(self) -> int:
        """The one port of all instances without a body."""

    def release(self, instance_id: int) -> None:
        """Give the instance's port back; nothing happens if it holds none."""


class NumberedPorts:
    """Ports that are only numbers, for a world without bodies."""

    def __init__(self) -> None:
        self._next = count(40022)

    def renew(self, instance_id: int) -> int:
        return next(self._next)

    def shared(self) -> int:
        return 22

    def release(self, instance_id: int) -> None:
        return None


class Agenda:
    """Coming events in the order of their time, ties in the order of their planning."""

    def __init__(self) -> None:
        self._heap: list[tuple[datetime, int, Callable[[datetime], None]]] = []
        self._order = count()

    def at(self, when: datetime, action: Callable[[datetime], None]) -> None:
        heapq.heappush(self._heap, (when, next(self._order), action))

    def next_due(self) -> datetime | None:
        return self._heap[0][0] if self._heap else None

    def run_until(self, now: datetime) -> None:
        """Run every event that is due by `now`, each with its own time, also those that are planned meanwhile."""
        while self._heap and self._heap[0][0] <= now:
            when, _, action = heapq.heappop(self._heap)
            action(when)


@dataclass(slots=True)
class Core:
    """The shared ground under market, rentals, volumes, snapshots and bills."""

    seed: int
    settings: WorldSettings
    start: datetime
    ports: PortSource
    rng: random.Random = field(init=False)
    agenda: Agenda = field(default_factory=Agenda)
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)

    def after(self, now: datetime, seconds: float, action: Callable[[datetime], None]) -> None:
        self.agenda.at(now + timedelta(seconds=seconds), action)

    def emit(self, effect: Effect) -> None:
        self.effects.append(effect)
