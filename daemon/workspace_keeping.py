"""Keeps a copy of each workspace on the machine's CPU VM, and keeps up what a VM serves after a failover that found no GPU.

A pull runs on the VM; it is asked how far it is, and what is done becomes a row. Which copy that is, is judged when it is done:
one from an instance that is no longer the machine's counts for nothing.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from datetime import timedelta

import structlog

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.announce import Announcer
from daemon.loop import Loop
from machines.cpu_vm import VmServing, WorkspaceCopy
from machines.errors import NotYet, Refused, StepError
from machines.model import InstanceId, Machine, MachineId, is_served_by_vm
from machines.ports import Clock, VmWorkspaces
from machines.states import State

log = structlog.get_logger(__name__)

_AT_ONCE = 4
_LATE_AFTER = 3
"""So many intervals may pass without a new copy before a person is told."""
_SERVICE_EVERY_S = 30.0
_FOR_A_PERSON = frozenset({"absent", "empty", "unmounted", "unmarked", "foreign", "shrunk", "broken"})
"""Refusals that no later try would change. Others, like a connection that was lost, are tried again at the next turn."""


def copy_alert(machine: MachineId) -> str:
    return f"machine-{machine}-workspace-copy"


@dataclass(frozen=True, slots=True)
class _Pull:
    """One that was asked for, and has not ended as far as we know."""

    job: str
    instance: InstanceId


@dataclass(slots=True)
class _Kept:
    """What this process knows of one machine's copies; times are monotonic seconds."""

    due_at: float
    late_at: float
    pull: _Pull | None = None
    looked_at: float = float("-inf")
    """When it was last seen that the VM serves."""
    is_told: bool = False


class WorkspaceKeeping:
    """One periodic job, of the fleet."""

    def __init__(
        self, store: Store, loop: Loop, vms: VmWorkspaces, every_s: float, clock: Clock, announcer: Announcer
    ) -> None:
        self._store, self._loop, self._vms, self._clock = store, loop, vms, clock
        self._every_s, self._announcer = every_s, announcer
        self._kept: dict[MachineId, _Kept] = {}

    async def keep(self) -> None:
        machines = [machine for machine in self._loop.machines() if machine.cpu_standby is not None]
        present = {machine.id for machine in machines}
        self._kept = {number: kept for number, kept in self._kept.items() if number in present}
        slots = asyncio.Semaphore(_AT_ONCE)

        async def one(machine: Machine) -> None:
            async with slots:
                await self._keep_one(machine)

        await asyncio.gather(*(one(machine) for machine in machines if _is_ours(machine)))

    async def _keep_one(self, machine: Machine) -> None:
        now = self._clock.monotonic()
        kept = self._kept.get(machine.id) or await self._begin(machine, now)
        if is_served_by_vm(machine):
            if now - kept.looked_at >= _SERVICE_EVERY_S:
                kept.looked_at = now
                await self._serve_on(machine)
        elif kept.pull is not None or now >= kept.due_at:
            await self._pull(machine, kept, now)

    async def _begin(self, machine: Machine, now: float) -> _Kept:
        """Of a machine that this process has not looked after before."""
        newest = await self._vms.newest(machine)
        age_s = self._clock.since(newest.taken_at).total_seconds() if newest is not None else self._every_s
        left_s = max(0.0, self._every_s - age_s)
        return self._kept.setdefault(machine.id, _Kept(now + left_s, now + _LATE_AFTER * self._every_s))

    # -- copies

    async def _pull(self, machine: Machine, kept: _Kept, now: float) -> None:
        assert machine.primary is not None
        if kept.pull is None or kept.pull.instance != machine.primary:
            job = f"pull-{machine.primary}-{self._clock.now().timestamp():.0f}"
            kept.pull = _Pull(job, machine.primary)
            kept.due_at = now + self._every_s
        try:
            done = await self._vms.pull(machine, kept.pull.job)
        except NotYet as error:
            await self._note_late(machine, kept, error.why)
        except Refused as refused:
            kept.pull = None
            log.warning("workspace_not_copied", machine=machine.id, code=refused.code, because=refused.why)
            if refused.code in _FOR_A_PERSON:
                await self._tell(machine, kept, f"{machine.name}: its workspace is not copied to its CPU VM: {refused}")
            else:
                await self._note_late(machine, kept, refused.why)
        except StepError as error:
            await self._note_late(machine, kept, str(error))
        else:
            kept.pull = None
            if await self._save(machine, done):
                kept.late_at, kept.is_told = now + _LATE_AFTER * self._every_s, False
                log.debug("workspace_copied", machine=machine.id, files=done.files, bytes=done.size_bytes)

    async def _save(self, machine: Machine, done: WorkspaceCopy) -> bool:
        """Unless the machine has moved on meanwhile. An operator's word that it may shrink is used up."""

        def work(tx: Tx) -> Machine | None:
            now = tx.machine(machine.id)
            if now is None or not _is_ours(now) or now.primary != done.instance or now.cpu_standby is None:
                return None
            if now.cpu_standby.vm is None or now.cpu_standby.vm.id != done.vm:
                return None
            tx.save_copy(machine.id, done)
            tx.resolve_alert(copy_alert(machine.id), self._clock.now())
            if not now.cpu_standby.accepts_smaller:
                return now
            return tx.save_machine(replace(now, cpu_standby=replace(now.cpu_standby, accepts_smaller=False)))

        saved = await self._store.transact(work)
        if saved is not None:
            self._loop.follow(saved)
        return saved is not None

    async def _note_late(self, machine: Machine, kept: _Kept, why: str) -> None:
        if self._clock.monotonic() < kept.late_at:
            return
        late = timedelta(seconds=_LATE_AFTER * self._every_s)
        await self._tell(
            machine, kept, f"{machine.name}: for {late} its CPU VM has got no new copy of its workspace: {why}"
        )

    async def _tell(self, machine: Machine, kept: _Kept, text: str) -> None:
        """Once, until a copy has been made again."""
        if not kept.is_told:
            await self._store.transact(lambda tx: tx.raise_alert(copy_alert(machine.id), text, self._clock.now()))
            kept.is_told = True

    # -- service

    async def _serve_on(self, machine: Machine) -> None:
        """A VM that was reclaimed and runs again has another address, and its workload does not start by itself."""
        try:
            serving = await self._vms.serve(machine)
        except StepError as error:
            log.warning("cpu_vm_does_not_serve", machine=machine.id, because=str(error))
            return
        before = machine.cpu_standby.serving if machine.cpu_standby is not None else None
        if serving != before:
            await self._point_at(machine, serving)

    async def _point_at(self, machine: Machine, serving: VmServing) -> None:
        def work(tx: Tx) -> Machine | None:
            now = tx.machine(machine.id)
            if now is None or now.failover is not None or not is_served_by_vm(now) or now.cpu_standby is None:
                return None
            saved = tx.save_machine(replace(now, cpu_standby=replace(now.cpu_standby, serving=serving)))
            tx.post(self._announcer.machine(saved, now, self._clock.now()))
            return saved

        saved = await self._store.transact(work)
        if saved is not None:
            self._loop.follow(saved)


def _is_ours(machine: Machine) -> bool:
    """Outside of a failover, whose steps do what is to be done; and a suspect is not pulled from, it has other troubles."""
    if machine.failover is not None or machine.cpu_standby is None:
        return False
    if is_served_by_vm(machine):
        return True
    is_well = machine.state in (State.HEALTHY, State.RECOVERED)
    return is_well and machine.cpu_standby.keeps_copies and machine.primary is not None
