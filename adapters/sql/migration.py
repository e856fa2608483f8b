"""Bring a database to the schema that this program knows.

Importing alembic takes 1.9 s, so it is imported only where there is something to do: a plain query tells.
"""

from __future__ import annotations

from pathlib import Path
from threading import Lock

from sqlalchemy import Connection, inspect, text

from adapters.sql.engine import lock_schema, make_engine, outages_named
from adapters.sql.errors import SchemaUnknown, StoreDamaged

REVISIONS = (
    "0001",
    "0002",
    "0003",
    "0004",
    "0005",
    "0006",
    "0007",
    "0008",
    "0009",
    "0010",
    "0011",
    "0012",
    "0013",
    "0014",
    "0015",
    "0016",
    "0017",
    "0018",
    "0019",
    "0020",
    "0021",
)
"""Every revision in `migrations/versions`, oldest first."""
HEAD = REVISIONS[-1]
_ALEMBIC = Lock()
"""Alembic's operations speak to whichever migration of the process runs now."""
SCRIPTS = Path(__file__).parent / "migrations"


def current(url: str) -> str | None:
    """The revision of the database; None where it has no schema of ours. Raise StoreUnavailable."""
    engine = make_engine(url)
    try:
        with outages_named(), engine.connect() as connection:
            return _revision(connection)
    finally:
        engine.dispose()


def check(url: str) -> None:
    """Raise StoreDamaged where SQLite's file is not whole: better no daemon than one that works on half of the truth. (A
    server looks after its own.) Raise StoreUnavailable where it cannot be looked at."""
    engine = make_engine(url)
    try:
        if engine.dialect.name == "sqlite":
            with outages_named(), engine.connect() as connection:
                found = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
                if found != "ok":
                    raise StoreDamaged(" ".join(str(found).split()))
    finally:
        engine.dispose()


def upgrade(url: str) -> bool:
    """Bring the schema to `HEAD`, as a whole or not at all; False where it was there already.

    Raise SchemaUnknown where a newer program made it, StoreUnavailable where the database does not answer.
    """
    found = current(url)
    if found == HEAD:
        return False
    _refuse_unknown(found)
    engine = make_engine(url, wait_s=60.0, foreign_keys=False)
    try:
        with outages_named(), engine.connect() as connection, connection.begin():
            lock_schema(connection)
            # Another process may have upgraded it while we waited for the lock.
            return _upgrade(connection) if _revision(connection) != HEAD else False
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> bool:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(SCRIPTS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    with _ALEMBIC:
        command.upgrade(config, HEAD)
    return True


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


def _refuse_unknown(found: str | None) -> None:
    if found is not None and found not in REVISIONS:
        raise SchemaUnknown(f"the database is at revision {found}, this program knows {HEAD}: run the newer failoverd")
