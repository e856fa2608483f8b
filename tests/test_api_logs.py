"""What a machine's container has printed, over HTTP."""

from __future__ import annotations

from datetime import timedelta

from machines.errors import NotYet, Refused
from tests.test_api_stage import stage


async def test_the_last_lines_of_the_primary_or_what_its_hosts_daemon_said() -> None:
    async with stage() as s:
        await s.machine()
        told = (await s.http.get("/api/v1/machines/123/logs", params={"tail": 2})).json()
        assert told == {"machine_id": 123, "gpu_instance_id": 456789, "lines": ["epoch 1", "epoch 2"]}
        of_host = (await s.http.get("/api/v1/machines/123/logs", params={"host": "true"})).json()
        assert of_host["lines"][0] == "daemon of 456789"


async def test_what_is_wrong_with_the_request_or_the_host_is_told() -> None:
    async with stage() as s:
        await s.machine()
        await s.machine(7, primary=None)
        for path, status, code in (
            ("/api/v1/machines/9/logs", 404, "unknown_machine"),
            ("/api/v1/machines/7/logs", 409, "no_instance"),
            ("/api/v1/machines/123/logs?tail=0", 400, "invalid_parameter"),
            ("/api/v1/machines/123/logs?tail=1001", 400, "invalid_parameter"),
            ("/api/v1/machines/123/logs?host=2", 400, "invalid_parameter"),
        ):
            answer = await s.http.get(path)
            assert (answer.status_code, answer.json()["code"]) == (status, code), path
        for fault in (NotYet("a dead one never does", timedelta(seconds=30)), Refused("unknown", "no such instance")):
            s.outside.fault = fault
            answer = await s.http.get("/api/v1/machines/123/logs")
            assert answer.status_code in (502, 503, 504)
            assert answer.json()["code"] == "provider_unavailable"
