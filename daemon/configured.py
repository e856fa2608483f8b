"""The machines that the configuration names are registered: tried at once, and what the provider or the database keeps from
being so goes on beside everything else until it is done."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import structlog

from adapters.sql.errors import StoreUnavailable
from adapters.sql.executor import Store
from adapters.sql.records import AuditRecord
from daemon.registration import news_of
from daemon.registry import CONFIGURATION, Registry
from daemon.settings import MachineEntry
from machines.errors import Stale
from machines.model import MachineId
from machines.ports import Clock
from machines.problems import Problem, masked

log = structlog.get_logger(__name__)

_AGAIN_S = 5.0


def registration_alert(machine: int) -> str:
    """The key of the alert that stands while the configuration's machine could not be registered."""
    return f"machine-{machine}-registration"


class Configured:
    """The newest word on each machine counts: a later reload replaces what was still to be tried."""

    def __init__(self, store: Store, registry: Registry, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._clock = clock
        self._waiting: dict[int, MachineEntry] = {}
        self._task: asyncio.Task[None] | None = None

    async def register(self, entries: Sequence[MachineEntry]) -> None:
        """One try of each, which ends in time; those that failed for now are tried again by a task of their own."""
        for entry in entries:
            self._waiting[entry.id] = entry
        for entry in entries:
            await self._try(entry)
        if self._waiting and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._go_on(), name="registrations")

    def drop(self, machines: Sequence[int]) -> None:
        """The configuration names them no more."""
        for machine in machines:
            self._waiting.pop(machine, None)

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _go_on(self) -> None:
        while self._waiting:
            await self._clock.sleep(self._clock.real(_AGAIN_S))
            for entry in tuple(self._waiting.values()):
                if self._waiting.get(entry.id) is entry:
                    await self._try(entry)

    async def _try(self, entry: MachineEntry) -> None:
        """What the daemon learned since (a new primary) is not overwritten."""
        machine = MachineId(entry.id)
        try:
            await self._register(machine, entry)
        except (StoreUnavailable, Stale) as error:
            # The database is away, or another replica registers the same machines at this moment.
            log.warning("registration_postponed", machine=machine, because=str(error))
            return
        except Problem as problem:
            await self._tell(machine, f"machine {machine}: {problem}")
            if problem.status >= 500:
                log.warning("registration_postponed", machine=machine, because=str(problem))
                return
            log.error("machine_not_registered", machine=machine, problem=str(problem), remedy=problem.remedy)
        if self._waiting.get(entry.id) is entry:
            del self._waiting[entry.id]

    async def _register(self, machine: MachineId, entry: MachineEntry) -> None:
        body = entry.model_dump(exclude={"id"}, exclude_unset=True)
        known = await self._store.transact(lambda tx: tx.machine(machine))
        news, what = news_of(body, known), "register_machine" if known is None else "change_machine"
        now, detail = self._clock.now(), {"fields": sorted(news), "values": masked(dict(news))}
        audit = AuditRecord(now, CONFIGURATION, "daemon", what, machine, detail=detail)
        await self._registry.put(machine, news, audit.asked_by, audit=audit)
        await self._store.transact(lambda tx: tx.resolve_alert(registration_alert(machine), now))

    async def _tell(self, machine: MachineId, text: str) -> None:
        key, now = registration_alert(machine), self._clock.now()
        try:
            await self._store.transact(lambda tx: tx.raise_alert(key, text, now))
        except StoreUnavailable as error:
            log.warning("alert_not_stored", key=key, text=text, because=str(error))
