"""What a CPU VM runs in its machine's place is started once and is ended whole, whatever its command does."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from machines.vm_lines import AskPull, EndService, ServeCopy

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the commands want root on the VM: run the tests as root")

_CGROUPS = any(Path(f"/sys/fs/cgroup{one}/cgroup.procs").exists() for one in ("", "/unified"))
_WITHOUT_CGROUPS = ("unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /sys/fs/cgroup && exec sh -c "$1"', "sh")
_MAY_HIDE_THEM = subprocess.run([*_WITHOUT_CGROUPS, "true"], capture_output=True, check=False).returncode == 0
_SHELL = ("sh", "-c")
_SERVER = "sh -c 'echo $$ >> PIDS; exec sleep 300'"


@dataclass
class Vm:
    folder: Path
    runner: tuple[str, ...]

    @property
    def place(self) -> str:
        return str(self.folder / "place")

    @property
    def pids(self) -> Path:
        return self.folder / "pids"

    def ask(self, line: ServeCopy | EndService | AskPull, stdin: str = "") -> str:
        words = [*self.runner, line.line()]
        done = subprocess.run(words, input=stdin, capture_output=True, text=True, timeout=60, check=True)
        return done.stdout.strip()

    def serve(self, command: str) -> str:
        workspace = str(self.folder / "workspace")
        return self.ask(ServeCopy(self.place, 3, workspace, 7), command.replace("PIDS", str(self.pids)))

    def started(self, at_least: int = 1) -> list[int]:
        for _ in range(100):
            found = self.pids.read_text().split() if self.pids.exists() else []
            if len(found) >= at_least:
                return [int(one) for one in found]
            time.sleep(0.02)  # Processes of the system know no virtual time.
        raise AssertionError("it was not started")


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except OSError:
        return False


@pytest.fixture(
    params=[
        pytest.param(_SHELL, id="as it is"),
        pytest.param(
            _WITHOUT_CGROUPS,
            id="without cgroups",
            marks=pytest.mark.skipif(not _MAY_HIDE_THEM, reason="nothing can be mounted here"),
        ),
    ]
)
def vm(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Vm]:
    made = Vm(tmp_path, request.param)
    tree = Path(made.place) / "copies" / "c1" / "tree"
    tree.mkdir(parents=True)
    (Path(made.place) / "current").symlink_to("copies/c1")
    (tree / ".failoverd-machine").write_text("7\n")
    yield made
    for pid in made.pids.read_text().split() if made.pids.exists() else ():
        if _runs(int(pid)):
            os.kill(int(pid), 9)


@pytest.mark.parametrize(
    "command",
    [
        _SERVER,
        f"exec {_SERVER}",
        f"{_SERVER} &",
        f"{_SERVER} & exec sleep 0",
        f"env -i /bin/{_SERVER} &",
        f"setsid {_SERVER} &",
        f"trap '' HUP; ( setsid {_SERVER} & ) &",
    ],
)
def test_a_workload_runs_once_and_nothing_of_it_is_left_when_it_has_ended(vm: Vm, command: str) -> None:
    assert vm.serve(command) == "serving"
    [first] = vm.started()
    assert vm.serve(command) == "serving"
    assert vm.serve(command) == "serving"
    assert vm.started() == [first]
    assert _runs(first)
    assert vm.ask(EndService(vm.place, 3)) == "ended"
    assert not _runs(first)


@pytest.mark.skipif(not _CGROUPS, reason="there are no cgroups here")
def test_a_workload_that_hides_in_a_session_of_its_own_with_an_empty_environment_is_ended_too(tmp_path: Path) -> None:
    vm = Vm(tmp_path, _SHELL)
    tree = Path(vm.place) / "copies" / "c1" / "tree"
    tree.mkdir(parents=True)
    (Path(vm.place) / "current").symlink_to("copies/c1")
    (tree / ".failoverd-machine").write_text("7\n")
    command = f"exec setsid env -i /bin/{_SERVER}"
    vm.serve(command)
    [first] = vm.started()
    assert vm.serve(command) == "serving"
    assert vm.started() == [first]
    assert vm.ask(EndService(vm.place, 3)) == "ended"
    assert not _runs(first)


def test_a_workload_that_was_begun_by_exec_writes_nothing_after_its_end(vm: Vm) -> None:
    assert vm.serve(f"exec {_SERVER}") == "serving"
    vm.started()
    assert vm.ask(EndService(vm.place, 3, unless_written=True)) == "ended"
    assert not any(map(_runs, vm.started()))


def test_one_that_has_ended_by_itself_is_started_again(vm: Vm) -> None:
    command = f"exec {_SERVER}"
    vm.serve(command)
    [first] = vm.started()
    os.kill(first, 9)
    assert vm.serve(command) == "serving"
    assert len(vm.started(2)) == 2
    assert vm.ask(EndService(vm.place, 3)) == "ended"
    assert not any(map(_runs, vm.started(2)))


def test_a_number_that_has_begun_anew_is_not_the_workload(vm: Vm) -> None:
    """Its session's number belongs to another program by now."""
    stranger = subprocess.Popen(["setsid", "sleep", "300"])
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        Path(vm.place, "workload.session").write_text(f"{boot} {stranger.pid} 1\n")
        assert vm.ask(EndService(vm.place, 3)) == "ended"
        assert stranger.poll() is None
        vm.serve(f"exec {_SERVER}")
        vm.started()
        assert vm.ask(EndService(vm.place, 3)) == "ended"
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
