"""What the domain asks of the outside world: small Protocols, each with the errors it may raise (machines/errors.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, Protocol, TypeVar

from events.topics import Message, TopicProblem, TopicSpec
from machines.charges import Bill
from machines.cpu_vm import CpuVm, VmClaim, VmListing, VmPlace, VmServing, WorkspaceCopy, Zone
from machines.journal import Entry
from machines.model import (
    Claim,
    Debt,
    Endpoint,
    FenceProof,
    HostId,
    Instance,
    InstanceId,
    Label,
    Listing,
    Machine,
    MachineId,
    Offer,
    OfferQuery,
    Replacement,
    Running,
    Snapshot,
    Volume,
    VolumeId,
)
from machines.notifications import Level
from machines.volumes import VolumeClaim, VolumeOffer, VolumeQuery

T = TypeVar("T")


class Clock(Protocol):
    """Time, possibly scaled: every duration in it is in scaled seconds."""

    def now(self) -> datetime: ...
    def monotonic(self) -> float: ...
    def since(self, at: datetime, unseen_at_most: timedelta | None = None) -> timedelta:
        """How long ago `at` was, whatever the time of day was stepped by meanwhile; never negative. Of the time before
        this process began, of which only the time of day tells, no more than `unseen_at_most` counts."""
        ...

    def real(self, seconds: float) -> float:
        """Scaled seconds that pass in so many real ones."""
        ...

    async def sleep(self, seconds: float) -> None: ...
    async def breathe(self) -> None: ...
    async def wait_for(self, awaitable: Awaitable[T], seconds: float) -> T:
        """Raise TimeoutError."""
        ...


class Random(Protocol):
    def token(self, length: int = 12) -> str: ...
    def jitter(self) -> float: ...


class GpuCloud(Protocol):
    """A provider of GPU instances. Each call raises Unknown where the answer was lost, NotYet where it must wait for
    a rate limit, and Refused(code) where the provider said no."""

    async def search(self, query: OfferQuery, host: HostId | None = None) -> tuple[Offer, ...]:
        """Offers that fulfil every condition, cheapest first; with `host` only there, also where we rent already."""
        ...

    async def rent(self, claim: Claim) -> InstanceId:
        """Rent the claim's offer once under its label. Raise Refused("no_offer_matches") where the offer is gone (with
        `leaves_rental` the claim is still to be destroyed) and Unknown where the answer was lost: adopt or abandon, never
        create again."""
        ...

    async def adopt(self, claim: Claim) -> InstanceId | None:
        """The instance that bears the claim's label; None only by a complete listing past the provider's lag,
        before that NotYet."""
        ...

    async def show(self, instance: InstanceId) -> Instance | None:
        """None where the provider says that there is no such rental (and our key is alive)."""
        ...

    async def look(self, instance: InstanceId) -> Instance | None:
        """What `show` says, asked in the way that the provider allows soonest."""
        ...

    async def list(self, max_age_s: float = 0.0, about: Collection[InstanceId] | None = None) -> Listing:
        """All rentals; a listing not older than `max_age_s` may be shared between callers. Whoever needs to know of a few
        names them (`about`): of a large account nothing else is read then, and `complete` speaks of them alone."""
        ...

    async def start(self, instance: InstanceId) -> None: ...
    async def stop(self, instance: InstanceId) -> None:
        """Accepted by the provider; already stopped is success."""
        ...

    async def reboot(self, instance: InstanceId) -> None: ...
    async def logs(self, instance: InstanceId, lines: int, of_daemon: bool = False) -> str:
        """The last lines that its container printed, or that the host's daemon said of it. NotYet where the host has not
        brought them."""
        ...

    async def attach_key(self, instance: InstanceId) -> None:
        """Let our SSH key in: an instance has the keys that the account had when it was made. Already there is success;
        Unknown where it is not known to be there."""
        ...

    async def label(self, instance: InstanceId, label: Label) -> None: ...

    async def destroy(self, target: Claim | InstanceId) -> None:
        """By label only for labels that we minted, registered instances by id only; NotYet until a complete listing,
        past the lag, shows nothing. Nothing there is success."""
        ...


class Purse(Protocol):
    """What the provider is paid from. Each call raises as those of GpuCloud do."""

    async def credit(self) -> float | None:
        """Prepaid dollars; None where the provider does not say."""
        ...

    async def spend_rate(self) -> float:
        """$/h of everything that is billed now."""
        ...


class VolumeStore(Protocol):
    """The provider's volumes. Each call raises as those of GpuCloud do."""

    async def volumes(self, max_age_s: float = 0.0) -> Mapping[VolumeId, Volume]:
        """The volumes of the account as listed; Unknown where no list came. What it lacks is not gone by that."""
        ...

    async def search(self, query: VolumeQuery) -> tuple[VolumeOffer, ...]:
        """Room for a volume that fulfils every condition, cheapest first."""
        ...

    async def create(self, claim: VolumeClaim) -> VolumeId:
        """Make the claim's volume once. Raise Refused("no_offer_matches") where the room is gone, Refused("host_offline")
        where the source of a copy cannot be read, and Unknown where the answer was lost: adopt or abandon, never again."""
        ...

    async def adopt(self, claim: VolumeClaim) -> VolumeId | None:
        """The volume that the claim brought; None only where that is proved, past the provider's lag, before that NotYet."""
        ...

    async def delete(self, volume: VolumeId) -> None:
        """NotYet while an instance still has it; nothing there is success, once that is proved."""
        ...

    async def expect_gone(self, volume: VolumeId) -> None:
        """Return where it is proved that there is no such volume, before that NotYet."""
        ...


