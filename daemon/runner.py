"""Makes the moves of attempts and writes each one down: read the journal, ask for the next move, make it, again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TypeVar, assert_never

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.leases import Leases
from daemon.loop import Loop
from machines import errors
from machines.brake import in_a_storm
from machines.budget import spent
from machines.errors import NotYet, Refused, Stale, StepError, Unknown
from machines.failover import AttemptEnded, Lost, Parked, Repaired
from machines.journal import (
    PROVIDER_UNAVAILABLE,
    STORE_UNAVAILABLE,
    Entry,
    Mark,
    as_output,
    may_wait_for_provider,
    waits_for_provider,
)
from machines.model import Debt, FailoverId, HostId, InstanceId, Machine, MachineId, Rung, Running
from machines.policy import Policies
from machines.ports import Clock, GpuCloud, Shell, SnapshotStore, VmWorkspaces, VolumeStore
from machines.reputation import Reputation, boot_told
from machines.saga import (
    Abandoned,
    Move,
    Run,
    Step,
    StepContext,
    Strategy,
    Stuck,
    Succeeded,
    Undo,
    Wait,
    is_interruptible,
    next_move,
    unknown_in_a_row,
)
from machines.strategies.candidates import STEP
from machines.strategies.fencing import may_be_stopped
from machines.strategies.ladder import is_too_late, strategy_for

log = structlog.get_logger(__name__)

T = TypeVar("T")

_UNKNOWN_DELAY_S, _LONGEST_UNKNOWN_DELAY_S = 2.0, 30.0
"""Doubled with each try in a row whose outcome nobody knows."""
_LOOK_AGAIN_IN_AN_OUTAGE = timedelta(seconds=5)
_UNDO_DELAY_S = 15.0
_LONGEST_NAP_S = 30.0
"""Then the clock is looked at again: it may have been stepped since the wait began."""


@dataclass(frozen=True, slots=True)
class Outside:
    """The ports that steps act through."""

    cloud: GpuCloud
    shell: Shell
    snapshots: SnapshotStore
    volumes: VolumeStore
    vms: VmWorkspaces | None = None


@dataclass(frozen=True, slots=True)
class _Look:
    """The machine, the journal of its failover, and where its next step rents the weather, as they stood in one transaction."""

    machine: Machine
    running: Running
    everything: Sequence[tuple[int, Entry]]
    """Without what the transaction itself wrote down."""
    is_storm: bool = False
    reputation: Reputation = field(default_factory=Reputation)

    @property
    def entries(self) -> tuple[Entry, ...]:
        """Of the present attempt."""
        return tuple(entry for attempt, entry in self.everything if attempt == self.running.attempt)

    @property
    def strategy(self) -> Strategy:
        return strategy_for(self.running.rung, self.machine)

    @property
    def is_too_late(self) -> bool:
        """To be cancelled."""
        return is_too_late(self.machine, self.everything)


@dataclass(frozen=True, slots=True)
class StepTry:
    """One try of a step, and what came of it."""

    step: str
    mark: Mark
    code: str | None
    seconds: float
    output: object = None
    """What it gave, where it is done."""


class _Interrupted(Exception):
    """A cancel came while the step ran."""


class AttemptJournal:
    """The journal of one attempt; every append carries the failover's fence."""

    def __init__(self, store: Store, machine: MachineId, running: Running) -> None:
        self._store = store
        self._machine = machine
        self._running = running

    async def append(self, entry: Entry, debts: Sequence[Debt] = ()) -> None:
        running = self._running
        boot = boot_told(entry, STEP)

        def write(tx: Tx) -> None:
            tx.append_entry(self._machine, running.id, running.attempt, running.fence, entry, debts)
            if boot is not None:
                tx.note_boot(boot, entry.at)
            if entry.mark is Mark.RENTED:
                tx.note_rental(InstanceId(entry.output["instance"]), self._machine, running.id, entry.at)

        await self._store.transact(write)


