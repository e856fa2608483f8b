"""Every command that keeps a workspace on a CPU VM is read back as what it was made from; anything else is refused."""

from __future__ import annotations

import pytest

from machines.shell_lines import UnknownLine
from machines.vm_lines import (
    AskCarry,
    AskPull,
    Door,
    EndService,
    JobState,
    OpenDoor,
    PrepareVm,
    Progress,
    ServeCopy,
    VmLine,
    read,
    read_progress,
    written,
)

ODD = '/work space/it\'s "here"'
KEY = "ssh-ed25519 AAAA failoverd-vm"


@pytest.mark.parametrize(
    "line",
    [
        OpenDoor(Door.READ, ODD, 7, KEY, ODD),
        OpenDoor(Door.WRITE, ODD, 7, KEY),
        OpenDoor(Door.SHUT, ODD, 7, KEY),
        PrepareVm(),
        AskPull(ODD, 3, "pull-1", "root", "h", 22, KEY, 7, 50, True),
        AskCarry(ODD, 3, "carry-1", "root", "h", 40001, KEY),
        ServeCopy(ODD, 3, ODD, 7, (KEY, "ssh-rsa BBBB")),
        ServeCopy(ODD, 3, ODD, 7),
        EndService(ODD, 3, unless_written=True),
    ],
)
def test_a_command_is_read_back_as_what_it_was_made_from(line: VmLine) -> None:
    assert read(line.line()) == line


def test_another_command_is_none_of_these_and_a_changed_one_is_refused() -> None:
    assert read("nvidia-smi -L") is None
    with pytest.raises(UnknownLine):
        read(EndService(ODD, 3).line().replace("no", "maybe"))


@pytest.mark.parametrize(
    "said",
    [
        Progress(JobState.RUNNING, "pull-1"),
        Progress(JobState.DONE, "pull-1", 12, 3456),
        Progress(JobState.FAILED, "pull-1", code="empty", why="there is nothing in it"),
    ],
)
def test_what_a_vm_says_of_a_job_is_read_back(said: Progress) -> None:
    assert read_progress(written(said) + "\n") == said


@pytest.mark.parametrize("text", ["", "done", "failed pull-1 x y", "bash: no such thing"])
def test_an_answer_that_is_none_is_no_progress(text: str) -> None:
    assert read_progress(text) is None
