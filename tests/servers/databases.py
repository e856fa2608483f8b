"""Empty databases of both kinds, at the newest schema."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from adapters.sql import upgrade

KINDS = ("sqlite", "postgresql")


def new_file(folder: Path) -> str:
    """The URL of a new SQLite database in the folder."""
    path = folder / f"store-{secrets.token_hex(4)}.db"
    path.write_bytes(_migrated_file())
    return f"sqlite:///{path}"


@contextmanager
def on_server(dsn: str, migrated: bool = True) -> Iterator[str]:
    """The URL of a new database on the PostgreSQL server, under a name of its own; removed at the end."""
    name = f"failoverd_test_{secrets.token_hex(6)}"
    _on_server(dsn, f'CREATE DATABASE "{name}"')
    url = make_url(dsn).set(database=name).render_as_string(hide_password=False)
    try:
        if migrated:
            upgrade(url)
        yield url
    finally:
        _on_server(dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


@cache
def _migrated_file() -> bytes:
    """Migrated once per run: the same bytes are every test's empty database."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "template.db"
        upgrade(f"sqlite:///{path}")
        return path.read_bytes()


def _on_server(dsn: str, statement: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute(statement)
