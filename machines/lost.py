"""What is paid for and belongs to no machine: found by the fleet's looks, told to operators, and destroyed where policy says so."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from machines.model import MachineId

HOURS_PER_DAY = 24.0


class LostKind(Enum):
    INSTANCE = "instance"
    VOLUME = "volume"
    VM = "vm"
    SNAPSHOTS = "snapshots"
    """All that a removed machine left in the store of snapshots."""


class Standing(Enum):
    """Why nothing claims it, and so what becomes of it."""

    ORPHAN = "orphan"
    """It bears our deployment's label and nothing explains it: seen for long enough it is destroyed, or told of, by policy."""
    RELEASED = "released"
    """It was a machine's, and somebody removed that machine: theirs to keep, and only told of."""
    FOREIGN = "foreign"
    """It bears another deployment's label: only told of, never touched."""


@dataclass(frozen=True, slots=True)
class LostThing:
    kind: LostKind
    id: str
    """The provider's, or the place in the store of snapshots."""
    standing: Standing
    label: str
    machine: MachineId | None
    """For which it was made, as far as its label tells."""
    price_per_hour: float | None
    """$; None where its provider does not say."""
    size_gb: float | None
    detail: str
    first_seen_at: datetime

    @property
    def price_per_day(self) -> float | None:
        return None if self.price_per_hour is None else self.price_per_hour * HOURS_PER_DAY
