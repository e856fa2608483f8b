"""What was true of a large fleet while replicas came and went: looked at from outside, and judged at the end.

The oracle is the provider's truth; the database is read only for what is about our records (who waited for what, when a
failover was begun, which rental is a machine's).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import psycopg
from psycopg.rows import dict_row

from adapters.sim.settings import WorldSettings
from benchmarks.fleet_stage import FleetStage, Mortal
from daemon.simulation.ending import KEPT
from machines.strategies.candidates import NEVER_APPEARED

SURPLUS_LIVES_S = 120.0
"""S2 (facts/scenarios.md): what a call in flight rented in vain is destroyed within two minutes."""
ALLOWED_REAL_S = 30.0
"""Sessions, leases and processes do not become faster with the world."""
LOOK_EVERY_S = 1.0
_OURS = re.compile(r"^fo-[a-z0-9]+-m(\d+)-(standby|fo_[a-z0-9]+)")


@dataclass(slots=True)
class Rental:
    """One instance with a body, from its creation to the last look that found it."""

    id: int
    machine: str | None
    label: str | None
    created_at: datetime
    seen_at: datetime
    worked: bool = False


@dataclass(slots=True)
class Watch:
    """Looks at the world and at the queue, again and again."""

    stage: FleetStage
    database: str
    rentals: dict[int, Rental] = field(default_factory=dict)
    wrongs: list[str] = field(default_factory=list)
    queued: defaultdict[int, list[tuple[datetime, str]]] = field(default_factory=lambda: defaultdict(list))
    """By machine: at which look it waited, and for what."""
    suspected: defaultdict[int, set[datetime]] = field(default_factory=lambda: defaultdict(set))
    """By machine: since when it was seen suspect."""
    looks: int = 0

    async def run(self) -> None:
        """Until cancelled."""
        async with await psycopg.AsyncConnection.connect(self.database, autocommit=True, row_factory=dict_row) as rows:
            while True:
                await self._look(rows)
                await self.stage.clock.sleep(max(LOOK_EVERY_S, self.stage.clock.real(0.25)))

    async def _look(self, rows: psycopg.AsyncConnection[dict[str, Any]]) -> None:
        world = await self.stage.sim("GET", "/world?brief=1")
        now = datetime.fromisoformat(world["now"])
        self.looks += 1
        working: defaultdict[str, list[int]] = defaultdict(list)
        for row in world["instances"]:
            machine = row["env"].get("FAILOVERD_MACHINE_ID")
            works = bool(row["serving"] and row["agents"])
            created_at = datetime.fromisoformat(row["created_at"])
            rental = self.rentals.setdefault(row["id"], Rental(row["id"], machine, row["label"], created_at, now))
            rental.seen_at, rental.worked = now, rental.worked or works
            if works and machine is not None:
                working[machine].append(row["id"])
        for machine, instances in working.items():
            if len(instances) > 1:
                self.wrongs.append(f"{now}: {instances} work for machine {machine} at the same time")
        query = "SELECT id, state, since, waits_for FROM machines WHERE state = 'detecting'"
        async for row in await rows.execute(query):
            self.suspected[row["id"]].add(row["since"])
            if row["waits_for"] is not None:
                self.queued[row["id"]].append((now, row["waits_for"]))


@dataclass(frozen=True, slots=True)
class Death:
    """One machine that died, and what became of it. Seconds of the world's time."""

    mortal: Mortal
    died_at: datetime
    failovers: tuple[Mapping[str, Any], ...]
    phases: Mapping[str, float]
    """detection, confirmation, queue, provider, strategy, excess and total; empty where it was not recovered."""
    story: tuple[str, ...] = ()
    """Each entry of its journal, and each wait for the provider, with its second after the death."""

    @property
    def strategy(self) -> str:
        return "warm_pool" if self.mortal.has_standby else "cpu_standby"


@dataclass(frozen=True, slots=True)
class Check:
    name: str
    ok: bool
    detail: str


