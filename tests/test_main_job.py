"""The main job as a person runs it: hosts die, machines come back, and the provider's own books agree."""

import json
import os
import subprocess
import sys

import pytest


def demo(*options: str) -> tuple[int, dict]:
    """One whole demo as a process of its own: daemon, world, agents, real SSH."""
    run = subprocess.run(
        [sys.executable, "-m", "daemon.cli", "demo", "--json", *options], capture_output=True, text=True, timeout=170
    )
    assert run.stdout, run.stderr
    return run.returncode, json.loads(run.stdout)


@pytest.mark.parametrize(("weather", "sharing"), [("calm", "allowed"), ("calm", "refused"), ("hard", "allowed")])
def test_killed_machines_come_back_by_themselves(weather, sharing):
    fleet = ("--machines", "6", "--kill", "2", "--speed", "20", "--timeout", "150")
    code, story = demo(*fleet, "--weather", weather, "--volume-sharing", sharing)
    assert code == 0
    assert story["ok"]
    killed = [machine for machine in story["machines"] if machine["killed"]]
    assert len(killed) == 2
    crashed, hostless = killed
    assert hostless["strategy"] == "cpu_standby", "the host took the standby and the volume with it"
    if weather == "calm":
        assert crashed["strategy"] == "warm_pool"
        assert crashed["fence_grade"] == ("stopped" if sharing == "allowed" else "destroyed")
        assert crashed["data_age_seconds"] == 0
    for machine in killed:
        assert machine["new_instance"] != machine["old_instance"]
        assert machine["fence_grade"] in ("stopped", "severed", "destroyed")
        assert [step["name"] for step in machine["steps"]][-1] == "hand_over"
    untouched = [machine for machine in story["machines"] if not machine["killed"]]
    assert all(machine["failover_id"] is None and machine["state"] == "healthy" for machine in untouched)


@pytest.mark.parametrize("form", [(), ("--json",)], ids=["lines", "json"])
def test_a_reader_that_leaves_ends_the_demo_quietly_and_nothing_is_left_behind(tmp_path, form):
    options = ("--machines", "1", "--kill", "0", "--speed", "50", *form)
    run = subprocess.Popen(
        [sys.executable, "-m", "daemon.cli", "demo", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    if not form:
        run.stdout.readline()
    run.stdout.close()
    told = run.stderr.read().decode()
    assert (run.wait(timeout=60), told) == (141, "")
    run.stderr.close()
    assert list(tmp_path.iterdir()) == []
