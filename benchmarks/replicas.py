"""Three replicas, 3,000 machines, a replica killed or added every 20 s while 100 machines really die: is any one lost?

`python -m benchmarks.replicas --machines 3000 --dead 100 --replicas 3 --minutes 5 --every 20 --seed 1`. Kafka,
PostgreSQL, the simulated provider over HTTP and each replica are processes of their own. It prints where each death's time
went (percentiles by strategy), holds what happened against the provider's truth, and exits with 1 where a check fails.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random  # noqa: TID251 - seeded: who dies when, and which replica, follows from one seed
import shutil
import signal
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import psycopg

from benchmarks.fleet_books import Check, Death, Watch, check_all, deaths_of
from benchmarks.fleet_stage import FleetStage, Mortal
from machines.policy import Policy
from tests.servers import databases, ladder
from tests.servers.process import StartFailed

PHASES = ("detection", "confirmation", "queue", "provider", "strategy", "excess", "total")
POLITE = 0.2
"""The share of replicas that are told to end (SIGTERM); all others are killed (SIGKILL)."""
PATIENCE_S = 1500.0
"""Of the world's time, from the last death until nothing is owed any more."""


@dataclass(frozen=True, slots=True)
class Options:
    machines: int = 3000
    dead: int = 100
    replicas: int = 3
    minutes: float = 5.0
    every: float = 20.0
    """Real seconds, as `minutes` are real minutes."""
    seed: int = 1
    interval: float = 10.0
    speed: float = 1.0
    """How many times faster the world's time runs than that in which replicas die."""