async def deaths_of(
    stage: FleetStage,
    database: str,
    watch: Watch,
    died: Mapping[int, tuple[Mortal, datetime]],
    policy: Mapping[str, Any],
    ends: Sequence[datetime],
) -> list[Death]:
    """`ends`: when replicas were killed or ended."""
    waited = _provider_waits(stage)
    found = []
    async with await psycopg.AsyncConnection.connect(database, autocommit=True, row_factory=dict_row) as rows:
        for number, (mortal, died_at) in sorted(died.items()):
            query = "SELECT * FROM failovers WHERE machine_id = %s ORDER BY started_at"
            failovers = tuple(await (await rows.execute(query, (number,))).fetchall())
            won = next((one for one in failovers if one["success"]), None)
            phases: dict[str, float] = {}
            story: list[str] = []
            if won is not None:
                query = "SELECT * FROM journal WHERE failover_id = %s ORDER BY attempt, seq"
                journal = await (await rows.execute(query, (won["id"],))).fetchall()
                needed = await _strategy_s(stage, mortal, won, journal, died_at)
                waits = [*waited.get(number, ()), *_cut_short(journal, ends)]
                phases = _phases(watch, mortal, died_at, won, waits, needed, policy)
                story = _story(journal, waits, died_at)
            found.append(Death(mortal, died_at, failovers, phases, tuple(story)))
    return found


def _phases(
    watch: Watch,
    mortal: Mortal,
    died_at: datetime,
    won: Mapping[str, Any],
    waits: Sequence[tuple[datetime, float]],
    needed: float,
    policy: Mapping[str, Any],
) -> dict[str, float]:
    """Grace and confirmation count as the policy says them; what is beyond all that is known of is the excess."""
    started, ended = won["started_at"], won["ended_at"]
    suspect_at = max((at for at in watch.suspected[mortal.id] if died_at <= at <= started), default=started)
    queue = [at for at, _ in watch.queued[mortal.id] if at <= started]
    queued_s = (started - min(queue)).total_seconds() if queue else 0.0
    provider_s = sum(seconds for at, seconds in waits if at >= died_at)
    total = (ended - died_at).total_seconds()
    confirm_s = 0.0 if mortal.has_standby else policy["confirm_after_s"]
    return {
        "detection": (suspect_at - died_at).total_seconds(),
        "confirmation": (started - suspect_at).total_seconds() - queued_s,
        "queue": queued_s,
        "provider": provider_s,
        "strategy": needed,
        "excess": total - policy["grace_s"] - confirm_s - queued_s - provider_s - needed,
        "total": total,
    }


def _story(
    journal: Sequence[Mapping[str, Any]], waits: Sequence[tuple[datetime, float]], died_at: datetime
) -> list[str]:
    told = [
        (row["at"], f"{row['attempt']} {row['step']} {row['mark']} {row['code'] or ''} {row['why'] or ''}".rstrip())
        for row in journal
    ]
    told += [(at, f"had waited {seconds:.1f} s for the provider") for at, seconds in waits]
    return [f"+{(at - died_at).total_seconds():6.1f} s  {what}" for at, what in sorted(told)]


async def _strategy_s(
    stage: FleetStage, mortal: Mortal, won: Mapping[str, Any], journal: Sequence[Mapping[str, Any]], died_at: datetime
) -> float:
    """What the provider itself needs for the strategy by its settings, and for this snapshot at this host's rate."""
    world = WorldSettings()
    if won["strategy_succeeded"] == "warm_pool":
        return world.reboot_seconds + world.start_seconds + world.ssh_seconds
    needed = world.search_seconds + world.create_seconds + world.boot_seconds + world.ssh_seconds
    fence = next((row["at"] for row in journal if row["step"] == "fence_primary" and row["mark"] == "started"), None)
    if fence is not None:
        # A dead host's rental proves nothing before the provider says that it hears nothing of it.
        needed += max(0.0, (died_at + timedelta(seconds=world.unknown_seconds) - fence).total_seconds())
    chosen = next((row for row in journal if row["step"] == "choose_snapshot" and row["mark"] == "done"), None)
    if chosen is not None:
        row = await stage.sim("GET", f"/snapshots/{chosen['output']['id']}/restore/{won['new']['instance']}")
        needed += row["bytes_total"] / max(row["rate"], 1.0)
    return needed


