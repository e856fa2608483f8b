"""The nouns: machine, instance, offer, claim, snapshot, debt, failover. Frozen; changed with `replace`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Any, NewType

from machines.cpu_vm import CpuStandby, VmPlace
from machines.states import State

MachineId = NewType("MachineId", int)
InstanceId = NewType("InstanceId", int)
OfferId = NewType("OfferId", int)
HostId = NewType("HostId", int)
"""Vast's `machine_id`: one physical box."""
LandlordId = NewType("LandlordId", int)
"""Vast's `host_id`: who owns the box."""
VolumeId = NewType("VolumeId", int)
FailoverId = NewType("FailoverId", str)
Label = NewType("Label", str)


class Setting(Enum):
    """What an operator chooses for a machine: the contract's five strategies."""

    WARM_POOL = "warm_pool"
    CPU_STANDBY = "cpu_standby"
    BOTH = "both"
    REGIONAL_VOLUME = "regional_volume"
    DISABLED = "disabled"


class Rung(Enum):
    """One attempt of a ladder: a strategy, or the reboot that stands before the ladder."""

    REPAIR_PRIMARY = "repair_primary"
    WARM_POOL = "warm_pool"
    CPU_STANDBY = "cpu_standby"
    REGIONAL_VOLUME = "regional_volume"


class Mode(Enum):
    """What the daemon may do by itself for a machine."""

    OFF = "off"
    OBSERVE = "observe"
    ON = "on"


class FenceGrade(Enum):
    """How the old instance was made harmless; see architecture, section 4.5."""

    STOPPED = "stopped"
    DESTROYED = "destroyed"
    SEVERED = "severed"


class Reason(Enum):
    """Which door a failover came through."""

    HEARTBEAT_LOST = "heartbeat_lost"
    NOTICE = "notice"
    FAULT = "fault"
    COMMAND = "command"
    HTTP = "http"
    DRILL = "drill"


@dataclass(frozen=True, slots=True)
class Endpoint:
    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class FenceProof:
    """What shows that the old instance cannot serve any more."""

    grade: FenceGrade
    proof: str
    at: datetime


SSH_RUNTYPE = "ssh_direc ssh_proxy"
"""As the official client says it (facts/vast-requests.json): a direct port where there is one, and the proxy."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The customer's world on an instance: what a replacement must look like."""

    image: str = "pytorch/pytorch:latest"
    disk_gb: float = 32.0
    gpu_name: str | None = None
    num_gpus: int = 1
    env: Mapping[str, str] = field(default_factory=dict)
    onstart: str | None = None
    runtype: str = SSH_RUNTYPE
    """How the provider starts the image (facts/vast-api.md, section 3); one without SSH could not be verified."""
    image_login: str | None = field(default=None, repr=False)
    """What a private registry of images asks for: `-u USER -p TOKEN HOST`. A secret."""
    ssh_keys: tuple[str, ...] = ()
    """Public keys that are let in beside those of the provider's account."""
    max_price: float | None = None
    """$/h of the whole instance; None is the policy's cap."""
    region: str | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """A copy of a machine's volume on another host of its region. What was written after `copied_at` is not on it."""

    id: VolumeId
    host: HostId
    copied_at: datetime


@dataclass(frozen=True, slots=True)
class VolumeMount:
    """A volume of the provider's and where an instance has it. It is bound to one host (facts/vast-api.md, section 6)."""

    id: VolumeId
    path: str
    replica: Replica | None = None
    """Cloned beforehand, for the death of that host."""


@dataclass(frozen=True, slots=True)
class Wishes:
    """What whoever asked for one failover wants of its replacement; None and nothing are the machine's own."""

    volume: VolumeMount | None = None
    """The volume to go on with, and where it is to be mounted."""
    gpu_names: tuple[str, ...] = ()
    """In the order of preference; others are not taken."""
    max_price: float | None = None
    is_interruptible: bool = False
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Standby:
    """A GPU rented ahead on the primary's host, with the machine's volume mounted, stopped until it is needed."""

    instance: InstanceId
    host: HostId
    label: Label | None = None
    """Ours where we rented it; None where an operator named it."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A whole warm pool on another host, stopped: it embodies nothing until a failover lands on it."""

    volume: VolumeMount
    host: HostId
    first: Standby
    """What a failover lands on."""
    price_per_hour: float
    """$/h of each of the two while it runs; stopped it costs its disk."""
    volume_per_month: float | None = None
    second: Standby | None = None
    """What stands by beside it then."""
    is_alone: bool = False
    """The provider lets no two instances share a volume: there will be no second."""

    @property
    def is_complete(self) -> bool:
        return self.second is not None or self.is_alone


