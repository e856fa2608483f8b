"""A stack on either store, with a broker and a database of its own that may be stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.servers import databases, ladder
from tests.servers.kafka import KafkaBroker
from tests.servers.postgres import PostgresServer
from tests.servers.stack import Stack
from tests.servers.wires import Wires, wired_broker
from tests.stories import wait_until_healthy

SPEED = 10.0


@dataclass(frozen=True)
class Scene:
    stack: Stack
    broker: KafkaBroker
    server: PostgresServer | None
    """None where the store is SQLite."""
    database: str | None
    """None for SQLite's own file in the daemon's folder."""


@contextmanager
def scene_on(kind: str, machines: int, folders: pytest.TempPathFactory) -> Iterator[Scene]:
    """One daemon; all its machines are healthy."""
    with ladder.local_broker(folders.mktemp("kafka")) as broker, _store(kind) as (server, url):
        stack = Stack(folders.mktemp("scene"), broker.bootstrap, machines, SPEED, database=url)
        try:
            stack.start()
            for machine in range(1, machines + 1):
                wait_until_healthy(stack, machine)
            yield Scene(stack, broker, server, url)
        finally:
            stack.stop()


@contextmanager
def two_daemons(
    server: str, machines: int, folders: pytest.TempPathFactory, warm_pool: bool = False
) -> Iterator[tuple[Stack, str, Sequence[Wires]]]:
    """The stack, the database that the daemons share, and the wires by which each reaches everything else."""
    with (
        wired_broker(folders.mktemp("kafka"), 2) as (broker, wires),
        databases.on_server(server, migrated=False) as url,
    ):
        folder = folders.mktemp("scene")
        stack = Stack(
            folder, broker.bootstrap, machines, SPEED, replicas=2, database=url, warm_pool=warm_pool, wires=wires
        )
        try:
            stack.start()
            yield stack, url, wires
        finally:
            stack.stop()


@contextmanager
def _store(kind: str) -> Iterator[tuple[PostgresServer | None, str | None]]:
    if kind == "sqlite":
        yield None, None
        return
    with ladder.local_postgres() as server, databases.on_server(server.dsn, migrated=False) as url:
        yield server, url
