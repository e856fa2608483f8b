"""A hundred failovers and more on one daemon in one process: does it come to the right end each time, and does it grow?

`python -m benchmarks.soak --failovers 100 --seed 1 --speed 60`. Machines die in every way in a seeded order, several at a
time; a customer whose machine had to leave its host may leave, and another one comes. At the end nobody may owe anything,
nothing may be rented that nothing claims, every machine must serve with its work, and the process must hold no more than
after the warm-up. The simulated provider, its agents and their SSH servers live in the same process: what is measured of
the whole process has their share in it, and their noise. The daemon's own tables have not.
"""

from __future__ import annotations

import argparse
import asyncio
import random  # noqa: TID251 - seeded: the whole order of deaths follows from one seed
import statistics
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import structlog

from benchmarks.footprint import Footprint, measure, rss_mib
from daemon.demo_checks import SERVING, check_all
from daemon.demo_stage import Cast, Stage, stage
from daemon.demo_watch import look
from daemon.settings import PolicySection
from machines.model import Debt, DebtKind, Machine, MachineId
from machines.states import State

MACHINES = 5
WARM_UP = 20
RESTLESS = PolicySection(flap_count=1000, machine_cooldown_s=0, failed_budget=0, false_alarm_budget=0)
"""Its machines die again and again: what would put them into quarantine is off."""
PATIENCE_S, STANDBY_PATIENCE_S = 2400.0, 600.0
"""Simulated seconds for one death and all that follows from it; a new standby waits for a free GPU on its host."""
LOOK_EVERY_REAL_S = 0.1
MORE_FILES, MORE_TASKS, MORE_ENTRIES = 5, 5, 5
"""So many more than after the warm-up are no growth."""
MOST_OBJECTS_PER_FAILOVER = 80.0
"""Of the whole process. The simulated provider keeps the bills, meters and snapshots of all that ever was: about 25."""
MOST_KIB_PER_FAILOVER = 128.0
"""RSS of the whole process, from the median of its second quarter to that of its last one. It is the allocator that
settles: 50 to 80 were seen over 100 failovers and 11 over 240, while the live objects grew by 3."""
FEWEST_FOR_RSS = 60
"""Below so many failovers the quarters are too short to say anything."""
WARM_AFTER_S = 4800.0
"""Simulated seconds until the log inside the process is as full as it ever is: it keeps an hour, and a quarter more."""
BOUNDED = {
    "ingest._beats": "10,000 instances",
    "ingest._boots": "10,000 instances",
    "ingest._boots[]": "8 lives of each instance's agent",
    "cloud._listing._focus._seen": "64 rentals",
    "cloud._listing._focus._named": "64 labels",
    "cloud._listing._focus._crowds": "256 labels",
    "cloud._creates._known": "4,096 creates",
    "cloud._taken._since": "the offers of ten minutes",
    "readiness._volumes._creates._known": "4,096 creates",
    "ingest._detector._slots[].free": "the most machines that a partition ever had",
    "ingest._processed": "the partitions, until their offsets are committed",
    "event_log._topics[][]._records": "the last hour",
}
"""Tables that grow up to a bound by design."""


@dataclass(frozen=True, slots=True)
class Result:
    failovers: Counter[str]
    """How they ended."""
    deaths: Counter[str]
    warm: Footprint
    last: Footprint
    kib_per_failover: float | None
    real_s: float
    problems: tuple[str, ...]


@dataclass(slots=True)
class Seat:
    """One place for a customer: the machine that sits there now."""

    cast: Cast
    turns_without_volume: int = 0


