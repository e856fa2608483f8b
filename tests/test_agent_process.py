"""The agent as a process, against real sockets: what arrives, how it ends, what it costs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import free_port

ROOT = Path(__file__).parent.parent
START = "import sys; from daemon.agent_process import main; sys.exit(main(sys.argv[1:]))"
MEMORY_LIMIT_KB = 60 * 1024


class Daemon:
    """As much of the daemon's HTTP as an agent sees."""

    def __init__(self, port: int = 0, status: int = 202) -> None:
        self.port = port
        self.status = status
        self.requests: list[tuple[str, dict[str, Any], str | None]] = []
        self._heard = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._open: set[StreamWriter] = set()

    async def __aenter__(self) -> Daemon:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for writer in self._open:
            writer.close()
        await self._server.wait_closed()

    @property
    def flags(self) -> tuple[str, str]:
        return "--url", f"http://127.0.0.1:{self.port}"

    async def _serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        self._open.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"content-length: (\d+)", head, re.I)
                body = await reader.readexactly(int(length[1]) if length else 0)
                token = re.search(r"authorization: (.+)\r", head, re.I)
                self.requests.append((head.split("\r\n")[0], json.loads(body), token[1] if token else None))
                self._heard.set()
                writer.write(f"HTTP/1.1 {self.status} x\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()

    async def hears(self, number: int) -> None:
        while len(self.requests) < number:
            self._heard.clear()
            await self._heard.wait()


class Child:
    def __init__(self, process: asyncio.subprocess.Process, status_file: Path) -> None:
        self.process = process
        self.status_file = status_file

    @property
    def peak_kb(self) -> int:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text())
        assert found is not None
        return int(found[1])

    async def status(self, sequence: int) -> dict[str, Any]:
        """The status file, once it tells of that sequence."""
        while True:
            if self.status_file.exists():
                status: dict[str, Any] = json.loads(self.status_file.read_text())
                if status["sequence"] >= sequence:
                    return status
            await asyncio.sleep(0.02)

    async def end(self) -> tuple[int, str]:
        """SIGTERM; its exit status and log, within the three seconds that it has."""
        self.process.send_signal(signal.SIGTERM)
        _, log = await asyncio.wait_for(self.process.communicate(), 3.0)
        return self.process.returncode or 0, log.decode()


@asynccontextmanager
async def agent(directory: Path, *flags: str, **env: str) -> AsyncIterator[Child]:
    status_file = directory / "agent.json"
    ids = ("--machine-id", "123", "--instance-id", "7001", "--status-file", str(status_file))
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", START, *ids, *flags, cwd=ROOT, env=clean | env, stderr=asyncio.subprocess.PIPE
    )
    try:
        yield Child(process, status_file)
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 60))


def test_it_beats_by_http_and_says_goodbye_on_sigterm(tmp_path: Path) -> None:
    async def story() -> None:
        flags = ("--interval", "0.1")
        async with Daemon() as daemon, agent(tmp_path, *daemon.flags, *flags, FAILOVERD_BEAT_TOKEN="secret") as child:
            await daemon.hears(5)
            boot_id = (await child.status(1))["boot_id"]
            code, log = await child.end()
        assert code == 0, log
        assert 'notice="sent"' in log
        lines, events, tokens = zip(*daemon.requests, strict=True)
        assert set(lines) == {"POST /api/v1/heartbeats HTTP/1.1"}
        assert set(tokens) == {"Bearer secret"}
        origins = {(event["machine_id"], event["instance_id"], event["boot_id"]) for event in events}
        assert origins == {(123, 7001, boot_id)}
        beats = [event["sequence"] for event in events if event["kind"] == "heartbeat"]
        # A beat that the end cut off may have arrived or not, and the notice is always last.
        assert beats == list(range(1, len(beats) + 1))
        assert (events[-1]["kind"], events[-1]["what"]) == ("notice", "shutdown")

    play(story())


def test_a_second_start_has_another_boot_id(tmp_path: Path) -> None:
    async def story() -> None:
        boots = []
        async with Daemon() as daemon:
            for _ in range(2):
                async with agent(tmp_path, *daemon.flags, "--interval", "0.1") as child:
                    await daemon.hears(len(daemon.requests) + 1)
                    await child.end()
                boots.append(daemon.requests[-1][1]["boot_id"])
        assert boots[0] != boots[1]

    play(story())


