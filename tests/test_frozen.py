"""Half-done failovers that an older program left behind: the present one finishes each of them, by the provider's truth."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from adapters.sql import upgrade
from adapters.sql.migration import HEAD, REVISIONS, current
from adapters.sql.store import SqlStore
from adapters.sql.tx import Tx
from tests.frozen.cases import CASES
from tests.frozen.freeze import why_not
from tests.frozen.on_server import put_on_server
from tests.frozen.play import FOLDER, cases_of, database_of, finish, freeze, truth_of
from tests.servers import databases
from tests.simulation.planted import PLANTED, planted

SETS = sorted(folder for folder in FOLDER.iterdir() if folder.is_dir())
FROZEN = [sql for folder in SETS for sql in cases_of(folder)]
ON_SERVER = ("cpu_standby-restoring", "both-second-rung-debts", "warm_pool-cancelled-debts")


def _named(sql: Path) -> str:
    return f"{sql.parent.name}/{sql.stem}"


@pytest.mark.parametrize("sql", FROZEN, ids=_named)
def test_the_present_program_finishes_what_an_older_one_began(sql: Path, quiet_simulation: None) -> None:
    end = finish(sql)
    assert end.left == ()
    assert len(end.serving) == 1
    assert end.failovers == 1
    assert end.outcome.startswith("succeeded by") or end.outcome == "ended with cancelled"


def test_what_was_cancelled_stays_cancelled_and_the_machine_where_it_was(quiet_simulation: None) -> None:
    cancelled = [sql for sql in FROZEN if "-cancelled" in sql.stem]
    assert cancelled
    for sql in cancelled:
        end = finish(sql)
        assert end.outcome == "ended with cancelled"
        assert end.serving == (truth_of(sql)["person"]["instance"],)


def test_an_undo_that_is_forgotten_is_found(quiet_simulation: None) -> None:
    """The check bites: the standby that the older program started runs beside the machine."""
    sql = next(sql for sql in FROZEN if sql.stem == "warm_pool-cancelled")
    bug = next(bug for bug in PLANTED if bug.name == "failed step not undone")
    with planted(bug):
        end = finish(sql)
    assert any("runs beside it" in wrong for wrong in end.left), end


def test_each_set_has_every_strategy_half_done() -> None:
    for folder in SETS:
        strategies = {truth_of(sql)["strategy"] for sql in cases_of(folder)}
        assert strategies >= {"warm_pool", "cpu_standby", "both"}
        assert {truth_of(sql)["sharing"] for sql in cases_of(folder)} == {"allowed", "refused"}


def test_a_set_is_at_the_schema_that_it_names(tmp_path: Path) -> None:
    for sql in FROZEN:
        schema = truth_of(sql)["schema"]
        assert schema in REVISIONS
        place = tmp_path / sql.stem / sql.parent.name
        place.mkdir(parents=True)
        assert current(f"sqlite:///{database_of(sql, place)}") == schema


def test_a_set_of_an_older_schema_is_never_made_anew(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    assert why_not(folder, rewrite=False) is None
    (folder / "one.sql").write_text("")
    (folder / "one.json").write_text('{"schema": "0001"}')
    assert why_not(folder, rewrite=True) == f"old is of schema 0001, this program has {HEAD}"
    (folder / "one.json").write_text(f'{{"schema": "{HEAD}"}}')
    assert why_not(folder, rewrite=True) is None
    assert why_not(folder, rewrite=False) == "old exists; give another name, or --rewrite"


def test_the_tool_still_makes_one(tmp_path: Path, quiet_simulation: None) -> None:
    case = next(case for case in CASES if case.name == "cpu_standby-claimed")
    text, truth = freeze(case)
    sql = tmp_path / "anew.sql"
    sql.write_text(text)
    with closing(sqlite3.connect(database_of(sql, tmp_path))) as connection:
        assert connection.execute("SELECT mark FROM journal ORDER BY rowid DESC").fetchone() == ("claimed",)
    assert truth["world"]["instances"]


@pytest.mark.parametrize("name", ON_SERVER)
@pytest.mark.parametrize("folder", SETS, ids=lambda folder: folder.name)
def test_a_server_is_migrated_to_the_same_records(
    folder: Path, name: str, tmp_path: Path, postgres_server: str
) -> None:
    """What was written under the old schema reads alike on both stores under the present one."""
    file = f"sqlite:///{database_of(folder / f'{name}.sql', tmp_path)}"
    with databases.on_server(postgres_server, migrated=False) as server:
        put_on_server(file, server, truth_of(folder / f"{name}.sql")["schema"])
        found = []
        for url in (file, server):
            upgrade(url)
            store = SqlStore(url)
            try:
                found.append(store.transact(_records))
            finally:
                store.close()
    assert found[0] == found[1]
    assert found[0][0]


def _records(tx: Tx) -> tuple[object, ...]:
    machines = tx.machines()
    shown = [tx.failover(machine.last_failover) for machine in machines if machine.last_failover]
    running = [machine.failover for machine in machines if machine.failover]
    timelines = [tx.timeline(one.id) for one in running]
    return machines, shown, timelines, tx.open_debts(), tx.open_alerts()
