"""Google's client on a bad network and without a login: every answer comes in time, or is unknown."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from adapters.gce import GceAccess, GoogleCompute, Quota, read_quotas
from adapters.sim.faults import Fault, FaultKind
from adapters.system_clock import SystemClock
from machines.errors import Refused, Unknown
from tests.cpu_clouds import Served, served
from tests.servers.fault_proxy import FaultProxy

WHERE = {"project": "proj-1", "zone": "europe-west4-a", "instance": "nobody"}


async def asked(wire: GoogleCompute, timeout_s: float = 1.0) -> int:
    status, _ = await wire.ask("get", WHERE, {}, None, timeout_s)
    return status


def through(proxy: FaultProxy) -> GoogleCompute:
    return GoogleCompute(GceAccess(endpoint=f"http://127.0.0.1:{proxy.port}"), SystemClock())


async def test_a_network_that_is_silent_resets_or_is_cut_makes_the_answer_unknown_in_time() -> None:
    async with served() as there:
        with closing(FaultProxy(int(there.url.rpartition(":")[2]))) as proxy:
            wire = through(proxy)
            assert await asked(wire, 20.0) == 404
            for break_it in (proxy.cut, proxy.silence):
                break_it()
                began = time.monotonic()
                with pytest.raises(Unknown):
                    await asked(wire)
                assert time.monotonic() - began < 5
                proxy.clear()
            assert await asked(wire, 20.0) == 404
            proxy.reset()
            # A connection that was kept alive is made anew by the library, or its reset is told: never a wrong answer.
            try:
                assert await asked(wire, 20.0) == 404
            except Unknown:
                assert await asked(wire, 20.0) == 404
            wire.close()


@contextmanager
def dripping() -> Iterator[int]:
    """A server that sends a byte of its header every half second, and never comes to an end; its port."""
    ended = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        try:
            connection, _ = listening.accept()
        except OSError:
            return
        with connection:
            connection.recv(65536)
            connection.sendall(b"HTTP/1.1 200 OK\r\nX-Drip: ")
            while not ended.wait(0.5):
                try:
                    connection.sendall(b".")
                except OSError:
                    return

    thread = threading.Thread(target=serve)
    thread.start()
    yield listening.getsockname()[1]
    ended.set()
    listening.close()
    thread.join()


async def test_a_server_that_drips_is_given_up_although_its_bytes_keep_the_socket_alive() -> None:
    with dripping() as port:
        wire = GoogleCompute(GceAccess(endpoint=f"http://127.0.0.1:{port}"), SystemClock())
        began = time.monotonic()
        with pytest.raises(Unknown, match="no answer within 3 s"):
            await asked(wire, 1.5)
        assert time.monotonic() - began < 6
        wire.close()


async def test_callers_wait_for_a_slot_no_longer_than_for_an_answer() -> None:
    async with served() as there:
        there.server.world.faults.order(
            Fault(FaultKind.TIMEOUT_BEFORE, "compute.get", seconds=0.0), there.clock.now(), None
        )
        wire = GoogleCompute(GceAccess(endpoint=there.url), SystemClock())
        began = time.monotonic()
        ended = await asyncio.gather(*(asked(wire, 1.0) for _ in range(24)), return_exceptions=True)
        assert time.monotonic() - began < 12
        assert all(isinstance(one, Unknown) for one in ended)
        there.server.world.faults.clear()
        assert await asked(wire, 20.0) == 404
        wire.close()


async def test_a_page_of_html_is_no_answer() -> None:
    async with served() as there:
        wire = GoogleCompute(GceAccess(endpoint=there.url), there.clock)
        fault = Fault(FaultKind.STATUS, "compute.get", status=502, body="<html>Bad Gateway</html>", count=1)
        there.server.world.faults.order(fault, there.clock.now(), None)
        assert await asked(wire, 20.0) == 502
        wire.close()


def service_account(folder: Path) -> Path:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
    path = folder / "account.json"
    account = {
        "type": "service_account",
        "project_id": "proj-1",
        "private_key_id": "k1",
        "private_key": pem,
        "client_email": "failoverd@proj-1.iam.gserviceaccount.com",
        "token_uri": "http://127.0.0.1:1/token",
    }
    path.write_text(json.dumps(account))
    return path


async def sent_with(there: Served, access: GceAccess) -> str | None:
    wire = GoogleCompute(access, there.clock)
    assert await asked(wire, 20.0) == 404
    wire.close()
    return there.exchanges[-1].headers.get("authorization")


async def test_a_service_account_signs_by_itself_and_a_local_endpoint_is_asked_without_a_login(tmp_path: Path) -> None:
    async with served() as there:
        assert await sent_with(there, GceAccess(endpoint=there.url)) is None
        login = await sent_with(there, GceAccess(service_account(tmp_path), there.url))
        assert (login or "").startswith("Bearer ey")


async def test_a_key_that_is_none_is_an_answer_that_says_nothing_of_any_vm(tmp_path: Path) -> None:
    path = tmp_path / "account.json"
    path.write_text(json.dumps({"type": "service_account"}))
    async with served() as there:
        wire = GoogleCompute(GceAccess(path, there.url), there.clock)
        assert await asked(wire, 20.0) == 401
        wire.close()


def test_a_daemon_without_cpu_vms_never_imports_the_library() -> None:
    """It takes seconds and 140 MiB."""
    program = "import sys, daemon.compose; print([name for name in sys.modules if name.startswith('google.')])"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


async def test_a_regions_quotas_are_read_and_a_region_that_is_none_is_a_no() -> None:
    async with served() as there:
        there.server.world.compute.quotas["europe-west4"] = 3
        wire = GoogleCompute(GceAccess(endpoint=there.url), SystemClock())
        assert await read_quotas(wire, "proj-1", "europe-west4") == (Quota("INSTANCES", 3, 0),)
        with pytest.raises(Refused, match="404"):
            await read_quotas(wire, "proj-1", "mars-west1")
        wire.close()
