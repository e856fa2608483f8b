"""`failoverd ssh-config`: OpenSSH itself reads what is written, and follows a machine that has moved."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon import cli_ssh_config
from daemon.cli_ssh_config import Files, config, known_hosts, write_config
from daemon.client import ApiClient, ClientError, Door

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJqYYw1Xu0p9GqPV0YBbZ0bTTnXvQwYw0L7l3mFZ7kqM"


def machine(number: int, name: str, port: int | None = 40001, key: str | None = KEY) -> dict[str, Any]:
    return {
        "id": number,
        "name": name,
        "state": "healthy",
        "gpu_instance_id": 7000 + number,
        "ssh_host": "ssh5.vast.ai" if port else None,
        "ssh_port": port,
        "ssh_host_key": key,
    }


def daemon(*answers: list[dict[str, Any]] | int) -> ApiClient:
    """Answers in turn; a number is a failure with that status."""
    left = iter(answers)

    def answer(request: httpx.Request) -> httpx.Response:
        now = next(left)
        if isinstance(now, int):
            return httpx.Response(now, json={"code": "provider_unavailable", "detail": "no"})
        return httpx.Response(200, json={"machines": now, "next_cursor": None})

    return ApiClient(Door("http://failoverd.test", "fa_x"), httpx.MockTransport(answer))


def as_ssh_reads_it(files: Files, name: str) -> Mapping[str, str]:
    if shutil.which("ssh") is None:
        pytest.skip("no ssh client on this machine: install openssh-client")
    said = subprocess.run(["ssh", "-F", str(files.config), "-G", name], capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in said.stdout.splitlines() if " " in line)


def test_ssh_finds_the_cpu_vm_while_it_serves_in_the_machines_place(tmp_path: Path) -> None:
    files = Files.at(tmp_path / "failoverd.conf")
    serving = {"ssh_host": "203.0.113.7", "ssh_port": 22, "ssh_host_key": "ssh-ed25519 AAAAvm"}
    row = {**machine(1, "alpha"), "cpu_standby": {"serving": serving}}
    write_config(daemon([row]), "root", files, watch=False)
    found = as_ssh_reads_it(files, "alpha")
    assert (found["hostname"], found["port"], found["user"]) == ("203.0.113.7", "22", "failoverd")
    assert "failoverd-1 ssh-ed25519 AAAAvm\n" in files.known_hosts.read_text()
    assert "# alpha: its CPU VM, healthy" in files.config.read_text()


def test_ssh_finds_a_machine_by_its_name_and_by_its_number(tmp_path: Path) -> None:
    files = Files.at(tmp_path / "odd name" / "failoverd.conf")
    write_config(daemon([machine(1, "alpha"), machine(2, "bravo", 40002)]), "root", files, watch=False)
    for name in ("bravo", "failoverd-2"):
        found = as_ssh_reads_it(files, name)
        assert (found["hostname"], found["port"], found["user"]) == ("ssh5.vast.ai", "40002", "root")
        assert found["hostkeyalias"] == "failoverd-2"
        assert found["stricthostkeychecking"] in ("true", "yes")
    assert f"failoverd-2 {KEY}" in files.known_hosts.read_text()


def test_a_key_that_was_not_pinned_yet_is_learned_once(tmp_path: Path) -> None:
    files = Files.at(tmp_path / "failoverd.conf")
    write_config(daemon([machine(1, "alpha", key=None)]), "root", files, watch=False)
    assert as_ssh_reads_it(files, "alpha")["stricthostkeychecking"] == "accept-new"


def test_a_machine_without_an_address_and_a_name_that_is_a_pattern_lead_nobody_astray() -> None:
    rows = [machine(1, "twin"), machine(2, "twin"), machine(3, "*"), machine(4, "a b"), machine(5, "gone", port=None)]
    text = config(rows, "root", Path("/k"))
    hosts = [line for line in text.splitlines() if line.startswith("Host ")]
    assert hosts == ["Host failoverd-1", "Host failoverd-2", "Host failoverd-3", "Host failoverd-4"]
    assert known_hosts([machine(1, "a", key=None)]).count("\n") == 1


BREAK = "\n    ProxyCommand touch /tmp/taken"


def test_nothing_that_a_machine_is_called_or_is_reached_by_becomes_a_setting_of_ssh() -> None:
    named, placed, keyed = (
        machine(1, f"alpha{BREAK}"),
        machine(2, "bravo"),
        machine(3, "charlie", key=f"ssh-ed25519 A{BREAK}"),
    )
    placed["ssh_host"] = f"127.0.0.1{BREAK}"
    text = config([named, placed, keyed], "root", Path("/k"))
    assert [line for line in text.splitlines() if line.strip().startswith("ProxyCommand")] == []
    assert [line for line in text.splitlines() if line.startswith("Host ")] == [
        "Host failoverd-1",
        "Host failoverd-3 charlie",
    ]
    assert "ProxyCommand" not in known_hosts([named, placed, keyed])


@pytest.fixture
def rounds(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Three looks, then Ctrl-C."""
    waited: list[float] = []

    def pause(seconds: float) -> bool:
        waited.append(seconds)
        return len(waited) == 3

    monkeypatch.setattr(cli_ssh_config, "pause", pause)
    return waited


def test_a_watched_file_follows_the_machine_and_outlives_a_daemon_that_does_not_answer(
    tmp_path: Path, rounds: list[float]
) -> None:
    files = Files.at(tmp_path / "failoverd.conf")
    write_config(daemon([machine(1, "alpha")], 503, [machine(1, "alpha", 40009)]), "root", files, watch=True)
    assert "Port 40009" in files.config.read_text()
    assert len(rounds) == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["failoverd.conf", "failoverd.conf.known_hosts"]


def test_a_daemon_that_never_answered_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ClientError):
        write_config(daemon(503), "root", Files.at(tmp_path / "f"), watch=True)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ClientError, match="not_written"):
        write_config(daemon([machine(1, "alpha")]), "root", Files.at(tmp_path / "file" / "conf"), watch=False)
