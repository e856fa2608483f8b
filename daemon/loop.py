"""Signals in, decide, save, effects out. One task; what takes time is handed to others.

Effects are hints, stored state is the truth: what is lost here is found by the sweep.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from weakref import WeakValueDictionary

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon import decision_log
from daemon.announce import Announcer
from daemon.changes import BUDGET_ALERT, Recorder
from daemon.ingest import Ingest
from daemon.storm import note_storm
from events import dead_letters, topics
from events.codec import Undecodable
from events.schema import Heartbeat
from machines import errors
from machines.admission import Admission, Delayed, Denied, FailoverRequest, FleetFacts, Granted, admit
from machines.budget import FleetSpending
from machines.cpu_vm import VmServing
from machines.detector import Silence
from machines.errors import Stale
from machines.failover import (
    Admitted,
    AttemptEnded,
    BeginAttempt,
    Decision,
    Deferred,
    Due,
    EndFailover,
    Fenced,
    Heard,
    Notify,
    Observed,
    Probe,
    RequestAdmission,
    Signal,
    TakenOver,
    Won,
    decide,
)
from machines.hold import as_of_now
from machines.journal import Entry, Mark
from machines.model import (
    Debt,
    FailoverId,
    FenceProof,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Own,
    Replacement,
    Running,
    WaitsFor,
)
from machines.policy import INHERITABLE, Policies, Policy, Said
from machines.ports import Beat, Clock, Random, Record

log = structlog.get_logger(__name__)

_STALE_RETRIES = 5
_OWNER_IS_LATE = timedelta(seconds=15)
_CALLED_AT_ONCE = 2
_MOST_NOTED = 1000
_STRANGERS_AT_ONCE = 100
_LATE_IDS = 1000
"""So far back an id of the outbox may become visible late: ids are given before the commit."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A signal's outcome: the machine as saved, and the decision."""

    before: Machine
    machine: Machine
    decision: Decision
    signal: Signal | None = None
    """What it answers; None where a step changed the machine."""


@dataclass(frozen=True, slots=True)
class _Posted:
    machine: MachineId
    signal: Signal
    at: float
    """Monotonic seconds of this process."""


