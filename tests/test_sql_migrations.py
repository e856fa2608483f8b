"""Migrations: from nothing to the schema that the models declare, as a whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import inspect, text

from adapters.sql import SchemaUnknown, SqlStore, current, upgrade
from adapters.sql.engine import make_engine
from adapters.sql.migration import HEAD, REVISIONS, SCRIPTS
from adapters.sql.tables import METADATA
from tests.test_sql_urls import a_machine


def test_a_database_is_upgraded_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    assert current(url) is None
    assert upgrade(url)
    assert current(url) == HEAD
    store = SqlStore(url)
    store.transact(lambda tx: tx.insert_machine(a_machine(1)))
    assert not upgrade(url)
    assert store.transact(lambda tx: tx.machines()) == [a_machine(1)]
    assert store.transact(lambda tx: tx.pause()) is None
    store.close()


def test_the_migrations_make_what_the_models_declare(database_url: str) -> None:
    engine = make_engine(database_url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, METADATA) == []
    engine.dispose()


def test_the_partial_indexes_are_those_of_the_models(tmp_path: Path) -> None:
    """Alembic does not compare an index's condition on SQLite, so the text of the schema is compared."""
    declared, made = make_engine(f"sqlite:///{tmp_path}/declared.db"), make_engine(f"sqlite:///{tmp_path}/made.db")
    METADATA.create_all(declared)
    upgrade(f"sqlite:///{tmp_path}/made.db")
    indexes = []
    for engine in (declared, made):
        with engine.connect() as connection:
            rows = connection.execute(text("SELECT sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"))
            indexes.append(sorted(rows.scalars()))
        engine.dispose()
    assert indexes[0] == indexes[1]
    assert any("WHERE ended_at IS NULL" in index for index in indexes[0])


def test_the_revisions_are_named_in_their_order() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    config.set_main_option("path_separator", "os")
    walked = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    assert tuple(reversed(walked)) == REVISIONS


def test_a_database_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(SchemaUnknown, match="9999"):
        upgrade(url)


def test_a_migration_that_breaks_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE debts (id INTEGER)"))  # stands in the migration's way
    with pytest.raises(Exception, match="debts already exists"):
        upgrade(url)
    with engine.connect() as connection:
        assert inspect(connection).get_table_names() == ["debts"]
    engine.dispose()
    assert current(url) is None


def test_alembic_is_imported_only_where_there_is_something_to_upgrade(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/store.db"
    upgrade(url)
    program = (
        "import sys\nfrom adapters.sql import upgrade\n"
        f"assert upgrade({url!r}) is False\nassert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).parent.parent, check=True)
