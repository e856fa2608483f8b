"""Both units, started by systemd itself: this machine's, booted in a container with a throw-away layer over its files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("unit_boot.sh")
IN_NAMESPACES = ("unshare", "--mount", "--pid", "--fork", "--kill-child=KILL", "--mount-proc")
LIMIT_S = 240


def why_not() -> str | None:
    """What this machine lacks. It is no matter of what is installed alone, so that it is never a failure."""
    if os.geteuid() != 0:
        return "a container is booted by root alone"
    lacking = [program for program in ("systemd-nspawn", "unshare") if shutil.which(program) is None]
    if lacking:
        return f"no {lacking[0]} here; install systemd-container"
    may = subprocess.run(
        [*IN_NAMESPACES, "sh", "-c", "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup"],
        capture_output=True,
        check=False,
    )
    return None if may.returncode == 0 else "this machine lets nobody mount a control group's file system"


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What was seen in the container, by name; the whole under "" for a failure's sake."""
    reason = why_not()
    if reason is not None:
        pytest.skip(reason)
    stage = tmp_path_factory.mktemp("unit_boot")
    packages = sysconfig.get_path("purelib")
    booted = subprocess.run(
        [*IN_NAMESPACES, "bash", str(SCRIPT), str(stage), str(ROOT), sys.base_prefix, packages],
        capture_output=True,
        text=True,
        check=False,
        timeout=LIMIT_S,
    )
    written = stage / "said"
    text = written.read_text() if written.exists() else ""
    lines = dict(line.split(": ", 1) for line in text.splitlines() if ": " in line and not line.startswith("+"))
    return {**lines, "": text + booted.stdout + booted.stderr}


def test_the_daemon_and_the_agent_start_and_serve(said: dict[str, str]) -> None:
    assert said.get("started") == said.get("agent started") == "yes", said[""]
    assert (said["state"], said["agent"], said["livez"]) == ("active", "active", "200"), said[""]


def test_a_credential_sets_what_it_is_named_for_and_a_reload_ends(said: dict[str, str]) -> None:
    assert said.get("by the credential") == "200", said[""]
    assert said.get("reloaded") == "yes", said[""]


def test_the_control_loop_feeds_the_watchdog_and_says_how_it_stands(said: dict[str, str]) -> None:
    assert said["restarts"] == "0", said[""]
    assert said["status"].startswith("1 machines"), said[""]


def test_the_agents_beats_are_taken(said: dict[str, str]) -> None:
    assert '"sent_ok": true' in said[""], said[""]


def test_it_stops_cleanly_and_soon(said: dict[str, str]) -> None:
    # The daemon gives itself ten; the rest is a busy machine's.
    assert int(said["stopped within"]) < 20, said[""]
    assert said["result"] == "success", said[""]


def test_a_daemon_that_stands_still_is_started_anew(said: dict[str, str]) -> None:
    assert said["restarts after it stood still"] == "1", said[""]
    assert said["state after it stood still"] == "active", said[""]
    assert "Failed with result 'watchdog'" in said[""]
