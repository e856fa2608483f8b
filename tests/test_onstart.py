"""The customer's onstart script in a real shell: it waits on what we rent, and runs once the instance is the machine."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from machines.onstart import held_back, let_go

SCRIPT = 'echo "started with $MODE" >> "$HOME/work"\ncat <<EOF >> "$HOME/work"\nit\'s "quoted"\nEOF'


def run(home: Path, script: str) -> None:
    ran = subprocess.run(
        ["sh", "-c", script],
        env={"HOME": str(home), "PATH": "/usr/bin:/bin", "MODE": "x"},
        capture_output=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr


def work(home: Path) -> list[str]:
    place = home / "work"
    return place.read_text().splitlines() if place.exists() else []


DONE = ["started with x", 'it\'s "quoted"']


def test_a_boot_before_the_hand_over_runs_nothing_and_letting_go_runs_it_once(tmp_path: Path) -> None:
    boot = held_back(SCRIPT)
    assert boot is not None
    run(tmp_path, boot)
    run(tmp_path, boot)
    assert work(tmp_path) == []
    run(tmp_path, let_go(SCRIPT))
    assert work(tmp_path) == DONE
    run(tmp_path, let_go(SCRIPT))
    assert work(tmp_path) == DONE, "a step that is made again starts it no second time"


def test_every_boot_after_that_runs_it(tmp_path: Path) -> None:
    boot = held_back(SCRIPT)
    assert boot is not None
    run(tmp_path, boot)
    run(tmp_path, let_go(SCRIPT))
    run(tmp_path, boot)
    assert work(tmp_path) == DONE * 2


def test_where_the_operators_own_standby_ran_it_at_its_boot_it_is_not_run_again(tmp_path: Path) -> None:
    run(tmp_path, SCRIPT)
    run(tmp_path, let_go(SCRIPT))
    assert work(tmp_path) == DONE


def test_a_script_that_goes_on_for_ever_holds_nothing_up(tmp_path: Path) -> None:
    endless = 'echo on >> "$HOME/work"; exec sleep 4'
    boot = held_back(endless)
    assert boot is not None
    run(tmp_path, boot)
    run(tmp_path, let_go(endless))
    assert work(tmp_path) == ["on"]


def test_a_script_that_is_held_back_already_stays_as_it_is() -> None:
    assert held_back(held_back(SCRIPT)) == held_back(SCRIPT)


@pytest.mark.parametrize("nothing", [None, "", "  \n"])
def test_without_a_script_there_is_nothing_to_hold_back(tmp_path: Path, nothing: str | None) -> None:
    assert held_back(nothing) == nothing
    run(tmp_path, let_go(nothing))
    assert (tmp_path / ".failoverd" / "serve").exists()