class Loop:
    """Owns every change of a machine in this process; the sink of the ingest, and the Fleet of the steps."""

    def __init__(
        self,
        store: Store,
        policies: Policies,
        clock: Clock,
        random: Random,
        announcer: Announcer,
        agent_command: Callable[[Machine, InstanceId], str],
        tell_blindness: Callable[[Sequence[int], str | None], Awaitable[None]],
        has_hook: bool = False,
    ) -> None:
        """`has_hook`: a program of the operator's wants to hear of hand-overs."""
        self._store = store
        self._policies = policies
        self._clock = clock
        self._random = random
        self._announcer = announcer
        self._agent_command = agent_command
        self._recorder = Recorder(announcer, policies, has_hook)
        self._queue: asyncio.Queue[_Posted | Callable[[], object]] = asyncio.Queue()
        self._busy = False
        self._busy_since: float | None = None
        self._ingest: Ingest | None = None
        self._probe: Callable[[MachineId], None] = lambda machine: None
        self._begin: Callable[[MachineId], None] = lambda machine: None
        self._tell_blindness = tell_blindness
        self._known: dict[MachineId, Machine] = {}
        self._caught_up: tuple[int, frozenset[int]] = (0, frozenset())
        self._ended: WeakValueDictionary[FailoverId, asyncio.Event] = WeakValueDictionary()
        self._cancels: dict[FailoverId, asyncio.Event] = {}
        self._letters: list[tuple[Record, Undecodable]] = []
        self._strangers: dict[MachineId, tuple[Heartbeat, int]] = {}
        self._noted: dict[InstanceId, str] = {}
        self._made_up = 0
        """The store's failures after which all machines were read anew."""
        self.on_saved: Callable[[Saved], object] = lambda saved: None
        """Hears of everything that was decided and saved."""
        self.on_turn: Callable[[], object] = lambda: None
        """Called after each turn of `run`."""

    def wire(self, ingest: Ingest, probe: Callable[[MachineId], None], begin: Callable[[MachineId], None]) -> None:
        """The parts that need the loop and that the loop needs."""
        self._ingest, self._probe, self._begin = ingest, probe, begin
        ingest.know(self.machines)

    # -- reading

    def machines(self) -> Sequence[Machine]:
        """All machines as this process last saved or read them."""
        return tuple(self._known.values())

    def known(self, machine: MachineId) -> Machine | None:
        """As this process last saved or read it."""
        return self._known.get(machine)

    async def load(self) -> Sequence[Machine]:
        """Read every machine; at start, and after a machine was registered elsewhere."""
        last, said, machines = await self._store.transact(
            lambda tx: (tx.last_message(), tx.fleet_settings(), tx.machines())
        )
        self._caught_up = (last, frozenset())
        self.take_settings(said)
        self._replace_all(machines)
        return machines

    async def make_up(self) -> None:
        """After an outage of a store that is ours alone: a commit may have been made whose answer was lost, and nobody else
        tells us of it. Without it a machine would be judged by the instance that it had before."""
        failures = self._store.failures
        if failures != self._made_up:
            await self.load()
            self._made_up = failures

    def _replace_all(self, machines: Sequence[Machine]) -> None:
        for gone in self._known.keys() - {machine.id for machine in machines}:
            self.forget(gone)
        for machine in machines:
            self._follow_newer(machine)

    async def catch_up(self) -> None:
        """Read the machines that other replicas changed: each change stands in the outbox of all."""
        topic = self._announcer.prefix + topics.MACHINES
        last, seen = self._caught_up

        def read(tx: Tx) -> tuple[list[int], Said, dict[MachineId, Machine | None]]:
            rows = [row for row in tx.keys_after(topic, last - _LATE_IDS) if row[0] not in seen]
            changed = {MachineId(int(key)) for _, key in rows}
            return [row for row, _ in rows], tx.fleet_settings(), {number: tx.machine(number) for number in changed}

        rows, said, machines = await self._store.transact(read)
        self.take_settings(said)
        newest = max([last, *rows])
        self._caught_up = (newest, frozenset(row for row in (*seen, *rows) if row > newest - _LATE_IDS))
        has_ended = False
        for number, machine in machines.items():
            known = self._known.get(number)
            was_in_failover = known is not None and known.failover is not None
            has_ended |= was_in_failover and (machine is None or machine.failover is None)
            if machine is None:
                self.forget(number)
            else:
                self._follow_newer(machine)
        if has_ended:
            self._queue.put_nowait(self._call_next)

    def take_settings(self, said: Said) -> None:
        """What was said of the whole fleet, as it is stored now: from here on it counts, the grace of every machine too."""
        if self._policies.take(said):
            log.info("fleet_settings_changed", said=dict(said))
            for machine in self.machines():
                self.follow(machine)

    def _follow_newer(self, machine: Machine) -> None:
        """Versions count within one life of the id: a machine that was removed and registered again begins with 1."""
        known = self._known.get(machine.id)
        if known is None or known.registered != machine.registered or known.version < machine.version:
            self.follow(machine)

    def ended(self, failover: FailoverId) -> asyncio.Event:
        """Set when the failover has ended in this process; a waiter also polls the row. It lives as long as a waiter."""
        return self._ended.setdefault(failover, asyncio.Event())

    def cancel_asked(self, machine: MachineId, failover: FailoverId) -> asyncio.Event:
        """Set once this process knows that the running failover is to unwind, whichever replica was asked."""
        event = self._cancels.setdefault(failover, asyncio.Event())
        known = self._known.get(machine)
        if known is not None:
            self._pass_on_cancel(known)
        return event

    def _pass_on_cancel(self, machine: Machine) -> None:
        running = machine.failover
        if running is not None and running.cancel_asked and running.id in self._cancels:
            self._cancels[running.id].set()

    def forget_cancel(self, failover: FailoverId) -> None:
        """Nobody works on the failover here any more."""
        self._cancels.pop(failover, None)

    # -- the sink of the ingest

    def post(self, machine_id: MachineId, signal: Signal) -> None:
        self._queue.put_nowait(_Posted(machine_id, signal, self._clock.monotonic()))

    def is_idle(self) -> bool:
        return self._queue.empty() and not self._busy

    def meet(self, beat: Heartbeat, partition: int, is_live: bool) -> None:
        """A beat of a machine not judged here: unknown, re-keyed to another partition, or of another instance."""
        machine = self._known.get(MachineId(beat.machine_id))
        if machine is None:
            if not self._strangers:
                self._queue.put_nowait(self._register_strangers)
            self._strangers.setdefault(MachineId(beat.machine_id), (beat, partition))
        elif machine.primary == beat.instance_id:
            self.post(
                machine.id, Heard(InstanceId(beat.instance_id), beat.boot_id, beat.interval_s, partition, is_live)
            )
        elif self._store.is_shared and self._noted.get(InstanceId(beat.instance_id)) != beat.boot_id:
            self._note(InstanceId(beat.instance_id), beat)

    def _note(self, instance: InstanceId, beat: Heartbeat) -> None:
        """Perhaps a replacement that another replica waits for: one row for each life of its agent."""
        self._noted.pop(instance, None)
        self._noted[instance] = beat.boot_id
        if len(self._noted) > _MOST_NOTED:
            del self._noted[next(iter(self._noted))]
        machine, said = MachineId(beat.machine_id), Beat(beat.boot_id, beat.sequence)

        async def note() -> None:
            if self._noted.get(instance) == said.boot_id:  # Put off by an outage, it may have been overtaken.
                await self._store.transact(lambda tx: tx.note_first_beat(machine, instance, said))

        self._queue.put_nowait(note)

    def dead_letter(self, record: Record, cause: Undecodable) -> None:
        if not self._letters:
            self._queue.put_nowait(self._post_letters)
        self._letters.append((record, cause))

    def blindness(self, partitions: Sequence[int], because: str | None) -> None:
        self._queue.put_nowait(lambda: self._tell_blindness(partitions, because))

    # -- the loop

    def busy_s(self) -> float:
        """How long the loop has been at one signal, in scaled seconds; 0 where it waits for the next."""
        return 0.0 if self._busy_since is None else self._clock.monotonic() - self._busy_since

    def turn(self) -> None:
        """Go round once without a signal, where nothing is to be done: an idle loop shows that it is not stuck."""
        if self.is_idle():
            self._queue.put_nowait(lambda: None)

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            item = await self._queue.get()
            self._busy, self._busy_since = True, self._clock.monotonic()
            try:
                if isinstance(item, _Posted):
                    await self.apply(item.machine, self._as_it_is_now(item))
                else:
                    result = item()
                    if asyncio.iscoroutine(result):
                        await result
            except (StoreUnavailable, Stale) as error:
                # Stale: another replica changed the machine under every try. Stored state is the truth, so again.
                log.debug("signal_postponed", because=str(error))
                await self._clock.sleep(self._clock.real(1.0))
                self._queue.put_nowait(item)
            finally:
                self._busy, self._busy_since = False, None
            self.on_turn()

    def _as_it_is_now(self, posted: _Posted) -> Signal:
        """A beat that waited here through an outage of the store for longer than its machine may be silent is no news of now."""
        signal, waited_s = posted.signal, self._clock.monotonic() - posted.at
        if not isinstance(signal, Heard) or not signal.is_live:
            return signal
        known = self._known.get(posted.machine)
        policy = self._policies.fleet if known is None else self._policies.of(known)
        return replace(signal, is_live=False) if waited_s > policy.grace_s(signal.interval_s) else signal

    async def apply(self, machine_id: MachineId, signal: Signal) -> Saved | None:
        """Decide and save in one transaction, then act. None for an unknown machine. Raise StoreUnavailable."""
        return await self.apply_chosen(machine_id, lambda tx, machine: signal)

    async def apply_chosen(self, machine_id: MachineId, choose: Callable[[Tx, Machine], Signal]) -> Saved | None:
        """The same with a signal that is chosen, with whatever belongs to it, in the transaction that decides."""

        def work(tx: Tx) -> Saved | None:
            machine = tx.machine(machine_id)
            return None if machine is None else self._decide_on(tx, machine, choose(tx, machine))

        saved = await self._transact(work)
        if saved is not None:
            await self._act(saved)
        return saved

    def _decide(self, tx: Tx, machine_id: MachineId, signal: Signal) -> Saved | None:
        before = tx.machine(machine_id)
        return None if before is None else self._decide_on(tx, before, signal)

    def _decide_on(self, tx: Tx, before: Machine, signal: Signal) -> Saved:
        now = self._clock.now()
        decision = self._decision(before, signal, now)
        if decision.machine == before and not decision.effects:
            return Saved(before, before, decision, signal)
        machine = self._recorder.record(tx, before, signal, decision, now)
        return Saved(before, machine, decision, signal)

    def _decision(self, machine: Machine, signal: Signal, now: datetime) -> Decision:
        """A hold is judged by its real age, and stays written as it was: another replica has a clock of its own."""
        asking = as_of_now(machine, now, self._clock.since)
        decision = decide(asking, signal, now, self._policies.of(machine))
        if asking is machine or decision.machine.hold != asking.hold:
            return decision
        return replace(decision, machine=replace(decision.machine, hold=machine.hold))

    async def _transact(self, work: Callable[[Tx], Saved | None]) -> Saved | None:
        for _ in range(_STALE_RETRIES):
            try:
                return await self._store.transact(work)
            except Stale:
                continue
        raise Stale("the machine changed under every try")

    async def _act(self, saved: Saved) -> None:
        machine = saved.machine
        self.follow(machine)
        self.on_saved(saved)
        decision_log.tell(saved.before, machine)
        for effect in saved.decision.effects:
            match effect:
                case Probe():
                    self._probe(machine.id)
                case RequestAdmission(request):
                    await self.request_admission(machine.id, request)
                case BeginAttempt():
                    self._begin(machine.id)
                case EndFailover(running):
                    self.ended(running.id).set()
                    self._queue.put_nowait(self._call_next)
                case Observed(because):
                    log.warning("failover_observed", machine=machine.id, because=because)
                case Notify():
                    pass

    def follow(self, machine: Machine) -> None:
        """Take over what was saved: this process's memory, and the detector's arrays."""
        self._known[machine.id] = machine
        self._pass_on_cancel(machine)
        if self._ingest is not None:
            self._ingest.follow(machine)

    def forget(self, machine: MachineId) -> None:
        self._known.pop(machine, None)
        if self._ingest is not None:
            self._ingest.forget(machine)

    def rings_for(self, machine: MachineId, does_fleet_jobs: bool) -> bool:
        """Does this replica follow the machine's alarm? Its partition's owner does; where that stays away, or nobody hears
        anything, whoever does the fleet's jobs."""
        known = self._known.get(machine)
        if known is None or self._ingest is None or self.hears(known):
            return True
        late = known.look_at is not None and self._clock.now() - known.look_at > _OWNER_IS_LATE
        return does_fleet_jobs and (late or self._ingest.owns_nothing)

    def judges(self, machine: Machine) -> bool:
        """Does this replica judge the machine's silence? Where it judges nobody's, it looks after everything."""
        return self.hears(machine) or (self._ingest is not None and self._ingest.owns_nothing)

    def hears(self, machine: Machine) -> bool:
        return self._ingest is None or self._ingest.owns(machine)

    # -- admission

    async def request_admission(
        self,
        machine_id: MachineId,
        request: FailoverRequest,
        also: Callable[[Tx, Admission, Machine | None], None] | None = None,
    ) -> Admission | None:
        """Ask the gate and save its answer, in one transaction; `also` writes into the same one.

        None for an unknown machine.
        """
        answer: list[Admission] = []

        def work(tx: Tx) -> Saved | None:
            answer.clear()
            tx.lock_admission()
            before = tx.machine(machine_id)
            if before is None:
                return None
            now = self._clock.now()
            asking = as_of_now(before, now, self._clock.since)
            admission = admit(asking, request, self._facts(tx, before), self._policies.of(before), now)
            answer.append(admission)
            saved = self._save_admission(tx, before, admission)
            if also is not None:
                also(tx, admission, saved.machine if saved else before)
            return saved

        saved = await self._transact(work)
        if saved is not None:
            await self._act(saved)
        return answer[0] if answer else None

    def _save_admission(self, tx: Tx, before: Machine, admission: Admission) -> Saved | None:
        signal: Signal
        match admission:
            case Granted():
                signal = Admitted(FailoverId("fo_" + self._random.token(10)), admission)
            case Delayed(because, look_at, waits_for, would_begin):
                signal = Deferred(because, look_at, waits_for, would_begin)
                if before.mode is Mode.ON:
                    note_storm(tx, admission, self._clock.now())
                if waits_for is WaitsFor.BUDGET and before.mode is Mode.ON:
                    tx.raise_alert(BUDGET_ALERT, f"{before.name} waits for money: {because}", self._clock.now())
            case Denied():
                return None
        now = self._clock.now()
        decision = self._decision(before, signal, now)
        if decision.machine == before:
            return Saved(before, before, decision, signal)
        return Saved(before, self._recorder.record(tx, before, signal, decision, now), decision, signal)

    async def at_the_gate(self, machine_id: MachineId) -> tuple[Machine, FleetFacts, Policy] | None:
        """The machine as stored, and what the gate would go by, were it asked now; nothing is locked or changed."""

        def read(tx: Tx) -> tuple[Machine, FleetFacts, Policy] | None:
            machine = tx.machine(machine_id)
            if machine is None:
                return None
            asking = as_of_now(machine, self._clock.now(), self._clock.since)
            return asking, self._facts(tx, machine), self._policies.of(machine)

        return await self._store.transact(read)

    def silence_of(self, machine: MachineId) -> Silence | None:
        """As this replica hears it; None where it does not judge the machine."""
        return self._ingest.silence_of(machine) if self._ingest is not None else None

    def _facts(self, tx: Tx, machine: Machine) -> FleetFacts:
        pause, readable = tx.readable_pause()
        blind = self._ingest.is_blind(machine) if self._ingest is not None else None
        crowd = tx.crowd(machine, self._policies.fleet, self._clock.now())
        ended_at = tx.last_automatic_end(machine.id)
        rested = None if ended_at is None else self._clock.since(ended_at)
        suspected = self._clock.since(machine.suspicions[-1]) if machine.suspicions else None
        holder = None if machine.primary is None else tx.another_with(machine.primary, machine.id)
        silence = self.silence_of(machine.id)
        return FleetFacts(crowd, pause, readable, blind, rested, suspected, silence, self._spending(tx), holder)

    def _spending(self, tx: Tx) -> FleetSpending:
        """Counted only where a budget is set."""
        if self._policies.fleet.max_fleet_price <= 0 and self._policies.fleet.max_spend <= 0:
            return FleetSpending()
        return tx.fleet_spending(self._clock.now() - timedelta(seconds=self._policies.fleet.spend_window_s))

    async def _call_next(self) -> None:
        """A place is free: whoever is first in the queue is looked at now, and not only when it asks again. By the replica
        that hears it: another one is blind for it, and asked there it would lose its place."""
        now = self._clock.now()
        for first in await self._store.transact(lambda tx: tx.queue(self._policies.fleet, now, _CALLED_AT_ONCE)):
            known = self._known.get(first.machine)
            if known is not None and self.hears(known):
                self.post(first.machine, Due())

    # -- the Fleet of the steps

    async def machine(self, machine: MachineId) -> Machine:
        found = await self._store.transact(lambda tx: tx.machine(machine))
        if found is None:
            raise errors.Fenced(f"machine {machine} was removed")
        return found

    def is_blind(self, machine: MachineId) -> bool:
        known = self._known.get(machine)
        return known is not None and self._ingest is not None and self._ingest.is_blind(known) is not None

    async def heard(self, instance: InstanceId) -> Beat | None:
        """As stored by whoever judges its partition, else as this process heard it."""
        stored = await self._store.transact(lambda tx: tx.first_beat(instance)) if self._store.is_shared else None
        return stored or (self._ingest.heard(instance) if self._ingest is not None else None)

    async def boots(self, instance: InstanceId, only_live: bool = False) -> frozenset[str]:
        heard = self._ingest.boots(instance, only_live) if self._ingest is not None else frozenset()
        if only_live or not self._store.is_shared:
            return heard
        stored = await self._store.transact(lambda tx: tx.first_beat(instance))
        return heard if stored is None else heard | {stored.boot_id}

    def agent_command(self, machine: Machine, instance: InstanceId) -> str:
        return self._agent_command(machine, instance)

    async def save_proof(self, machine: MachineId, failover: Running, proof: FenceProof, debts: Sequence[Debt]) -> None:
        def work(tx: Tx) -> Saved | None:
            tx.check_fence(machine, failover.id, failover.fence)
            tx.add_debts([replace(debt, due_at=self._clock.now()) for debt in debts])
            return self._decide(tx, machine, Fenced(failover.id, failover.fence, proof))

        saved = await self._transact(work)
        if saved is not None:
            await self._act(saved)

    async def point_at_vm(self, machine: MachineId, failover: Running, serving: VmServing | None) -> None:
        def work(tx: Tx) -> Saved | None:
            tx.check_fence(machine, failover.id, failover.fence)
            before = tx.machine(machine)
            if before is None or before.cpu_standby is None or before.cpu_standby.serving == serving:
                return None
            changed = replace(before, cpu_standby=replace(before.cpu_standby, serving=serving))
            saved = tx.save_machine(changed)
            tx.post(self._announcer.machine(saved, before, self._clock.now()))
            return Saved(before, saved, Decision(saved))

        saved = await self._transact(work)
        if saved is not None:
            await self._act(saved)

    async def hand_over(self, machine: MachineId, failover: Running, new: Replacement) -> None:
        def work(tx: Tx) -> Saved | None:
            before = tx.machine(machine)
            if before is not None and before.primary == new.instance and before.last_failover == failover.id:
                return None
            done = Entry("hand_over", Mark.DONE, self._clock.now(), output={"instance": new.instance})
            tx.append_entry(machine, failover.id, failover.attempt, failover.fence, done)
            return self._decide(tx, machine, AttemptEnded(failover.id, failover.fence, Won(new)))

        saved = await self._transact(work)
        if saved is not None:
            await self._act(saved)

    # -- replicas

    def raise_fence(self, tx: Tx, machine: MachineId, failover: FailoverId) -> None:
        """In the transaction in which this replica takes the failover's lease from another one. Raise Stale."""
        self._decide(tx, machine, TakenOver(failover))

    # -- small duties

    async def _register_strangers(self) -> None:
        """An unknown machine's first heartbeat registers it in observe mode; it claims no instance (section 5). A whole fleet
        may be unknown: some at a time, so that nobody waits long behind them."""
        some = dict(itertools.islice(self._strangers.items(), _STRANGERS_AT_ONCE))
        now = self._clock.now()

        def work(tx: Tx) -> list[Machine]:
            tx.lock_admission()  # What is said of the fleet meanwhile is written to these, too.
            fleet = self._policies.as_said(tx.fleet_settings())
            return [
                tx.machine(number) or self._insert_stranger(tx, beat, partition, fleet, now)
                for number, (beat, partition) in some.items()
            ]

        machines = await self._store.transact(work)
        for machine in machines:
            log.info("machine_registered", machine=machine.id, by="heartbeat", mode=machine.mode.value)
            self.follow(machine)
            self._strangers.pop(machine.id, None)
        if self._strangers:
            self._queue.put_nowait(self._register_strangers)

    def _insert_stranger(self, tx: Tx, beat: Heartbeat, partition: int, fleet: Policy, now: datetime) -> Machine:
        machine = Machine(
            MachineId(beat.machine_id),
            f"machine-{beat.machine_id}",
            setting=fleet.strategy,
            mode=Mode.OBSERVE,
            priority=fleet.priority,
            own=Own(inherits=tuple(name for name in INHERITABLE if name != "auto_failover")),
            partition=partition,
            interval_s=beat.interval_s,
            because="registered by its first heartbeat, in observe mode; an operator must name its instance",
            since=now,
        )
        machine = tx.register_machine(machine, now)
        tx.post(self._announcer.machine(machine, None, now))
        return machine

    async def _post_letters(self) -> None:
        letters, self._letters = self._letters, []
        at = self._clock.now().isoformat()
        name = self._announcer.prefix + topics.DEAD_LETTERS
        messages = [dead_letters.bury(name, record, cause, at) for record, cause in letters]
        await self._store.transact(lambda tx: tx.post(messages))
        log.warning("dead_letters", count=len(messages), first=str(letters[0][1]))
