"""The commands that keep a workspace on a CPU VM and let it serve: made here and read here, as machines/shell_lines.py.

The VM pulls with a key that is made on it and never leaves it. On the instance that key opens one door: rsync on the
workspace, to be read, or to be written where the VM's work is carried over. On the VM a copy is pulled beside the last
good one, which shares the files that are alike with it by hard links; it is checked, and becomes `current` by one rename.
Nothing is ever deleted from a good copy. Each command bears the machine's fence: what an earlier failover sent, and comes
after a later one, changes nothing.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from machines.shell_lines import UnknownLine
from machines.vm_scripts import ASK, CARRY, DOOR, END, OPEN_DOOR, PREPARE, PULL, SERVE

PLACE = "/var/lib/failoverd"
"""Where a VM keeps what it has."""
MARK = ".failoverd-machine"
"""In the workspace, with the machine's id: what lacks it is not mounted, or another machine's."""

_AS_ROOT = '[ "$(id -u)" = 0 ] && as= || as="sudo -n -H"; exec $as sh -c'


class Door(Enum):
    """What a VM's key may do on an instance."""

    READ = "read"
    WRITE = "write"
    SHUT = "shut"


class JobState(Enum):
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Progress:
    """What a VM says of the job that it was asked for. `job` is the one that runs, perhaps an earlier one."""

    state: JobState
    job: str
    files: int = 0
    size_bytes: int = 0
    code: str = ""
    why: str = ""


def _line(script: str, *words: object) -> str:
    return f"{_AS_ROOT} {shlex.quote(script)} sh {shlex.join(map(str, words))}"


@dataclass(frozen=True, slots=True)
class OpenDoor:
    """On an instance: what the key of its machine's VM may do there. To be read, the workspace must be there, mounted and
    not empty; it is marked, where it is not. Says `open`, or a word and why not."""

    mode: Door
    workspace: str
    machine: int
    key: str
    mount: str = ""
    """Where something must be mounted; "" where the workspace lies on the instance's own disk."""

    def line(self) -> str:
        return _line(OPEN_DOOR, self.mode.value, self.workspace, self.machine, self.mount, self.key, DOOR)


@dataclass(frozen=True, slots=True)
class PrepareVm:
    """On the VM: what it pulls with is there, and its public key is said."""

    place: str = PLACE

    def line(self) -> str:
        return _line(PREPARE, self.place)


@dataclass(frozen=True, slots=True)
class AskPull:
    """On the VM: set the pull going unless it runs or is done, and say how far it is. It ends what was being served."""

    place: str
    fence: int
    job: str
    user: str
    host: str
    port: int
    host_key: str
    machine: int
    keep_percent: int
    """A copy with less than so much of the last one's files or bytes is refused."""
    accepts_smaller: bool

    def line(self) -> str:
        smaller = "yes" if self.accepts_smaller else "no"
        where = (self.place, self.fence, self.job, self.user, self.host, self.port, self.host_key)
        return _line(ASK, "pull", *where, self.machine, self.keep_percent, smaller, PULL)


@dataclass(frozen=True, slots=True)
class AskCarry:
    """On the VM: its workload is stopped, and what it has goes to an instance and is compared there by digests."""

    place: str
    fence: int
    job: str
    user: str
    host: str
    port: int
    host_key: str

    def line(self) -> str:
        return _line(
            ASK,
            "carry",
            self.place,
            self.fence,
            self.job,
            self.user,
            self.host,
            self.port,
            self.host_key,
            "",
            "",
            "",
            CARRY,
        )


@dataclass(frozen=True, slots=True)
class ServeCopy:
    """On the VM: the current copy becomes the workspace, and the workload that comes over standard input runs in it."""

    place: str
    fence: int
    workspace: str
    machine: int
    keys: tuple[str, ...] = ()
    """Public keys that are let in."""

    def line(self) -> str:
        return _line(SERVE, self.place, self.fence, self.workspace, self.machine, "\n".join(self.keys))


@dataclass(frozen=True, slots=True)
class EndService:
    """On the VM: neither workload nor job runs any more, and the copy is a copy again. Says `ended`; with
    `unless_written` `written` where anything was written since it serves: then only the workload is stopped."""

    place: str
    fence: int
    unless_written: bool = False

    def line(self) -> str:
        return _line(END, self.place, self.fence, "yes" if self.unless_written else "no")


VmLine: TypeAlias = OpenDoor | PrepareVm | AskPull | AskCarry | ServeCopy | EndService


def read(text: str) -> VmLine | None:
    """The command that has this line; None where none of these scripts is in it. Raise UnknownLine where it was changed."""
    if not text.startswith(_AS_ROOT):
        return None
    script, _, *words = shlex.split(text[len(_AS_ROOT) :])
    made = _READERS.get(script)
    try:
        found = made(words) if made is not None else None
    except (ValueError, IndexError) as error:
        raise UnknownLine(text) from error
    if found is None or found.line() != text:
        raise UnknownLine(text)
    return found


def _asked(words: list[str]) -> VmLine:
    kind, place, fence, job, user, host, port, host_key, machine, percent, smaller, _ = words
    if kind == "carry":
        return AskCarry(place, int(fence), job, user, host, int(port), host_key)
    return AskPull(
        place, int(fence), job, user, host, int(port), host_key, int(machine), int(percent), smaller == "yes"
    )


_READERS: dict[str, Callable[[list[str]], VmLine]] = {
    OPEN_DOOR: lambda words: OpenDoor(Door(words[0]), words[1], int(words[2]), words[4], words[3]),
    PREPARE: lambda words: PrepareVm(words[0]),
    ASK: _asked,
    SERVE: lambda words: ServeCopy(
        words[0], int(words[1]), words[2], int(words[3]), tuple(words[4].split("\n")) if words[4] else ()
    ),
    END: lambda words: EndService(words[0], int(words[1]), words[2] == "yes"),
}


def written(progress: Progress) -> str:
    """As a VM says it."""
    if progress.state is JobState.RUNNING:
        return f"running {progress.job}"
    tail = f" {progress.code} {progress.why}" if progress.state is JobState.FAILED else ""
    return f"{progress.state.value} {progress.job} {progress.files} {progress.size_bytes}{tail}"


def read_progress(text: str) -> Progress | None:
    """Of AskPull and AskCarry; None where it is no answer of theirs."""
    words = text.split(None, 5)
    try:
        state = JobState(words[0])
        if state is JobState.RUNNING:
            return Progress(state, words[1])
        files, size = int(words[2]), int(words[3])
        code = words[4] if state is JobState.FAILED else ""
        return Progress(state, words[1], files, size, code, " ".join(words[5].split()) if len(words) > 5 else "")
    except (ValueError, IndexError):
        return None
