"""Compute Engine's JSON as our nouns, and a claim as the resource that is to be made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from adapters.gce.settings import VM_USER, GceSettings
from machines.cpu_vm import CpuVm, VmClaim, VmId, VmStatus, Zone
from machines.errors import Unknown

_STATUS = {
    "PROVISIONING": VmStatus.STARTING,
    "STAGING": VmStatus.STARTING,
    "PENDING": VmStatus.STARTING,
    "RUNNING": VmStatus.RUNNING,
    "PENDING_STOP": VmStatus.STOPPING,
    "STOPPING": VmStatus.STOPPING,
    "STOPPED": VmStatus.STOPPED,
    "TERMINATED": VmStatus.STOPPED,
}
"""A stopped VM reads TERMINATED; STOPPED is accepted as the same. Everything else says neither."""


def vm_from(row: Mapping[str, Any], project: str) -> CpuVm:
    """Raise Unknown for a row that names no VM."""
    name, number, word = row.get("name"), str(row.get("id") or ""), str(row.get("status") or "")
    zone = str(row.get("zone") or "").rpartition("/")[2]
    if not isinstance(name, str) or not name or not zone or not number.isdecimal():
        raise Unknown(f"the provider showed a VM without a name, a zone or an id: {name!r}, {zone!r}, {number!r}")
    return CpuVm(
        id=VmId(int(number)),
        zone=Zone(zone),
        name=name,
        status=_STATUS.get(word, VmStatus.OTHER),
        word=word,
        labels={str(key): str(value) for key, value in (row.get("labels") or {}).items()},
        fingerprint=str(row.get("labelFingerprint") or ""),
        machine_type=str(row.get("machineType") or "").rpartition("/")[2],
        is_spot=(row.get("scheduling") or {}).get("provisioningModel") == "SPOT",
        address=_address(row),
        project=project,
    )


def _address(row: Mapping[str, Any]) -> str | None:
    for interface in row.get("networkInterfaces") or ():
        for access in interface.get("accessConfigs") or ():
            if access.get("natIP"):
                return str(access["natIP"])
    return None


def resource_of(claim: VmClaim, settings: GceSettings) -> dict[str, Any]:
    """The Instance to be inserted."""
    kind = claim.machine_type or settings.machine_type
    resource: dict[str, Any] = {
        "name": claim.place.name,
        "machineType": f"zones/{claim.place.zone}/machineTypes/{kind}",
        "disks": [
            {
                "boot": True,
                "autoDelete": True,
                "initializeParams": {"sourceImage": settings.image, "diskSizeGb": str(settings.disk_gb)},
            }
        ],
        "networkInterfaces": [
            {
                "network": settings.network,
                "accessConfigs": [{"name": "External NAT", "type": "ONE_TO_ONE_NAT"}],
            }
        ],
        "labels": dict(claim.labels),
    }
    if settings.ssh_key:
        resource["metadata"] = {"items": [{"key": "ssh-keys", "value": f"{VM_USER}:{settings.ssh_key.strip()}"}]}
    if settings.is_spot:
        # A spot VM needs TERMINATE; stopped, not deleted, so that its disk survives the reclaim.
        resource["scheduling"] = {
            "provisioningModel": "SPOT",
            "onHostMaintenance": "TERMINATE",
            "instanceTerminationAction": "STOP",
        }
    return resource
