"""What the provider charges for each rental and each volume, by its own bill, and for whom it was."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from machines.model import MachineId


class Charged(Enum):
    INSTANCE = "instance"
    VOLUME = "volume"


@dataclass(frozen=True, slots=True)
class Charge:
    """$ for one thing within a month."""

    what: Charged
    id: int
    amount: float


@dataclass(frozen=True, slots=True)
class Bill:
    """All charges of one month, as far as it has come."""

    month: str
    charges: tuple[Charge, ...]


@dataclass(frozen=True, slots=True)
class MachineCost:
    """What one machine has cost: its instances, the candidates of its failovers, its standbys and volumes."""

    machine: MachineId | None
    """None: what our records do not explain, such as rentals that this daemon never had to do with."""
    amount: float
    things: int


def month_of(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m")


def span_of(month: str) -> tuple[datetime, datetime]:
    """Its first moment, and that of the next one."""
    year, number = (int(part) for part in month.split("-"))
    following = (year + 1, 1) if number == 12 else (year, number + 1)
    return datetime(year, number, 1, tzinfo=UTC), datetime(*following, 1, tzinfo=UTC)


def month_before(month: str) -> str:
    year, number = (int(part) for part in month.split("-"))
    return f"{year - 1}-12" if number == 1 else f"{year}-{number - 1:02d}"
