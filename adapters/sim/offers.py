"""The market: perishable offers on free GPUs, and the search for them with all its traps (facts/vast-api.md 2)."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from adapters.sim.answers import Answer, failure
from adapters.sim.core import Core
from adapters.sim.hosts import OTHER_TENANT, GpuKind, Host, Land
from adapters.sim.query import BadQuery, holds, ordered

HOURS_PER_MONTH = 730.0
CAP = 64
"""At most this many offers come back, whatever the limit says (2.1, trap 1)."""
ALIASES = {"cuda_vers": "cuda_max_good", "dlperf_usd": "dlperf_per_dphtotal", "driver_version": "driver_vers"}
OPTIONS = frozenset({"order", "type", "limit", "allocated_storage", "target_reliability", "select_cols", "q"})
OFFER_DEFAULTS: Mapping[str, Any] = {"verified": {"eq": True}, "rentable": {"eq": True}, "rented": {"eq": False}}


@dataclass(frozen=True, slots=True)
class Ask:
    """An offer of some GPUs of one host. Its id dies with the first rental."""

    id: int
    host: Host
    num_gpus: int


class Market:
    """Offers follow the free GPUs: rented away they vanish, freed they come back under a new id."""

    def __init__(self, core: Core, rented_hosts: Callable[[], set[int]]) -> None:
        self._core, self._rented_hosts = core, rented_hosts
        self._next_ask = 384_000
        self.land = Land(core.rng, core.settings, core.start)
        self.asks: dict[int, Ask] = {}
        for host in self.land.hosts.values():
            self.relist(host)

    def relist(self, host: Host) -> None:
        """Bring the host's offers in line with its free GPUs: one offer per GPU, and one for the whole machine."""
        free = host.free()
        wanted = {1: free, len(host.slots): 1 if free == len(host.slots) else 0} if len(host.slots) > 1 else {1: free}
        for size, count in wanted.items():
            listed = [ask for ask in self.asks.values() if ask.host is host and ask.num_gpus == size]
            for ask in listed[count:]:
                del self.asks[ask.id]
            for _ in range(count - len(listed)):
                self._next_ask += self._core.rng.randint(1, 60)
                self.asks[self._next_ask] = Ask(self._next_ask, host, size)

    def sell(self, ask: Ask) -> None:
        """The offer is rented: its id dies, and what else the host can still rent out is listed."""
        self.asks.pop(ask.id, None)
        self.relist(ask.host)

    def draw_host(self, kind: GpuKind, size: int | None = None) -> Host:
        host = self.land.draw(kind, size)
        self.relist(host)
        return host

    def snatch(self, ask: Ask, now: datetime) -> None:
        """Another tenant is faster: the offer is gone, and its GPUs stay away for a while."""
        self.asks.pop(ask.id, None)
        if ask.host.idle():
            ask.host.take(OTHER_TENANT, 1, None)
        self.relist(ask.host)
        self._core.after(now, self._core.settings.gone_seconds, lambda _when: self._return_gpu(ask.host))

    def _return_gpu(self, host: Host) -> None:
        slot = next((slot for slot in host.slots if slot.holder == OTHER_TENANT), None)
        if slot is not None:
            slot.holder, slot.bid = None, None
            self.relist(host)

    def search(self, now: datetime, query: Any) -> Answer:
        """`POST /bundles/`: a flat dict of conditions and options; the server's defaults fill what it leaves out."""
        if not isinstance(query, Mapping):
            return failure(400, "invalid_args", "Invalid query: must be dict of conditions")
        conditions = {**OFFER_DEFAULTS, **{key: value for key, value in query.items() if key not in OPTIONS}}
        storage = _number(query.get("allocated_storage"), 8.0)
        as_bid = query.get("type") == "bid"
        try:
            asks = [ask for ask in self.asks.values() if _may_match(ask, conditions) and self._is_seen(ask.host, now)]
        except BadQuery as error:
            return failure(400, "invalid_args", f"Invalid query: {error}")
        offers = [offer_row(ask, now, storage, as_bid=as_bid) for ask in asks]
        rented = self._rented_hosts()
        for offer in offers:
            offer["rented"] = offer["machine_id"] in rented
        try:
            found = [offer for offer in offers if matches(offer, conditions)]
            found = ordered(found, query.get("order", [["score", "desc"]]))
        except BadQuery as error:
            return failure(400, "invalid_args", f"Invalid query: {error}")
        return Answer({"offers": found[: _limit(query.get("limit"))]})

    def search_volumes(self, now: datetime, query: Any, free_gb: Callable[[Host], float]) -> Answer:
        """`POST /volumes/search/`: every living host offers what its disk has left."""
        if not isinstance(query, Mapping):
            return failure(400, "invalid_args", "Invalid query: must be dict of conditions")
        storage = _number(query.get("allocated_storage"), 1.0)
        conditions = {key: value for key, value in query.items() if key not in OPTIONS}
        hosts = [host for host in self.land.hosts.values() if self._is_seen(host, now)]
        try:
            rows = [volume_offer_row(host, now, storage, free_gb(host)) for host in hosts]
            found = [row for row in rows if matches(row, conditions)]
            found = ordered(found, query.get("order", [["score", "desc"]]))
        except BadQuery as error:
            return failure(400, "invalid_args", f"Invalid query: {error}")
        return Answer({"offers": found[: _limit(query.get("limit"))]})

    def recommend_bid(self, bundle_id: int) -> Answer:
        """`PUT /bundles_bid_price/{id}/`: a plain number (2.2)."""
        host = next((host for host in self.land.hosts.values() if host.bundle_id == bundle_id), None)
        if host is None:
            return failure(404, "no_such_ask", f"No ask by id {bundle_id} is available.")
        return Answer(host.winning_bid(1))

    def _is_seen(self, host: Host, now: datetime) -> bool:
        """A dead host's offers stand until the provider notices its silence."""
        return host.seconds_silent(now) < self._core.settings.unknown_seconds and host.end_date > now


