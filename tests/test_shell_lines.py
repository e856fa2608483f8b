"""Every command that a step sends is read back as what it was made from; anything else is refused."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from daemon.agent_line import AgentLine
from machines.model import InstanceId, Machine, MachineId
from machines.onstart import held_back, held_script
from machines.shell_lines import (
    CheckPlace,
    HashFiles,
    KeepAgent,
    LaySnapshotOrder,
    Line,
    ListGpus,
    ReadMarker,
    ShowAgentStatus,
    StartServing,
    UnknownLine,
    WriteMarker,
    read,
    read_agent,
)

AGENT = AgentLine("fa_secret", "broker:9092", None, "", "pip install --quiet failoverd")(
    Machine(MachineId(7), "seven"), InstanceId(7007)
)
ODD = '/work space/it\'s "here"'
SCRIPT = "echo 'one'; echo \"two\"\nserve --as-it=was &\nif [ -e x ]; then y; fi"


@pytest.mark.parametrize(
    "line",
    [
        ListGpus(),
        ShowAgentStatus(),
        CheckPlace("/workspace"),
        CheckPlace(ODD),
        HashFiles("/workspace"),
        HashFiles(ODD),
        ReadMarker("/workspace", "/workspace/.failoverd-machine"),
        ReadMarker(ODD, ODD + "/.m"),
        WriteMarker("/data", 12, "/data/.failoverd-machine"),
        WriteMarker(ODD, 12, ODD + "/.m"),
        LaySnapshotOrder("/workspace"),
        LaySnapshotOrder(ODD),
        StartServing(None, AGENT),
        StartServing("train", AGENT),
        StartServing("umask 077 && cat > x && printf %s y > z", AGENT),
        StartServing(SCRIPT, AGENT),
        StartServing(None, AGENT, ("ssh-ed25519 AAAA me",)),
        StartServing(SCRIPT, AGENT, ("ssh-ed25519 AAAA me", "ssh-rsa BBBB o'neill; done; ")),
    ],
)
def test_a_command_is_read_back_as_it_was_made(line: Line) -> None:
    assert read(line.line()) == line


def test_the_agents_script_and_token_are_read_back() -> None:
    kept = read_agent(AGENT)
    assert kept.script.startswith("failoverd agent --machine-id 7 --instance-id 7007 ")
    assert KeepAgent(kept.token, kept.script, kept.install).line() == AGENT


@pytest.mark.parametrize("text", ["rm -rf /", "", ListGpus().line() + "; true", "cd /workspace && xargs -0 rm"])
def test_what_no_step_sends_is_refused(text: str) -> None:
    with pytest.raises(UnknownLine):
        read(text)


def test_a_script_that_is_held_back_is_read_back() -> None:
    held = held_back(SCRIPT + "\n")
    assert held is not None
    assert held_script(held) == SCRIPT
    assert held_script(SCRIPT) is None


def test_the_customers_keys_are_let_in_once_beside_those_that_are_there(tmp_path: Path) -> None:
    known = tmp_path / ".ssh" / "authorized_keys"
    known.parent.mkdir()
    known.write_text("ssh-ed25519 AAAA provider\n")
    keys = ("ssh-ed25519 AAAA provider", "ssh-ed25519 BBBB o'neill", "ssh-rsa CCCC")
    line = StartServing(None, "true", keys).line()
    for _ in range(2):
        subprocess.run(["sh", "-c", line], env={"HOME": str(tmp_path), "PATH": os.environ["PATH"]}, check=True)
    assert known.read_text().splitlines() == list(keys)
