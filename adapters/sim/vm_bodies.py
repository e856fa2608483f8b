"""What is on the CPU VMs of a world in memory: copies of workspaces, and the workload that serves from one.

The twin of machines/vm_scripts.py: each command does here what its script does on a VM.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from adapters.sim.compute import Vm
from adapters.sim.memory_bodies import WORKLOAD, Files, MemoryBody
from machines.model import Endpoint
from machines.vm_lines import MARK, AskCarry, AskPull, Door, JobState, Progress, ServeCopy

_JOB_TAKES = timedelta(seconds=8)
_WRITES_AFTER = timedelta(seconds=20)
"""A workload that has run for so long has written something."""
WRITTEN = "written-on-the-vm"
"""By the workload, in the workspace."""

Bodies = Callable[[Endpoint], MemoryBody | None]


@dataclass(slots=True)
class _Job:
    line: AskPull | AskCarry
    ends_at: datetime


@dataclass(slots=True)
class VmBody:
    """One VM's disk, and what runs on it. Its disk outlives a stop; a job and the workload do not."""

    vm: Vm
    boot: datetime | None
    key: str = ""
    fence: int = 0
    current: Files | None = None
    served: ServeCopy | None = None
    serves_since: datetime | None = None
    works: bool = False
    written: bytes | None = None
    """What its workload wrote and nobody has carried over."""
    job: _Job | None = None
    result: Progress | None = None
    given_up: list[str] = field(default_factory=list)
    """Work that was dropped here before it was carried over."""

    def wake(self) -> None:
        """It may have been stopped and started since it was asked last."""
        if self.boot != self.vm.started_at:
            if self.vm.stopped_at is not None:
                self.let_work(self.vm.stopped_at)
            self.boot, self.works, self.job = self.vm.started_at, False, None

    @property
    def is_at_work(self) -> bool:
        """Does it do its machine's work, in truth and now?"""
        return self.works and self.vm.status == "RUNNING" and self.boot == self.vm.started_at

    @property
    def machine(self) -> int | None:
        return self.served.machine if self.served is not None else None

    def is_outdated(self, fence: int) -> bool:
        self.fence = max(self.fence, fence)
        return fence < self.fence

    def let_work(self, now: datetime) -> None:
        since, served = self.serves_since, self.served
        if not self.works or self.written is not None or since is None or served is None or self.current is None:
            return
        if now - since >= _WRITES_AFTER:
            self.written = self.current[WRITTEN] = f"{served.machine} under fence {served.fence}".encode()

    def stop_workload(self, now: datetime) -> None:
        self.let_work(now)
        self.works = False

    def end_service(self, now: datetime) -> None:
        self.stop_workload(now)
        if self.serves_since is not None and WRITTEN in (self.current or ()):
            self.current = None  # It is no copy of the machine's workspace.
        if self.written is not None:
            self.given_up.append(self.written.decode())
            self.written = None
        self.served = self.serves_since = None

    # -- commands

    def serve(self, line: ServeCopy, workload: str, now: datetime) -> str:
        if self.is_outdated(line.fence):
            return "outdated a later failover has been here"
        if self.current is None or self.current.get(MARK) != f"{line.machine}\n".encode():
            return f"no_copy there is no good copy of machine {line.machine}"
        self.job = None
        self.served = line
        self.serves_since = self.serves_since or now
        self.works = WORKLOAD in workload.splitlines()
        return "serving"

    def end(self, fence: int, unless_written: bool, now: datetime) -> str:
        if self.is_outdated(fence):
            return "outdated a later failover has been here"
        self.stop_workload(now)
        if unless_written and self.written is not None:
            return "written"
        self.job = None
        self.end_service(now)
        return "ended"

    def ask(self, line: AskPull | AskCarry, bodies: Bodies, now: datetime) -> Progress:
        if self.is_outdated(line.fence):
            return _failed(line.job, "outdated", "a later failover has been here")
        if self.job is not None:
            if now < self.job.ends_at:
                return Progress(JobState.RUNNING, self.job.line.job)
            job, self.job = self.job, None
            self.result = self._done(job.line, bodies)
        if self.result is not None and self.result.job == line.job:
            result = self.result
            self.result = None if result.state is JobState.FAILED else result
            return result
        if isinstance(line, AskPull):
            self.end_service(now)
        elif self.current is None:
            return _failed(line.job, "no_copy", "there is no good copy")
        else:
            self.stop_workload(now)
        self.job, self.result = _Job(line, now + _JOB_TAKES), None
        return Progress(JobState.RUNNING, line.job)

    def _done(self, line: AskPull | AskCarry, bodies: Bodies) -> Progress:
        is_pull = isinstance(line, AskPull)
        body = bodies(Endpoint(line.host, line.port))
        door = body.doors.get(self.key) if body is not None else None
        if body is None or door is None or door.partition(" ")[0] != (Door.READ if is_pull else Door.WRITE).value:
            return _failed(line.job, "pull" if is_pull else "carry", "rsync ended with status 255")
        workspace = door.partition(" ")[2]
        if not isinstance(line, AskPull):
            assert self.current is not None
            body.replace_under(workspace, self.current)
            return _done(line.job, self.current)
        found = body.under(workspace)
        if found.get(MARK) != f"{line.machine}\n".encode():
            return _failed(line.job, "unmarked", f"it does not bear the mark of machine {line.machine}")
        if len(found) <= 1:
            return _failed(line.job, "empty", "there is nothing in it")
        if len(found) * 100 < len(self.current or ()) * line.keep_percent and not line.accepts_smaller:
            return _failed(line.job, "shrunk", f"{len(found)} files, where there were {len(self.current or ())}")
        self.current = dict(found)
        return _done(line.job, found)


class VmBodies:
    """All of one world's."""

    def __init__(self) -> None:
        self.of: dict[int, VmBody] = {}
        """By the VM's id."""

    def at(self, vm: Vm) -> VmBody:
        found = self.of.setdefault(vm.id, VmBody(vm, vm.started_at))
        found.wake()
        return found


def _done(job: str, files: Files) -> Progress:
    return Progress(JobState.DONE, job, len(files), sum(map(len, files.values())))


def _failed(job: str, code: str, why: str) -> Progress:
    return replace(Progress(JobState.FAILED, job), code=code, why=why)
