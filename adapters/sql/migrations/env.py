"""Alembic's entry: runs the migrations on the connection, and in the transaction, of `adapters.sql.migration`."""

from __future__ import annotations

from alembic import context

from adapters.sql.tables import METADATA

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=METADATA,
    render_as_batch=True,  # SQLite alters a table by rebuilding it
    compare_type=True,
)
context.run_migrations()