def _may_match(ask: Ask, conditions: Mapping[str, Any]) -> bool:
    """By what is known without a row, which costs much where there are thousands of offers."""
    known = {"gpu_name": ask.host.kind.name, "num_gpus": ask.num_gpus, "machine_id": ask.host.machine_id}
    return all(holds(value, conditions[name]) for name, value in known.items() if name in conditions)


def matches(row: Mapping[str, Any], conditions: Mapping[str, Any]) -> bool:
    """Whether a row meets every condition; a filter on `id` matches nothing (trap 2), unknown ones filter nothing."""
    for name, condition in conditions.items():
        field = ALIASES.get(name, name)
        match field:
            case "id":
                return False
            case "rented" if row.get("rented") is not None and not _asks_for_rented(condition):
                met = not row["rented"]
            case "rented":
                met = True
            case "verified":
                met = holds(row["verification"] == "verified", condition)
            case "datacenter":
                met = holds(row.get("hosting_type") == 1, condition)
            case "geolocation":
                met = holds(str(row["geolocation"]).rsplit(", ", 1)[-1], condition)
            case _:
                met = holds(row[field], condition) if field in row else True
        if not met:
            return False
    return True


def _asks_for_rented(condition: Any) -> bool:
    """`rented: true` includes offers where this account rents; it does not ask for them alone (trap 5)."""
    return holds(True, condition)


def _limit(value: Any) -> int:
    return max(1, min(CAP, int(_number(value, CAP))))


def _number(value: Any, default: float) -> float:
    try:
        return default if value is None else float(value)
    except (TypeError, ValueError):
        return default


def _host_row(host: Host, now: datetime) -> dict[str, Any]:
    """The fields that offers of GPUs and offers of volumes share."""
    return {
        "machine_id": host.machine_id,
        "host_id": host.host_id,
        "hosting_type": 0,
        "cluster_id": None,
        "bundle_id": host.bundle_id,
        "storage_cost": host.storage_price,
        "disk_name": "nvme",
        "disk_bw": 3200.0,
        "cpu_name": "AMD EPYC 7543 32-Core Processor",
        "cpu_arch": "amd64",
        "cpu_cores": 64,
        "cpu_ghz": 3.7,
        "inet_up": host.inet_up,
        "inet_down": host.inet_down,
        "cuda_max_good": host.cuda,
        "driver_version": host.driver,
        "driver_vers": _driver_number(host.driver),
        "static_ip": True,
        "geolocation": host.place,
        "geolocode": sum(ord(letter) for letter in host.country),
        "reliability": host.reliability,
        "reliability2": host.reliability,
        "verification": "verified" if host.verified else "unverified",
        "external": False,
        "vms_enabled": False,
        "start_date": now.timestamp(),
        "end_date": host.end_date.timestamp(),
        "duration": (host.end_date - now) / timedelta(seconds=1),
    }


