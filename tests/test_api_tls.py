"""TLS from files: served, refused where the files are wrong, and no public address without a token."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import structlog
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from adapters.system_clock import SystemClock
from daemon.api import ApiServer
from daemon.api.wiring import listener
from daemon.settings import Http, SettingsError, load
from tests.test_api_stage import HEADERS, Stage, stage
from tests.test_cli import CliRunner, app


def certificate(folder: Path, password: bytes | None = None) -> tuple[Path, Path]:
    """One that is its own authority, for 127.0.0.1, and its key."""
    folder.mkdir(exist_ok=True)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "failoverd")])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2100, 1, 1, tzinfo=UTC))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption))
    return files


@asynccontextmanager
async def serving(s: Stage, http: Http) -> AsyncIterator[ApiServer]:
    server = listener(s.services, http, SystemClock())
    running = asyncio.create_task(server.run())
    await server.started()
    try:
        yield server
    finally:
        server.stop()
        await asyncio.gather(running, return_exceptions=True)


async def test_it_speaks_tls_with_the_files_it_is_given_and_nothing_else(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    async with stage() as s, serving(s, Http(port=0, certificate=cert, key=key)) as server:
        assert server.url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=str(cert))
        async with httpx.AsyncClient(base_url=server.url, headers=HEADERS, verify=trusting) as client:
            assert (await client.get("/api/v1/machines")).status_code == 200
        async with httpx.AsyncClient() as client:
            with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
                await client.get(f"{server.url}/livez")
            with pytest.raises(httpx.TransportError):
                await client.get(f"http://127.0.0.1:{server.port}/livez")


async def test_the_command_line_names_what_mends_a_certificate_that_it_does_not_trust(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "tls")
    async with stage() as s, serving(s, Http(port=0, certificate=cert, key=key)) as server:
        env = {"FAILOVERD_API_URL": server.url, "FAILOVERD_TOKEN": s.services.token}
        wary = await asyncio.to_thread(CliRunner().invoke, app, ["token", "list"], env=env)
        assert wary.exit_code == 8
        assert "SSL_CERT_FILE" in wary.output
        trusting = {**env, "SSL_CERT_FILE": str(cert)}
        found = await asyncio.to_thread(CliRunner().invoke, app, ["token", "list"], env=trusting)
        assert found.exit_code == 0, found.output


async def test_files_that_do_not_belong_together_are_told_of_before_anything_begins(tmp_path: Path) -> None:
    cert, key = certificate(tmp_path / "one")
    _, other = certificate(tmp_path / "two")
    _, locked = certificate(tmp_path / "three", b"a password")
    async with stage() as s:
        for wrong_cert, wrong_key in ((cert, other), (key, key), (cert, locked), (cert, cert)):
            with pytest.raises(SettingsError) as error:
                listener(s.services, Http(certificate=wrong_cert, key=wrong_key), SystemClock())
            assert str(error.value).startswith("http.certificate: ")
            assert "; remedy: " in str(error.value)
            assert "\n" not in str(error.value)


def test_a_certificate_without_its_key_is_refused(tmp_path: Path) -> None:
    cert, _ = certificate(tmp_path / "tls")
    for field, value, named in (
        ("CERTIFICATE", str(cert), "http.certificate: needs key"),
        ("KEY", str(cert), "http.certificate: needs key"),
        ("CERTIFICATE", str(tmp_path / "none.pem"), "http.certificate: is no file"),
    ):
        with pytest.raises(SettingsError, match=named):
            load(None, {f"FAILOVERD_HTTP__{field}": value})


async def test_a_public_address_without_a_token_is_refused_with_the_remedy() -> None:
    async with stage(token="") as s:
        for host in ("0.0.0.0", "::", "192.0.2.1", "gpu.example.org"):
            with pytest.raises(SettingsError) as error:
                listener(s.services, Http(host=host), SystemClock())
            assert str(error.value).startswith(f"http.host: {host} can be reached by others, and there is no token")
            assert "FAILOVERD_HTTP__TOKEN" in str(error.value)


async def test_tokens_that_travel_in_the_open_are_warned_of() -> None:
    async with stage() as s:  # A host by another name than an address may be anything.
        with structlog.testing.capture_logs() as told:
            async with serving(s, Http(host="127.1", port=0)):
                pass
            async with serving(s, Http(port=0)):
                pass
        warned = [line for line in told if line["event"] == "api_without_tls"]
        assert len(warned) == 1