def _cut_short(journal: Sequence[Mapping[str, Any]], ends: Sequence[datetime]) -> Iterable[tuple[datetime, float]]:
    """A create that never left, for its replica was killed while it waited for its turn: nothing could log that wait."""
    for row in journal:
        if row["mark"] != "dropped" or row["why"] != NEVER_APPEARED:
            continue
        claimed = next(
            one["at"] for one in journal if one["mark"] == "claimed" and one["candidate"] == row["candidate"]
        )
        killed = [at for at in ends if claimed < at < row["at"]]
        if killed:
            yield min(killed), (min(killed) - claimed).total_seconds()


def _provider_waits(stage: FleetStage) -> dict[int, list[tuple[datetime, float]]]:
    """By machine: when a call on its behalf left, and for how long it had waited for its turn."""
    found: defaultdict[int, list[tuple[datetime, float]]] = defaultdict(list)
    for line in stage.said("waited_for_the_provider"):
        row = json.loads(line)
        if "machine" in row:
            at = stage.clock.from_wall(datetime.fromisoformat(row["timestamp"]))
            found[row["machine"]].append((at, row["seconds"]))
    return found


async def check_all(
    stage: FleetStage, database: str, watch: Watch, deaths: Sequence[Death], unheard: Sequence[str]
) -> list[Check]:
    """`unheard` are requests that a living replica did not answer."""
    world = await stage.sim("GET", "/world")
    async with await psycopg.AsyncConnection.connect(database, autocommit=True, row_factory=dict_row) as rows:
        machines = {row["id"]: row for row in await (await rows.execute("SELECT * FROM machines")).fetchall()}
        failovers = await (await rows.execute("SELECT * FROM failovers")).fetchall()
        debts = await (await rows.execute("SELECT * FROM debts WHERE closed_at IS NULL")).fetchall()
        kept = {debt["volume"] for debt in debts if debt["kind"] == KEPT}
        unsent = await (await rows.execute("SELECT count(*) AS n FROM outbox WHERE sent_at IS NULL")).fetchone()
    dead = {death.mortal.id: death for death in deaths}
    allowed_s = stage.clock.real(ALLOWED_REAL_S)
    late = [one for one in deaths if one.phases and one.phases["excess"] > allowed_s]
    return [
        _check(
            "every dead machine is recovered",
            (_unrecovered(death) for death in deaths if not death.phases),
            f"{len(deaths)} of {len(deaths)}",
        ),
        _check(
            f"each within grace + confirmation + {allowed_s:.0f} s of its strategy's time, waits apart",
            (f"machine {one.mortal.id} ({one.strategy}) by {one.phases['excess']:.1f} s" for one in late),
            "all",
        ),
        _check("no living machine is failed over", _false(failovers, dead, machines, world), "0 false"),
        _check("one serving instance for each machine", _not_one_each(machines, world), f"{len(machines)} machines"),
        _check("never two at a time", watch.wrongs[:5], f"{watch.looks} looks"),
        _surplus(watch, machines, world),
        _check("nothing is leaked", _leaked(machines, world, kept), "every rental and volume is a machine's, or kept"),
        _check(
            "nothing is owed",
            (f"{d['kind']} of machine {d['machine_id']}: {d['last_error']}" for d in debts if d["kind"] != KEPT),
            "0",
        ),
        _check(
            "everything is announced", [f"{unsent['n']} are not"] if unsent and unsent["n"] else [], "nothing waits"
        ),
        _check("every request to a living replica is answered", unheard, "all"),
    ]


def _check(name: str, wrongs: Iterable[str], good: str) -> Check:
    found = list(wrongs)
    more = f" and {len(found) - 8} more" if len(found) > 8 else ""
    return Check(name, not found, "; ".join(found[:8]) + more if found else good)


