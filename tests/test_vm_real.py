"""A workspace on a CPU VM by real rsync over real SSH: pulled, refused, served and carried over, with the VM's own key."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest

from adapters.gce import GceCloud
from adapters.rsync import RsyncSettings, RsyncWorkspaces
from adapters.sim.compute_api import ComputeApi, SimCompute
from adapters.sim.settings import WorldSettings
from adapters.sim.world import World
from adapters.ssh import AsyncsshShell, ShellSettings
from adapters.system_clock import SystemClock
from machines.cpu_vm import CpuStandby, VmPlace, VmServing, WorkspaceCopy
from machines.errors import NotYet, Refused
from machines.model import Endpoint, InstanceId, Machine, MachineId, VolumeId, VolumeMount
from machines.ports import Carried, CpuCloud
from tests.cpu_clouds import SETTINGS, A, claim
from tests.servers.sshd import Sshd, sshd_server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the commands want root on the VM: run the tests as root")

T = TypeVar("T")
OLD, NEW = InstanceId(7001), InstanceId(7002)


async def at_last(call: Callable[[], Awaitable[T]]) -> T:
    """As the daemon does it: ask again where it is not yet."""
    clock = SystemClock()
    for _ in range(200):
        try:
            return await call()
        except NotYet:
            await clock.sleep(0.05)
    raise AssertionError("never")


@dataclass
class Yard:
    """A VM and two instances, each behind an sshd of its own with a home of its own."""

    vm: Sshd
    old: Sshd
    new: Sshd
    workspaces: RsyncWorkspaces
    machine: Machine
    copies: dict[MachineId, WorkspaceCopy]
    world: World
    """In which the VM stands."""

    @property
    def place(self) -> Path:
        return self.vm.folder / "place"

    @property
    def current(self) -> Path:
        return self.place / "current" / "tree"

    @property
    def source(self) -> Path:
        return Path(self.machine.workspace_path)

    async def pull(self, job: str = "pull-1") -> WorkspaceCopy:
        done = await at_last(lambda: self.workspaces.pull(self.machine, job))
        self.copies[self.machine.id] = done
        return done

    async def serve(self) -> VmServing:
        serving = await at_last(lambda: self.workspaces.serve(self.machine))
        assert self.machine.cpu_standby is not None
        self.machine = replace(self.machine, cpu_standby=replace(self.machine.cpu_standby, serving=serving))
        return serving

    async def carry_over(self, job: str = "carry-1") -> Carried:
        ssh, key = _at(self.new), _host_key(self.new)
        return await at_last(lambda: self.workspaces.carry_over(self.machine, job, NEW, ssh, key))

    async def end(self, *, unless_written: bool = False) -> bool:
        assert self.machine.cpu_standby is not None
        assert self.machine.cpu_standby.vm is not None
        place = self.machine.cpu_standby.vm
        return await at_last(lambda: self.workspaces.end(self.machine, place, unless_written))

    def move_source_away(self) -> None:
        """The instance is no more; its workspace would lie in the same place on the next one, which shares our disk."""
        self.source.rename(self.old.folder / "left-behind")

    def as_vm(self, *rsync: str) -> subprocess.CompletedProcess[str]:
        """What somebody who has stolen the VM's key could try on the instance."""
        known = self.vm.folder / "known_hosts"
        known.write_text(self.old.known_hosts)
        ssh = f"ssh -i {self.place}/key -p {self.old.port} -o UserKnownHostsFile={known} -o BatchMode=yes"
        return subprocess.run(
            [word.replace("SSH", ssh) for word in rsync], capture_output=True, text=True, timeout=20, check=False
        )


def _at(server: Sshd) -> Endpoint:
    return Endpoint(server.host, server.port)


def _host_key(server: Sshd) -> str:
    return (server.folder / "host_ed25519.pub").read_text().strip()


async def _vm_at(server: Sshd, clock: SystemClock) -> tuple[CpuCloud, VmPlace, World]:
    """Compute Engine is simulated; the VM that it shows is ours."""
    world = World(7, WorldSettings(vm_boot_seconds=0.01), clock.now())

    async def settle() -> None:
        world.drain()

    cloud = GceCloud(SimCompute(ComputeApi(world, clock, settle), clock), clock, SETTINGS)
    made = await at_last(lambda: cloud.insert(claim("fo-x-m1-cpu-1-0", A)))
    world.compute.vms[A, made.name].address = server.host
    return cloud, made.place, world


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[tuple[Sshd, Sshd, Sshd]]:
    with ExitStack() as stack:
        made = []
        for name in ("vm", "old", "new"):
            (tmp_path / name).mkdir()
            made.append(stack.enter_context(sshd_server(tmp_path / name, own_home=True)))
        vm, old, new = made
        yield vm, old, new