def _driver_number(version: str) -> int:
    """The CLI sends `535.86.05` as 535086005."""
    major, minor, patch = (int(part) for part in version.split("."))
    return major * 1_000_000 + minor * 1000 + patch


def volume_offer_row(host: Host, now: datetime, storage: float, free_gb: float) -> dict[str, Any]:
    return {
        **_host_row(host, now),
        "id": host.volume_ask_id,
        "ask_contract_id": host.volume_ask_id,
        "disk_space": free_gb,
        "storage_total_cost": storage * host.storage_price / HOURS_PER_MONTH,
        "score": round(1000 * host.reliability - host.storage_price, 3),
    }


def offer_row(ask: Ask, now: datetime, storage: float, *, as_bid: bool) -> dict[str, Any]:
    """An offer as the search shows it; prices are for the storage that was asked for."""
    host, kind = ask.host, ask.host.kind
    floor = host.winning_bid(ask.num_gpus) * ask.num_gpus
    base = floor if as_bid else host.gpu_price * ask.num_gpus
    disk_hour = storage * host.storage_price / HOURS_PER_MONTH
    total = base + disk_hour
    dlperf = kind.dlperf * ask.num_gpus
    return {
        **_host_row(host, now),
        **_offer_prices(base, disk_hour, floor),
        **_offer_hardware(ask),
        "id": ask.id,
        "ask_contract_id": ask.id,
        "rentable": True,
        "resource_type": "gpu",
        "time_remaining": "",
        "time_remaining_isbid": "",
        "dlperf": dlperf,
        "dlperf_per_dphtotal": dlperf / total,
        "total_flops": kind.tflops * ask.num_gpus,
        "flops_per_dphtotal": kind.tflops * ask.num_gpus / total,
        "score": round(dlperf / total * host.reliability, 4),
        "rn": 1,
        "avail_vol_ask_id": host.volume_ask_id,
        "avail_vol_size": host.disk_gb,
        "avail_vol_dph": host.storage_price / HOURS_PER_MONTH,
        "logo": "",
        "webpage": None,
        "hostname": None,
        "bundled_results": 1,
    }


def _offer_hardware(ask: Ask) -> dict[str, Any]:
    host, kind = ask.host, ask.host.kind
    return {
        "num_gpus": ask.num_gpus,
        "gpu_name": kind.name,
        "gpu_ram": kind.ram_mb,
        "gpu_total_ram": kind.ram_mb * ask.num_gpus,
        "gpu_frac": ask.num_gpus / len(host.slots),
        "gpu_arch": "nvidia",
        "gpu_ids": list(range(ask.num_gpus)),
        "compute_cap": kind.compute_cap,
        "disk_space": host.disk_gb,
        "cpu_cores_effective": 64.0 * ask.num_gpus / len(host.slots),
        "cpu_ram": 257_000,
        "direct_port_count": 64,
        "public_ipaddr": f"203.0.113.{host.machine_id % 254 + 1}",
        "reliability_mult": 0.98,
        "expected_reliability": host.reliability,
        "target_reliability": None,
        "has_sla": False,
        "vericode": 1 if host.verified else 0,
        "is_vm_deverified": False,
        "pcie_bw": 24.0,
    }


def _offer_prices(base: float, disk_hour: float, floor: float) -> dict[str, Any]:
    total = base + disk_hour
    return {
        "dph_base": base,
        "dph_total": total,
        "dph_total_adj": total,
        "min_bid": floor,
        # False on every row, also of interruptible offers (trap 4).
        "is_bid": False,
        "discount_rate": 0.0,
        "discounted_hourly": base,
        "discounted_dph_total": total,
        "storage_total_cost": disk_hour,
        "inet_up_cost": 0.005,
        "inet_down_cost": 0.005,
        "internet_up_cost_per_tb": 5.0,
        "internet_down_cost_per_tb": 5.0,
        "search": _price_block(base, disk_hour),
        "instance": _price_block(base, disk_hour),
    }


def _price_block(base: float, disk_hour: float) -> dict[str, float]:
    total = base + disk_hour
    return {
        "gpuCostPerHour": base,
        "diskHour": disk_hour,
        "totalHour": total,
        "discountTotalHour": 0.0,
        "discountedTotalPerHour": total,
    }