@dataclass(frozen=True, slots=True)
class WarmPool:
    """What an operator asked to have rented ahead for a machine; None is the machine's own."""

    size_gb: int | None = None
    """Of the volume; None is the size of the instance's disk."""
    gpu_name: str | None = None
    region: str | None = None
    max_price: float | None = None
    """$/h of one instance."""
    image: str | None = None
    home_is_full: bool = False
    """The host of the primary and its volume had no free GPU when it was last asked."""
    prepared: Prepared | None = None


@dataclass(frozen=True, slots=True)
class Running:
    """The failover that a machine is in: what `decide` must know of it."""

    id: FailoverId
    reason: Reason
    ladder: tuple[Rung, ...]
    position: int
    started_at: datetime
    fence: int
    proof: FenceProof | None = None
    primary_was_alive: bool = False
    cancel_asked: bool = False
    primary_spoke: bool = False
    """The old instance spoke again while this failover, which its silence began, was running."""
    attempt: int = 1
    """Counts every attempt of the failover, the repeated ones too."""
    repeats: int = 0
    """How often the present rung was begun again: with other candidates, or with the replica of a volume."""
    wishes: Wishes | None = None

    @property
    def rung(self) -> Rung:
        return self.ladder[self.position]

    def is_worked_by(self, failover: FailoverId, fence: int) -> bool:
        """Does an actor with this fence still act for it? One that was outdated changes nothing."""
        return self.id == failover and self.fence == fence


@dataclass(frozen=True, slots=True)
class Hold:
    """Why nothing is concluded from the primary's silence for a while (machines/hold.py)."""

    because: str
    since: datetime
    boot_id: str
    """The agent's boot that was known then: another one is a new life, and ends the hold."""
    is_stopped: bool = False
    """Our stop of that boot was proved: beats of it that still arrive are late, and no sign of life."""
    asked_at: datetime | None = None
    """Our last start of the primary that may have been accepted."""
    until: datetime | None = None
    """Its end, where the machine's beat token was revoked: its silence alone tells nothing until then."""


class WaitsFor(Enum):
    """What a dead machine in the queue waits for."""

    PLACE = "place"
    """One of the fleet's concurrent failovers."""
    RENTAL = "rental"
    """One of those that rent from the same provider."""
    HOST = "host"
    """Those of machines on the same host."""
    RESUME = "resume"
    """The end of a pause."""
    SIGHT = "sight"
    """An observer that sees."""
    BUDGET = "budget"
    """Money that the fleet may spend."""


@dataclass(frozen=True, slots=True)
class Queued:
    """Its death is confirmed, and its failover has to wait (machines/brake.py)."""

    since: datetime
    asked_at: datetime
    """When it last asked for its turn: one that has stopped asking is no longer waited for."""
    waits_for: WaitsFor


@dataclass(frozen=True, slots=True)
class Registered:
    """Where a life of a machine's id begins: the same id may have been another machine before."""

    at: datetime
    fence: int
    """Above every one that was known of the id then."""


@dataclass(frozen=True, slots=True)
class Own:
    """Which settings are this machine's own: said of it, and not of the whole fleet (machines/policy.py)."""

    values: Mapping[str, int | float] = field(default_factory=dict)
    """Fields of the policy. The strategy, the mode, the priority and the price are fields of the machine itself."""
    inherits: tuple[str, ...] = ()
    """Those of `strategy`, `auto_failover` and `priority` that follow the fleet's."""
    from_file: tuple[str, ...] = ()
    """Those of its own that the configuration said."""
    said: tuple[str, ...] = ()
    """Those that a person or a program said: they go before the configuration. Of a machine that was registered before this
    was kept, neither is known."""


@dataclass(frozen=True, slots=True)
class Rest:
    """Automatic action is off for this machine alone, for a reason and until an end."""

    reason: str
    until: datetime
    by: str


