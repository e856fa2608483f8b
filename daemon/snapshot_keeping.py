"""Sees to it that every machine's snapshots are taken by the instance that is the machine, and by no other.

Published beside the snapshots stands each machine's fence: an instance whose order has a lower one takes none and removes
none. The order itself is laid down over SSH once an instance is the machine and serves; what was told to whom stands in the
store, so that a restart tells nobody twice and a key that was given out is never forgotten.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial

import structlog

from adapters.restic import Way
from adapters.sql.executor import Store
from adapters.sql.records import SnapshotGrant
from adapters.sql.tx import Tx
from daemon.loop import Loop
from daemon.snapshot_grants import note_higher_fence, order_alert, raise_alert_of, revoke_debts, takes_snapshots
from daemon.snapshot_ways import Ways
from machines.errors import Refused, StepError
from machines.lost import LostKind, LostThing, Standing
from machines.model import Machine, MachineId
from machines.ports import Clock, ObjectStore, Shell
from machines.shell_lines import LaySnapshotOrder
from machines.snapshots import DamagedSnapshot, Drawer, Order, pack_fence, pack_order, unpack_fence
from machines.states import State

log = structlog.get_logger(__name__)

_AT_ONCE = 8
_AGAIN_S, _LONGEST_AGAIN_S = 30.0, 600.0
_TELL_AFTER = 3
"""So many vain tries in a row to lay an order down are told to a person."""
_LOOK_AGAIN_S = 60.0
"""So long a higher fence in the store is left alone before it is read again."""
_DELETED_AT_ONCE = 20
"""Before each so many it is looked whether the machine is still not there."""
_SERVING = (State.HEALTHY, State.RECOVERED)


@dataclass(frozen=True, slots=True)
class SnapshotRules:
    """How snapshots are to be taken; seconds on the machine's own clock."""

    every_s: float
    limit_s: float
    keep: int
    install: str
    delete_after_s: float | None = None
    """So long after a machine was removed its snapshots go; None keeps and reports them."""


@dataclass(slots=True)
class _Patience:
    """Vain tries for one machine."""

    tries: int
    not_before: float


