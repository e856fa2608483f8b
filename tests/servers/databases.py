"""Empty databases of both kinds, at the newest schema."""

from __future__ import annotations

import atexit
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
    name = new_name()
    like = f' TEMPLATE "{_template(dsn)}"' if migrated else ""
    _on_server(dsn, f'CREATE DATABASE "{name}"{like}')
    try:
        yield url_of(dsn, name)
    finally:
        _on_server(dsn, f'DROP DATABASE "{name}" WITH (FORCE)')


def new_name() -> str:
    return f"failoverd_test_{secrets.token_hex(6)}"


def url_of(dsn: str, name: str) -> str:
    return make_url(dsn).set(database=name).render_as_string(hide_password=False)


@cache
def _template(dsn: str) -> str:
    """Migrated once per run and server. Nobody connects to it afterwards, or it could not be copied."""
    name = new_name()
    _on_server(dsn, f'CREATE DATABASE "{name}"')
    atexit.register(_drop_quietly, dsn, name)
    upgrade(url_of(dsn, name))
    return name


def _drop_quietly(dsn: str, name: str) -> None:
    """A server of the run's own has gone by then, with all that was on it."""
    try:
        _on_server(dsn, f'DROP DATABASE IF EXISTS "{name}"')
    except psycopg.OperationalError:
        pass


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