@dataclass(frozen=True, slots=True)
class Machine:
    """What the customer owns. `primary` is the instance that embodies it now."""

    id: MachineId
    name: str
    state: State = State.HEALTHY
    version: int = 0
    fence: int = 0
    setting: Setting = Setting.CPU_STANDBY
    mode: Mode = Mode.OBSERVE
    priority: int = 0
    """The higher is served first where failovers have to wait."""
    primary: InstanceId | None = None
    host: HostId | None = None
    landlord: LandlordId | None = None
    is_interruptible: bool = False
    ssh: Endpoint | None = None
    host_key: str | None = None
    workspace_path: str = "/workspace"
    workload: Workload = field(default_factory=Workload)
    partition: int | None = None
    """The heartbeat partition on which it last spoke."""
    interval_s: float = 10.0
    """The interval that its heartbeats declare, in seconds."""
    boot_id: str = ""
    last_sequence: int | None = None
    """Of that boot's last beat before it fell silent: what comes up to it is a replay."""
    because: str = ""
    """Why it is in this state, for people."""
    since: datetime | None = None
    """When it entered this state."""
    evidence: Evidence | None = None
    look_at: datetime | None = None
    """The durable alarm: when `Due` is to be signalled."""
    failover: Running | None = None
    last_failover: FailoverId | None = None
    price_per_hour: float | None = None
    volume: VolumeMount | None = None
    """Where the workspace lies, if not on the instance's own disk."""
    standby: Standby | None = None
    """None beside a volume means that the provider lets no two instances share it, or that none is armed yet."""
    cpu_standby: CpuStandby | None = None
    """Its VM at the provider of CPU VMs; None where none is associated."""
    warm_pool: WarmPool | None = None
    """Asked for explicitly; None where nothing but a standby beside its volume is rented ahead."""
    hold: Hold | None = None
    """A failover ended without a hand-over: the primary's silence may be our own doing still."""
    queued: Queued | None = None
    registered: Registered | None = None
    """None for one that was registered before this was kept."""
    beat_generation: int = 0
    """How often its beat token was revoked: only the newest is taken."""
    suspicions: tuple[datetime, ...] = ()
    """When it last became suspect, the newest last; as many as a quarantine needs."""
    own: Own = field(default_factory=Own)
    rest: Rest | None = None
    """As it was set, also when its end has passed."""
    observed_at: datetime | None = None
    """When it was told that it would be failed over now, were it not only observed; None where this death was not."""


def is_served_by_vm(machine: Machine) -> bool:
    """Does its CPU VM serve in its place? Then the newest work is there."""
    return machine.cpu_standby is not None and machine.cpu_standby.serving is not None


class Source(Enum):
    """Who can testify about an instance."""

    HEARTBEAT = "heartbeat"
    PROVIDER = "provider"
    SSH = "ssh"
    NOTICE = "notice"
    WEBHOOK = "webhook"


class Word(Enum):
    """What a source said. UNKNOWN is what an error while asking means: never dead, never alive."""

    ALIVE = "alive"
    DEAD = "dead"
    GONE = "gone"
    """Dead, and stated with authority: the rental is no more, its contract has ended, or it was taken away (outbid)."""
    CRASHED = "crashed"
    """Exited although running is intended: a reboot may help."""
    STOPPED = "stopped"
    """Stopped by its owner, who was entitled to."""
    STOPPING = "stopping"
    """Still up, and to be stopped: soon it says by whom."""
    UNPAID = "unpaid"
    """Stopped because the account is empty, as every other rental of it."""
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Testimony:
    source: Source
    word: Word
    detail: str
    at: datetime


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the sources said of one instance, newest round; `dead_since` is when the present row of agreement began."""

    instance: InstanceId
    testimonies: tuple[Testimony, ...]
    at: datetime
    dead_since: datetime | None = None
    rounds: int = 0


class Status(Enum):
    """An instance as the provider's words are to be understood (facts/vast-api.md, section 9)."""

    PROVISIONING = "provisioning"
    LOADING = "loading"
    RUNNING = "running"
    EXITED = "exited"
    OFFLINE = "offline"
    """The host is silent: Vast's `unknown` or `offline`. Not gone: it may return."""
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Instance:
    """One rental as the provider shows it."""

    id: InstanceId
    label: Label | None
    status: Status
    wants_running: bool
    """The provider's intended status is running."""
    holds_gpu: bool
    """The contract's hardware is allocated now (`cur_state` is running)."""
    host: HostId
    landlord: LandlordId
    ssh: Endpoint | None
    gpu_name: str
    num_gpus: int
    is_interruptible: bool
    price_per_hour: float
    detail: str
    image: str = ""
    disk_gb: float = 0.0
    env: Mapping[str, str] = field(default_factory=dict)
    onstart: str | None = None
    region: str | None = None
    runtype: str = ""
    ends_at: datetime | None = None
    """When the contract ends, for good: then it is stopped and cannot be started again."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All rentals of the account at one time. `complete` only when every page came and the counts agree."""

    instances: Mapping[InstanceId, Instance]
    complete: bool
    at: datetime

    def with_label(self, label: Label) -> tuple[Instance, ...]:
        return tuple(instance for instance in self.instances.values() if instance.label == label)