class CpuCloud(Protocol):
    """A provider of CPU VMs. Each call raises Unknown where the answer was lost, NotYet while what was asked for is under
    way, and Refused(code) where the provider said no (the codes of machines/cpu_vm.py). A VM is meant by its id: one that
    was made again under its name is another."""

    @property
    def project(self) -> str:
        """Where new VMs are made. One that there is stays in its own."""
        ...

    def next_zone(self, wanted: Zone | None, tried: Collection[Zone]) -> Zone | None:
        """Where a VM is to be made: the wanted zone, then the configured ones; None where all were tried."""
        ...

    async def insert(self, claim: VmClaim) -> CpuVm:
        """Make the claim's VM once, also where it is called again: its name and its request id are one intent. NotYet until
        it has come up."""
        ...

    async def get(self, place: VmPlace) -> CpuVm | None:
        """None is the provider's word that this VM is not there."""
        ...

    async def list(self, label: str) -> VmListing:
        """Every VM of the project that bears the label, whatever its value, in whichever zone."""
        ...

    async def start(self, vm: VmPlace, request_id: str) -> CpuVm:
        """NotYet until it runs; running already is success. A stopped VM may find no capacity: Refused."""
        ...

    async def stop(self, vm: VmPlace, request_id: str) -> CpuVm:
        """NotYet until it reads as stopped."""
        ...

    async def delete(self, vm: VmPlace, request_id: str) -> None:
        """NotYet until the provider says that it is not there; nothing there is success."""
        ...

    async def set_labels(self, vm: CpuVm, labels: Mapping[str, str]) -> None:
        """Put these beside the labels that it was read with. NotYet where somebody changed them since: read it again."""
        ...


class Reach(Enum):
    """What an SSH port did within the time given."""

    ANSWERED = "answered"
    REFUSED = "refused"
    SILENT = "silent"
    UNKNOWN = "unknown"
    """Our own side failed: no route, no name. Says nothing about the target."""


@dataclass(frozen=True, slots=True)
class ShellResult:
    exit_status: int
    stdout: str
    stderr: str
    host_key: str
    """The server's public key, to be pinned for the next call."""


class Shell(Protocol):
    """Commands on an instance, over SSH."""

    async def reach(self, endpoint: Endpoint) -> Reach:
        """Does an SSH server greet us there? Never raises."""
        ...

    async def run(
        self,
        endpoint: Endpoint,
        command: str,
        host_key: str | None = None,
        timeout_s: float = 60.0,
        stdin: bytes = b"",
    ) -> ShellResult:
        """Run to the end; the command reads `stdin`, which may be longer than any command line. What it writes comes
        back as UTF-8, with replacement characters where it is not. Raise NotYet where nothing answers yet, Refused("ssh_unreachable") where the host key is
        another one, and Unknown where the connection broke: the command may still be running."""
        ...


