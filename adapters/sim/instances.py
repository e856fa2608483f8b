"""One rental: what is true of it, and what the provider shows of it (facts/vast-api.md 4.4 and 9)."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal, NamedTuple

from adapters.sim.hosts import Host
from adapters.sim.offers import HOURS_PER_MONTH
from adapters.sim.settings import WorldSettings
from adapters.sim.weather import DeadBoot

Wanted = Literal["running", "stopped"]


class Mount(NamedTuple):
    volume_id: int
    path: str


@dataclass(slots=True)
class Instance:
    """A contract. `is_up` is the truth about the container; `actual` is what the host's daemon last reported."""

    id: int
    host: Host
    num_gpus: int
    image: str
    runtype: str
    disk_gb: float
    label: str | None
    env: dict[str, str]
    onstart: str | None
    args: list[str]
    mounts: tuple[Mount, ...]
    bid: float | None
    """The bid for the whole rental in $/h; None where it is on demand, which is fixed for life."""
    gpu_cost: float
    created_at: datetime
    visible_at: datetime
    end_date: datetime
    api_key: str
    authorized_keys: list[str] = field(default_factory=list)
    fate: DeadBoot | None = None
    intended: Wanted = "running"
    current: Wanted = "running"
    upcoming: Wanted = "running"
    actual: str | None = None
    status_msg: str | None = None
    is_up: bool = False
    has_booted: bool = False
    is_crashed: bool = False
    reboot_helps: bool = True
    is_frozen: bool = False
    is_waiting: bool = False
    """Queued for a GPU: a refused start, or an interruptible that was outbid."""
    ssh_open: bool = False
    port: int | None = None
    started_at: datetime | None = None
    starts: int = 0
    has_body: bool = True
    """False: no folder, no process and no agent, and one port for all of them, at which something greets as SSH does."""
    plan: int = 0
    """Rises with every change of plan, so that events of an older plan change nothing."""

    @property
    def is_bid(self) -> bool:
        return self.bid is not None

    @property
    def serves(self) -> bool:
        """Really running: a container that is up, neither frozen nor crashed, on a host that lives."""
        return self.is_up and self.host.alive and not self.is_frozen

    @property
    def storage_cost(self) -> float:
        """$/h for the container's disk, running or stopped."""
        return self.disk_gb * self.host.storage_price / HOURS_PER_MONTH

    def shown_status(self, now: datetime, settings: WorldSettings) -> str | None:
        """`unknown` and `offline` are computed at read time from the host's silence (9.1)."""
        silent = self.host.seconds_silent(now)
        if silent >= settings.offline_seconds:
            return "offline"
        return "unknown" if silent >= settings.unknown_seconds else self.actual

    def shown_port(self, now: datetime, settings: WorldSettings) -> int | None:
        """Ports are shown only while the instance is shown as running."""
        is_shown = self.port is not None and self.shown_status(now, settings) == "running"
        return self.port if is_shown and self.intended == "running" else None