@pytest.fixture
def yard(servers: tuple[Sshd, Sshd, Sshd], tmp_path: Path) -> Yard:
    vm, old, new = servers
    clock, copies = SystemClock(), dict[MachineId, WorkspaceCopy]()
    cloud, place, world = asyncio.run(_vm_at(vm, clock))
    # One key for all, as one daemon has.
    key = vm.key_file
    for one in (old, new):
        (one.folder / "authorized_keys").write_bytes((vm.folder / "user_ed25519.pub").read_bytes())

    async def newest(machine: MachineId) -> WorkspaceCopy | None:
        return copies.get(machine)

    shell = AsyncsshShell(key, clock, ShellSettings(username=vm.user))
    rules = RsyncSettings(place=str(vm.folder / "place"), port=vm.port, user=vm.user)
    workspace = tmp_path / "workspace"
    machine = Machine(
        MachineId(1),
        "one",
        primary=OLD,
        ssh=_at(old),
        host_key=_host_key(old),
        workspace_path=str(workspace),
        fence=3,
        cpu_standby=CpuStandby(vm=place, command="echo served by $SERVED_BY > from-the-vm; exec sleep 300"),
    )
    return Yard(vm, old, new, RsyncWorkspaces(cloud, shell, shell, clock, newest, rules), machine, copies, world)


def fill(folder: Path, files: int = 60) -> None:
    (folder / "deep" / "er").mkdir(parents=True)
    for number in range(files):
        (folder / "deep" / f"model-{number}").write_bytes(hashlib.shake_256(str(number).encode()).digest(1000))
    (folder / "a name with spaces and ünicode").write_text("x")
    (folder / "link").symlink_to("deep/model-1")
    (folder / "deep" / "er" / "hard").hardlink_to(folder / "deep" / "model-2")


def digests(folder: Path) -> dict[str, str]:
    """Of each file by its path, and where each link points."""
    found = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            found[name] = f"-> {path.readlink()}"
        elif path.is_file():
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
    return found


async def test_a_workspace_is_pulled_whole_and_again_without_what_is_alike(yard: Yard) -> None:
    fill(yard.source)
    done = await yard.pull()
    assert digests(yard.current) == digests(yard.source)
    assert (done.instance, done.files) == (OLD, 63)  # 62 and the mark.
    before = (yard.current / "deep" / "model-7").stat().st_ino
    (yard.source / "new").write_text("later")
    (yard.source / "deep" / "model-3").unlink()
    await yard.pull("pull-2")
    assert digests(yard.current) == digests(yard.source)
    assert (yard.current / "deep" / "model-7").stat().st_ino == before
    assert [one.name for one in (yard.place / "copies").iterdir()] == ["pull-2"]


async def test_a_source_that_is_empty_unmounted_foreign_or_has_shrunk_leaves_the_good_copy(yard: Yard) -> None:
    fill(yard.source)
    await yard.pull()
    good = digests(yard.current)

    async def refused(job: str) -> str:
        with pytest.raises(Refused) as error:
            await yard.pull(job)
        assert digests(yard.current) == good
        return error.value.code

    mounted = yard.machine
    yard.machine = replace(mounted, volume=VolumeMount(VolumeId(5), str(yard.source)))
    assert await refused("pull-2") == "unmounted"
    yard.machine = mounted
    (yard.source / ".failoverd-machine").write_text("2\n")
    assert await refused("pull-3") == "foreign"
    away = yard.source.rename(yard.source.with_name("away"))
    assert await refused("pull-4") == "absent"
    yard.source.mkdir()
    assert await refused("pull-5") == "empty"
    (yard.source / "little").write_text("is left")
    assert await refused("pull-6") == "shrunk"
    assert yard.machine.cpu_standby is not None
    yard.machine = replace(yard.machine, cpu_standby=replace(yard.machine.cpu_standby, accepts_smaller=True))
    await yard.pull("pull-7")
    assert digests(yard.current) == digests(yard.source)
    assert len(list(away.iterdir())) > 1


async def test_the_key_of_the_vm_reads_the_workspace_and_nothing_else(yard: Yard) -> None:
    fill(yard.source)
    await yard.pull()
    target = f"{yard.old.user}@{yard.old.host}"
    assert yard.as_vm("sh", "-c", f"SSH {target} id").returncode == 9
    stolen = yard.vm.folder / "stolen"
    assert yard.as_vm("rsync", "-a", "-e", "SSH", f"{target}:/etc/", str(stolen)).returncode == 0
    assert digests(stolen) == digests(yard.source)  # Whatever was asked for, this is what there is.
    planted = yard.as_vm("rsync", "-a", "-e", "SSH", str(yard.vm.folder / "sshd_config"), f"{target}:/")
    assert planted.returncode != 0
    assert "only read" in planted.stderr
    removing = yard.as_vm("rsync", "-a", "--remove-source-files", "-e", "SSH", f"{target}:/", str(stolen))
    assert removing.returncode != 0
    assert not (yard.source / "sshd_config").exists()


