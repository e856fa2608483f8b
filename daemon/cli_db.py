"""`failoverd db upgrade|current`: the schema of the configured database, without a daemon."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

from daemon.setting_faults import SettingsError
from daemon.state_folder import make_folder, private_files

DONE, USAGE, REFUSED, UNREACHABLE = 0, 2, 5, 8


def show_current(config: Path | None, as_json: bool) -> int:
    """5 where the schema is not the one that this program wants."""

    def work(url: str) -> int:
        from adapters.sql.migration import HEAD, REVISIONS, current
        from adapters.sql.urls import missing_file

        found = current(url) if missing_file(url) is None else None  # Asked, SQLite would make it.
        if as_json:
            print(json.dumps({"revision": found, "head": HEAD, "is_current": found == HEAD}))
        elif found is None:
            print(f"the database has no schema yet; this program wants {HEAD}: failoverd db upgrade")
        elif found == HEAD:
            print(f"{found} (the newest)")
        elif found in REVISIONS:
            behind = len(REVISIONS) - 1 - REVISIONS.index(found)
            print(f"{found}, {behind} behind {HEAD}: failoverd db upgrade")
        else:
            print(f"{found}, which a newer failoverd made; this program knows {HEAD}")
        return DONE if found == HEAD else REFUSED

    return _on_database(config, work, makes_folder=False)


def upgrade_schema(config: Path | None, as_json: bool) -> int:
    """As a whole or not at all; back it up before (README.md)."""

    def work(url: str) -> int:
        from adapters.sql.migration import HEAD, check, current, upgrade

        check(url)
        before = current(url)
        upgrade(url)
        if as_json:
            print(json.dumps({"before": before, "revision": HEAD}))
        elif before == HEAD:
            print(f"{HEAD} (the newest): there was nothing to do")
        else:
            print(f"{before or 'nothing'} -> {HEAD}")
        return DONE

    return _on_database(config, work, makes_folder=True)


def _on_database(config: Path | None, work: Callable[[str], int], *, makes_folder: bool) -> int:
    from adapters.sql.errors import MEND_IT, SchemaUnknown, StoreDamaged, StoreUnavailable
    from daemon.settings import read

    try:
        settings = read(config).settings
        with private_files():
            if makes_folder and settings.database is None:
                make_folder(settings.state_dir)
            return work(settings.database_url)
    except SettingsError as error:
        for line in str(error).splitlines():
            print(f"error[invalid_settings] {line}", file=sys.stderr)
        return USAGE
    except StoreDamaged as error:
        return _refused("database_damaged", error, MEND_IT, REFUSED)
    except SchemaUnknown as error:
        return _refused("schema_unknown", error, "install that version, or name another database", REFUSED)
    except (StoreUnavailable, OSError) as error:
        return _refused("store_unavailable", error, "mend `database`, or the server that it names", UNREACHABLE)


def _refused(code: str, error: Exception, remedy: str, exit_code: int) -> int:
    print(f"error[{code}] {' '.join(str(error).split())}\n  remedy  {remedy}", file=sys.stderr)
    return exit_code
