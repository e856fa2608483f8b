"""Volumes: bound to one host, released only a while after their last instance is gone (facts/vast-api.md 6)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from adapters.sim.answers import Answer, failure, success
from adapters.sim.bills import Ledger
from adapters.sim.core import Core, VolumeErased, VolumeMade
from adapters.sim.hosts import Host
from adapters.sim.offers import HOURS_PER_MONTH, Market

NAME = re.compile(r"[A-Za-z0-9_]{1,64}")
TYPES = ("local_volume", "network_volume", "all_volume")


@dataclass(slots=True)
class Volume:
    id: int
    host: Host
    size_gb: float
    label: str | None
    created_at: datetime
    holders: list[int] = field(default_factory=list)
    """Instances that mount it, running or stopped, and those whose release is still under way."""
    visible_at: datetime | None = None
    """In no list before; None is at once."""
    is_stuck: bool = False
    """A copy that has failed halfway: nothing says so, and it is billed."""

    @property
    def cost(self) -> float:
        return self.size_gb * self.host.storage_price / HOURS_PER_MONTH

    @property
    def status(self) -> str:
        if self.is_stuck:
            return "copying"
        return "in-use" if self.holders else "created"


class VolumeShelf:
    """All volumes of the account, and the operations on them."""

    def __init__(self, core: Core, market: Market, ledger: Ledger) -> None:
        self._core, self._market, self._ledger = core, market, ledger
        self._next_id = 880
        self.volumes: dict[int, Volume] = {}

    def free_gb(self, host: Host) -> float:
        return host.disk_gb / 2 - sum(volume.size_gb for volume in self.volumes.values() if volume.host is host)

    def make(self, host: Host, size_gb: float, label: str | None, now: datetime, source: int | None = None) -> Volume:
        self._next_id += 1
        visible_at = now + timedelta(seconds=self._core.settings.volume_invisible_seconds)
        volume = Volume(self._next_id, host, size_gb, label, now, visible_at=visible_at)
        self.volumes[volume.id] = volume
        self._core.emit(VolumeMade(volume.id, source))
        self.meter(volume, now)
        return volume

    def meter(self, volume: Volume, now: datetime) -> None:
        """No charge while the host is offline (6)."""
        offline = volume.host.seconds_silent(now) >= self._core.settings.offline_seconds
        self._ledger.set_rate("volume", volume.id, 0.0 if offline else volume.cost, now)

    def meter_host(self, host: Host, now: datetime) -> None:
        for volume in self.volumes.values():
            if volume.host is host:
                self.meter(volume, now)

    def refuse_mount(self, volume_id: int, host: Host) -> Answer | None:
        """Why a new instance on a host may not mount the volume, or None where it may."""
        volume = self.volumes.get(volume_id)
        if volume is None:
            return failure(400, "invalid_args", f"error 400/3467: Invalid args: no volume by id {volume_id}")
        if volume.host is not host:
            text = f"error 400/3467: Invalid args: volume {volume_id} is on another machine"
            return failure(400, "invalid_args", text)
        if volume.holders and self._core.settings.volume_sharing == "refused":
            return failure(400, "invalid_args", f"error 400/3467: Invalid args: volume {volume_id} is in use")
        return None

    def release(self, instance_id: int, now: datetime) -> None:
        """The instance is destroyed; its volumes are let go only a while later (FIELD: about 30 s)."""

        def let_go(_when: datetime) -> None:
            for volume in self.volumes.values():
                if instance_id in volume.holders:
                    volume.holders.remove(instance_id)

        self._core.after(now, self._core.settings.release_seconds, let_go)

    # -- operations ---------------------------------------------------------------------------------------------

    def create(self, now: datetime, body: Mapping[str, Any]) -> Answer:
        """`PUT /volumes/`: a volume of an offer's host."""
        host = self._offering(body.get("id"))
        size, name = body.get("size") or 15, body.get("name")
        if host is None:
            return failure(400, "invalid_args", "error 400/3467: Invalid args: 'id' must be a valid volume offer")
        if name is not None and not NAME.fullmatch(str(name)):
            return failure(422, "invalid_args", "name must match [A-Za-z0-9_]{1,64}")
        if not isinstance(size, int | float) or not 1 <= size <= self.free_gb(host):
            return failure(400, "invalid_args", "error 400/3467: Invalid args: 'size' does not fit the offer")
        volume = self.make(host, float(size), name, now)
        return success(volume_name=f"V.{volume.id}", volume_id=volume.id)

    def clone(self, now: datetime, body: Mapping[str, Any]) -> Answer:
        """`POST /volumes/copy/`: only from a host that is online; the answer names the new volume (8)."""
        source, host = self.volumes.get(_as_id(body.get("src_id"))), self._offering(body.get("dst_id"))
        if source is None or host is None:
            return failure(400, "invalid_args", "error 400/3467: Invalid args: src_id or dst_id is unknown")
        if not source.host.alive or not host.alive:
            return failure(400, "host_offline", "The machine of the source or of the target is offline.")
        size = float(body.get("size") or source.size_gb)
        if size < source.size_gb:
            return failure(400, "invalid_args", "size is smaller than the source volume")
        if size > self.free_gb(host):
            return failure(400, "invalid_args", "error 400/3467: Invalid args: 'size' does not fit the offer")
        volume = self.make(host, size, source.label, now, source.id)
        return success(volume_name=f"V.{volume.id}")

    def show_all(self, now: datetime, kind: str | None) -> Answer:
        """`GET /volumes`: there is no read of a single volume."""
        if kind is not None and kind not in TYPES:
            names = "['local_volume', 'network_volume', 'all_volume']"
            return failure(400, "invalid_args", f"type must be unspecified or one of: {names}")
        seen = [volume for volume in self.volumes.values() if volume.visible_at is None or volume.visible_at <= now]
        shown = [] if kind == "network_volume" else sorted(seen, key=lambda volume: volume.id)
        return success(volumes=[volume_row(volume, now, self._core.settings.public_address) for volume in shown])

    def delete(self, now: datetime, volume_id: Any) -> Answer:
        """`DELETE /volumes/`: refused while any instance uses it, running or stopped; allowed on a dead host."""
        number = _as_id(volume_id)
        if number < 0:
            return failure(400, "invalid id", "id must refer to a valid volume id")
        volume = self.volumes.get(number)
        if volume is None:
            return failure(404, "invalid id", "could not find a listed volume matching id")
        if volume.holders:
            return Answer({"error": "volume in use", "msg": "existing instances use that volume!"}, 409)
        del self.volumes[number]
        self._ledger.set_rate("volume", number, 0.0, now)
        self._core.emit(VolumeErased(number))
        return success()

    def _offering(self, ask_id: Any) -> Host | None:
        wanted = _as_id(ask_id)
        hosts = self._market.land.hosts.values()
        return next((host for host in hosts if host.volume_ask_id == wanted), None)


