"""Bugs on purpose: each takes one safeguard of the daemon away, and the simulation must find it.

`python -m tests.simulation.planted` looks for each one from its seed on and prints which seed found it, and by which
invariant.
"""

from __future__ import annotations

import argparse
import sys
from array import array
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from daemon.simulate import be_quiet
from daemon.simulation.run import Outcome, simulate
from daemon.simulation.scenarios import BESIDE, Scenario
from daemon.simulation.weather import Event

Patch = Callable[[Callable[[Any, str, Any], None]], None]
"""Gets `plant(owner, name, replacement)`."""


@dataclass(frozen=True, slots=True)
class Planted:
    """One bug: where it is looked for, and for how many seeds at most."""

    name: str
    scenario: Scenario
    patch: Patch
    strategy: str
    seed: int = 1
    """One that finds it."""


def _step_not_undone(plant: Any) -> None:
    from machines import saga

    plant(saga, "_unwind", lambda strategy, failed, progress, now, code, why: saga.Abandoned(code, why))


def _claim_not_journaled(plant: Any) -> None:
    from daemon.runner import AttemptJournal
    from machines.journal import Mark

    plain = AttemptJournal.append

    async def append(self: Any, entry: Any, debts: Any = ()) -> None:
        if entry.mark is not Mark.CLAIMED:
            await plain(self, entry, debts)

    plant(AttemptJournal, "append", append)


def _stale_fence_accepted(plant: Any) -> None:
    from adapters.sql.journal_tx import JournalStatements
    from daemon.leases import Leases

    plant(JournalStatements, "check_fence", lambda self, machine, failover, fence: None)
    plant(Leases, "require", lambda self, name: None)
    plant(Leases, "holds", lambda self, name: True)


def _blind_observer_trusted(plant: Any) -> None:
    from daemon.ingest import Ingest

    plant(Ingest, "_path_fault", lambda self, partition, grace_s=None: None)
    plant(Ingest, "is_blind", lambda self, machine: None)


def _replay_trusted(plant: Any) -> None:
    from daemon.ingest import Ingest
    from machines.detector import Detector

    plain, hear = Ingest._take_news, Detector.hear

    def hear_anything(self: Any, partition: int, beats: Any, gaps: Any = None) -> Any:
        sequences = self._slots[partition].sequence
        sequences[:] = array("q", [-1] * len(sequences))
        return hear(self, partition, beats, gaps)

    plant(Ingest, "_take_news", lambda self, news, is_live: plain(self, news, True))
    plant(Detector, "hear", hear_anything)


def _listing_read_as_all_gone(plant: Any) -> None:
    from daemon import prober
    from machines.model import Source, Testimony, Word

    plain = prober.provider_testimony

    def testimony(instance: Any, listing: Any, shown: Any, at: Any) -> Any:
        if instance not in listing.instances:
            return Testimony(Source.PROVIDER, Word.GONE, "not listed", at)
        return plain(instance, listing, shown, at)

    plant(prober, "provider_testimony", testimony)


def _late_beat_of_the_old_instance(plant: Any) -> None:
    from daemon.loop import Loop
    from machines.failover import Heard
    from machines.model import MachineId

    def meet(self: Any, beat: Any, partition: int, is_live: bool) -> None:
        machine = self._known.get(MachineId(beat.machine_id))
        if machine is not None and machine.primary is not None:
            self.post(machine.id, Heard(machine.primary, beat.boot_id, beat.interval_s, partition, True))

    plant(Loop, "meet", meet)


def _admission_outside_the_lock(plant: Any) -> None:
    from daemon.loop import Loop

    plain = Loop.request_admission
    facts_of = Loop._facts

    async def request(self: Any, machine_id: Any, wanted: Any, also: Any = None) -> Any:
        found = await self._store.transact(lambda tx: facts_of(self, tx, tx.machine(machine_id)))
        self._stale_facts = found
        await self._clock.sleep(3.0)
        return await plain(self, machine_id, wanted, also)

    plant(Loop, "request_admission", request)
    plant(Loop, "_facts", lambda self, tx, machine: self._stale_facts)
    plant(Loop, "_act", _act_beside(Loop._act))


def _act_beside(plain: Any) -> Any:
    """Effects beside the loop, so that two requests really overlap."""
    import asyncio

    async def act(self: Any, saved: Any) -> None:
        task = asyncio.create_task(plain(self, saved))
        self.__dict__.setdefault("_kept", set()).add(task)

    return act


def _debt_dropped(plant: Any) -> None:
    from machines import endings

    plant(endings, "_debts_of_the_old", lambda *_: ())