def test_it_waits_for_a_daemon_that_is_away_and_comes_back_on_the_same_address(tmp_path: Path) -> None:
    async def story() -> None:
        port = free_port()
        async with agent(tmp_path, "--url", f"http://127.0.0.1:{port}", "--interval", "0.1") as child:
            assert (await child.status(3))["sent_ok"] is False
            for _ in range(2):
                async with Daemon(port) as daemon:
                    before = (await child.status(1))["sequence"]
                    await daemon.hears(3)
                    assert daemon.requests[0][1]["sequence"] > before - 1
                    await asyncio.sleep(0.2)
                lost = (await child.status(1))["sequence"]
                await child.status(lost + 3)
            code, log = await child.end()
        assert code == 0, log
        # Three outages, each told when it begins and again only where its cause changes: cut off first, then refused.
        assert 3 <= log.count("beats_failing") <= 6
        assert log.count("beats_well_again") == 2

    play(story())


@pytest.mark.parametrize(("status", "remedy"), [(401, "--token-file"), (403, "scope beat"), (404, "--url must be")])
def test_a_refusal_is_logged_once_with_its_remedy(status: int, remedy: str, tmp_path: Path) -> None:
    async def story() -> None:
        async with Daemon(status=status) as daemon, agent(tmp_path, *daemon.flags, "--interval", "0.05") as child:
            await daemon.hears(6)
            code, log = await child.end()
        assert code == 0
        assert log.count("beats_failing") == 1
        assert remedy in log

    play(story())


def test_a_renewed_token_file_is_read_without_a_restart(tmp_path: Path) -> None:
    async def story() -> None:
        token = tmp_path / "token"
        token.write_text("old\n")
        flags = ("--interval", "0.1", "--token-file", str(token))
        async with Daemon() as daemon, agent(tmp_path, *daemon.flags, *flags) as child:
            await daemon.hears(2)
            assert daemon.requests[0][2] == "Bearer old"
            token.write_text("new\n")
            await daemon.hears(len(daemon.requests) + 3)
            assert daemon.requests[-1][2] == "Bearer new"
            await child.end()

    play(story())


def test_a_peer_that_accepts_and_never_answers_holds_up_neither_status_nor_end(tmp_path: Path) -> None:
    async def story(flag: str, scheme: str) -> None:
        with socket.create_server(("127.0.0.1", 0)) as mute:
            peer = f"{scheme}127.0.0.1:{mute.getsockname()[1]}"
            async with agent(tmp_path, flag, peer, "--interval", "0.5") as child:
                assert (await child.status(3))["sent_ok"] is False
                code, log = await child.end()
        assert code == 0, log
        assert "no answer in time" in log

    play(story("--url", "http://"))
    (tmp_path / "agent.json").unlink()
    play(story("--kafka", ""))


def test_without_a_broker_it_goes_on_says_so_once_and_ends_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with agent(tmp_path, "--kafka", "127.0.0.1:1", "--interval", "0.2") as child:
            await child.status(10)
            assert child.peak_kb < MEMORY_LIMIT_KB
            code, log = await child.end()
        assert code == 0, log
        assert log.count("beats_failing") == 1
        assert len(log.splitlines()) <= 4, log

    play(story())


def test_it_stays_small_while_it_beats_by_http(tmp_path: Path) -> None:
    async def story() -> None:
        async with Daemon() as daemon, agent(tmp_path, *daemon.flags, "--interval", "0.05") as child:
            await daemon.hears(50)
            peak = child.peak_kb
            await child.end()
        assert peak < MEMORY_LIMIT_KB

    play(story())


def test_it_imports_nothing_heavy() -> None:
    heavy = "fastapi typer rich numpy sqlmodel sqlalchemy pydantic transitions structlog b2sdk google httpx aiokafka"
    loaded = f"import sys, daemon.agent_process; print([m for m in '{heavy}'.split() if m in sys.modules])"
    answer = subprocess.run([sys.executable, "-c", loaded], cwd=ROOT, capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"