@dataclass(slots=True)
class Soak:
    stage: Stage
    api: httpx.AsyncClient
    draw: random.Random
    seats: list[Seat] = field(default_factory=list)
    rss: list[float] = field(default_factory=list)
    """After each death that is over."""
    deaths: Counter[str] = field(default_factory=Counter)
    newest: int = 0

    @property
    def kinds(self) -> dict[str, Callable[[Machine], Awaitable[None]]]:
        return {
            "crash": self._crash,
            "crash that a reboot mends": self._crash_mendably,
            "host kill": self._kill_host,
            "host kill and revival": self._kill_and_revive_host,
            "preemption": self._preempt,
            "manual": self._ask,
            "manual, cancelled": self._ask_and_cancel,
        }

    async def run(self, failovers: int) -> tuple[Footprint, Footprint]:
        """All deaths, with a look at the footprint after the warm-up and at the end, while nothing happens."""
        for _ in range(MACHINES):
            self.seats.append(Seat(await self._newcomer()))
        for seat in self.seats:
            await self._settled(seat)
        warm_up, began = min(WARM_UP, failovers // 3), self.stage.clock.monotonic()
        await self._play(warm_up)
        if failovers >= FEWEST_FOR_RSS:
            await self.stage.clock.sleep(began + WARM_AFTER_S - self.stage.clock.monotonic())
        warm = await self._look_at_rest()
        while (missing := failovers - await self._failovers()) > 0:
            await self._play(missing)
        return warm, await self._look_at_rest()

    async def _play(self, count: int) -> None:
        """So many deaths, shared out over the seats; the order is drawn beforehand, every kind as often as any other."""
        bag = [kind for _ in range(count // len(self.kinds) + 1) for kind in self.kinds][:count]
        self.draw.shuffle(bag)
        async with asyncio.TaskGroup() as group:
            for place, seat in enumerate(self.seats):
                group.create_task(self._die_in_turn(seat, bag[place :: len(self.seats)]))

    async def _die_in_turn(self, seat: Seat, kinds: Sequence[str]) -> None:
        for kind in kinds:
            before = await self._settled(seat)
            self.deaths[kind] += 1
            try:
                await self.kinds[kind](before)
                await self._settled(seat, before)
            except TimeoutError as error:
                raise TimeoutError(f"{kind}: {error}") from error
            self.rss.append(rss_mib())
            print(f"{len(self.rss):4d}  {seat.cast.name}: {kind}", file=sys.stderr, flush=True)
            await self._change_customers(seat)

    async def _failovers(self) -> int:
        """A GPU that comes back soon needs none, so some deaths are no failover."""
        return len(await self.stage.daemon.store.transact(lambda tx: tx.failovers(limit=1000)))

    async def _look_at_rest(self) -> Footprint:
        await self.stage.clock.sleep(60.0)
        return measure(self.stage.daemon)

    # -- deaths

    async def _crash(self, machine: Machine, reboot_helps: bool = False) -> None:
        await self._control(f"/sim/instances/{machine.primary}/crash", {"reboot_helps": reboot_helps})

    async def _crash_mendably(self, machine: Machine) -> None:
        await self._crash(machine, reboot_helps=True)

    async def _kill_host(self, machine: Machine) -> None:
        """It returns once its machine has left it, or the market would run dry."""
        await self._control(f"/sim/hosts/{machine.host}/kill")
        await self._until(machine.id, lambda now: _has_ended(now, machine))
        await self._control(f"/sim/hosts/{machine.host}/revive")

    async def _kill_and_revive_host(self, machine: Machine) -> None:
        """In the middle of the failover, or soon after it: a primary that speaks again cancels it."""
        pause = self.draw.uniform(0.0, 300.0)
        await self._control(f"/sim/hosts/{machine.host}/kill")
        await self._until(machine.id, lambda now: now.failover is not None or _has_ended(now, machine))
        await self.stage.clock.sleep(pause)
        await self._control(f"/sim/hosts/{machine.host}/revive")

    async def _preempt(self, machine: Machine) -> None:
        """The GPU comes back some time; a rental on demand that stays stopped was stopped by its owner, for all we know."""
        seconds = self.draw.uniform(30.0, 300.0)
        await self._control(f"/sim/instances/{machine.primary}/preempt", {"for_seconds": seconds})

    async def _ask(self, machine: Machine) -> str:
        assert machine.ssh is not None
        body = {
            "machine_id": machine.id,
            "gpu_instance_id": machine.primary,
            "ssh_host": machine.ssh.host,
            "ssh_port": machine.ssh.port,
            "reason": "the soak",
        }
        answer = await self.api.post("/api/v1/failover/execute", json=body, headers={"Prefer": "respond-async"})
        answer.raise_for_status()
        return str(answer.json()["failover_id"])

    async def _ask_and_cancel(self, machine: Machine) -> None:
        """Half-way; 409 is the answer where it is past its point of no return, or over."""
        pause = self.draw.uniform(0.0, 60.0)
        failover = await self._ask(machine)
        await self.stage.clock.sleep(pause)
        answer = await self.api.post(f"/api/v1/failovers/{failover}/cancel")
        if answer.status_code not in (202, 409):
            answer.raise_for_status()

    # -- customers

    async def _newcomer(self) -> Cast:
        self.newest += 1
        cast = await self.stage.load_one(self.newest)
        await self.stage.register(cast)
        return cast

    async def _change_customers(self, seat: Seat) -> None:
        """A machine that left its host has no volume any more, and one whose host is full gets no standby: sooner or
        later its customer leaves for good."""
        machine = await self._machine(seat.cast.id)
        seat.turns_without_volume = 0 if machine.volume is not None else seat.turns_without_volume + 1
        if seat.turns_without_volume >= 2 or await self._debts(machine.id):
            await self._leave(machine)
            seat.cast, seat.turns_without_volume = await self._newcomer(), 0

    async def _leave(self, machine: Machine) -> None:
        """Protection off, rental and volume given back, and removed: who is removed while he still beats is met again
        as a stranger."""
        await self.stage.daemon.registry.put(machine.id, {"auto_failover": "off"}, "the soak")
        await self._give_back(machine, f"/api/v0/instances/{machine.primary}/")
        await self.stage.clock.sleep(60.0)
        (await self.api.delete(f"/api/v1/machines/{machine.id}")).raise_for_status()
        if machine.volume is not None:
            await self._give_back(machine, f"/api/v0/volumes/?id={machine.volume.id}")

    async def _give_back(self, machine: Machine, path: str) -> None:
        """Under a key of the customer's own: the provider counts calls by key. A volume is still held for a while."""
        headers = {"Authorization": f"Bearer customer {machine.id}"}
        deadline = self.stage.clock.now() + timedelta(seconds=PATIENCE_S)
        while True:
            answer = await self.stage.http.delete(path, headers=headers)
            if answer.status_code != 409 or self.stage.clock.now() > deadline:
                answer.raise_for_status()
                return
            await self.stage.clock.sleep(20.0)

    # -- watching

    async def _settled(self, seat: Seat, before: Machine | None = None) -> Machine:
        """It serves, alone and heard, and nothing is owed for it; since `before` it was not well for a while.

        A GPU that is given back soon brings its instance back without a failover.
        """

        def is_over(now: Machine) -> bool:
            heard = now.primary is not None and self.stage.daemon.ingest.heard(now.primary) is not None
            is_well = heard and now.state is State.HEALTHY and now.failover is None
            return is_well and (before is None or now.since != before.since)

        deadline = self.stage.clock.now() + timedelta(seconds=PATIENCE_S)
        while True:
            machine = await self._until(seat.cast.id, is_over)
            debts, rows = await self._debts(machine.id), await self._serving(machine.id)
            if self.stage.clock.now() > deadline - timedelta(seconds=PATIENCE_S - STANDBY_PATIENCE_S):
                debts = [debt for debt in debts if debt.kind is not DebtKind.REARM]
            if not debts and [row["agents"] for row in rows] == [1]:
                return machine
            if self.stage.clock.now() > deadline:
                raise TimeoutError(f"machine {machine.id} is not at rest: debts {debts}, serving {rows}, {machine}")
            await self._pause()

    async def _serving(self, number: MachineId) -> list[dict[str, Any]]:
        rows = (await self.stage.truth())["instances"]
        return [row for row in rows if row["serving"] and row["env"].get("FAILOVERD_MACHINE_ID") == str(number)]

    async def _until(self, number: MachineId, is_so: Callable[[Machine], bool]) -> Machine:
        deadline = self.stage.clock.now() + timedelta(seconds=PATIENCE_S)
        while True:
            self.stage.check()
            machine = await self._machine(number)
            if is_so(machine):
                return machine
            if self.stage.clock.now() > deadline:
                raise TimeoutError(f"machine {number} does not come to its end: {machine}")
            await self._pause()

    async def _machine(self, number: MachineId) -> Machine:
        machine = await self.stage.daemon.store.transact(lambda tx: tx.machine(number))
        assert machine is not None
        return machine

    async def _debts(self, number: MachineId) -> Sequence[Debt]:
        """What is to be done now; a volume that is kept for a person stands for days."""
        debts = await self.stage.daemon.store.transact(lambda tx: tx.open_debts(number))
        return [debt for debt in debts if debt.kind is not DebtKind.KEEP_VOLUME]

    async def _pause(self) -> None:
        await self.stage.clock.sleep(self.stage.clock.real(LOOK_EVERY_REAL_S))

    async def _control(self, path: str, body: dict[str, Any] | None = None) -> None:
        (await self.stage.http.post(path, json=body)).raise_for_status()


def _has_ended(now: Machine, before: Machine) -> bool:
    return now.failover is None and now.last_failover != before.last_failover


async def soak(failovers: int, seed: int, speed: float) -> Result:
    with tempfile.TemporaryDirectory(prefix="failoverd-soak-") as folder:
        async with stage(Path(folder), speed, seed, "calm", "allowed", MACHINES, RESTLESS) as everything:
            headers = {"Authorization": f"Bearer {everything.daemon.token}"}
            # Each call on a connection of its own: an idle one may be closed under the next call.
            limits = httpx.Limits(max_keepalive_connections=0)
            url = everything.api_url
            async with httpx.AsyncClient(base_url=url, headers=headers, timeout=60.0, limits=limits) as api:
                began = everything.clock.monotonic()
                played = Soak(everything, api, random.Random(seed))
                warm, last = await played.run(failovers)
                real_s = (everything.clock.monotonic() - began) / speed
                growth = _kib_per_failover(played.rss)
                ends, wrong = await _end(everything, [seat.cast for seat in played.seats])
                problems = (*wrong, *grown(warm, last, len(played.rss), growth))
                return Result(ends, played.deaths, warm, last, growth, real_s, problems)


async def _end(everything: Stage, cast: Sequence[Cast]) -> tuple[Counter[str], list[str]]:
    """How the failovers ended, and what is not as it must be, at the provider and in the store."""
    seen, truth = await look(everything.daemon.store, everything.clock), await everything.truth()
    lost = [
        one.name
        for one in cast
        if everything.work_of(seen.machines[one.id].primary or 0) != everything.expected_work(one)
    ]
    checks = check_all(cast, (), truth, seen, {}, lost)
    problems = [
        f"{check.name}: {check.detail}" for check in checks if not check.ok and check.name != "no_false_failover"
    ]
    problems += [f"{one.name} is {one.state.value}" for one in seen.machines.values() if one.state not in SERVING]
    problems += [f"an alert is open: {text}" for text in seen.alerts.values()]
    return Counter(_outcome(shown) for shown in seen.failovers.values()), problems


def _outcome(shown: Any) -> str:
    if shown["ended_at"] is None:
        return "running"
    return str(shown["strategy_succeeded"] or shown["error"] or "repaired")


def grown(warm: Footprint, last: Footprint, deaths: int, kib_per_failover: float | None) -> list[str]:
    """What the process holds more of than after the warm-up; `kib_per_failover` is None where the run was short."""
    found = []
    objects = (last.objects - warm.objects) / deaths
    if kib_per_failover is not None and objects > MOST_OBJECTS_PER_FAILOVER:
        found.append(f"live objects grew by {objects:.0f} a failover")
    if last.files > warm.files + MORE_FILES:
        found.append(f"open files grew from {warm.files} to {last.files}")
    if last.tasks > warm.tasks + MORE_TASKS:
        found.append(f"tasks grew from {warm.tasks} to {last.tasks}")
    for path, size in last.tables.items():
        if path not in BOUNDED and size > warm.tables.get(path, 0) + MORE_ENTRIES:
            found.append(f"{path} grew from {warm.tables.get(path, 0)} to {size} entries")
    if kib_per_failover is not None and kib_per_failover > MOST_KIB_PER_FAILOVER:
        found.append(f"RSS grew by {kib_per_failover:.0f} KiB a failover")
    return found


def _kib_per_failover(rss: Sequence[float]) -> float | None:
    """From the median of the second quarter to that of the last one."""
    if len(rss) < FEWEST_FOR_RSS:
        return None
    quarter = len(rss) // 4
    second, last = statistics.median(rss[quarter : 2 * quarter]), statistics.median(rss[-quarter:])
    return (last - second) * 1024 / (len(rss) - 2 * quarter)


def table(result: Result) -> str:
    warm, last = result.warm, result.last
    rows: list[tuple[str, str, str]] = [
        ("", "after warm-up", "at the end"),
        ("RSS of the process, MiB", f"{warm.rss_mib:.1f}", f"{last.rss_mib:.1f}"),
        ("live Python objects", str(warm.objects), str(last.objects)),
        ("open files", str(warm.files), str(last.files)),
        ("asyncio tasks", str(warm.tasks), str(last.tasks)),
    ]
    for path in sorted({*warm.tables, *last.tables}):
        bound = f"   (bound: {BOUNDED[path]})" if path in BOUNDED else ""
        rows.append((f"  {path}", str(warm.tables.get(path, 0)), str(last.tables.get(path, 0)) + bound))
    lines = [f"{name:<40} {before:>14}   {after}" for name, before, after in rows]
    if result.kib_per_failover is not None:
        lines.append(f"RSS from the second to the last quarter: {result.kib_per_failover:+.1f} KiB a failover")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--failovers", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--speed", type=float, default=60.0)
    options = parser.parse_args()
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(50))
    result = asyncio.run(soak(options.failovers, options.seed, options.speed))
    count = sum(result.failovers.values())
    print(
        f"{count} failovers of {MACHINES} seats in {result.real_s:.0f} s, seed {options.seed}, speed {options.speed:g}"
    )
    print("  deaths: " + ", ".join(f"{kind} {number}" for kind, number in sorted(result.deaths.items())))
    print("  ends:   " + ", ".join(f"{end} {number}" for end, number in sorted(result.failovers.items())))
    print(table(result))
    for problem in result.problems:
        print(f"WRONG: {problem}")
    if not result.problems:
        print("every machine serves with its work, nothing is owed, nothing unclaimed, nothing grew")
    sys.exit(1 if result.problems else 0)


if __name__ == "__main__":
    main()