class Runner:
    """One task for each machine that is in a failover."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        outside: Outside,
        policies: Policies,
        clock: Clock,
        deployment: str,
        leases: Leases,
        is_provider_out: Callable[[], bool] = lambda: False,
    ) -> None:
        """`is_provider_out`: does the provider answer nobody now, whatever is asked?"""
        self._store = store
        self._loop = loop
        self.outside = outside
        self._leases = leases
        self._is_provider_out = is_provider_out
        self._policies = policies
        self._clock = clock
        self._deployment = deployment
        self._tasks: dict[MachineId, asyncio.Task[None]] = {}
        self._again: set[MachineId] = set()
        self.on_try: Callable[[StepTry], object] = lambda one: None
        """Hears of every try of a step that has come to something."""
        self.on_crash: Callable[[asyncio.Task[None]], object] = lambda task: None
        """Hears of an attempt that raised what no step may raise."""

    def begin(self, machine: MachineId) -> None:
        """Work on the machine's failover until it ends. Called for fresh attempts, and by the sweep for found ones."""
        running = self._tasks.get(machine)
        if running is not None and not running.done():
            self._again.add(machine)
            return
        task = asyncio.create_task(self._run(machine), name=f"failover of machine {machine}")
        self._tasks[machine] = task
        task.add_done_callback(lambda done: self._done(machine, done))

    def is_running(self, machine: MachineId) -> bool:
        task = self._tasks.get(machine)
        return task is not None and not task.done()

    async def stop(self) -> None:
        """Stop making moves; the journal knows how to go on."""
        tasks = [task for task in self._tasks.values() if not task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, machine: MachineId, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and task.exception() is not None:
            # A bug of ours. The journal bounds how often the sweep may begin it again.
            log.error("attempt_crashed", machine=machine, exc_info=task.exception())
            self.on_crash(task)
        if self._tasks.get(machine) is task:
            del self._tasks[machine]
        if machine in self._again:
            self._again.discard(machine)
            self.begin(machine)

    async def _run(self, machine_id: MachineId) -> None:
        structlog.contextvars.bind_contextvars(machine=machine_id)  # Also of what adapters say on its behalf.
        look: _Look | None = None
        while True:
            try:
                look, move = await self._look(machine_id, look)
                if look is None:
                    return
                if move is not None:
                    await self._attempt(look, move)
                elif not await self._take(machine_id, look.running.id):
                    return
            except errors.Fenced as fenced:
                log.info("attempt_fenced", machine=machine_id, because=str(fenced))
                return
            except StoreUnavailable as error:
                log.debug("move_postponed", because=str(error), machine=machine_id)
                await self._clock.sleep(self._clock.real(1.0))

    async def _take(self, machine: MachineId, failover: FailoverId) -> bool:
        """The failover's lease; False where another replica works on it, or where it has ended."""

        def also(tx: Tx, is_taken_from_another: bool) -> None:
            found = tx.machine(machine)
            if found is None or found.failover is None or found.failover.id != failover:
                raise Stale(f"failover {failover} has ended")
            if is_taken_from_another:
                self._loop.raise_fence(tx, machine, failover)

        return await self._leases.acquire(failover, also)

    async def _look(self, machine_id: MachineId, before: _Look | None) -> tuple[_Look | None, Move | None]:
        """What stands there, and the move that follows from it; one that begins something is written down in the same
        transaction. No look where the machine is in no failover any more; no move where its lease is not ours. A journal
        only grows, so only its news is read. Raise StoreUnavailable."""

        def read(tx: Tx) -> tuple[Machine | None, _Look | None, Move | None]:
            machine = tx.machine(machine_id)
            running = machine.failover if machine is not None else None
            if machine is None or running is None:
                return machine, None, None
            known = before.everything if before is not None and before.running.id == running.id else ()
            everything = (*known, *tx.timeline(running.id, len(known)))
            look = _Look(machine, running, everything)
            move = self._next(look) if self._leases.holds(running.id) else None
            if isinstance(move, Run) and move.step.name == STEP:
                look = replace(look, is_storm=tx.storm() is not None, reputation=tx.reputation(self._clock.now()))
            entry = self._beginning(move)
            if entry is not None:
                tx.append_entry(machine.id, running.id, running.attempt, running.fence, entry)
            return machine, look, move

        machine, look, move = await self._store.transact(read)
        if look is None and machine is not None and machine.last_failover is not None:
            self._loop.forget_cancel(machine.last_failover)
        return look, move

    def _next(self, look: _Look) -> Move:
        """The one move that the journal allows now."""
        cancel_why = None if look.is_too_late else _cancel_why(look.running)
        now = self._clock.now()
        move = next_move(look.strategy, look.entries, now, cancel_why)
        if not isinstance(move, Run) or not self._is_provider_out():
            return move
        # One entry tells of the outage, and not one for each look.
        is_held = waits_for_provider(look.entries, move.step.name, self._clock.since)
        return Wait(now + _LOOK_AGAIN_IN_AN_OUTAGE) if is_held else move

    def _beginning(self, move: Move | None) -> Entry | None:
        """STARTED before, the outcome after: a start without an end counts as a try."""
        match move:
            case Run(step):
                return Entry(step.name, Mark.STARTED, self._clock.now())
            case Undo(step):
                return Entry(step.name, Mark.UNDO_STARTED, self._clock.now())
            case _:
                return None

    async def _attempt(self, look: _Look, move: Move) -> None:
        """Make the move; what it begins has been written down."""
        match move:
            case Run(step):
                await self._step(look, step)
            case Undo(step):
                await self._undo(self._context(look), step)
            case Wait(until):
                await self._wait(look.machine.id, look.running, until)
            case Succeeded():
                await self._succeeded(look)
            case Abandoned(code, why):
                await self._end(look, Lost(code, why))
            case Stuck(code, why):
                await self._end(look, Parked(code, why))
            case _:
                assert_never(move)

    async def _succeeded(self, look: _Look) -> None:
        if look.running.rung is Rung.REPAIR_PRIMARY:
            await self._end(look, Repaired())
            return
        # The hand-over ended the failover in its own transaction; that it still runs means another one has begun.
        await self._clock.sleep(1.0)

    async def _end(self, look: _Look, outcome: Lost | Parked | Repaired) -> None:
        running = look.running
        fenced = may_be_stopped([entry for _, entry in look.everything])
        await self._loop.apply(look.machine.id, AttemptEnded(running.id, running.fence, outcome, fenced))

    def _context(self, look: _Look) -> StepContext:
        machine, running, everything = look.machine, look.running, look.everything
        own = self._policies.of(machine)
        policy = in_a_storm(own) if look.is_storm else own
        avoid = {_host(entry) for attempt, entry in everything if attempt != running.attempt}
        outside, lease = self.outside, running.id
        return StepContext(
            machine=machine,
            failover=running,
            attempt=running.attempt,
            deployment=self._deployment,
            policy=policy,
            entries=look.entries,
            avoid_hosts=frozenset(host for host in avoid if host is not None),
            reputation=look.reputation,
            spent_before=_spent(everything, running.attempt, self._clock.now()),
            cloud=self._leases.guard(outside.cloud, lease),
            shell=self._leases.guard(outside.shell, lease),
            snapshots=self._leases.guard(outside.snapshots, lease),
            volumes=self._leases.guard(outside.volumes, lease),
            vms=self._leases.guard(outside.vms, lease) if outside.vms is not None else None,
            journal=AttemptJournal(self._store, machine.id, running),
            fleet=self._loop,
            clock=self._clock,
        )

    async def _step(self, look: _Look, step: Step[object]) -> None:
        """A cancel ends the run, and leaves the journal as a crash would: the undo of a started step knows what to do."""
        ctx, began, output = self._context(look), self._clock.monotonic(), None
        try:
            if not look.is_too_late and is_interruptible(look.strategy, ctx.entries, step):
                output = await self._unless_cancelled(ctx.machine.id, ctx.failover_id, step.run(ctx))
            else:
                output = await step.run(ctx)
        except _Interrupted:
            log.info("step_interrupted", machine=ctx.machine.id, step=step.name, failover=ctx.failover_id)
            return
        except (StepError, StoreUnavailable) as error:
            entry = self._entry_of(ctx, step.name, error)
        else:
            entry = Entry(step.name, Mark.DONE, self._clock.now(), output=as_output(output))
        self.on_try(StepTry(step.name, entry.mark, entry.code, self._clock.monotonic() - began, output))
        if entry.mark is Mark.DONE and step.name == "hand_over":
            return  # Its DONE was written in the transaction that ended the failover.
        if not await self._write(ctx, entry):
            return
        log.debug("step", machine=ctx.machine.id, step=step.name, mark=entry.mark.value, why=entry.why)
        if entry.mark is Mark.UNKNOWN:
            before = unknown_in_a_row(ctx.entries, step.name)
            seconds = min(_LONGEST_UNKNOWN_DELAY_S, _UNKNOWN_DELAY_S * 2**before)
            await self._pause(ctx.machine.id, ctx.failover, seconds)
        elif entry.until is not None:
            await self._wait(ctx.machine.id, ctx.failover, entry.until)

    def _broken_off(self, ctx: StepContext, step: str, code: str, error: Exception) -> Entry:
        """An outage is no answer of the step, and uses up none of its tries."""
        before = sum(entry.step == step and entry.code == code for entry in ctx.entries)
        delay = min(_LONGEST_UNKNOWN_DELAY_S, _UNKNOWN_DELAY_S * 2 ** min(before, 8))
        now = self._clock.now()
        until = now + timedelta(seconds=delay)
        return Entry(step, Mark.WAITING, now, code=code, why=str(error), until=until)

    async def _write(self, ctx: StepContext, entry: Entry) -> bool:
        """What came of a step is known: it is written however long that takes, or the step would begin again as if nobody
        knew. False where it is not ours to write any more: it had been written, or another replica goes on."""
        while True:
            try:
                await ctx.journal.append(entry)
                return True
            except errors.Fenced:
                return False
            except StoreUnavailable as error:
                log.debug("entry_postponed", because=str(error), machine=ctx.machine.id)
                await self._clock.sleep(self._clock.real(1.0))

    async def _unless_cancelled(self, machine: MachineId, failover: FailoverId, work: Awaitable[T]) -> T:
        """What the work gives. Raise _Interrupted where a cancel is asked first; the work has ended by then."""
        working = asyncio.ensure_future(work)
        cancel = asyncio.ensure_future(self._loop.cancel_asked(machine, failover).wait())
        try:
            await asyncio.wait({working, cancel}, return_when=asyncio.FIRST_COMPLETED)
            if not working.done():
                raise _Interrupted
            return working.result()
        finally:
            for task in (working, cancel):
                task.cancel()
            await asyncio.gather(working, cancel, return_exceptions=True)

    async def _wait(self, machine: MachineId, running: Running, until: datetime) -> None:
        """Until then, or for the longest nap: the journal is read again after it."""
        left = (until - self._clock.now()).total_seconds()
        await self._pause(machine, running, min(_LONGEST_NAP_S, max(0.05, left)))

    async def _pause(self, machine: MachineId, running: Running, seconds: float) -> None:
        """Wait, unless a cancel comes that was not there before."""
        if running.cancel_asked:
            await self._clock.sleep(seconds)
            return
        try:
            await self._clock.wait_for(self._loop.cancel_asked(machine, running.id).wait(), seconds)
        except TimeoutError:
            return

    def _entry_of(self, ctx: StepContext, step: str, error: StepError | StoreUnavailable) -> Entry:
        now = self._clock.now()
        match error:
            case StoreUnavailable():
                return self._broken_off(ctx, step, STORE_UNAVAILABLE, error)
            case NotYet(why=why, delay=delay):
                return Entry(step, Mark.WAITING, now, why=why, until=now + delay)
            case Refused(code=code, why=why):
                return Entry(step, Mark.REFUSED, now, code=code, why=why)
            case Unknown(is_outage=True) if may_wait_for_provider(ctx.entries, step, self._clock.since):
                return self._broken_off(ctx, step, PROVIDER_UNAVAILABLE, error)
            case _:
                return Entry(step, Mark.UNKNOWN, now, why=str(error))

    async def _undo(self, ctx: StepContext, step: Step[object]) -> None:
        assert step.undo is not None
        try:
            await step.undo(ctx)
        except NotYet as error:
            until = self._clock.now() + error.delay
            entry = Entry(step.name, Mark.UNDO_WAITING, self._clock.now(), why=error.why, until=until)
        except (StepError, StoreUnavailable) as error:
            until = self._clock.now() + timedelta(seconds=_UNDO_DELAY_S)
            entry = Entry(step.name, Mark.UNDO_FAILED, self._clock.now(), why=str(error), until=until)
        else:
            entry = Entry(step.name, Mark.UNDONE, self._clock.now())
        if await self._write(ctx, entry) and entry.until is not None:
            await self._wait(ctx.machine.id, ctx.failover, entry.until)


def _cancel_why(running: Running) -> str | None:
    if running.primary_spoke:
        return "the old instance speaks again"
    return "an operator cancelled it" if running.cancel_asked else None


def _spent(everything: Sequence[tuple[int, Entry]], before: int, now: datetime) -> float:
    """$ that the attempts before this one have cost."""
    numbers = {attempt for attempt, _ in everything if attempt < before}
    return sum(spent([entry for attempt, entry in everything if attempt == number], STEP, now) for number in numbers)


def _host(entry: Entry) -> HostId | None:
    """The host of a claim; None for every other entry."""
    offer = entry.output.get("offer") if entry.mark is Mark.CLAIMED else None
    return HostId(offer["host"]) if isinstance(offer, dict) and "host" in offer else None