class SnapshotKeeping:
    """Two periodic jobs of the fleet: `keep` and `find_leftovers`."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        shell: Shell,
        objects: ObjectStore,
        ways: Ways,
        rules: SnapshotRules,
        clock: Clock,
    ) -> None:
        self._store, self._loop, self._shell = store, loop, shell
        self._objects, self._ways, self._rules, self._clock = objects, ways, rules, clock
        self._published: dict[MachineId, int] = {}
        """What this process published; after a restart it publishes once more."""
        self._patience: dict[MachineId, _Patience] = {}
        self._outdated: dict[MachineId, float] = {}
        """Machines of which the store knows a higher fence than we: when it is read again, monotonic."""

    async def keep(self) -> None:
        """One round: fences first, also of machines in a failover; then orders."""
        machines = [machine for machine in self._loop.machines() if takes_snapshots(machine)]
        self._forget({machine.id for machine in machines})
        await _each(machines, self._publish)
        grants = {grant.machine: grant for grant in await self._store.transact(lambda tx: tx.snapshot_grants())}
        due = [machine for machine in machines if self._wants_order(machine, grants.get(machine.id))]
        await _each(due, lambda machine: self._grant(machine, grants.get(machine.id)))

    def _forget(self, present: set[MachineId]) -> None:
        self._published = {number: fence for number, fence in self._published.items() if number in present}
        self._patience = {number: patience for number, patience in self._patience.items() if number in present}
        self._outdated = {number: again for number, again in self._outdated.items() if number in present}

    async def _publish(self, machine: Machine) -> None:
        """What stands there is never lowered: a higher fence was another machine's of the same id, or our database has
        forgotten it."""
        if self._published.get(machine.id) == machine.fence:
            return
        now = self._clock.monotonic()
        if now < self._outdated.get(machine.id, now):
            return
        try:
            known = await self._fence_in_store(Drawer(machine.id))
            if known <= machine.fence:
                await self._objects.put(Drawer(machine.id).fence, pack_fence(machine.fence))
        except StepError as error:
            log.info("fence_not_published", machine=machine.id, because=str(error))
            return
        if known > machine.fence:
            if await self._tell_outdated(machine, known):
                self._outdated[machine.id] = now + _LOOK_AGAIN_S
            return
        self._outdated.pop(machine.id, None)
        self._published[machine.id] = machine.fence

    async def _fence_in_store(self, drawer: Drawer) -> int:
        """The highest that was published or under which a snapshot was taken; 0 where nothing lies there."""
        fences = [one.fence for one in drawer.ids(found.name for found in await self._objects.list(drawer.heads))]
        body = await self._objects.get(drawer.fence)
        try:
            fences += [unpack_fence(body)] if body is not None else []
        except DamagedSnapshot as error:
            log.warning("published_fence_damaged", machine=drawer.machine, because=str(error))
        return max(fences, default=0)

    async def _tell_outdated(self, machine: Machine, known: int) -> bool:
        """False where only our memory of the machine is old: another replica has raised its fence."""
        number, now = machine.id, self._clock.now()
        text = (
            f"machine {number} takes no snapshots: under {Drawer(number).root} the store knows fence {known}, and the machine's "
            f"is {machine.fence}, so what lies there is of an earlier machine {number}, or of another failoverd; remove machine "
            f"{number} and register it again (its fence then begins above {known}), or name another snapshots.prefix"
        )

        def work(tx: Tx) -> bool:
            is_so = note_higher_fence(tx, machine, known, now)
            if is_so:
                raise_alert_of(tx, number, order_alert(number), text, now)
            return is_so

        log.warning("fence_outdated", machine=number, fence=machine.fence, known=known)
        return await self._store.transact(work)

    # -- orders

    def _wants_order(self, machine: Machine, grant: SnapshotGrant | None) -> bool:
        if machine.failover is not None or machine.state not in _SERVING or machine.ssh is None:
            return False
        if self._published.get(machine.id) != machine.fence:
            return False
        patience = self._patience.get(machine.id)
        if patience is not None and self._clock.monotonic() < patience.not_before:
            return False
        told = (grant.instance, grant.fence, grant.digest) if grant is not None else None
        needs_key = self._ways.has_keys and (grant is None or grant.key is None)
        return told != (machine.primary, machine.fence, self._digest(machine)) or needs_key

    def _digest(self, machine: Machine) -> str:
        order = pack_order(self._order(machine, self._ways.plan(machine.id)))
        return hashlib.sha256(order + machine.workspace_path.encode()).hexdigest()

    def _order(self, machine: Machine, way: Way) -> Order:
        rules = self._rules
        return Order(
            machine=int(machine.id),
            instance=int(machine.primary or 0),
            fence=machine.fence,
            place=way.place,
            password=way.password,
            every_s=rules.every_s,
            limit_s=rules.limit_s,
            keep=rules.keep,
            install=rules.install,
        )

    async def _grant(self, machine: Machine, before: SnapshotGrant | None) -> None:
        """The grant is written before the order is laid down: a key that an instance may have is known to us."""
        assert machine.primary is not None
        try:
            written = await self._ways.to_write(machine.id, machine.fence)
            is_same = before is not None and before.instance == machine.primary
            since = before.granted_at if before is not None and is_same else self._clock.now()
            begun = SnapshotGrant(machine.id, machine.primary, machine.fence, "", since, written.key)
            if not await self._store.transact(lambda tx: _begin(tx, machine, begun)):
                return
            await self._lay(machine, pack_order(self._order(machine, written.way)))
        except StepError as error:
            await self._failed(machine, str(error))
            return
        done = replace(begun, digest=self._digest(machine))
        await self._store.transact(lambda tx: self._finish(tx, done))
        self._patience.pop(machine.id, None)
        log.info("snapshots_ordered", machine=machine.id, instance=machine.primary, fence=machine.fence)

    async def _lay(self, machine: Machine, order: bytes) -> None:
        assert machine.ssh is not None
        line = LaySnapshotOrder(machine.workspace_path).line()
        said = await self._shell.run(machine.ssh, line, machine.host_key, timeout_s=30.0, stdin=order)
        if said.exit_status != 0:
            raise Refused("ssh_unreachable", f"it could not be written there: {said.stderr[:200]}")

    def _finish(self, tx: Tx, grant: SnapshotGrant) -> None:
        """Unless another instance or fence was granted meanwhile."""
        now = tx.snapshot_grant(grant.machine)
        if now is not None and (now.instance, now.fence, now.key) == (grant.instance, grant.fence, grant.key):
            tx.save_snapshot_grant(grant)
            tx.resolve_alert(order_alert(grant.machine), self._clock.now())

    async def _failed(self, machine: Machine, why: str) -> None:
        tries = self._patience[machine.id].tries + 1 if machine.id in self._patience else 1
        delay = min(_LONGEST_AGAIN_S, _AGAIN_S * 2 ** min(tries - 1, 8))
        self._patience[machine.id] = _Patience(tries, self._clock.monotonic() + delay)
        log.info("snapshots_not_ordered", machine=machine.id, because=why, again_in_s=delay)
        if tries >= _TELL_AFTER:
            text = f"machine {machine.id} cannot be told to take snapshots: {why}"
            now = self._clock.now()
            key = order_alert(machine.id)
            await self._store.transact(lambda tx: raise_alert_of(tx, machine.id, key, text, now))

    # -- what removed machines left

    async def find_leftovers(self) -> None:
        """Snapshots of machines that are no more cost money: they are told of with their size, and removed only where the
        settings name a time after which they are."""
        now = self._clock.now()
        grants, machines, lost = await self._store.transact(
            lambda tx: (tx.snapshot_grants(), tx.machines(), tx.lost_things())
        )
        present = {machine.id for machine in machines}
        things: list[LostThing] = []
        for grant in grants:
            if grant.machine not in present:
                gone = grant if grant.removed_at is not None else replace(grant, removed_at=now)
                try:
                    things += await self._leftover(gone)
                except StepError as error:
                    log.info("leftovers_not_listed", machine=grant.machine, because=str(error))
                    things += [one for one in lost if (one.kind, one.machine) == (LostKind.SNAPSHOTS, grant.machine)]
            elif grant.removed_at is not None:
                await self._store.transact(partial(_is_back, machine=grant.machine, now=now))
        await self._store.transact(lambda tx: tx.note_lost(LostKind.SNAPSHOTS, things))

    async def _leftover(self, grant: SnapshotGrant) -> list[LostThing]:
        """What is left of it, where anything is. Raise StepError where its store does not answer."""
        machine, removed_at, now = grant.machine, grant.removed_at, self._clock.now()
        assert removed_at is not None
        drawer = Drawer(machine)
        found = await self._objects.list(drawer.root)
        lives_s = self._rules.delete_after_s
        if lives_s is not None and now - removed_at >= timedelta(seconds=lives_s):
            if not await self._delete(drawer, [one.name for one in found]):
                return []
            found = ()
        size = sum(one.size for one in found) / 1e9
        text = (
            f"machine {machine} was removed, and its snapshots are kept: {size:.2f} GB in {len(found)} objects under "
            f"{drawer.root}; remove them there, or set snapshots.delete_after_s"
        )

        def note(tx: Tx) -> None:
            if tx.machine(machine) is not None:
                return
            tx.add_debts(revoke_debts(grant))
            if found:
                tx.save_snapshot_grant(replace(grant, key=None))
                tx.raise_alert(_leftover_alert(machine), text, now)
            else:
                tx.forget_snapshot_grant(machine)
                tx.resolve_alert(_leftover_alert(machine), now)

        await self._store.transact(note)
        if not found:
            return []
        what = f"{len(found)} objects, of a machine that was removed"
        place = str(drawer.root)
        return [LostThing(LostKind.SNAPSHOTS, place, Standing.RELEASED, place, machine, None, size, what, removed_at)]

    async def _delete(self, drawer: Drawer, names: Sequence[str]) -> bool:
        """The heads first, so that nothing is believed in that is about to go. False where the machine is there again: then
        the rest stays."""
        first_heads = sorted(names, key=lambda name: not name.startswith(drawer.heads))
        for at in range(0, len(first_heads), _DELETED_AT_ONCE):
            if await self._store.transact(lambda tx: tx.machine(drawer.machine)) is not None:
                return False
            for name in first_heads[at : at + _DELETED_AT_ONCE]:
                await self._objects.delete(name)
        return True


def _begin(tx: Tx, machine: Machine, grant: SnapshotGrant) -> bool:
    """False where the machine has moved on; then the key that was just made is owed its revocation."""
    now, former = tx.machine(machine.id), tx.snapshot_grant(machine.id)
    if now is None or now.failover is not None or (now.primary, now.fence) != (machine.primary, machine.fence):
        tx.add_debts(revoke_debts(grant))
        return False
    if former is not None and former.key != grant.key:
        tx.add_debts(revoke_debts(former))
    tx.save_snapshot_grant(grant)
    return True


def _is_back(tx: Tx, machine: MachineId, now: datetime) -> None:
    tx.note_removed(machine, None)
    tx.resolve_alert(_leftover_alert(machine), now)


async def _each(machines: Iterable[Machine], work: Callable[[Machine], Awaitable[None]]) -> None:
    """A few at a time."""
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(machine: Machine) -> None:
        async with slots:
            await work(machine)

    await asyncio.gather(*(one(machine) for machine in machines))


def _leftover_alert(machine: MachineId) -> str:
    return f"machine-{machine}-leftover-snapshots"
