"""The machines that the provider rents out: their GPUs, who holds them, and whether they have power."""

import random  # noqa: TID251 - seeded: the world's own generator is handed in
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from adapters.sim.settings import WorldSettings

OTHER_TENANT = -1
BID_FLOOR_SHARE = 0.45


class GpuKind(NamedTuple):
    name: str
    ram_mb: int
    compute_cap: int
    price: float
    dlperf: float
    tflops: float


GPU_KINDS = (
    GpuKind("RTX 4090", 24564, 890, 0.36, 102.0, 82.6),
    GpuKind("RTX 4090", 24564, 890, 0.41, 104.0, 82.6),
    GpuKind("RTX 3090", 24576, 860, 0.19, 54.0, 35.6),
    GpuKind("RTX 5090", 32607, 1200, 0.58, 150.0, 104.8),
    GpuKind("L40S", 46068, 890, 0.74, 110.0, 91.6),
    GpuKind("A100 SXM4", 81920, 800, 1.12, 160.0, 19.5),
    GpuKind("H100 SXM", 81559, 900, 2.05, 340.0, 66.9),
)
PLACES = (
    "Sweden, SE",
    "Norway, NO",
    "Finland, FI",
    "Germany, DE",
    "Netherlands, NL",
    "France, FR",
    "Poland, PL",
    "United Kingdom, GB",
    "California, US",
    "Texas, US",
    "Canada, CA",
    "Portugal, PT",
    "Brazil, BR",
    "South Korea, KR",
    "Japan, JP",
    "Austria, AT",
    "Russia, RU",
)


@dataclass(slots=True)
class Slot:
    """One GPU: who holds it, and at which bid (None: on demand, which nobody outbids)."""

    holder: int | None = None
    bid: float | None = None


@dataclass(slots=True)
class Host:
    """One physical machine of a landlord. `machine_id` and `host_id` are Vast's words for host and landlord."""

    machine_id: int
    host_id: int
    kind: GpuKind
    place: str
    gpu_price: float
    storage_price: float
    reliability: float
    inet_up: float
    inet_down: float
    disk_gb: float
    driver: str
    cuda: float
    verified: bool
    volume_ask_id: int
    bundle_id: int
    end_date: datetime
    slots: list[Slot] = field(default_factory=list)
    alive: bool = True
    died_at: datetime | None = None

    @property
    def country(self) -> str:
        return self.place.rsplit(", ", 1)[-1]

    @property
    def bid_floor(self) -> float:
        """The lowest bid per GPU that the landlord takes."""
        return round(self.gpu_price * BID_FLOOR_SHARE, 4)

    def free(self) -> int:
        """GPUs that an on-demand rental can have: nobody's, or held by somebody who only bids."""
        return sum(1 for slot in self.slots if slot.holder is None or slot.bid is not None)

    def idle(self) -> int:
        return sum(1 for slot in self.slots if slot.holder is None)

    def winning_bid(self, count: int) -> float:
        """The bid per GPU that gets `count` GPUs now: the floor, or above the cheapest bids that hold them."""
        held = sorted(slot.bid for slot in self.slots if slot.holder is not None and slot.bid is not None)
        missing = count - self.idle()
        if missing <= 0 or missing > len(held):
            return self.bid_floor
        return max(self.bid_floor, round(held[missing - 1] * 1.1, 4))

    def seconds_silent(self, now: datetime) -> float:
        return 0.0 if self.died_at is None else (now - self.died_at).total_seconds()

    def take(self, holder: int, count: int, bid: float | None) -> list[int] | None:
        """Give `count` GPUs to a holder and return who was outbid, or None where they cannot be had at that price."""
        if bid is not None and bid < self.bid_floor:
            return None
        chosen = [slot for slot in self.slots if slot.holder is None][:count]
        weaker = [s for s in self.slots if s.holder is not None and s.bid is not None and (bid is None or s.bid < bid)]
        weaker.sort(key=lambda slot: slot.bid or 0.0)
        chosen += weaker[: count - len(chosen)]
        if len(chosen) < count:
            return None
        outbid = [slot.holder for slot in chosen if slot.holder is not None and slot.holder != OTHER_TENANT]
        for slot in chosen:
            slot.holder, slot.bid = holder, bid
        return list(dict.fromkeys(outbid))

    def give_up(self, holder: int) -> None:
        for slot in self.slots:
            if slot.holder == holder:
                slot.holder, slot.bid = None, None

    def rebid(self, holder: int, bid: float) -> None:
        for slot in self.slots:
            if slot.holder == holder:
                slot.bid = bid

    def is_held_by(self, holder: int) -> bool:
        return any(slot.holder == holder for slot in self.slots)


class Land:
    """All hosts, drawn one after the other from the seed; more are drawn where somebody needs more."""

    def __init__(self, rng: random.Random, settings: WorldSettings, start: datetime) -> None:
        self._rng, self._settings, self._start = rng, settings, start
        self._next_machine, self._next_id = 178, 21000
        self.hosts: dict[int, Host] = {}
        for index in range(settings.hosts):
            self.draw(GPU_KINDS[index % len(GPU_KINDS)])

    def draw(self, kind: GpuKind, size: int | None = None) -> Host:
        """Add one host with GPUs of a kind; other tenants already sit on some of them."""
        rng = self._rng
        machine_id = self._next_machine
        self._next_machine += rng.randint(1, 40)
        self._next_id += 3
        host = Host(
            machine_id=machine_id,
            host_id=2 + rng.randrange(max(2, self._settings.hosts // 3)),
            kind=kind,
            place=PLACES[len(self.hosts) % len(PLACES)],
            gpu_price=round(kind.price * rng.uniform(0.9, 1.25), 4),
            storage_price=round(rng.uniform(0.10, 0.25), 3),
            reliability=round(rng.uniform(0.975, 0.9995), 4),
            inet_up=round(rng.uniform(500, 2000), 1),
            inet_down=round(rng.uniform(800, 4000), 1),
            disk_gb=float(rng.choice((500, 1000, 2000))),
            driver=rng.choice(("550.127.05", "565.57.01", "570.86.16")),
            cuda=rng.choice((12.4, 12.7, 12.8)),
            verified=rng.random() < 0.9,
            volume_ask_id=self._next_id,
            bundle_id=self._next_id + 1,
            end_date=self._start + timedelta(days=rng.uniform(30, 180)),
        )
        for _ in range(size or rng.choice((2, 4, 4, 8))):
            host.slots.append(Slot())
        for slot in host.slots[2:]:
            if size is None and rng.random() < 0.3:
                slot.holder = OTHER_TENANT
        self.hosts[machine_id] = host
        return host

    def kind_named(self, gpu_name: str) -> GpuKind | None:
        return next((kind for kind in GPU_KINDS if kind.name == gpu_name), None)
