"""`VmWorkspaces` over SSH and rsync: the VM is told to pull, to serve and to give; data never passes through the daemon."""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TypeVar

from machines.cpu_vm import CpuVm, VmId, VmPlace, VmServing, VmStatus, WorkspaceCopy, request_id
from machines.errors import NotYet, Refused, Unknown
from machines.model import Endpoint, InstanceId, Machine, MachineId
from machines.ports import Carried, Clock, CpuCloud, Shell, ShellResult
from machines.vm_lines import (
    PLACE,
    AskCarry,
    AskPull,
    Door,
    EndService,
    JobState,
    OpenDoor,
    PrepareVm,
    Progress,
    ServeCopy,
    read_progress,
)

VM_GONE = "vm_gone"
NO_COPY = "no_copy"
_SOON = timedelta(seconds=3)
_NOT_RUNNING = timedelta(seconds=15)
_ASK_S, _PREPARE_S = 30.0, 300.0
_MOST_KNOWN = 10_000
K = TypeVar("K")
V = TypeVar("V")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class RsyncSettings:
    keep_percent: int = 50
    """A copy that has shrunk below so much of the last one is refused until an operator says that it was meant."""
    place: str = PLACE
    port: int = 22
    """Of a VM's sshd."""
    user: str = "root"
    """Whom an instance lets in."""


