"""The bill: what every instance and volume has cost so far, to the second (facts/vast-api.md 10)."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal, TypeAlias

Kind: TypeAlias = Literal["gpu", "storage", "volume", "vm", "disk"]


@dataclass(slots=True)
class _Meter:
    rate: float
    since: datetime
    total: float = 0.0
    past: list[tuple[datetime, datetime, float]] = field(default_factory=list)
    """From when until when it ran at which rate; without the present one."""

    def at(self, now: datetime) -> float:
        return self.total + self.rate * max(0.0, (now - self.since).total_seconds()) / 3600

    def turn_to(self, rate: float, now: datetime) -> None:
        self.past.append((self.since, now, self.rate))
        self.total, self.since, self.rate = self.at(now), now, rate

    def between(self, start: datetime, end: datetime) -> float:
        runs = (*self.past, (self.since, end, self.rate))
        return sum(rate * max(0.0, (min(to, end) - max(of, start)).total_seconds()) / 3600 for of, to, rate in runs)


@dataclass(slots=True)
class Ledger:
    """Meters that run at a rate until the rate changes. What is destroyed keeps its total for the bill."""

    credit: float
    _meters: dict[tuple[Kind, int], _Meter] = field(default_factory=dict)

    def set_rate(self, kind: Kind, thing_id: int, rate: float, now: datetime) -> None:
        """From `now` on the thing costs `rate` $/h."""
        meter = self._meters.get((kind, thing_id))
        if meter is None:
            self._meters[kind, thing_id] = _Meter(rate, now)
        elif meter.rate != rate:
            meter.turn_to(rate, now)

    def cost(self, kind: Kind, thing_id: int, now: datetime) -> float:
        meter = self._meters.get((kind, thing_id))
        return 0.0 if meter is None else meter.at(now)

    def rate(self, kind: Kind, thing_id: int) -> float:
        meter = self._meters.get((kind, thing_id))
        return 0.0 if meter is None else meter.rate

    def charges(self, start: datetime, end: datetime) -> dict[tuple[Literal["instance", "volume"], int], float]:
        """What each rental and each volume has cost within that time, those that are gone too; nothing for nothing."""
        found: dict[tuple[Literal["instance", "volume"], int], float] = {}
        for (kind, thing), meter in self._meters.items():
            if kind in ("gpu", "storage", "volume") and (cost := meter.between(start, end)) > 0:
                place: tuple[Literal["instance", "volume"], int] = ("volume" if kind == "volume" else "instance", thing)
                found[place] = found.get(place, 0.0) + cost
        return found

    def of_instance(self, instance_id: int, now: datetime) -> float:
        return self.cost("gpu", instance_id, now) + self.cost("storage", instance_id, now)

    def sum(self, kind: Kind, now: datetime) -> float:
        return sum(meter.at(now) for (of, _), meter in self._meters.items() if of == kind)

    def sum_of_rates(self, kind: Kind) -> float:
        return sum(meter.rate for (of, _), meter in self._meters.items() if of == kind)

    def total(self, now: datetime) -> float:
        return sum(meter.at(now) for meter in self._meters.values())

    def balance(self, now: datetime) -> float:
        """The prepaid credit that is left."""
        return self.credit - self.total(now)

    def by_instance(self, now: datetime) -> dict[int, float]:
        """Cost of every instance that ever was."""
        return {thing: self.of_instance(thing, now) for kind, thing in self._meters if kind == "storage"}
