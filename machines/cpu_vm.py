"""The CPU standby's VM: where it is, what the provider says of it, and what a machine asks of it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from typing import NewType

Zone = NewType("Zone", str)
VmId = NewType("VmId", int)
"""One incarnation: a VM that is made again under its name has another."""

DEPLOYMENT_LABEL = "failoverd-deployment"
MACHINE_LABEL = "failoverd-machine"

ZONE_EXHAUSTED = "cpu_zone_exhausted"
"""No capacity in the zone now: another zone may have some."""
QUOTA_EXCEEDED = "cpu_quota_exceeded"
"""Our quota, counted by region: another region, or a person."""
MISCONFIGURED = "cpu_misconfigured"
"""No zone would take it as it was asked for: a person."""

_REQUESTS = uuid.UUID("6f1d7a52-58c5-4a1b-9f0e-2f6f5b9a3c11")


class VmStatus(Enum):
    """The provider's states as they are to be understood (facts/real-servers.md, section 1.3)."""

    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    OTHER = "other"
    """A state that says neither: under repair, suspended, or one that nobody of us knows."""


@dataclass(frozen=True, slots=True)
class VmPlace:
    """Where a VM is or is to be. Its name is minted once and never used again."""

    zone: Zone
    name: str
    id: VmId | None = None
    """None: not known yet, or it never was."""
    request_id: str | None = None
    """Of its creation: the provider makes one VM of all requests that bear it."""
    project: str | None = None
    """The provider's project that it is in, which stays where the configured one changes; None is the configured one."""


@dataclass(frozen=True, slots=True)
class VmClaim:
    """A VM that is to be made: journaled with its name and request id before the first call."""

    place: VmPlace
    labels: Mapping[str, str]
    machine_type: str | None = None
    """None is the configured one."""


@dataclass(frozen=True, slots=True)
class CpuVm:
    """One VM as the provider shows it."""

    id: VmId
    zone: Zone
    name: str
    status: VmStatus
    word: str
    """The provider's own word for its status."""
    labels: Mapping[str, str] = field(default_factory=dict)
    fingerprint: str = ""
    """Of the labels: what a change of them must name."""
    machine_type: str = ""
    is_spot: bool = False
    address: str | None = None
    """Its public one; another one after each start."""
    project: str | None = None

    @property
    def place(self) -> VmPlace:
        return VmPlace(self.zone, self.name, self.id, project=self.project)

    @property
    def is_startable(self) -> bool:
        return self.status in (VmStatus.STARTING, VmStatus.RUNNING, VmStatus.STOPPING, VmStatus.STOPPED)


@dataclass(frozen=True, slots=True)
class VmListing:
    """The VMs that bear a label. Absence from it proves nothing, whether it is complete or not: only a single read does."""

    vms: Mapping[VmId, CpuVm]
    complete: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class VmServing:
    """The VM serves in its machine's place: where it is reached, and since when."""

    host: str
    port: int
    host_key: str
    since: datetime


@dataclass(frozen=True, slots=True)
class WorkspaceCopy:
    """A whole copy of a workspace that a VM has, checked before it counted as one."""

    id: str
    vm: VmId
    instance: int
    """Where it was pulled from."""
    taken_at: datetime
    files: int
    size_bytes: int
    host_key: str
    """The VM's."""


@dataclass(frozen=True, slots=True)
class CpuStandby:
    """What an operator wants of a machine's CPU VM, and which one it is."""

    zone: Zone | None = None
    """The first choice; None is the first of the configured zones."""
    machine_type: str | None = None
    keep_running: bool = True
    """A stopped VM costs only its disk, but is a promise without capacity behind it."""
    vm: VmPlace | None = None
    """None while it is being made."""
    command: str | None = None
    """The customer's workload there, run by a shell in the workspace while the VM serves; None offers the files alone."""
    accepts_smaller: bool = False
    """An operator's word that the workspace was meant to shrink: the next copy may be much smaller than the last."""
    serving: VmServing | None = None
    is_stuck: bool = False
    """Its VM was reclaimed, and its zone has had no capacity for long: one elsewhere is to take its place."""

    def wants_another(self, former: CpuStandby | None) -> bool:
        """Is a VM that was made for `former` the wrong one for this?"""
        return former is None or (self.zone, self.machine_type) != (former.zone, former.machine_type)

    def with_vm(self, vm: VmPlace | None) -> CpuStandby:
        """Another VM serves nothing yet, and its zone had room for it."""
        if vm == self.vm:
            return self
        return replace(self, vm=vm, serving=None, is_stuck=False)

    @property
    def is_made(self) -> bool:
        """Is there the VM that is wanted? One that is stuck is none, unless it serves after all or is not to run any more."""
        return self.vm is not None and not (self.is_stuck and self.keep_running and self.serving is None)

    @property
    def keeps_copies(self) -> bool:
        """A VM that is stopped until it is needed has none."""
        return self.vm is not None and self.vm.id is not None and self.keep_running and self.serving is None


def request_id(*words: object) -> str:
    """A UUID that follows from the intent: the same intent, the same request."""
    return str(uuid.uuid5(_REQUESTS, "/".join(map(str, words))))


def labels_of(deployment: str, machine: int) -> dict[str, str]:
    """What a VM bears, so that whoever looks for it finds whose it is."""
    return {DEPLOYMENT_LABEL: deployment, MACHINE_LABEL: str(machine)}


def region_of(zone: Zone) -> str:
    return zone.rpartition("-")[0]
