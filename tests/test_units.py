"""The units of systemd, by systemd's own judgement; and what they say is held against the program."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from daemon import units
from daemon.agent_settings import parse
from daemon.cli_app import app
from daemon.cli_run import END_WITHIN_S
from daemon.setting_faults import all_paths, field_at
from daemon.settings import Settings
from tests.servers import ladder

ROOT = Path(__file__).parents[1]
MOST_EXPOSED = 20
"""Tenths: systemd calls 2.0 and less "OK"."""


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    program = shutil.which("systemd-analyze")
    if program is None:
        ladder.unavailable("no systemd-analyze here; install systemd")
    return subprocess.run([program, *arguments], capture_output=True, text=True, check=False, timeout=60)


def said(name: str, directive: str) -> list[str]:
    """Every value of a directive, in the unit's order."""
    return re.findall(rf"^{directive}=(.*)$", units.unit(name), re.MULTILINE)


@pytest.mark.parametrize("name", units.SYSTEMD)
def test_systemd_finds_nothing_to_say_of_the_unit(name: str) -> None:
    verified = analyze("verify", "--man=no", str(ROOT / "systemd" / name))
    assert (verified.returncode, verified.stdout, verified.stderr) == (0, "", "")


@pytest.mark.parametrize("name", units.SYSTEMD)
def test_the_unit_is_hardened(name: str) -> None:
    judged = analyze(
        "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}", str(ROOT / "systemd" / name)
    )
    assert judged.returncode == 0, judged.stdout


def test_systemd_waits_longer_than_the_daemon_drains() -> None:
    [seconds] = said("failoverd.service", "TimeoutStopSec")
    assert int(seconds.removesuffix("s")) > END_WITHIN_S


def test_every_credential_sets_something() -> None:
    credentials = said("failoverd.service", "LoadCredential")
    assert credentials
    for credential in credentials:
        name, source = credential.split(":")
        assert field_at(Settings, tuple(name.split("__"))) is not None, name
        # A relative name: systemd passes over one that is not there.
        assert source == f"failoverd.{name}"


def test_every_secret_of_the_settings_may_come_as_a_credential() -> None:
    given = {credential.partition(":")[0] for credential in said("failoverd.service", "LoadCredential")}
    secrets = ["__".join(path) for path in all_paths(Settings) if "SecretStr" in str(field_at(Settings, path))]
    assert secrets
    assert sorted(set(secrets) - given) == []


def test_the_agent_understands_the_line_that_starts_it(tmp_path: Path) -> None:
    [line] = said("failoverd-agent.service", "ExecStart")
    (tmp_path / "beat_token").write_text("fb_7_x")
    words = line.replace("${CREDENTIALS_DIRECTORY}", str(tmp_path)).split()
    assert words[:3] == ["/usr/bin/env", "failoverd", "agent"]
    environment = dict(re.findall(r"^#\s+(FAILOVERD_\w+)=(\S+)", units.unit("failoverd-agent.service"), re.MULTILINE))
    settings = parse(words[3:], environment)
    assert (settings.machine_id, settings.token_file) == (7, tmp_path / "beat_token")


@pytest.mark.parametrize(("which", "name"), [("daemon", units.SYSTEMD[0]), ("agent", units.SYSTEMD[1])])
def test_export_prints_the_unit(which: str, name: str) -> None:
    printed = CliRunner().invoke(app, ["export", "systemd", which])
    assert (printed.exit_code, printed.stdout) == (0, (ROOT / "systemd" / name).read_text())


def test_export_writes_both_units(tmp_path: Path) -> None:
    assert CliRunner().invoke(app, ["export", "systemd", "--write", str(tmp_path)]).exit_code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(units.SYSTEMD)


def test_export_names_the_folder_that_cannot_be_written(tmp_path: Path) -> None:
    refused = CliRunner().invoke(app, ["export", "systemd", "--write", str(tmp_path / "absent")])
    assert refused.exit_code == 2
    assert "absent/failoverd.service: No such file or directory" in refused.stderr
    assert "remedy" in refused.stderr