def _label_reused(plant: Any) -> None:
    from adapters.vast.creates import Creates
    from machines.strategies.candidates import _Race

    plain = _Race._label
    plant(_Race, "_label", lambda self, number: plain(self, 0))
    plant(Creates, "__contains__", lambda self, label: False)


def _not_fenced(plant: Any) -> None:
    from machines.model import FenceGrade, FenceProof
    from machines.strategies import fencing

    async def prove(ctx: Any) -> Any:
        return FenceProof(FenceGrade.STOPPED, "believed", ctx.clock.now())

    plant(fencing, "_stop_and_prove", prove)


def _pause_ignored(plant: Any) -> None:
    from daemon.loop import Loop

    plain = Loop._facts
    plant(
        Loop, "_facts", lambda self, tx, machine: replace(plain(self, tx, machine), pause=None, pause_is_readable=True)
    )


def _onstart_not_held_back(plant: Any) -> None:
    from daemon import rearm
    from machines.strategies import candidates

    plant(candidates, "held_back", lambda onstart: onstart)
    plant(rearm, "held_back", lambda onstart: onstart)


def _orphans_never_looked_for(plant: Any) -> None:
    from daemon.orphan_instances import OrphanInstances
    from machines.strategies import candidates

    async def nothing(self: Any, *ignored: Any) -> None: ...

    plant(OrphanInstances, "find", nothing)
    plant(candidates._Race, "_debt", lambda self, candidate, why: None)
    plain = candidates._Race._drop

    async def drop(self: Any, candidate: Any, why: str, owed: bool = True) -> None:
        await plain(self, candidate, why, False)

    plant(candidates._Race, "_drop", drop)


def _silence_alone_kills(plant: Any) -> None:
    from machines import failover
    from machines.evidence import Judgement, Verdict

    plant(failover, "judge", lambda evidence, policy: Judgement(Verdict.DEAD, "it is silent"))
    from machines import admission

    plant(admission, "judge", lambda evidence, policy: Judgement(Verdict.DEAD, "it is silent"))


def _vm_made_before_it_is_claimed(plant: Any) -> None:
    from adapters.sql.debts_tx import DebtStatements

    plant(DebtStatements, "bind_vm", lambda self, debt, place, claimed_at: True)


def _vm_of_a_lost_answer_forgotten(plant: Any) -> None:
    """Another name for each try, and no look for what is left under the former ones."""
    from daemon.cpu_standbys import CpuStandbys
    from daemon.cpu_vm_watch import CpuVmWatch
    from machines.errors import Unknown

    plain = CpuStandbys._create

    async def create(self: Any, cloud: Any, debt: Any) -> None:
        try:
            await plain(self, cloud, debt)
        except Unknown:
            [now] = [
                one for one in await self._store.transact(lambda tx: tx.open_debts(debt.machine)) if one.id == debt.id
            ]
            await self._store.transact(lambda tx: tx.bind_vm(now, None, None))
            raise

    async def look(*_: Any) -> None: ...

    plant(CpuStandbys, "_create", create)
    plant(CpuVmWatch, "_find_lost", look)


def _a_step_raises(plant: Any) -> None:
    from daemon.runner import Runner

    async def step(self: Any, look: Any, step: Any) -> None:
        raise KeyError("a bug in every step")

    plant(Runner, "_step", step)


def _a_probe_raises(plant: Any) -> None:
    from daemon.prober import Prober

    async def ask(self: Any, machine: Any, instance: Any) -> Any:
        raise KeyError("a bug in every probe")

    plant(Prober, "ask", ask)


def _nothing_audited(plant: Any) -> None:
    from adapters.sql.audit_tx import AuditStatements

    plant(AuditStatements, "audit", lambda self, record: None)


def _commands_not_answered(plant: Any) -> None:
    from daemon.changes import Recorder

    plant(Recorder, "_answer", lambda self, *what: None)


def _cancel_ignored(plant: Any) -> None:
    from machines import failover
    from machines.signals import Decision

    plant(failover, "_on_cancel", lambda machine, signal: Decision(machine))


def story(*events: Event, minutes: int = 12, replicas: int = 1) -> Scenario:
    """One in which the safeguard is needed."""
    return Scenario("S0", "a story for one bug", {}, (replicas,), minutes, fixed=events)


def with_vms(*events: Event) -> Scenario:
    return replace(BESIDE["V1"], fixed=events, minutes=12, replicas=(1,))


CRASH, DIES = "container_crashes", "host_dies"

