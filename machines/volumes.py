"""Volumes that are ours to make: an offer of room, the claim that is written down before a create, and a regional volume.

The provider's volumes are bound to one host (facts/vast-api.md, section 6). A regional volume is our abstraction over
them: one volume at a time, and beside it a replica on another host of the region that was cloned beforehand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from machines.model import (
    HostId,
    Instance,
    Label,
    LandlordId,
    Listing,
    MachineId,
    OfferId,
    Status,
    Volume,
    VolumeId,
)

HOURS_PER_MONTH = 730.0
KEPT_FOR = timedelta(days=7)
"""A volume that is newer than the snapshot from which its machine went on: long enough for a person to miss something."""
FORMER_HANDLES = 1 << 52
"""From here on are the ids of volumes whose machine went on with a copy, which took their ids over; no provider's are as
high, and clients still read them as whole numbers."""


@dataclass(frozen=True, slots=True)
class VolumeQuery:
    """Where a volume may lie; every condition is checked again on our side."""

    region: str
    size_gb: float
    hosts: frozenset[HostId] | None = None
    """Only there, where hosts are named."""
    not_hosts: frozenset[HostId] = frozenset()
    min_reliability: float = 0.0


@dataclass(frozen=True, slots=True)
class VolumeOffer:
    """Room for a volume on one host."""

    id: OfferId
    host: HostId
    landlord: LandlordId
    free_gb: float
    price_per_gb_month: float
    reliability: float
    region: str | None


@dataclass(frozen=True, slots=True)
class VolumeClaim:
    """A name bound to an offer, stored before the create: one create per name.

    A clone cannot be named by us: it bears its source's name (facts/vast-api.md, section 8). It is known again as what the
    host has beside what it had before.
    """

    label: Label
    offer: OfferId
    host: HostId
    size_gb: int
    claimed_at: datetime
    source: VolumeId | None = None
    """What is to be copied; None is an empty volume."""
    source_label: Label | None = None
    seen: frozenset[VolumeId] = frozenset()
    """What the host had before."""


class VolumeStatus(Enum):
    CREATING = "creating"
    AVAILABLE = "available"
    DELETING = "deleting"


@dataclass(frozen=True, slots=True)
class RegionalVolume:
    """One volume of the provider's that this deployment keeps, as a row. A replica names the row that it is a copy of."""

    number: int
    """The row's own; 0 before it is stored."""
    region: str
    size_gb: int
    status: VolumeStatus
    created_at: datetime
    handle: VolumeId | None = None
    """The id by which clients know the regional volume: that of its first volume, whichever it lies on now."""
    volume: VolumeId | None = None
    """The provider's id; None while it is being made."""
    name: str | None = None
    """What the customer calls it."""
    machine: MachineId | None = None
    host: HostId | None = None
    label: Label | None = None
    """The name that it bears at the provider; a clone has its source's."""
    price_per_month: float | None = None
    replica_of: int | None = None
    copied_from: VolumeId | None = None
    copied_at: datetime | None = None
    seen: tuple[VolumeId, ...] = ()
    """What its host had before it was cloned there."""
    command_id: str | None = None
    """The command that waits for it."""


def mount_fault(volume: VolumeId, row: Instance, volumes: Mapping[VolumeId, Volume], listing: Listing) -> str | None:
    """Why the instance seems not to have the volume mounted; None where it has, or where the lists do not tell.

    A volume without holders tells nothing: the list may not name them. Whether those that are stopped are named nobody
    knows for certain (facts/vast-api.md, section 6), so of a stopped instance only a list tells that names another one.
    """
    found = volumes.get(volume)
    if found is None or row.id in found.holders:
        return None
    other = next((one.id for one in volumes.values() if row.id in one.holders), None)
    if other is not None:
        return f"instance {row.id} has volume {other} mounted, and not volume {volume}"
    is_told = row.status is Status.RUNNING or _names_stopped(volumes, listing)
    return f"instance {row.id} does not have volume {volume} mounted" if found.holders and is_told else None


def _names_stopped(volumes: Mapping[VolumeId, Volume], listing: Listing) -> bool:
    holders = (listing.instances.get(holder) for one in volumes.values() for holder in one.holders)
    return any(holder is not None and holder.status is Status.EXITED for holder in holders)


def volume_prefix(deployment: str) -> str:
    """How the names of this deployment's volumes begin; the provider takes letters, digits and underscores."""
    return f"{deployment.replace('-', '_')}_v"


def kept_alert(volume: VolumeId) -> str:
    """The key of the alert that a volume is kept which is newer than what its machine went on with."""
    return f"volume-{volume}-kept"


def volume_label(deployment: str, row: int, tries: int) -> Label:
    return Label(f"{volume_prefix(deployment)}{row}_{tries}")