def policy_of(options: Options) -> dict[str, Any]:
    """The brakes as somebody sets them who expects such a storm: a third of it at one time, one rental each."""
    at_once = max(8, options.dead // 2)
    return {
        "max_concurrent": at_once,
        "max_per_provider": at_once,
        "max_per_host": 8,
        "candidate_width": 1,
        "storm_cooldown_s": 60,
    }


@dataclass(slots=True)
class Report:
    options: Options
    registered_s: float = 0.0
    deaths: list[Death] = field(default_factory=list)
    checks: list[Check] = field(default_factory=list)
    replicas: Counter[str] = field(default_factory=Counter)
    takeovers: int = 0
    suspects_cleared: int = 0
    settled_s: float = 0.0
    """From the last death until nothing was owed."""

    @property
    def ok(self) -> bool:
        return all(check.ok for check in self.checks)

    def percentiles(self) -> dict[str, dict[str, dict[str, float]]]:
        """By strategy and phase, in seconds of the world's time."""
        found: dict[str, dict[str, dict[str, float]]] = {}
        for strategy in ("warm_pool", "cpu_standby"):
            rows = [one.phases for one in self.deaths if one.strategy == strategy and one.phases]
            if rows:
                found[strategy] = {name: _percentiles([row[name] for row in rows]) for name in PHASES}
        return found

    def as_json(self) -> dict[str, Any]:
        return {
            "options": {name: getattr(self.options, name) for name in Options.__slots__},
            "ok": self.ok,
            "checks": [{"name": one.name, "ok": one.ok, "detail": one.detail} for one in self.checks],
            "percentiles": self.percentiles(),
            "replicas": dict(self.replicas),
            "takeovers": self.takeovers,
            "suspects_cleared": self.suspects_cleared,
            "registered_s": round(self.registered_s, 1),
            "settled_s": round(self.settled_s, 1),
        }

    def lines(self) -> Iterator[str]:
        options, done = self.options, self.replicas
        yield f"{options.machines} machines, {len(self.deaths)} of which died; registered in {self.registered_s:.0f} s"
        ends = f"{done['killed']} killed, {done['ended']} ended, {done['added']} added"
        yield f"replicas: {ends}; {self.takeovers} failovers taken over; {self.suspects_cleared} suspects that lived"
        for strategy, phases in self.percentiles().items():
            count = sum(1 for one in self.deaths if one.strategy == strategy and one.phases)
            yield f"{strategy}: {count} recovered; seconds{'':<12}p50      p90      p99      max"
            for name, row in phases.items():
                yield f"  {_SAYS[name]:<34}" + " ".join(f"{row[mark]:8.1f}" for mark in ("p50", "p90", "p99", "max"))
        for one in sorted(self.deaths, key=lambda one: -one.phases.get("excess", 0.0))[:3]:
            yield f"the slowest: machine {one.mortal.id} ({one.strategy}), {one.phases.get('excess', 0.0):.1f} s beyond"
            yield from (f"  {line}" for line in one.story)
        for check in self.checks:
            yield f"{'ok  ' if check.ok else 'FAIL'} {check.name}: {check.detail}"


_SAYS = {
    "detection": "death to suspicion",
    "confirmation": "suspicion to verdict",
    "queue": "waited for a cap",
    "provider": "waited for the provider's limits",
    "strategy": "what the provider needs",
    "excess": "beyond grace, confirmation and that",
    "total": "death to hand-over",
}


def _percentiles(values: Sequence[float]) -> dict[str, float]:
    if len(values) == 1:
        return dict.fromkeys(("p50", "p90", "p99", "max"), round(values[0], 1))
    cuts = statistics.quantiles(values, n=100, method="inclusive")
    return {
        "p50": round(cuts[49], 1),
        "p90": round(cuts[89], 1),
        "p99": round(cuts[98], 1),
        "max": round(max(values), 1),
    }


class Storm:
    """Deaths of machines, and of replicas, on one stage."""

    def __init__(self, options: Options, stage: FleetStage, database: str) -> None:
        self.options, self.stage, self.database = options, stage, database
        self.clock = stage.clock
        self.draw = random.Random(options.seed)
        self.report = Report(options)
        self.died: dict[int, tuple[Mortal, datetime]] = {}
        self.unheard: list[str] = []
        self.ends: list[datetime] = []
        """When a replica was killed or ended."""
        self.watch = Watch(stage, database)

    async def play(self) -> Report:
        options, stage, report = self.options, self.stage, self.report
        self._say("the world, its machines and the replicas start")
        await stage.start_world(64 + 7 * options.dead, options.seed)  # A search shows no host on which we rent already.
        mortals = await stage.load_mortals(options.dead, options.interval)
        await stage.load_herd(options.dead + 1, options.machines - options.dead, options.interval)
        for _ in range(options.replicas):
            await stage.add_replica()
        began = self.clock.monotonic()
        await stage.register()
        report.registered_s = (self.clock.monotonic() - began) / self.clock.real(1.0)
        self._say(f"{options.machines} machines are registered after {report.registered_s:.0f} s")
        await self._until("every machine has been heard", 600.0, self._all_heard)
        for mortal in mortals:
            await stage.sim("POST", "/snapshots", {"instance_id": mortal.instance})
        await self._until("every replica sees", 600.0, self._all_see)
        self._say("the storm begins")
        looking = asyncio.create_task(self.watch.run())
        asking = asyncio.create_task(self._ask())
        await asyncio.gather(self._kill_machines(mortals), self._kill_replicas())
        self._say("the storm is over")
        last = self.clock.monotonic()
        settled = await self._until("nothing is owed", PATIENCE_S, self._is_settled, must=False)
        report.settled_s = self.clock.monotonic() - last
        self._say(f"{'settled' if settled else 'NOT settled'} after {report.settled_s:.0f} s more")
        await self.clock.sleep(self.clock.real(3.0))
        for task in (looking, asking):
            if task.done():
                task.result()
            task.cancel()
        await asyncio.gather(looking, asking, return_exceptions=True)
        await self._judge()
        return report

    async def _judge(self) -> None:
        report, policy = self.report, Policy()
        times = {"grace_s": policy.grace_s(self.options.interval), "confirm_after_s": policy.confirm_after_s}
        report.deaths = await deaths_of(self.stage, self.database, self.watch, self.died, times, self.ends)
        report.checks = await check_all(self.stage, self.database, self.watch, report.deaths, self.unheard)
        report.takeovers = len([line for line in self.stage.said("lease_taken_over") if '"fleet"' not in line])
        report.suspects_cleared = len(self.watch.suspected.keys() - self.died.keys())

    # -- what happens

    async def _kill_machines(self, mortals: Sequence[Mortal]) -> None:
        """At seeded times, all over the storm; those with a standby crash, the others lose their host."""
        storm_s = self.clock.real(self.options.minutes * 60)
        began = self.clock.monotonic()
        times = sorted(self.draw.uniform(0.0, storm_s) for _ in mortals)
        order = self.draw.sample(mortals, len(mortals))
        for after, mortal in zip(times, order, strict=True):
            await self.clock.sleep(began + after - self.clock.monotonic())
            at = self.clock.now()
            if mortal.has_standby:
                await self.stage.sim("POST", f"/instances/{mortal.instance}/crash", {"reboot_helps": False})
            else:
                await self.stage.sim("POST", f"/hosts/{mortal.host}/kill")
            self.died[mortal.id] = (mortal, at)

    async def _kill_replicas(self) -> None:
        """In turn one is killed and one is added."""
        began, every = self.clock.monotonic(), self.clock.real(self.options.every)
        for turn in range(1, int(self.options.minutes * 60 / self.options.every) + 1):
            await self.clock.sleep(began + turn * every - self.clock.monotonic())
            if turn % 2 == 0 or len(self.stage.alive) < 2:
                await self.stage.add_replica()
                self.report.replicas["added"] += 1
                self._say(f"{self.stage.ever[-1].name} was added; {len(self.died)} machines died so far")
                continue
            chosen = self.draw.choice(self.stage.alive)
            is_polite = self.draw.random() < POLITE
            self.ends.append(self.clock.now())
            await self.stage.end_replica(chosen, politely=is_polite)
            self.report.replicas["ended" if is_polite else "killed"] += 1
            self._say(f"{chosen.name} was {'ended' if is_polite else 'killed'}; {len(self.died)} machines died so far")

    async def _ask(self) -> None:
        """Any replica answers for any machine."""
        while True:
            replica = self.draw.choice(self.stage.alive)
            number = self.draw.randint(1, self.options.machines)
            try:
                answer = await self.stage.get(replica, f"/machines/{number}")
                what = None if answer.status_code == 200 else f"{answer.status_code} {answer.text[:100]}"
            except httpx.TransportError as error:
                what = repr(error)
            if what is not None and replica in self.stage.alive:
                self.unheard.append(f"{replica.name} on machine {number}: {what}")
            await self.clock.sleep(self.clock.real(1.0))

    # -- what is waited for

    async def _all_heard(self) -> str | None:
        query = "SELECT count(*) FROM machines WHERE boot_id = '' OR heartbeat_partition IS NULL OR state <> 'healthy'"
        waiting = await self._count(query)
        return f"{waiting} are not" if waiting else None

    async def _all_see(self) -> str | None:
        blind = await self._count("SELECT count(*) FROM alerts WHERE key = 'observer-blind' AND resolved_at IS NULL")
        return "one is blind" if blind else None

    async def _is_settled(self) -> str | None:
        numbers = list(self.died)
        query = (
            "SELECT count(*) FROM machines WHERE id = ANY(%s) AND (state NOT IN ('healthy', 'failed')"
            " OR failover_id IS NOT NULL OR last_failover IS NULL)"
        )
        waiting = await self._count(query, numbers)
        owed = await self._count("SELECT count(*) FROM debts WHERE closed_at IS NULL AND kind <> 'keep_volume'")
        unsent = await self._count("SELECT count(*) FROM outbox WHERE sent_at IS NULL")
        return f"{waiting} machines, {owed} debts, {unsent} announcements" if waiting or owed or unsent else None

    async def _count(self, query: str, *values: object) -> int:
        async with await psycopg.AsyncConnection.connect(self.database, autocommit=True) as rows:
            row = await (await rows.execute(query, values or None)).fetchone()
        return int(row[0]) if row else 0

    async def _until(self, what: str, limit_s: float, look: Any, must: bool = True) -> bool:
        deadline, told = self.clock.monotonic() + limit_s, 0.0
        while (waits := await look()) is not None:
            now = self.clock.monotonic()
            if now > deadline:
                if must:
                    raise TimeoutError(f"not within {limit_s:.0f} s: {what} ({waits})")
                return False
            if now > told:
                self._say(f"until {what}: {waits}")
                told = now + self.clock.real(30.0)
            await self.clock.sleep(self.clock.real(1.0))
        return True

    def _say(self, what: str) -> None:
        print(f"{self.clock.now():%H:%M:%S} {what}", file=sys.stderr, flush=True)


async def play(options: Options, folder: Path, bootstrap: str, database: str) -> Report:
    stage = FleetStage(folder, bootstrap, database, options.speed, policy_of(options))
    try:
        return await Storm(options, stage, database).play()
    finally:
        await stage.stop()


@contextmanager
def _servers(folder: Path) -> Iterator[tuple[str, str]]:
    """A broker and a database of the run's own."""
    with (
        ladder.local_broker(folder / "kafka") as broker,
        ladder.local_postgres() as server,
        databases.on_server(server.dsn, migrated=False) as url,
    ):
        yield broker.bootstrap, url


def _options(arguments: Mapping[str, Any]) -> Options:
    return Options(**{name: arguments[name] for name in Options.__slots__})


def main() -> None:
    usual = Options()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in Options.__slots__:
        value = getattr(usual, name)
        parser.add_argument(f"--{name}", type=type(value), default=value)
    parser.add_argument("--json", action="store_true", help="the report as JSON")
    parser.add_argument("--folder", type=Path, help="keep all logs there")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp(prefix="failoverd-replicas-"))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kafka").mkdir()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # Ended from outside, too, nothing is left running.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with _servers(folder) as (bootstrap, database):
            report = asyncio.run(play(_options(vars(arguments)), folder, bootstrap, database))
    except StartFailed as error:
        sys.exit(f"failed: {error}")
    finally:
        if arguments.folder is None:
            shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(report.as_json(), indent=2) if arguments.json else "\n".join(report.lines()))
    failed = [check.name for check in report.checks if not check.ok]
    if failed:
        sys.exit(f"failed: {'; '.join(failed)}")


if __name__ == "__main__":
    main()
