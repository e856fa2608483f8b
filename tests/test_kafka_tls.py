"""A broker that asks for a certificate and a password: who has both is let in, and nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from adapters.kafka import KafkaLog
from adapters.system_clock import SystemClock
from daemon.kafka_wiring import kafka_settings
from daemon.settings import Kafka
from events.topics import Message, TopicSpec
from machines.errors import LogUnavailable
from machines.ports import Partition
from tests.servers import kafka, ladder
from tests.servers.kafka import KafkaBroker
from tests.servers.process import free_port

PASSPHRASE = "of the key"
PASSWORD = "hush"


@dataclass(frozen=True)
class Authority:
    """Signs certificates into a folder."""

    folder: Path
    name: str

    def __post_init__(self) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        object.__setattr__(self, "_key", key)
        certificate = self._builder(self.name, key).add_extension(x509.BasicConstraints(True, None), True)
        (self.folder / f"{self.name}.pem").write_bytes(_pem(certificate.sign(key, hashes.SHA256())))

    def sign(self, name: str, passphrase: str | None = None) -> Path:
        """The certificate and its key in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
        certificate = self._builder(name, key).add_extension(names, False).sign(self._key, hashes.SHA256())  # type: ignore[attr-defined]
        lock = (
            serialization.BestAvailableEncryption(passphrase.encode()) if passphrase else serialization.NoEncryption()
        )
        secret = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, lock)
        file = self.folder / f"{name}.pem"
        file.write_bytes(secret + _pem(certificate))
        return file

    def _builder(self, name: str, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
        begin = datetime(2020, 1, 1, tzinfo=UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(_named(name))
            .issuer_name(_named(self.name))
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begin)
            .not_valid_after(begin + timedelta(days=36500))
        )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


class SecureBroker(KafkaBroker):
    """With one more listener, which wants a certificate of the authority and a password."""

    def __init__(self, folder: Path, authority: Authority) -> None:
        super().__init__(folder)
        self.secure_port = free_port()
        self._authority = authority.folder / f"{authority.name}.pem"
        self._own = authority.sign("broker")

    def _write_properties(self) -> Path:
        properties = super()._write_properties()
        lines = []
        for line in properties.read_text().splitlines():
            if line.startswith(("listeners=", "advertised.listeners=")):
                line += f",SECURE://127.0.0.1:{self.secure_port}"
            if line.startswith("listener.security.protocol.map="):
                line += ",SECURE:SASL_SSL"
            lines.append(line)
        lines += [
            "sasl.enabled.mechanisms=PLAIN",
            "listener.name.secure.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule "
            f'required user_ana="{PASSWORD}";',
            "ssl.keystore.type=PEM",
            f"ssl.keystore.location={self._own}",
            "ssl.truststore.type=PEM",
            f"ssl.truststore.location={self._authority}",
            "listener.name.secure.ssl.client.auth=required",
        ]
        properties.write_text("\n".join(lines) + "\n")
        return properties


@dataclass(frozen=True)
class Place:
    folder: Path
    bootstrap: str

    def settings(self, **other: object) -> Kafka:
        """What lets us in; `other` goes before it."""
        given: dict[str, object] = {
            "bootstrap": self.bootstrap,
            "security_protocol": "SASL_SSL",
            "sasl_mechanism": "PLAIN",
            "sasl_username": "ana",
            "sasl_password": SecretStr(PASSWORD),
            "ssl_cafile": self.folder / "ours.pem",
            "ssl_certfile": self.folder / "client.pem",
            "ssl_key_password": SecretStr(PASSPHRASE),
        }
        return Kafka(**{**given, **other})  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    if (missing := kafka.missing_programs()) is not None:
        ladder.unavailable(missing)
    folder = tmp_path_factory.mktemp("tls")
    ours, others = Authority(folder, "ours"), Authority(folder, "others")
    ours.sign("client", PASSPHRASE)
    others.sign("stranger")
    broker = SecureBroker(folder / "kafka", ours)
    broker.start()
    try:
        yield Place(folder, f"127.0.0.1:{broker.secure_port}")
    finally:
        broker.stop()


async def test_who_has_the_certificate_and_the_password_writes_and_reads(place: Place) -> None:
    log = KafkaLog(kafka_settings(place.settings()), SystemClock())
    await log.start()
    try:
        spec = TopicSpec("secret.v1", 1, {"cleanup.policy": "delete"})
        assert await log.ensure_topics([spec]) == ()
        await log.append(Message(spec.name, b"hello", b"1"))
        (newest,) = await log.newest(spec.name, 5, {})
        found = await log.record(Partition(spec.name, 0), 0)
        assert found is not None
        assert (newest.value, found.value) == (b"hello", b"hello")
    finally:
        await log.stop()


@pytest.mark.parametrize(
    "wrong",
    [
        {"ssl_certfile": None, "ssl_key_password": None},
        {"ssl_certfile": "stranger.pem", "ssl_key_password": None},
        {"ssl_cafile": "others.pem"},
        {"sasl_password": SecretStr("wrong")},
    ],
    ids=["no certificate", "another authority's certificate", "a broker of another authority", "a wrong password"],
)
async def test_nobody_else_is_let_in_and_the_log_is_away_and_not_empty(place: Place, wrong: dict[str, object]) -> None:
    given = {name: place.folder / text if isinstance(text, str) else text for name, text in wrong.items()}
    log = KafkaLog(kafka_settings(place.settings(**given)), SystemClock())
    with pytest.raises(LogUnavailable):
        await log.newest("secret.v1", 1, {})
