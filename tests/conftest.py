"""Fixtures of the whole suite: real servers, started once per run at first use, and async tests."""

from __future__ import annotations

import asyncio
import inspect
import logging
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from daemon.simulate import QUIET, be_quiet
from tests import test_api_stage
from tests.servers import databases, ladder, s3, topics
from tests.servers.kafka import KafkaBroker
from tests.servers.sshd import Sshd, sshd_server


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Run `async def` tests, each in a loop of its own."""
    if not inspect.iscoroutinefunction(pyfuncitem.obj):
        return None
    names = inspect.signature(pyfuncitem.obj).parameters
    asyncio.run(pyfuncitem.obj(**{name: pyfuncitem.funcargs[name] for name in names}))
    return True


def pytest_configure() -> None:
    """Tables are as wide as their content in every process of the run; a parallel run gives its processes a width."""
    os.environ.pop("COLUMNS", None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rewrite", action="store_true", help="write the transcripts of tests/scenarios anew")


def pytest_report_header() -> list[str]:
    return [
        f"kafka: {ladder.kafka_rung()}",
        f"postgresql: {ladder.postgres_rung()}",
        f"ssh: {ladder.sshd_rung()}",
        f"s3: {s3.s3_rung()}",
        f"restic: {s3.restic_rung()}",
    ]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeated at the end, because -q drops the header."""
    terminalreporter.write_line("real servers: " + "; ".join(pytest_report_header()))


@pytest.fixture(scope="session")
def kafka_broker(tmp_path_factory: pytest.TempPathFactory, topic_prefix: str) -> Iterator[str]:
    """host:port of the run's broker, shared by all tests; give topics and groups the run's prefix."""
    with ladder.kafka_server(tmp_path_factory.mktemp("kafka")) as bootstrap:
        yield bootstrap
        if ladder.kafka_rung().way is ladder.Way.ENVIRONMENT:
            asyncio.run(topics.remove_topics(bootstrap, topic_prefix))


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The DSN of the run's PostgreSQL; every test makes databases of its own there."""
    with ladder.postgres_server() as dsn:
        yield dsn


@pytest.fixture(params=databases.KINDS)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A new database at the newest schema: each test that uses it runs on both stores."""
    if request.param == "sqlite":
        yield databases.new_file(tmp_path)
        return
    with databases.on_server(request.getfixturevalue("postgres_server")) as url:
        yield url


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Every test on the API's stage runs on both stores."""
    if getattr(metafunc.module, "stage", None) is test_api_stage.stage and inspect.iscoroutinefunction(
        metafunc.function
    ):
        metafunc.fixturenames.append("stage_store")
        metafunc.parametrize("stage_store", databases.KINDS, indirect=True)


@pytest.fixture
def stage_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    if request.param == "sqlite":
        yield
        return
    with databases.on_server(request.getfixturevalue("postgres_server")) as url:
        monkeypatch.setattr(test_api_stage, "STORE_URL", url)
        yield


@pytest.fixture(scope="session")
def topic_prefix() -> str:
    """Unique to the run: on a broker that others use too, only these names are ours."""
    return f"failoverd-test-{secrets.token_hex(4)}."


@pytest.fixture(scope="module")
def own_kafka_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KafkaBroker]:
    """A broker that the module may pause and kill; it leaves it running."""
    with ladder.local_broker(tmp_path_factory.mktemp("own-kafka")) as broker:
        yield broker


@pytest.fixture(scope="session")
def s3_bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[s3.Bucket]:
    """The run's bucket; every test writes under a prefix of its own."""
    with s3.s3_server(tmp_path_factory.mktemp("s3")) as bucket:
        yield bucket


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    folder: Path = tmp_path_factory.mktemp("sshd")
    with sshd_server(folder) as server:
        yield server


@pytest.fixture
def quiet_simulation() -> Iterator[None]:
    """Logs say nothing while it lasts; afterwards all speak again."""
    levels = {name: logging.getLogger(name).level for name in QUIET}
    be_quiet()
    yield
    structlog.reset_defaults()
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)