class VmWorkspaces(Protocol):
    """The copies of workspaces on CPU VMs (machines/vm_lines.py). Each call may be repeated. It raises NotYet where it is to
    be asked again, Refused("vm_gone") where the provider says that the VM is no more, and Refused("no_copy") where it has
    no good copy."""

    async def newest(self, machine: Machine) -> WorkspaceCopy | None:
        """By our records: of the VM that the machine has now."""
        ...

    async def pull(self, machine: Machine, job: str) -> WorkspaceCopy:
        """A fresh copy from the machine's primary beside the last good one, which stays until that is checked. NotYet while
        it runs; Refused with the code that says why there is none: `empty`, `unmounted`, `unmarked`, `shrunk`, ..."""
        ...

    async def serve(self, machine: Machine) -> VmServing:
        """The copy becomes the workspace, and the machine's workload for the VM runs in it."""
        ...

    async def carry_over(
        self, machine: Machine, job: str, instance: InstanceId, ssh: Endpoint, host_key: str
    ) -> Carried:
        """Stop the workload, and make the instance's workspace what the VM's is, compared by digests. NotYet while it runs."""
        ...

    async def end(self, machine: Machine, place: VmPlace, unless_written: bool = False) -> bool:
        """Nothing serves there any more, as the VM itself says; one that is stopped or gone serves nothing. With
        `unless_written` False where anything was written there since it serves: then its workload is stopped, and the rest
        stands. Refused("outdated") where a later failover has been there."""
        ...


@dataclass(frozen=True, slots=True)
class Carried:
    files: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RestoreReport:
    bytes_done: int
    seconds: float
    detail: str = ""


class SnapshotStore(Protocol):
    """Where verified copies of workspaces are kept."""

    async def newest(self, machine: MachineId, now: datetime) -> Snapshot | None:
        """The newest verified snapshot."""
        ...

    async def verified(self, machine: MachineId, limit: int) -> Sequence[Snapshot]:
        """Those that a restore could choose from, the newest first."""
        ...

    async def check_download(
        self, snapshot: Snapshot, instance: InstanceId, endpoint: Endpoint, host_key: str | None = None
    ) -> None:
        """Can the instance fetch from the store at all? NotYet while that is being found out, Refused where not."""
        ...

    async def restore(
        self,
        snapshot: Snapshot,
        instance: InstanceId,
        endpoint: Endpoint,
        workspace_path: str,
        host_key: str | None = None,
    ) -> RestoreReport:
        """Idempotent and resumable. What is sent there may be secret, so the host key that is known is pinned. NotYet while it runs, Refused("restore_failed") where it cannot be done."""
        ...

    async def manifest(self, snapshot: Snapshot) -> Mapping[str, str]:
        """Path in the workspace -> SHA-256 (hex). Bytes of a path that are no UTF-8 are surrogates (PEP 383)."""
        ...


class Billing(Protocol):
    """The provider's own bill."""

    async def bill(self, month: str) -> Bill:
        """Of the month ("2026-11"), until now at most. Raise Unknown where it did not come whole, and NotYet."""
        ...


class Hook(Protocol):
    """A program of the operator's that wants to hear of events."""

    async def tell(self, event: Mapping[str, Any]) -> None:
        """Told at least once; whoever hears the same failover's id again has heard it before. Raise NotYet where it has not
        been heard."""
        ...


@dataclass(frozen=True, slots=True)
class Telling:
    """One message to one channel."""

    id: str
    """Of this message: the same one told again bears it again."""
    ref: str
    """Of the incident: what a later message with the same one says is about the same."""
    is_over: bool
    level: Level
    title: str
    text: str
    at: datetime
    source: str
    """Which deployment tells it."""
    about: tuple[str, ...] = ()
    """The keys of the incidents."""


class Notifier(Protocol):
    """A channel to people: a messenger, a pager, a program elsewhere."""

    async def tell(self, telling: Telling) -> None:
        """At least once. Raise NotYet where it was not taken, and Refused where it never will be as it is configured."""
        ...


@dataclass(frozen=True, slots=True)
class StoredObject:
    name: str
    size: int
    written_at: datetime | None = None
    """By the store's own clock; None where it does not tell."""


class ObjectStore(Protocol):
    """Small objects under names with slashes. Every call may be repeated, and raises NotYet where the store did not answer
    or did not let us in: an error while asking says nothing of what lies there."""

    async def put(self, name: str, body: bytes) -> None:
        """Whole or not at all, over what was there."""
        ...

    async def get(self, name: str) -> bytes | None:
        """None where there is no such object."""
        ...

    async def list(self, prefix: str) -> tuple[StoredObject, ...]:
        """All whose name begins so, in the order of their names."""
        ...

    async def delete(self, name: str) -> None:
        """Nothing there is success."""
        ...


class AccessKeys(Protocol):
    """Keys that single instances were given to the store of snapshots."""

    async def revoke(self, key: str) -> None:
        """No such key is success. Raise NotYet."""
        ...


class Journal(Protocol):
    """The journal of one attempt."""

    async def append(self, entry: Entry, debts: Sequence[Debt] = ()) -> None:
        """Durable when it returns, with the debts in the same transaction. Raise Fenced."""
        ...


