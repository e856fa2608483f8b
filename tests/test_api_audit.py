"""Every change with who made it, through which door and why; and nothing that changed nothing."""

from __future__ import annotations

from typing import Any

import pytest

from daemon.asked import Asked
from daemon.client import AGENT
from events.schema import Command
from machines.admission import FailoverRequest, Reason
from machines.model import MachineId
from tests.test_api_stage import Stage, stage
from tests.test_api_tokens import bearing, made


async def audit(s: Stage, **query: Any) -> list[dict[str, Any]]:
    return list((await s.http.get("/api/v1/audit", params=query)).json()["audit"])


async def newest(s: Stage) -> dict[str, Any]:
    return (await audit(s))[0]


async def test_each_change_over_http_says_who_and_why() -> None:
    async with stage() as s:
        await s.machine()
        headers = {**bearing(await made(s, "olga", "admin")), "Failoverd-Reason": "the nächtliche round".encode()}
        changes = [
            ("PUT", "/machines/124", {"name": "new"}, "register_machine", 124, None),
            ("PUT", "/machines/123", {"name": "other", "env": {"KEY": "s3cret"}}, "change_machine", 123, None),
            ("POST", "/pause", {"minutes": 5, "reason": "by the body"}, "pause", None, None),
            ("POST", "/resume", {}, "resume", None, None),
            ("POST", "/tokens", {"name": "ana", "scope": "read"}, "create_token", None, "ana"),
            ("DELETE", "/tokens/ana", None, "revoke_token", None, "ana"),
            ("DELETE", "/machines/123/beat-token", None, "revoke_beat_token", 123, None),
            ("DELETE", "/machines/124", None, "remove_machine", 124, None),
        ]  # fmt: skip
        for method, path, body, what, machine, subject in changes:
            answer = await s.http.request(method, f"/api/v1{path}", json=body, headers=headers)
            assert answer.is_success, (path, answer.text)
            found = await newest(s)
            assert (found["by"], found["door"], found["what"]) == ("olga", "http", what)
            assert (found["machine_id"], found["subject"]) == (machine, subject)
            assert found["reason"] == ("by the body" if what == "pause" else "the nächtliche round")
            assert found["at"] == s.clock.now().isoformat()
        assert "s3cret" not in str(await audit(s))


async def test_a_failover_is_under_its_own_id_and_the_door_is_the_one_that_was_taken() -> None:
    async with stage() as s:
        await s.machine()
        task = await s.begin({"User-Agent": AGENT, "Idempotency-Key": "k1"}, reason="it is slow")
        failover = await s.win()
        assert (await task).json()["success"] is True
        found = await newest(s)
        assert (found["by"], found["door"], found["what"], found["reason"]) == (
            "admin",
            "cli",
            "failover",
            "it is slow",
        )
        assert (found["machine_id"], found["subject"]) == (123, failover)
        assert found["detail"] == {"command_id": "k1"}


async def test_a_command_from_the_log_is_of_whoever_issued_it() -> None:
    async with stage() as s:
        now = s.clock.now()
        command = Command("pause", reason="the broker moves", arguments={"minutes": 5})
        await s.services.commands.submit(Asked(command, "kafka", "a program", now, now))
        found = await newest(s)
        assert (found["by"], found["door"], found["reason"]) == ("a program", "kafka", "the broker moves")


async def test_what_the_daemon_begins_itself_is_told_too() -> None:
    async with stage() as s:
        await s.machine()
        request = FailoverRequest(Reason.HTTP, why="its host is gone")
        await s.loop.request_admission(MachineId(123), request)
        found = await newest(s)
        assert (found["by"], found["door"], found["what"]) == ("failoverd", "daemon", "failover")
        assert found["reason"] == "its host is gone"


async def test_what_was_refused_or_changed_nothing_is_no_change() -> None:
    async with stage() as s:
        await s.machine()
        before = await audit(s)
        await s.http.post("/api/v1/pause", json={"minutes": 5})
        await s.http.delete("/api/v1/machines/9")
        await s.http.delete("/api/v1/tokens/nobody")
        execute = {"machine_id": 9, "gpu_instance_id": 1, "ssh_host": "h", "ssh_port": 22}
        assert (await s.http.post("/api/v1/failover/execute", json=execute)).status_code == 404
        await s.http.put("/api/v1/machines/123", json={"name": (await s.stored()).name})
        assert await audit(s) == before


async def test_a_command_that_is_repeated_is_one_change() -> None:
    async with stage() as s:
        for _ in range(3):
            key = {"Idempotency-Key": "once"}
            await s.http.post("/api/v1/pause", json={"minutes": 5, "reason": "x"}, headers=key)
        assert len(await audit(s)) == 1


async def test_the_audit_has_pages_and_can_be_of_one_machine() -> None:
    async with stage() as s:
        for number in range(1, 6):
            await s.http.put(f"/api/v1/machines/{number}", json={"name": f"m{number}"})
        seen, path = [], "/api/v1/audit?limit=2"
        while path:
            answer = await s.http.get(path)
            seen += [row["machine_id"] for row in answer.json()["audit"]]
            path = answer.links["next"]["url"] if "next" in answer.links else ""
        assert seen == [5, 4, 3, 2, 1]
        assert [row["machine_id"] for row in await audit(s, machine_id=3)] == [3]


@pytest.mark.parametrize("reason", [b"", b"  ", b"x" * 501, b"\xff\xfe", b"a\x01b"])
async def test_a_reason_that_cannot_be_read_is_refused_before_anything_changes(reason: bytes) -> None:
    async with stage() as s:
        answer = await s.http.post("/api/v1/resume", headers={"Failoverd-Reason": reason})
        assert (answer.status_code, answer.json()["field"]) == (400, "Failoverd-Reason")
        assert await audit(s) == []


async def test_a_change_says_to_what_without_the_secrets() -> None:
    async with stage() as s:
        await s.machine()
        body = {"name": "other", "env": {"KEY": "s3cret"}, "policy": {"confirm_after_s": 40}, "onstart": None}
        await s.http.put("/api/v1/machines/123", json=body)
        assert (await newest(s))["detail"] == {
            "fields": ["env", "name", "onstart", "policy"],
            "values": {
                "name": "other", "env": "(not shown)", "policy": {"confirm_after_s": 40}, "onstart": None,
            },
        }  # fmt: skip
        await s.http.put("/api/v1/failover/settings", json={"max_concurrent": 3, "reason": "a storm"})
        assert (await newest(s))["detail"]["values"] == {"max_concurrent": 3}
        await s.http.put("/api/v1/failover/settings/123", json={"confirm_after_s": None})
        assert (await newest(s))["detail"]["values"] == {"confirm_after_s": None}
        now = s.clock.now()
        command = Command("register_machine", 124, command_id="k", arguments={"name": "n", "env": {"KEY": "s3cret"}})
        await s.services.commands.submit(Asked(command, "kafka", "a program", now, now))
        assert (await newest(s))["detail"] == {"command_id": "k", "values": {"name": "n", "env": "(not shown)"}}