async def test_what_is_written_while_the_vm_serves_is_carried_over_and_compared(yard: Yard) -> None:
    fill(yard.source)
    await yard.pull()
    yard.move_source_away()
    serving = await yard.serve()
    assert (serving.host, serving.port) == (yard.vm.host, yard.vm.port)
    written = yard.source / "from-the-vm"
    await _until(written.exists)
    (yard.source / "deep" / "model-5").write_text("rewritten on the VM")
    (yard.source / "deep" / "model-6").unlink()
    assert await yard.end(unless_written=True) is False
    await yard.serve()
    expected = digests(yard.current)
    yard.source.unlink()  # The replacement's disk is another one.
    yard.source.mkdir()
    (yard.source / "of the snapshot").write_text("older")
    carried = await yard.carry_over()
    assert carried.files == 63
    assert {**digests(yard.source), "from-the-vm": expected["from-the-vm"]} == expected
    assert (yard.source / "from-the-vm").read_text() == "served by cpu_vm\n"
    assert (await yard.carry_over()).files == 63  # Asked again, it is done.
    assert "vm-door" not in (yard.new.home / ".ssh" / "authorized_keys").read_text()
    assert await yard.end()
    assert not (yard.place / "serving").exists()


async def test_a_command_of_an_earlier_failover_changes_nothing_after_a_later_one(yard: Yard) -> None:
    fill(yard.source)
    await yard.pull()
    left = yard.machine
    yard.move_source_away()
    yard.machine = replace(left, fence=4)
    await yard.serve()
    with pytest.raises(Refused) as outdated:
        await at_last(lambda: yard.workspaces.pull(left, "pull-late"))
    assert outdated.value.code == "outdated"
    assert left.cpu_standby is not None
    assert left.cpu_standby.vm is not None
    vm = left.cpu_standby.vm
    with pytest.raises(Refused) as overtaken:
        await at_last(lambda: yard.workspaces.end(left, vm))
    assert overtaken.value.code == "outdated"
    assert (yard.place / "serving").exists()
    assert await yard.end()


async def test_a_copy_that_was_written_is_none_any_more_once_its_service_was_ended(yard: Yard) -> None:
    fill(yard.source)
    await yard.pull()
    away = yard.source.with_name("away")
    yard.source.rename(away)
    command = yard.machine.cpu_standby
    assert command is not None
    yard.machine = replace(yard.machine, cpu_standby=replace(command, command=None))
    await yard.serve()
    assert await yard.end()
    assert yard.current.exists()  # Nothing was written.
    await yard.serve()
    (yard.source / "given up").write_text("on the VM")
    kept = (yard.current / "deep" / "model-7").stat().st_ino
    assert await yard.end()
    with pytest.raises(Refused) as none:
        await yard.serve()
    assert none.value.code == "no_copy"
    with pytest.raises(Refused) as nothing:
        await yard.carry_over()
    assert nothing.value.code == "no_copy"
    away.rename(yard.source)
    await yard.pull("pull-2")
    assert digests(yard.current) == digests(yard.source)
    assert (yard.current / "deep" / "model-7").stat().st_ino == kept


async def test_only_what_the_vm_says_has_ended_has_ended(yard: Yard) -> None:
    fill(yard.source)
    await yard.pull()
    yard.move_source_away()
    await yard.serve()
    assert yard.machine.cpu_standby is not None
    assert yard.machine.cpu_standby.vm is not None
    place = yard.machine.cpu_standby.vm
    for word in ("REPAIRING", "SUSPENDED", "STOPPING", "PROVISIONING"):
        yard.world.compute.vms[A, place.name].status = word
        with pytest.raises(NotYet, match=word):
            await yard.workspaces.end(yard.machine, place)
    yard.world.compute.vms[A, place.name].status = "TERMINATED"
    assert await yard.workspaces.end(yard.machine, place)
    assert (yard.place / "serving").exists()
    yard.world.compute.vms[A, place.name].status = "RUNNING"
    assert await yard.end()
    assert not (yard.place / "serving").exists()


async def _until(is_so: Callable[[], bool]) -> None:
    clock = SystemClock()
    for _ in range(200):
        if is_so():
            return
        await clock.sleep(0.05)
    raise AssertionError("it never became so")
