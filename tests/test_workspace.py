"""Where a customer's work may lie: never where a restore would write over the system."""

from __future__ import annotations

from dataclasses import replace

import pytest

from daemon.asked import Asked
from events.schema import Command
from machines.problems import Problem
from machines.workspace import NoWorkspace, normalised
from tests.test_api_stage import EXECUTE, settle, stage

THE_SYSTEMS = [
    "/",
    "//",
    "///",
    "/.",
    "/workspace/..",
    "/a/../..",
    "/proc",
    "/proc/1",
    "/sys",
    "/dev",
    "/dev/shm",
    "/etc",
]
THE_SYSTEMS += [
    "//etc/",
    "/etc/ssh",
    "/usr",
    "/usr/bin",
    "/usr/lib/python3",
    "/var",
    "/var/lib/dpkg",
    "/lib64",
    "/home",
]
THE_SYSTEMS += ["/workspace/../etc", "/boot", "/bin", "/sbin/x", "/run", "/tmp/./", "/opt/"]


@pytest.mark.parametrize("path", THE_SYSTEMS)
def test_the_systems_own_folders_are_no_workspace(path: str) -> None:
    with pytest.raises(NoWorkspace, match="belongs to the system"):
        normalised(path)


@pytest.mark.parametrize("path", ["", "workspace", "./workspace", "~", "/a\0b", None, 7, "/" + "x" * 1024])
def test_what_is_no_absolute_path_is_no_workspace(path: object) -> None:
    with pytest.raises(NoWorkspace):
        normalised(path)


@pytest.mark.parametrize(
    ("path", "clean"),
    [
        ("/workspace", "/workspace"),
        ("/workspace/", "/workspace"),
        ("//workspace//data/./x/", "/workspace/data/x"),
        ("/workspace/../data", "/data"),
        ("/root", "/root"),
        ("/home/user/work", "/home/user/work"),
        ("/usr/src/app", "/usr/src/app"),
        ("/etcetera", "/etcetera"),
        ("/with blank\n", "/with blank\n"),
    ],
)
def test_a_folder_of_its_own_is_taken_in_its_shortest_form(path: str, clean: str) -> None:
    assert normalised(path) == clean == normalised(clean)


@pytest.mark.parametrize("path", ["/", "//", "/workspace/..", "/etc"])
async def test_every_door_refuses_it_and_says_what_to_send(path: str) -> None:
    async with stage() as s:
        await s.machine()
        body = {**EXECUTE, "workspace_path": path}
        answers = [
            await s.http.post("/api/v1/failover/execute", json=body),
            await s.http.put("/api/v1/machines/123", json={"workspace_path": path}),
            await s.http.put("/api/v1/machines/123", json={"volume_id": 5, "volume_path": path}),
        ]
        for answer in answers:
            assert answer.status_code == 400
            assert "belongs to the system" in answer.json()["detail"]
        now = s.clock.now()
        for number, (kind, arguments) in enumerate(
            [("failover", {"workspace_path": path}), ("register_machine", {"workspace_path": path})]
        ):
            command = Command(kind, machine_id=123, command_id=f"k{number}", arguments=arguments)
            with pytest.raises(Problem) as refused:
                await s.services.commands.submit(Asked(command, "kafka", "ana", now, now))
            assert (refused.value.status, refused.value.code) == (400, "invalid_parameter")
            assert "workspace_path" in refused.value.extra["field"]
            assert "/workspace" in refused.value.remedy
        stored = await s.stored()
        assert (stored.failover, stored.workspace_path) == (None, "/workspace")


async def test_the_shortest_form_is_what_is_stored() -> None:
    async with stage() as s:
        await s.machine()
        await s.http.put("/api/v1/machines/123", json={"workspace_path": "//data/x/../"})
        assert (await s.stored()).workspace_path == "/data"
        now = s.clock.now()
        command = Command("failover", machine_id=123, command_id="k", arguments={"workspace_path": "/srv//data/"})
        await s.services.commands.submit(replace(Asked(command, "kafka", "ana", now, now)))
        await settle()
        assert (await s.stored()).workspace_path == "/srv/data"
