"""A reader who types the README's commands one after the other sees what it says."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from tests import readme_console

ROOT = Path(__file__).parents[2]
BLOCKS = [block for block in readme_console.blocks((ROOT / "README.md").read_text()) if block.can_run]
PORTS = {"sim": 8790, "run": 8787}
"""Where what is started in the background listens, so that the next line finds it."""
LIMIT_S = 400
WAIT = """wait_for() {
  for _ in $(seq 1200); do (exec 3<>/dev/tcp/127.0.0.1/$1) 2>/dev/null && return; sleep 0.1; done
  echo "nothing listens at $1"; exit 9
}
trap 'kill $(jobs -p) 2>/dev/null || true; wait || true' EXIT
"""


def script(block: readme_console.Block) -> str:
    """The block's lines as they stand; it ends where one fails."""
    lines = ["set -e", WAIT]
    for command in block.commands:
        lines.append(command)
        if command.endswith("&"):
            verb = command.split()[1]
            lines.append(f"wait_for {PORTS[verb]}")
    return "\n".join(lines) + "\n"


def typed(block: readme_console.Block) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("FAILOVERD_")}
    # This tree's code, whichever one the environment was made of.
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(
        ["bash", "-c", script(block)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )


@pytest.fixture(autouse=True)
def _nothing_is_in_the_way() -> None:
    """Of an earlier reading, or of somebody else's."""
    shutil.rmtree(ROOT / "var" / "quickstart", ignore_errors=True)
    for port in PORTS.values():
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", port)) != 0, (
                f"something listens at 127.0.0.1:{port}; the README's commands need it"
            )


def test_the_first_command_shows_machines_that_come_back() -> None:
    assert BLOCKS[0].commands == ("make demo",)
    done = typed(BLOCKS[0])
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_commands_by_hand_move_a_machine() -> None:
    done = typed(BLOCKS[1])
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    first, last = re.findall(r"^MACHINE .*?^3 machines", done.stdout, re.MULTILINE | re.DOTALL)
    assert re.search(r"^ +2  bravo +healthy .* 7002 ", first, re.MULTILINE), said
    assert not re.search(r"^ +2  bravo .* 7002 ", last, re.MULTILINE), said
    assert re.search(r"^ +2  bravo .* fo_\w+ ok|^ +2  bravo +(recovered|healthy)", last, re.MULTILINE), said
