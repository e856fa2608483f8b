"""The server in the daemon's own loop: a real socket, no signals, and a stop that leaves nobody waiting."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest
import structlog

from adapters.system_clock import SystemClock
from daemon.api import ApiServer
from daemon.setting_kinds import is_loopback
from tests.test_api_stage import EXECUTE, HEADERS, Stage, stage


@asynccontextmanager
async def served(s: Stage) -> AsyncIterator[tuple[ApiServer, httpx.AsyncClient, asyncio.Task[None]]]:
    server = ApiServer(s.app, "127.0.0.1", 0, SystemClock())
    running = asyncio.create_task(server.run())
    await server.started()
    try:
        async with httpx.AsyncClient(base_url=server.url, headers=HEADERS) as client:
            yield server, client, running
    finally:
        server.stop()
        await asyncio.gather(running, return_exceptions=True)


async def begun(s: Stage) -> None:
    """The request has come over the socket, and its failover runs."""
    for _ in range(500):
        if (await s.stored()).failover is not None:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no failover began")


async def test_it_serves_on_a_port_of_its_own() -> None:
    before = signal.getsignal(signal.SIGTERM)
    async with stage() as s, served(s) as (server, client, running):
        assert server.port > 0
        assert (await client.get("/livez")).json()["status"] == "ok"
        assert (await client.get("/api/v1/machines")).json() == {"machines": [], "next_cursor": None}
        assert signal.getsignal(signal.SIGTERM) is before
        assert "server" not in (await client.get("/livez")).headers
        server.stop()
        await running
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port), timeout=1).close()


async def test_a_stop_releases_those_who_wait_for_a_failover() -> None:
    async with stage() as s, served(s) as (server, client, running):
        await s.machine()
        asking = asyncio.create_task(client.post("/api/v1/failover/execute", json=EXECUTE))
        await begun(s)
        server.stop()
        answer = await asking
        await running
        found = (await s.stored()).failover
        assert found is not None
        assert (answer.status_code, answer.json()["code"]) == (503, "shutting_down")
        assert answer.json()["failover_id"] == found.id
        assert not found.cancel_asked


async def test_a_cancelled_server_leaves_in_the_same_way() -> None:
    async with stage() as s, served(s) as (_, client, running):
        await s.machine()
        asking = asyncio.create_task(client.post("/api/v1/failover/execute", json=EXECUTE))
        await begun(s)
        running.cancel()
        assert (await asking).status_code == 503
        with pytest.raises(asyncio.CancelledError):
            await running


async def test_a_connection_that_is_cut_cancels_nothing() -> None:
    async with stage() as s, served(s) as (_, client, _running):
        await s.machine()
        with pytest.raises(httpx.ReadTimeout):
            await client.post("/api/v1/failover/execute", json=EXECUTE, timeout=0.3)
        failover = await s.win()
        told = await client.get(f"/api/v1/failovers/{failover}")
        assert told.json()["success"] is True


@pytest.mark.parametrize("path", ["/api/v1/heartbeats", "/api/v1/failover/execute"])
async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with stage() as s, served(s) as (server, client, _running):
        with structlog.testing.capture_logs() as told:
            _, writer = await asyncio.open_connection("127.0.0.1", server.port)
            lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Length: 100", "Content-Type: application/json"]
            lines += [f"{name}: {value}" for name, value in HEADERS.items()]
            writer.write("\r\n".join([*lines, "", "{"]).encode())
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            for _ in range(100):
                if told:
                    break
                await asyncio.sleep(0.01)
            assert (await client.get("/livez")).status_code == 200
        assert [(line["event"], line["log_level"]) for line in told] == [("client_left", "debug")]
        assert caplog.records == []


async def test_a_port_that_is_taken_is_an_error_and_no_exit() -> None:
    async with stage() as s, served(s) as (server, _, _running):
        second = ApiServer(s.app, "127.0.0.1", server.port, SystemClock())
        with pytest.raises(OSError):
            await second.run()


async def test_without_a_token_only_this_machine_is_served() -> None:
    async with stage(token="") as s:
        for host in ("0.0.0.0", "::", "192.0.2.1", "gpu.example.org"):
            with pytest.raises(ValueError, match="token"):
                ApiServer(s.app, host, 0, SystemClock())
        ApiServer(s.app, "127.0.0.1", 0, SystemClock())
    async with stage() as s:
        ApiServer(s.app, "0.0.0.0", 0, SystemClock())


def test_only_addresses_that_are_surely_ours_are_loopback() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "", "::", "localhost.example.org", "10.0.0.1"))


async def test_a_client_that_still_sends_what_is_too_much_sees_why_it_is_refused() -> None:
    async with stage() as s, served(s) as (_, client, _running):
        answer = await client.put("/api/v1/machines/7", content=b" " * (4 * 1024 * 1024))
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