def instance_row(
    instance: Instance,
    now: datetime,
    settings: WorldSettings,
    *,
    credit: float,
    volumes: Sequence[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """The provider's row; `volume_info` stands in the list only, so the single read passes no volumes (4.2)."""
    row = {
        **_identity(instance),
        **_status(instance, now, settings),
        **_prices(instance, credit),
        **_endpoint(instance, now, settings),
        **_times(instance, now),
        **_hardware(instance, now, settings),
    }
    if volumes is not None:
        row["volume_info"] = list(volumes)
    return row


def _identity(instance: Instance) -> dict[str, Any]:
    host = instance.host
    return {
        "id": instance.id,
        "machine_id": host.machine_id,
        "host_id": host.host_id,
        "bundle_id": host.bundle_id,
        "hosting_type": 0,
        "label": instance.label,
        "image_uuid": instance.image,
        "image_args": instance.args,
        "image_runtype": instance.runtype,
        "onstart": instance.onstart,
        "jupyter_token": "0" * 32,
        "extra_env": [[key, value] for key, value in instance.env.items()],
        "template_id": None,
        "template_hash_id": None,
        "template_name": None,
    }


def _status(instance: Instance, now: datetime, settings: WorldSettings) -> dict[str, Any]:
    is_running = instance.is_up and instance.host.alive
    return {
        "actual_status": instance.shown_status(now, settings),
        "intended_status": instance.intended,
        "cur_state": instance.current,
        "next_state": instance.upcoming,
        "status_msg": instance.status_msg,
        "gpu_util": 0.0 if is_running else None,
        "gpu_temp": 41.0 if is_running else None,
        "cpu_util": 0.0,
        "mem_usage": 1.5 if is_running else 0.0,
        "mem_limit": 64.0,
        "vmem_usage": 0.0,
        "disk_usage": -1,
        "disk_util": -1.0,
    }


def _prices(instance: Instance, credit: float) -> dict[str, Any]:
    host = instance.host
    base = instance.gpu_cost if instance.bid is None else instance.bid
    floor = host.bid_floor * instance.num_gpus
    total = base + instance.storage_cost
    block = {
        "gpuCostPerHour": base,
        "diskHour": instance.storage_cost,
        "totalHour": total,
        "discountTotalHour": 0.0,
        "discountedTotalPerHour": total,
    }
    return {
        "is_bid": instance.is_bid,
        # On my own instance this echoes my bid x 1.2 (13, trap 4): the floor stands in the search.
        "min_bid": floor if instance.bid is None else max(floor, instance.bid * 1.2),
        "dph_base": base,
        "dph_total": total,
        "storage_cost": host.storage_price,
        "storage_total_cost": instance.storage_cost,
        "internet_up_cost_per_tb": 5.0,
        "internet_down_cost_per_tb": 5.0,
        "inet_up_cost": 0.005,
        "inet_down_cost": 0.005,
        "credit_balance": credit,
        "credit_discount": 0.0,
        "credit_discount_max": 0.0,
        "target_reliability": None,
        "search": block,
        "instance": block,
    }


def _endpoint(instance: Instance, now: datetime, settings: WorldSettings) -> dict[str, Any]:
    port = instance.shown_port(now, settings)
    is_direct = "direc" in instance.runtype
    is_jupyter = "jupyter" in instance.runtype
    mapped = {"22/tcp": [{"HostIp": "0.0.0.0", "HostPort": str(port)}]} if is_direct and port is not None else {}
    return {
        "ssh_host": settings.public_address,
        # The client adds 1 where the runtype contains jupyter (4.4).
        "ssh_port": (instance.port or 2) - is_jupyter,
        "ssh_idx": "5",
        "machine_dir_ssh_port": instance.port or -1,
        # The real API pads this address at times: clients must strip it.
        "public_ipaddr": settings.public_address + ("\n" if instance.id % 2 else ""),
        "local_ipaddrs": "172.17.0.2 192.168.1.20 \n",
        "ports": mapped if port is not None else None,
        "direct_port_start": -1 if port is None else port,
        "direct_port_end": -1 if port is None else port,
        "direct_port_count": 64,
        "static_ip": True,
    }


def _times(instance: Instance, now: datetime) -> dict[str, Any]:
    up_for = (now - instance.started_at).total_seconds() if instance.is_up and instance.started_at else 0.0
    remaining = (instance.end_date - now).total_seconds()
    return {
        "start_date": instance.created_at.timestamp(),
        "end_date": instance.end_date.timestamp(),
        "duration": remaining,
        "time_remaining": "",
        "uptime_mins": up_for / 60,
        "client_run_time": 1.1,
        "host_run_time": (instance.host.end_date - now).total_seconds(),
    }


def _hardware(instance: Instance, now: datetime, settings: WorldSettings) -> dict[str, Any]:
    host, kind = instance.host, instance.host.kind
    return {
        "num_gpus": instance.num_gpus,
        "gpu_name": kind.name,
        "gpu_arch": "nvidia",
        "gpu_ram": kind.ram_mb,
        "gpu_totalram": kind.ram_mb * instance.num_gpus,
        "gpu_frac": instance.num_gpus / len(host.slots),
        "gpu_mem_bw": 900.0,
        "compute_cap": kind.compute_cap,
        "cpu_name": "AMD EPYC 7543 32-Core Processor",
        "cpu_arch": "amd64",
        "cpu_cores": 64,
        "cpu_cores_effective": 64.0 * instance.num_gpus / len(host.slots),
        "cpu_ram": 257_000,
        "cuda_max_good": host.cuda,
        "driver_version": host.driver,
        "disk_space": instance.disk_gb,
        "disk_name": "nvme",
        "disk_bw": 3200.0,
        "inet_up": host.inet_up,
        "inet_down": host.inet_down,
        "geolocation": host.place,
        "country_code": host.country,
        "verification": "verified" if host.verified else "unverified",
        "reliability2": host.reliability,
        "rentable": host.seconds_silent(now) < settings.unknown_seconds,
        "external": False,
        "os_version": "22.04",
        "mobo_name": "H12SSL-i",
        "dlperf": kind.dlperf * instance.num_gpus,
        "total_flops": kind.tflops * instance.num_gpus,
        "pcie_bw": 24.0,
        "score": 0.0,
        "webpage": None,
        "logo": "",
    }