PLANTED = (
    Planted("failed step not undone", story(Event(20, CRASH), Event(75, "operator", 0, 0, "cancel")), _step_not_undone, "warm_pool"),
    Planted("claim not journaled", story(Event(20, DIES)), _claim_not_journaled, "cpu_standby"),
    Planted("stale fence accepted", story(Event(20, DIES), *(Event(at, "replica_is_frozen", at // 35, 30) for at in range(70, 350, 35)), replicas=2), _stale_fence_accepted, "cpu_standby"),
    Planted("blind observer trusted", story(Event(20, "container_freezes", 0, 400), Event(75, "broker_is_down", 0, 200)), _blind_observer_trusted, "cpu_standby"),
    Planted("replay trusted", story(Event(5, "broker_clock_steps", 1, 20), Event(40, DIES), *(Event(at, "log_is_replayed") for at in range(60, 500, 20))), _replay_trusted, "cpu_standby"),
    Planted("listing read as all gone", story(Event(20, "provider_fails", 0, 300, "empty_list list_instances 0"), Event(30, "agent_dies", 0, 200)), _listing_read_as_all_gone, "all"),
    Planted("late beat of the old instance accepted", story(Event(5, "broker_clock_steps", 1, 20), Event(40, DIES), Event(400, DIES), *(Event(at, "log_is_replayed") for at in range(420, 800, 20)), minutes=15), _late_beat_of_the_old_instance, "cpu_standby"),
    Planted("admission outside the lock", story(*(Event(20, DIES, place) for place in range(8))), _admission_outside_the_lock, "cpu_standby", 3),
    Planted("debt dropped", story(Event(20, CRASH), minutes=15), _debt_dropped, "cpu_standby"),
    Planted("label reused", story(Event(20, DIES)), _label_reused, "cpu_standby"),
    Planted("old instance not fenced", story(Event(20, "operator", 0, 0, "failover")), _not_fenced, "cpu_standby"),
    Planted("pause ignored", story(Event(20, "operator", 0, 0, "pause"), Event(25, CRASH)), _pause_ignored, "all"),
    Planted("onstart not held back", story(Event(20, CRASH)), _onstart_not_held_back, "cpu_standby"),
    Planted("losers forgotten", story(Event(20, CRASH)), _orphans_never_looked_for, "cpu_standby"),
    Planted("VM made before it is claimed", with_vms(Event(20, "vm_is_deleted", 0)), _vm_made_before_it_is_claimed, "cpu_standby"),
    Planted("VM of a lost answer forgotten", with_vms(Event(20, "vm_is_deleted", 0), Event(21, "vm_provider_fails", 0, 200, "timeout_after compute.insert 0")), _vm_of_a_lost_answer_forgotten, "cpu_standby"),
    Planted("a step raises", story(Event(20, CRASH)), _a_step_raises, "cpu_standby"),
    Planted("a probe raises", story(Event(20, CRASH)), _a_probe_raises, "cpu_standby"),
    Planted("nothing audited", story(Event(20, DIES)), _nothing_audited, "cpu_standby"),
    Planted("commands not answered", story(Event(20, "operator", 0, 0, "failover")), _commands_not_answered, "cpu_standby"),
    Planted("cancel ignored", story(Event(20, DIES), Event(75, "operator", 0, 0, "cancel")), _cancel_ignored, "cpu_standby"),
    Planted("silence alone kills", story(Event(20, "agent_dies", 0, 300)), _silence_alone_kills, "all"),
)  # fmt: skip


@contextmanager
def planted(bug: Planted) -> Iterator[None]:
    """The daemon with this one bug."""
    before: list[tuple[Any, str, Any]] = []

    def plant(owner: Any, name: str, replacement: Any) -> None:
        before.append((owner, name, owner.__dict__[name]))
        setattr(owner, name, replacement)

    try:
        bug.patch(plant)
        yield
    finally:
        for owner, name, value in reversed(before):
            setattr(owner, name, value)


def hunt(bug: Planted, seed: int) -> Outcome:
    with planted(bug):
        return simulate(seed, bug.scenario, bug.strategy)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bug", help="only the bugs whose name has this in it", default="")
    parser.add_argument("--seeds", type=int, default=8, help="how many seeds each bug may take")
    options = parser.parse_args()
    be_quiet()
    missed = 0
    for bug in PLANTED:
        if options.bug not in bug.name:
            continue
        found = None
        for seed in range(bug.seed, bug.seed + options.seeds):
            outcome = hunt(bug, seed)
            if outcome.violations:
                found = f"seed {seed} of {bug.scenario.name}: {outcome.violations[0]}"
                break
        missed += found is None
        print(f"{bug.name:<42} {found or f'MISSED in {options.seeds} seeds'}", flush=True)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