@dataclass(frozen=True, slots=True)
class Beat:
    """A heartbeat of an instance, as far as it says which life of its agent it comes from."""

    boot_id: str
    sequence: int


class Fleet(Protocol):
    """The machines, as a step may see and change them; every change carries the fence."""

    async def machine(self, machine: MachineId) -> Machine:
        """As stored now."""
        ...

    async def save_proof(self, machine: MachineId, failover: Running, proof: FenceProof, debts: Sequence[Debt]) -> None:
        """The old instance is harmless. Raise Fenced."""
        ...

    async def point_at_vm(self, machine: MachineId, failover: Running, serving: VmServing | None) -> None:
        """The CPU VM serves in the machine's place, or does no more. Raise Fenced."""
        ...

    async def hand_over(self, machine: MachineId, failover: Running, new: Replacement) -> None:
        """The replacement becomes the machine, in one transaction. Idempotent. Raise Fenced."""
        ...

    def is_blind(self, machine: MachineId) -> bool:
        """Can this process not judge the machine's heartbeats now?"""
        ...

    async def heard(self, instance: InstanceId) -> Beat | None:
        """What the instance said over the heartbeat path, whichever replica heard it."""
        ...

    async def boots(self, instance: InstanceId, only_live: bool = False) -> frozenset[str]:
        """The boot ids of the lives of the instance's agent that are remembered, the last ones. `only_live`: those whose
        beats this process heard as they came, the last one within the grace period; others it may only have read back."""
        ...

    def agent_command(self, machine: Machine, instance: InstanceId) -> str:
        """The shell line that starts this machine's heartbeat agent on the instance."""
        ...


class Record(Protocol):
    """A record of the event log. aiokafka's ConsumerRecord fits as it is: the hot path converts nothing."""

    @property
    def topic(self) -> str: ...
    @property
    def partition(self) -> int: ...
    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int:
        """Milliseconds since the epoch."""
        ...

    @property
    def timestamp_type(self) -> int:
        """1 = append time, stamped by the log itself."""
        ...

    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...
    @property
    def headers(self) -> Sequence[tuple[str, bytes]]: ...


@dataclass(frozen=True, slots=True)
class Partition:
    topic: str
    number: int


class LogConsumer(Protocol):
    """One member of a consumer group on one topic; offsets are committed by hand, after the save."""

    async def start(self) -> None: ...
    async def stop(self) -> None: ...
    async def poll(self, limit: int = 500, timeout_s: float = 0.2) -> Mapping[Partition, Sequence[Record]]:
        """Raise LogUnavailable."""
        ...

    async def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Offsets of the next records to be read. Raise LogUnavailable."""
        ...

    def assignment(self) -> frozenset[Partition]: ...
    def generation(self) -> int:
        """Rises with every assignment."""
        ...

    def position(self, partition: Partition) -> int | None: ...
    def highwater(self, partition: Partition) -> int | None: ...
    async def rewind(self, partition: Partition, since: datetime) -> None:
        """The next poll starts at the first record appended at or after `since`."""
        ...

    def pause(self, partition: Partition) -> None: ...
    def resume(self, partition: Partition) -> None: ...
    def on_change(
        self,
        assigned: Callable[[frozenset[Partition]], None],
        revoked: Callable[[frozenset[Partition]], None],
    ) -> None: ...


class EventLog(Protocol):
    """The log: Kafka, or one inside the process."""

    async def start(self) -> None:
        """Connect; returns although the broker is away (it is tried again)."""
        ...

    async def stop(self) -> None: ...
    async def ensure_topics(self, specs: Sequence[TopicSpec]) -> tuple[TopicProblem, ...]:
        """Create what is missing, say what is wrong. Raise LogUnavailable."""
        ...

    async def append(self, message: Message) -> None:
        """Durable in the log when it returns. Raise LogUnavailable."""
        ...

    async def append_all(self, messages: Sequence[Message]) -> None:
        """All, in order. Raise LogUnavailable."""
        ...

    async def newest(self, topic: str, limit: int, before: Mapping[int, int]) -> Sequence[Record]:
        """The last records, the newest first, without a consumer group; of the partitions named in `before`, those before
        that offset. Raise LogUnavailable."""
        ...

    async def record(self, partition: Partition, offset: int) -> Record | None:
        """The one at that place; None where it is not kept, or is still to come. Raise LogUnavailable."""
        ...

    def consumer(self, group: str, topic: str) -> LogConsumer: ...
