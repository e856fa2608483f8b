"""Puts the rows of a frozen SQLite database into an empty one on a server, at the schema of their time."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import JSON, Boolean, DateTime, MetaData, Table, create_engine, insert, text
from sqlalchemy.types import TypeEngine

from adapters.sql.engine import make_engine
from adapters.sql.migration import SCRIPTS


def put_on_server(file: str, server: str, schema: str) -> None:
    """`file` is the URL of the SQLite database, at this schema."""
    there = make_engine(server, foreign_keys=False)
    here = create_engine(file)
    try:
        with there.begin() as connection:
            config = Config()
            config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
            config.set_main_option("path_separator", "os")
            config.attributes["connection"] = connection
            command.upgrade(config, schema)
        known = MetaData()
        known.reflect(there)
        with there.begin() as target, here.connect() as source:
            for table in known.sorted_tables:
                if table.name != "alembic_version":
                    target.execute(table.delete())
                    rows = [
                        _fitting(table, row) for row in source.execute(text(f"SELECT * FROM {table.name}")).mappings()
                    ]
                    if rows:
                        target.execute(insert(table), rows)
    finally:
        here.dispose()
        there.dispose()


def _fitting(table: Table, row: Any) -> dict[str, Any]:
    return {name: _value(table.columns[name].type, value) for name, value in row.items() if name in table.columns}


def _value(kind: TypeEngine[Any], value: Any) -> Any:
    """SQLite keeps times and nested values as text, and truth as a number."""
    if value is None:
        return None
    if isinstance(kind, JSON):
        return json.loads(value)
    if isinstance(kind, DateTime):
        return datetime.fromisoformat(value).replace(tzinfo=UTC)
    return bool(value) if isinstance(kind, Boolean) else value