class RsyncWorkspaces:
    """`records` says what copy a machine is known to have."""

    def __init__(
        self,
        cloud: CpuCloud,
        vm_shell: Shell,
        instance_shell: Shell,
        clock: Clock,
        records: Callable[[MachineId], Awaitable[WorkspaceCopy | None]],
        settings: RsyncSettings,
    ) -> None:
        self._cloud, self._vm_shell, self._instance_shell = cloud, vm_shell, instance_shell
        self._clock, self._records, self._settings = clock, records, settings
        self._host_keys: dict[VmId, str] = {}
        self._keys: dict[VmId, str] = {}
        self._begun: dict[MachineId, tuple[str, datetime, str]] = {}
        """The pull under way, when its source was read first, and the source's host key."""

    async def newest(self, machine: Machine) -> WorkspaceCopy | None:
        found = await self._records(machine.id)
        place = machine.cpu_standby.vm if machine.cpu_standby is not None else None
        return found if found is not None and place is not None and found.vm == place.id else None

    async def pull(self, machine: Machine, job: str) -> WorkspaceCopy:
        place, primary, standby = _place_of(machine), machine.primary, machine.cpu_standby
        if machine.ssh is None or primary is None or standby is None:
            raise NotYet("the instance is not known well enough to be pulled from", _SOON)
        vm = await self._running(place)
        begun = self._begun.get(machine.id)
        if begun is None or begun[0] != job:
            seen = await self._open(machine, Door.READ, machine.ssh, machine.host_key, await self._key(machine, vm))
            begun = (job, self._clock.now(), seen)
            _remember(self._begun, machine.id, begun)
        line = AskPull(
            self._settings.place,
            machine.fence,
            job,
            self._settings.user,
            machine.ssh.host,
            machine.ssh.port,
            _bare(begun[2]),
            machine.id,
            self._settings.keep_percent,
            standby.accepts_smaller,
        )
        said = await self._ask(machine, vm, line.line())
        found = self._progress(said, job)
        match found.state:
            case JobState.DONE:
                self._begun.pop(machine.id, None)
                return WorkspaceCopy(job, vm.id, primary, begun[1], found.files, found.size_bytes, said.host_key)
            case JobState.FAILED:
                self._begun.pop(machine.id, None)
                raise Refused(found.code, f"no copy from instance {primary} to {vm.name}: {found.why}")
            case JobState.RUNNING:
                raise NotYet(f"{vm.name} pulls from instance {primary}", _SOON)

    async def serve(self, machine: Machine) -> VmServing:
        standby = machine.cpu_standby
        vm = await self._running(_place_of(machine), starts=True)
        keys = machine.workload.ssh_keys
        line = ServeCopy(self._settings.place, machine.fence, machine.workspace_path, machine.id, keys).line()
        command = standby.command if standby is not None else None
        said = await self._ask(machine, vm, line, _workload(machine, command))
        if said.stdout.strip() != "serving":
            raise Refused(NO_COPY, f"{vm.name} cannot serve: {said.stdout.strip()[:300]}")
        known = standby.serving if standby is not None else None
        since = known.since if known is not None else self._clock.now()
        return VmServing(vm.address or "", self._settings.port, said.host_key, since)

    async def carry_over(
        self, machine: Machine, job: str, instance: InstanceId, ssh: Endpoint, host_key: str
    ) -> Carried:
        vm = await self._running(_place_of(machine), starts=True)
        key = await self._key(machine, vm)
        await self._open(machine, Door.WRITE, ssh, host_key, key)
        user = self._settings.user
        line = AskCarry(self._settings.place, machine.fence, job, user, ssh.host, ssh.port, _bare(host_key)).line()
        found = self._progress(await self._ask(machine, vm, line), job)
        match found.state:
            case JobState.DONE:
                await self._open(machine, Door.SHUT, ssh, host_key, key)
                return Carried(found.files, found.size_bytes)
            case JobState.FAILED if found.code == NO_COPY:
                raise Refused(NO_COPY, found.why)
            case JobState.FAILED:
                raise NotYet(f"it is carried over again: {found.code}: {found.why}", _SOON)
            case JobState.RUNNING:
                raise NotYet(f"{vm.name} carries its work over to instance {instance}", _SOON)

    async def end(self, machine: Machine, place: VmPlace, unless_written: bool = False) -> bool:
        vm = await self._cloud.get(place)
        if vm is None or (vm.status is VmStatus.STOPPED and not unless_written):
            return True
        if vm.status is not VmStatus.RUNNING or vm.address is None:
            raise NotYet(f"{vm.name} reads {vm.word}, and may still serve or have been written", _NOT_RUNNING)
        line = EndService(self._settings.place, machine.fence, unless_written).line()
        said = (await self._ask(machine, vm, line)).stdout.strip()
        match said.partition(" ")[0]:
            case "ended":
                return True
            case "written" if unless_written:
                return False
            case "outdated":
                raise Refused("outdated", f"{vm.name} was not made to end its service: {said[:300]}")
            case _:
                raise NotYet(f"{vm.name} has not ended its service: {said[:300]!r}", _SOON)

    # -- parts

    async def _running(self, place: VmPlace, starts: bool = False) -> CpuVm:
        vm = await self._cloud.get(place)
        if vm is not None and vm.status is not VmStatus.RUNNING and starts:
            vm = await self._cloud.start(place, request_id("serve", place.id, self._clock.now()))
        if vm is None:
            raise Refused(VM_GONE, f"{place.name} is not there any more")
        if vm.status is not VmStatus.RUNNING or vm.address is None:
            raise NotYet(f"{vm.name} reads {vm.word}", _SOON)
        return vm

    async def _ask(
        self, machine: Machine, vm: CpuVm, line: str, stdin: bytes = b"", timeout_s: float = _ASK_S
    ) -> ShellResult:
        """The VM's host key is pinned from the first time on, also over a restart of the daemon."""
        pinned = self._host_keys.get(vm.id)
        if pinned is None and (known := await self.newest(machine)) is not None:
            pinned = known.host_key
        at = Endpoint(vm.address or "", self._settings.port)
        try:
            said = await self._vm_shell.run(at, line, pinned, timeout_s=timeout_s, stdin=stdin)
        except Unknown as error:
            raise NotYet(f"the connection broke: {error.why}", _SOON) from error
        if said.exit_status != 0:
            raise NotYet(f"{vm.name} ended with status {said.exit_status}: {said.stderr[:200]}", _SOON)
        _remember(self._host_keys, vm.id, said.host_key)
        return said

    async def _key(self, machine: Machine, vm: CpuVm) -> str:
        """Made on the VM; only its public half is ever told."""
        if vm.id not in self._keys:
            said = await self._ask(machine, vm, PrepareVm(self._settings.place).line(), timeout_s=_PREPARE_S)
            _remember(self._keys, vm.id, said.stdout.strip())
        return self._keys[vm.id]

    async def _open(self, machine: Machine, door: Door, ssh: Endpoint, host_key: str | None, key: str) -> str:
        """The instance's host key."""
        mount = machine.volume.path if machine.volume is not None and door is Door.READ else ""
        line = OpenDoor(door, machine.workspace_path, machine.id, key, mount).line()
        try:
            said = await self._instance_shell.run(ssh, line, host_key, timeout_s=_PREPARE_S)
        except Unknown as error:
            raise NotYet(f"the connection broke: {error.why}", _SOON) from error
        word, _, why = said.stdout.strip().partition(" ")
        if said.exit_status != 0:
            raise NotYet(f"the VM was not let in (status {said.exit_status}): {said.stderr[:200]}", _SOON)
        if word != "open":
            raise Refused(word, f"the workspace of machine {machine.id} is not pulled: {why}")
        return said.host_key

    def _progress(self, said: ShellResult, job: str) -> Progress:
        found = read_progress(said.stdout)
        if found is None:
            raise NotYet(f"the VM's answer is none: {said.stdout[:200]!r}", _SOON)
        if found.job != job:
            raise NotYet(f"the VM still does {found.job}", _SOON)
        return found


def _place_of(machine: Machine) -> VmPlace:
    place = machine.cpu_standby.vm if machine.cpu_standby is not None else None
    if place is None:
        raise Refused(VM_GONE, f"machine {machine.id} has no CPU VM")
    return place


def _remember(table: dict[K, V], key: K, value: V) -> None:
    """What is forgotten is asked for again."""
    table[key] = value
    while len(table) > _MOST_KNOWN:
        del table[next(iter(table))]


def _bare(host_key: str) -> str:
    """Kind and key, without a comment."""
    return " ".join(host_key.split()[:2])


def _workload(machine: Machine, command: str | None) -> bytes:
    """What the VM runs: its environment is the customer's, and stands in no command line."""
    if command is None:
        return b""
    named = {**machine.workload.env, "FAILOVERD_MACHINE_ID": str(machine.id), "SERVED_BY": "cpu_vm"}
    exports = [f"export {name}={shlex.quote(value)}" for name, value in named.items() if _NAME.fullmatch(name)]
    return "\n".join((*exports, command, "")).encode()