def _as_id(value: Any) -> int:
    try:
        return int(value)
    except (TypeError, ValueError):
        return -1


def volume_brief(volume: Volume) -> dict[str, Any]:
    """The entry of an instance row's `volume_info`."""
    return {"id": volume.id, "label": volume.label, "total_space": volume.size_gb, "avail_space": volume.size_gb}


def volume_row(volume: Volume, now: datetime, address: str) -> dict[str, Any]:
    host = volume.host
    return {
        "id": volume.id,
        "label": volume.label,
        "machine_id": host.machine_id,
        "host_id": host.host_id,
        "cluster_id": None,
        "disk_space": volume.size_gb,
        "disk_name": "nvme",
        "disk_bw": 3200.0,
        "status": volume.status,
        "instances": list(volume.holders),
        "start_date": volume.created_at.timestamp(),
        "end_date": host.end_date.timestamp(),
        "duration": (host.end_date - now).total_seconds(),
        "storage_cost": host.storage_price,
        "storage_total_cost": volume.cost,
        "type": "machine",
        "public_ipaddr": address,
        "static_ip": True,
        "reliability2": host.reliability,
        "geolocation": host.place,
        "inet_up": host.inet_up,
        "inet_down": host.inet_down,
        "cuda_max_good": host.cuda,
        "driver_version": host.driver,
        "cpu_ghz": 3.7,
        "verification": "verified" if host.verified else "unverified",
    }