@dataclass(frozen=True, slots=True)
class Offer:
    """A perishable price for a place on a host."""

    id: OfferId
    host: HostId
    landlord: LandlordId
    gpu_name: str
    num_gpus: int
    price_per_hour: float
    reliability: float
    region: str | None
    bid: float | None = None
    """$/h: the least bid that wins it, where interruptible offers were asked for."""


@dataclass(frozen=True, slots=True)
class OfferQuery:
    """What a replacement must fulfil; every condition is checked again on our side (facts/vast-api.md, trap 3)."""

    gpu_name: str | None
    num_gpus: int
    disk_gb: float
    max_price: float
    min_reliability: float
    region: str | None = None
    not_hosts: frozenset[HostId] = frozenset()
    not_landlords: frozenset[LandlordId] = frozenset()
    min_inet_down: float = 0.0
    """Mb/s."""
    is_interruptible: bool = False


@dataclass(frozen=True, slots=True)
class Claim:
    """A label bound to an offer, journaled before the rental: one create per label."""

    label: Label
    offer: Offer
    claimed_at: datetime
    workload: Workload
    onstart: str | None = None
    volume: VolumeMount | None = None
    bid: float | None = None
    """$/h; with one the rental is interruptible."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume as the provider shows it; `holders` are the instances that have it mounted, running or stopped."""

    id: VolumeId
    host: HostId
    size_gb: float
    holders: tuple[InstanceId, ...]
    label: Label | None = None
    """The name that it was made with; a clone bears its source's."""
    region: str | None = None
    price_per_month: float | None = None
    is_settled: bool = True
    """The provider shows it as free or in use, and not as something that is still being made."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A verified copy of a workspace."""

    id: str
    machine: MachineId
    taken_at: datetime
    size_bytes: int


class DebtKind(Enum):
    DESTROY_INSTANCE = "destroy_instance"
    DESTROY_CLAIM = "destroy_claim"
    STOP_INSTANCE = "stop_instance"
    START_INSTANCE = "start_instance"
    DELETE_VOLUME = "delete_volume"
    """Of a host that the machine has left for good, or one that nobody needs any more."""
    KEEP_VOLUME = "keep_volume"
    """It is newer than what its machine went on with: owed its deletion once this is due, and a person's to take until then."""
    CREATE_VOLUME = "create_volume"
    """Make the volume of a row of `regional_volumes`."""
    CLONE_VOLUME = "clone_volume"
    """Keep a fresh copy of the machine's volume on another host of its region."""
    REARM = "rearm"
    """Rent a new standby beside the primary."""
    PROVISION_POOL = "provision_pool"
    """Rent what the machine's warm pool lacks: a volume, an instance that has it, and a standby."""
    RUN_HOOK = "run_hook"
    """Tell the operator's program of a hand-over."""
    CREATE_VM = "create_vm"
    """Make the machine's CPU VM."""
    START_VM = "start_vm"
    """Of a machine whose CPU VM is to run."""
    DELETE_VM = "delete_vm"
    DEMOTE_VM = "demote_vm"
    """Of a machine that has a GPU again: its CPU VM serves no more."""
    REVOKE_KEY = "revoke_key"
    """Shut out an instance that may no longer write the machine's snapshots."""


@dataclass(frozen=True, slots=True)
class Debt:
    """Something that must still be done, durably; worked off by the sweep."""

    kind: DebtKind
    machine: MachineId
    failover: FailoverId | None
    instance: InstanceId | None
    label: Label | None
    claimed_at: datetime | None
    because: str
    id: int = 0
    tries: int = 0
    due_at: datetime | None = None
    last_error: str | None = None
    volume: VolumeId | None = None
    vm: VmPlace | None = None
    key: str | None = None
    """The id of an access key."""
    row: int | None = None
    """The row of `regional_volumes` that it is about."""


@dataclass(frozen=True, slots=True)
class Replacement:
    """The verified instance that becomes the machine at the hand-over."""

    instance: InstanceId
    label: Label | None
    host: HostId
    landlord: LandlordId
    ssh: Endpoint
    host_key: str | None
    gpu_name: str
    price_per_hour: float
    boot_id: str
    data_age_s: float | None
    """Negative where it was restored from a snapshot of an instance whose clock was ahead: the failover's start less this is
    the snapshot's own time."""
    is_interruptible: bool = False
    has_volume: bool = False
    """It has the machine's volume mounted: nothing was copied, and the volume stays the machine's."""
    volume: VolumeMount | None = None
    """The volume that is the machine's from now on, where that is another one, or is mounted elsewhere."""
    workspace_path: str | None = None
    """Where the work lies from now on; None is where it lay."""
    detail: Mapping[str, Any] = field(default_factory=dict)
