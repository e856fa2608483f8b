"""Verifying a restored workspace: exact for every name that a file system allows, however many there are."""

from __future__ import annotations

import asyncio
import hashlib
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from daemon.demo_stage import stage
from machines.errors import Refused
from machines.model import Endpoint, HostId, InstanceId, LandlordId
from machines.ports import ShellResult
from machines.strategies.digests import digests
from machines.strategies.serving import Place
from tests.test_candidates import Market, Written, context
from tests.test_hold import until

ODD = (
    "plain",
    "two  blanks",
    " before",
    "behind ",
    "back\\slash",
    "\\begin",
    "two\nlines",
    "tab\there",
    "-n",
    "$(x) `y` 'z' \"",
    "ü",
    "folder/with \\/x\n",
    "%41",
    os.fsdecode(b"no-utf8-\xff\xfe"),
)
PLACE = Place(
    instance=InstanceId(1),
    label=None,
    host=HostId(1),
    landlord=LandlordId(1),
    ssh=Endpoint("h", 22),
    host_key="",
    gpu_name="",
    price_per_hour=0.0,
    is_interruptible=False,
)
BUSYBOX = """#!/bin/sh
# Writes names down as they are, and knows neither -z nor --zero.
for file do
  case $file in --) continue ;; -*) echo "unrecognized option: $file" >&2 ; exit 1 ;; esac
  printf '%s  %s\\n' "$(/usr/bin/sha256sum < "$file" | cut -c1-64)" "$file" || exit 1
done
[ $# -gt 0 ] || /usr/bin/sha256sum
"""


@dataclass
class LocalShell:
    """Commands run here, by a real sh."""

    path: str = os.environ["PATH"]
    calls: int = 0

    async def run(
        self, endpoint: Endpoint, command: str, host_key: Any = None, timeout_s: float = 60.0, stdin: bytes = b""
    ) -> ShellResult:
        self.calls += 1
        pipe = asyncio.subprocess.PIPE
        child = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", command, stdin=pipe, stdout=pipe, stderr=pipe, env={"PATH": self.path}
        )
        stdout, stderr = await child.communicate(stdin)
        return ShellResult(child.returncode or 0, stdout.decode("utf-8", "replace"), stderr.decode(), "")


async def hashed(folder: Path, names: list[str], shell: LocalShell) -> dict[str, str | None]:
    ctx = replace(context(Market(()), Written(), workspace_path=str(folder)), shell=shell)  # type: ignore[arg-type]
    return await digests(ctx, PLACE, names)


def write(folder: Path, names: list[str]) -> dict[str, str | None]:
    for name in names:
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(os.fsencode(name))
    return {name: hashlib.sha256(os.fsencode(name)).hexdigest() for name in names}


@pytest.fixture(params=["gnu", "busybox"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> LocalShell:
    if request.param == "gnu":
        return LocalShell()
    program = tmp_path_factory.mktemp("bin") / "sha256sum"
    program.write_text(BUSYBOX)
    program.chmod(0o755)
    return LocalShell(f"{program.parent}:{os.environ['PATH']}")


async def test_every_name_that_a_file_system_allows_is_hashed_exactly(tmp_path: Path, shell: LocalShell) -> None:
    wanted = write(tmp_path, list(ODD))
    assert await hashed(tmp_path, list(ODD), shell) == wanted


async def test_one_odd_name_alone_is_not_mistaken_for_another(tmp_path: Path, shell: LocalShell) -> None:
    for name in ODD:
        wanted = write(tmp_path, [name])
        assert await hashed(tmp_path, [name], shell) == wanted


async def test_what_is_missing_or_no_file_is_said_name_by_name(tmp_path: Path, shell: LocalShell) -> None:
    wanted = write(tmp_path, ["a", "b", "two\nlines"])
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    found = await hashed(tmp_path, ["a", "gone", "folder", "pipe", "two\nlines", "b"], shell)
    assert found == {**wanted, "gone": None, "folder": None, "pipe": None}
    assert list(found) == ["a", "gone", "folder", "pipe", "two\nlines", "b"]


async def test_only_named_files_are_read(tmp_path: Path, shell: LocalShell) -> None:
    wanted = write(tmp_path, ["a"])
    (tmp_path / "huge").symlink_to("/dev/zero")
    assert await hashed(tmp_path, ["a"], shell) == wanted


async def test_many_names_overflow_neither_command_line_nor_answer(tmp_path: Path) -> None:
    names = [f"{'long' * 20}/{number:05d}" for number in range(9000)]
    wanted = write(tmp_path, names)
    shell = LocalShell()
    assert await hashed(tmp_path, names, shell) == wanted
    assert shell.calls == 2


async def test_an_instance_without_the_tools_is_refused_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, ["a"])
    with pytest.raises(Refused, match="hashing failed with status") as refused:
        await hashed(tmp_path, ["a"], LocalShell("/nowhere"))
    assert refused.value.code == "verify_failed"
    with pytest.raises(Refused, match="hashing failed"):
        await hashed(tmp_path / "gone", ["a"], LocalShell())


async def test_a_workspace_with_odd_names_comes_back_on_another_host(tmp_path: Path) -> None:
    """Seen: one file with a backslash in its name, and no recovery ever succeeded."""
    async with stage(tmp_path, 60.0, 7, "calm", "refused", 2) as play:
        (one,) = await play.load(1)
        await asyncio.to_thread(write, play._workspace(one.instance), list(ODD))
        await play._call("POST", "/sim/snapshots", {"instance_id": int(one.instance)})
        body = {"gpu_instance_id": int(one.instance), "strategy": "cpu_standby", "interval_s": 10.0}
        await play.daemon.registry.put(one.id, body, "the test")

        async def snapshots():
            rows = (await play.truth())["snapshots"]
            return len(rows) >= 2 and all(row["verified"] for row in rows)

        await until(play, snapshots)
        token = {"Authorization": f"Bearer {play.daemon.token}"}
        async with httpx.AsyncClient(base_url=f"{play.api_url}/api/v1", headers=token, timeout=60.0) as http:
            ask = {"machine_id": int(one.id), "gpu_instance_id": int(one.instance), "ssh_host": "x", "ssh_port": 22}
            answer = (await http.post("/failover/execute", json=ask)).json()
        assert (answer["success"], answer["error_detail"]) == (True, None)
        place = play._workspace(answer["new_gpu_id"])
        assert {name: (place / name).read_bytes() for name in ODD} == {name: os.fsencode(name) for name in ODD}
