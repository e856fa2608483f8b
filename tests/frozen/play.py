"""A case from the first beat to the kill, and from the thaw to its end."""

from __future__ import annotations

import sqlite3
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from adapters.sim.settings import VolumeSharing
from adapters.sql import upgrade
from adapters.sql.migration import HEAD
from adapters.virtual_clock import VirtualLoop, run_virtually, spawn
from daemon.simulation.ending import KEPT, what_is_left
from daemon.simulation.intents import mutation_of
from daemon.simulation.oracle import Oracle
from daemon.simulation.replica import Replica
from daemon.simulation.run import WARM_UP_S
from daemon.simulation.theatre import Person, Plan, Theatre
from daemon.simulation.weather import Event, Weather
from tests.frozen.cases import Case, stands
from tests.frozen.world import SETTLES_S, build, write_down

SEED = 11
MOST_S = 3600.0
FINISHES_S, QUIET_S = 5400.0, 120.0
FOLDER = Path(__file__).parent.parent / "data" / "frozen"


@dataclass(frozen=True, slots=True)
class End:
    """What the present program made of a case, by the provider's truth."""

    outcome: str
    """Of the failover that was half-done."""
    failovers: int
    left: tuple[str, ...]
    """What is wrong, owed or unclaimed: nothing where it came to its end."""
    serving: tuple[int, ...]
    story: tuple[str, ...]


class NotReached(Exception):
    """The failover ended without passing the boundary."""


# -- freezing


def freeze(case: Case) -> tuple[str, dict[str, Any]]:
    """The database as SQL, and the world beside it. Raise NotReached."""
    return run_virtually(lambda loop: _freeze(loop, case))


async def _freeze(loop: VirtualLoop, case: Case) -> tuple[str, dict[str, Any]]:
    theatre = Theatre(Plan(SEED, 1, 1, (case.strategy,), case.sharing), loop)
    theatre.begin()
    replica = theatre.replicas[0]
    replica.start()
    await theatre.clock.sleep(5.0)
    await theatre.register()
    await theatre.clock.sleep(WARM_UP_S)
    weather = Weather(theatre, Counter())
    _lie_in_wait(theatre, weather, replica, case)
    weather.begin(case.begins)
    began = theatre.clock.monotonic()
    while replica.process is not None:
        if theatre.clock.monotonic() - began > MOST_S:
            raise NotReached(case.name)
        await theatre.clock.sleep(1.0)
    await theatre.clock.sleep(SETTLES_S)
    (person,) = theatre.people
    truth = {
        "schema": HEAD,
        "about": case.about,
        "strategy": case.strategy,
        "sharing": case.sharing,
        "seconds": theatre.clock.monotonic(),
        "person": msgspec.to_builtins(person),
        "world": write_down(theatre),
    }
    return _dump(theatre.sql.driver()), truth


def _lie_in_wait(theatre: Theatre, weather: Weather, replica: Replica, case: Case) -> None:
    """Kill the daemon at the case's boundary."""
    to_come = [case.cancel_at] if case.cancel_at is not None else []

    def on_commit(who: Replica, work: str) -> None:
        if to_come and stands(theatre.books, to_come[0]):
            to_come.clear()
            weather.begin(Event(0, "operator", 0, 0, "cancel"))
        if case.commit is not None and stands(theatre.books, case.commit):
            replica.kill()

    def on_answer(who: Replica, request: httpx.Request, response: httpx.Response | None) -> None:
        mutation = mutation_of(request)
        if mutation is not None and mutation.what == case.answer:
            replica.kill()

    theatre.on_commit, theatre.on_answer = on_commit, on_answer


def _dump(database: sqlite3.Connection) -> str:
    """The schema's version among it. What the agents and the log said is over: only what is still to be sent stays."""
    with closing(sqlite3.connect(":memory:")) as copy:
        database.backup(copy)
        copy.execute("CREATE TABLE IF NOT EXISTS alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY)")
        copy.execute("DELETE FROM alembic_version")
        copy.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
        copy.commit()
        return "\n".join(copy.iterdump()) + "\n"


# -- thawing


def cases_of(folder: Path) -> Iterator[Path]:
    """The SQL files of one set."""
    yield from sorted(folder.glob("*.sql"))


def truth_of(sql: Path) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(sql.with_suffix(".json").read_bytes())
    return found


def database_of(sql: Path, folder: Path) -> Path:
    """The case's database as it was, in a file."""
    path = folder / "frozen.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(sql.read_text())
    return path


def finish(sql: Path) -> End:
    """Let the present program go on where the old one was killed."""
    return run_virtually(lambda loop: _finish(loop, sql, truth_of(sql)))


async def _finish(loop: VirtualLoop, sql: Path, truth: dict[str, Any]) -> End:
    sharing: VolumeSharing = truth["sharing"]
    theatre = Theatre(Plan(SEED + 1, 1, 1, (truth["strategy"],), sharing), loop)
    _bring_up_to_date(theatre, sql)
    await theatre.clock.sleep(truth["seconds"])
    theatre.people.append(msgspec.convert(truth["person"], Person))
    build(theatre, truth["world"])
    oracle = Oracle(theatre)
    oracle.remember()
    theatre.on_commit, theatre.on_call = oracle.on_commit, oracle.on_call
    theatre.on_answer, theatre.on_world = oracle.on_answer, oracle.on_world
    theatre.world.on_change = theatre.on_world
    spawn(None, theatre.world.run(), "the world")
    half_done = theatre.books.failovers()[0].id
    theatre.replicas[0].start()
    left = await _until_done(theatre, oracle)
    ended = next(row for row in theatre.books.failovers() if row.id == half_done)
    bodies = theatre.world.bodies.of.items()
    return End(
        outcome=f"succeeded by {ended.strategy or 'repair_primary'}" if ended.success else f"ended with {ended.code}",
        failovers=len(theatre.books.failovers()),
        left=(*(str(one) for one in oracle.violations), *left),
        serving=tuple(number for number, body in bodies if body.serves),
        story=tuple(theatre.history.told),
    )


def _bring_up_to_date(theatre: Theatre, sql: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = database_of(sql, Path(folder))
        upgrade(f"sqlite:///{path}")
        with closing(sqlite3.connect(path)) as connection:
            connection.backup(theatre.sql.driver())


def still_open(theatre: Theatre) -> list[str]:
    """What has not come to its end yet, every debt too that is not to stand for days."""
    left = [f"{name}: {text}" for name, text in what_is_left(theatre)]
    return left + [f"debt {debt.kind} of machine {debt.machine}" for debt in theatre.books.debts() if debt.kind != KEPT]


async def _until_done(theatre: Theatre, oracle: Oracle) -> list[str]:
    """Until nothing is left and stays so for a while; what is left in the end."""
    deadline, quiet_since, left = theatre.clock.monotonic() + FINISHES_S, 0.0, [""]
    while theatre.clock.monotonic() < deadline and not oracle.violations:
        await theatre.clock.sleep(2.0)
        oracle.on_second()
        left = still_open(theatre)
        now = theatre.clock.monotonic()
        quiet_since = now if left else quiet_since
        if not left and now - quiet_since >= QUIET_S:
            return []
    return left