def _unrecovered(death: Death) -> str:
    ends = [f"{one['id']}: {one['code'] or 'running'} {one['why'] or ''}".strip() for one in death.failovers]
    return f"machine {death.mortal.id} ({death.strategy}): {'; '.join(ends) or 'no failover'}"


def _false(
    failovers: Sequence[Mapping[str, Any]],
    dead: Mapping[int, Death],
    machines: Mapping[int, Mapping[str, Any]],
    world: Mapping[str, Any],
) -> Iterable[str]:
    for one in failovers:
        death = dead.get(one["machine_id"])
        if death is None or one["started_at"] < death.died_at:
            yield f"{one['id']} of machine {one['machine_id']}, which lived: {one['because']}"
    for death in dead.values():
        if len(death.failovers) > 1:
            yield f"machine {death.mortal.id} died once and was failed over {len(death.failovers)} times"
    rows = {row["id"]: row for row in world["instances"]}
    for number, machine in machines.items():
        row = rows.get(machine["primary_instance"])
        if number not in dead and (row is None or not row["serving"] or row["intended_status"] != "running"):
            yield f"machine {number} lived, and its instance is {row['state'] if row else 'destroyed'}"


def _not_one_each(machines: Mapping[int, Mapping[str, Any]], world: Mapping[str, Any]) -> Iterable[str]:
    serving: defaultdict[str, list[int]] = defaultdict(list)
    for row in world["instances"]:
        if row["serving"]:
            serving[row["env"].get("FAILOVERD_MACHINE_ID", "")].append(row["id"])
    for number, machine in machines.items():
        if serving[str(number)] != [machine["primary_instance"]]:
            yield f"machine {number}: primary {machine['primary_instance']}, serving {serving[str(number)]}"


def _claimed(machines: Mapping[int, Mapping[str, Any]]) -> set[int]:
    standbys = {machine["standby"]["instance"] for machine in machines.values() if machine["standby"]}
    return {machine["primary_instance"] for machine in machines.values()} | standbys


def _leaked(
    machines: Mapping[int, Mapping[str, Any]], world: Mapping[str, Any], kept: Collection[int]
) -> Iterable[str]:
    """`kept` are the volumes that are newer than what their machines went on with."""
    claimed = _claimed(machines)
    for row in world["instances"]:
        if row["id"] not in claimed:
            yield f"nobody claims instance {row['id']} ({row['label']}, {row['state']})"
    volumes = {machine["volume"]["id"] for machine in machines.values() if machine["volume"]}
    for row in world["volumes"]:
        if row["id"] not in volumes and row["id"] not in kept:
            yield f"nobody claims volume {row['id']}"


def surplus(watch: Watch, machines: Mapping[int, Mapping[str, Any]]) -> list[Rental]:
    """What was rented for a failover and never became a machine, nor its standby."""
    claimed = _claimed(machines)
    return [one for one in watch.rentals.values() if _OURS.match(one.label or "") and one.id not in claimed]


def _surplus(watch: Watch, machines: Mapping[int, Mapping[str, Any]], world: Mapping[str, Any]) -> Check:
    there = {row["id"] for row in world["instances"]}
    found = surplus(watch, machines)
    wrongs = []
    for one in found:
        lived = (one.seen_at - one.created_at).total_seconds()
        if one.id in there or lived > SURPLUS_LIVES_S:
            state = "is still there" if one.id in there else f"lived for {lived:.0f} s"
            wrongs.append(f"instance {one.id} ({one.label}) {state}")
        if one.worked:
            wrongs.append(f"instance {one.id} ({one.label}) served")
    lives = ", ".join(f"{(one.seen_at - one.created_at).total_seconds():.0f} s" for one in found)
    return _check(
        f"what is rented in vain never serves and lives no longer than {SURPLUS_LIVES_S:.0f} s",
        wrongs,
        f"{len(found)} rented in vain{': ' if lives else ''}{lives}",
    )
