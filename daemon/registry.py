"""Which machines there are: registered by API, command or configuration. Only an operator names what may be destroyed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import structlog

from adapters.sql.executor import Store
from adapters.sql.records import AuditRecord
from adapters.sql.tx import Tx
from daemon.after_change import follow_change
from daemon.announce import Announcer
from daemon.changes import drop_stops, follow_budget, follow_volume
from daemon.contracts import contract_alert
from daemon.cpu_wishes import debts_of_change, refuse_wish, vm_serves, with_wish
from daemon.loop import Loop
from daemon.pool_wishes import refuse_stranger, setting_for, with_pool
from daemon.prepared_pools import drop_prepared
from daemon.registered import (
    changed_machine,
    fresh_machine,
    lies_elsewhere,
    refuse_elsewhere,
    rentals,
    with_own_settings,
    with_standby,
)
from daemon.registration import Registration, parse
from daemon.replicas import leave
from daemon.snapshot_grants import resolve_alerts_of_others
from daemon.volume_users import is_owed_its_deletion
from daemon.workspace_keeping import copy_alert
from machines.errors import StepError
from machines.hold import without_token
from machines.model import (
    Instance,
    InstanceId,
    Machine,
    MachineId,
    Mode,
    Rest,
    Setting,
    Volume,
    VolumeId,
    is_served_by_vm,
)
from machines.policy import (
    Policies,
    Policy,
)
from machines.ports import Clock, GpuCloud, VolumeStore
from machines.problems import Problem, invalid, unknown_machine
from machines.states import State
from machines.volumes import RegionalVolume, VolumeStatus

log = structlog.get_logger(__name__)


_SHARED_LISTING_S = 10.0
_USUAL = Policy()
CONFIGURATION = "configuration"
"""Who registers the machines that the configuration names."""


class Registry:
    """Puts machines into the store and tells the loop."""

    def __init__(
        self,
        store: Store,
        loop: Loop,
        cloud: GpuCloud,
        volumes: VolumeStore,
        announcer: Announcer,
        clock: Clock,
        makes_cpu_vms: bool = False,
        policies: Policies = _USUAL,
    ) -> None:
        self._policies = policies
        self._store = store
        self._loop = loop
        self._cloud = cloud
        self._volumes = volumes
        self._announcer = announcer
        self._clock = clock
        self._makes_cpu_vms = makes_cpu_vms

    async def put(
        self,
        machine_id: MachineId,
        body: Mapping[str, Any],
        by: str,
        *,
        must_exist: bool = False,
        audit: AuditRecord | None = None,
    ) -> Machine:
        """Register or change; what is not named stays. A change is audited so; None where a command's row does that.
        Raise Problem (400, 404, 409, 503)."""
        wanted = parse(body)
        setting = _enum(Setting, wanted.strategy, "strategy")
        mode = _enum(Mode, wanted.auto_failover, "auto_failover")
        if not self._makes_cpu_vms:
            refuse_wish(wanted.cpu_standby)
        shown = await self._look_up(wanted.gpu_instance_id, "gpu_instance_id")
        standby = await self._look_up(wanted.standby_gpu_instance_id, "standby_gpu_instance_id")
        shelf = await self._shelf_for(machine_id, wanted)

        def work(tx: Tx) -> Machine:
            tx.lock_admission()  # What is said of the fleet meanwhile counts here, too, and two registrations see each other.
            now, fleet = self._clock.now(), self._policies.as_said(tx.fleet_settings())
            before = tx.machine(machine_id)
            if before is None and must_exist:
                raise unknown_machine(machine_id)
            machine = before or fresh_machine(machine_id, now, fleet)
            has_wish = wanted.warm_pool is not None
            chosen = setting_for(machine, setting, before is None) if has_wish else setting
            named = (
                wanted if chosen is setting or chosen is None else wanted.model_copy(update={"strategy": chosen.value})
            )
            machine = changed_machine(machine, wanted, chosen, mode, shown, now, fleet)
            machine = with_own_settings(machine, named, fleet, by == CONFIGURATION)
            machine = with_standby(machine, _on_present_volume(tx, machine, wanted), standby)
            if "cpu_standby" in wanted.model_fields_set:
                machine = with_wish(machine, wanted.cpu_standby)
            if "warm_pool" in wanted.model_fields_set:
                machine = with_pool(machine, wanted.warm_pool)
            if has_wish:
                refuse_stranger(machine)
            if before is not None and before.failover is not None and rentals(machine) != rentals(before):
                raise Problem(
                    409,
                    "failover_in_progress",
                    f"failover {before.failover.id} decides which instance machine {machine_id} has",
                    "wait until it has ended",
                    {"failover_id": before.failover.id},
                )
            if before is not None and before.primary != machine.primary and is_served_by_vm(machine):
                raise vm_serves(before)
            if before == machine:
                return machine
            if machine.volume is not None and (before is None or lies_elsewhere(before, machine)):
                refuse_elsewhere(machine, machine.volume.id, shelf)
            _refuse_taken(tx, machine, before)
            if audit is not None:
                tx.audit(audit)
            machine = tx.register_machine(machine, now) if before is None else tx.save_machine(machine)
            if machine.primary is not None and (before is None or before.primary != machine.primary):
                tx.note_primary(machine.primary, machine.id, now)
            if machine.primary is not None and machine.failover is None and not is_served_by_vm(machine):
                drop_stops(tx, machine.primary, now)
            follow_budget(tx, before, machine, now)
            follow_volume(tx, before, machine, now)
            _leave_copy(tx, before, machine)
            tx.post(self._announcer.machine(machine, before, now))
            tx.add_debts(debts_of_change(machine, before, now))
            if before is not None and is_served_by_vm(before) and not is_served_by_vm(machine):
                tx.forget_copy(machine_id)  # What was given up stands in it.
            follow_change(tx, machine, before, now)
            return machine

        machine = await self._store.transact(work)
        self._loop.follow(machine)
        log.info("machine_registered", machine=machine.id, instance=machine.primary, mode=machine.mode.value, by=by)
        return machine

    async def _look_up(self, named: int | None, field_name: str) -> Instance | None:
        """What the provider says of the instance; without an answer nothing is registered under its name."""
        if named is None:
            return None
        instance = InstanceId(named)
        try:
            # One listing serves a whole fleet; a single read each would take two seconds a machine.
            listing = await self._cloud.list(_SHARED_LISTING_S, about=(instance,))
            shown = listing.instances.get(instance) or await self._cloud.show(instance)
        except StepError as error:
            raise Problem(
                503, "provider_unavailable", f"the provider gave no answer on instance {instance}: {error}", "try again"
            ) from error
        if shown is None:
            raise invalid(field_name, instance, "an instance that the provider knows")
        return shown

    async def _shelf_for(self, machine_id: MachineId, wanted: Registration) -> Mapping[VolumeId, Volume]:
        """The provider's volumes, where one is named, or the machine that lies on one gets another instance. One list serves
        a whole fleet; what was rented a moment ago may be in a new one only."""
        known = self._loop.known(machine_id)
        moves = wanted.gpu_instance_id is not None and known is not None and known.volume is not None
        if wanted.volume_id is None and not moves:
            return {}
        primary = wanted.gpu_instance_id or (known.primary if known is not None else None)
        try:
            shelf = await self._volumes.volumes(_SHARED_LISTING_S)
            named = shelf.get(VolumeId(wanted.volume_id or 0))
            return shelf if named is not None and primary in named.holders else await self._volumes.volumes()
        except StepError as error:
            raise Problem(
                503, "provider_unavailable", f"the provider gave no answer on its volumes: {error}", "try again"
            ) from error

    def rest(self, tx: Tx, machine_id: MachineId, rest: Rest | None) -> Machine:
        """Pause this machine alone, or resume it; who calls makes it count after the commit. Raise Problem (404)."""
        before = tx.machine(machine_id)
        if before is None:
            raise unknown_machine(machine_id)
        if before.rest == rest:
            return before
        now, is_suspect = self._clock.now(), before.state is State.DETECTING and before.failover is None
        machine = tx.save_machine(replace(before, rest=rest, look_at=now if is_suspect else before.look_at))
        tx.post(self._announcer.machine(machine, before, now))
        return machine

    async def beat_generation(self, machine_id: MachineId) -> int:
        """How often the machine's beat token was revoked; of one that is known here from memory, whatever the store does:
        an outage must not silence machines. Raise StoreUnavailable."""
        machine = self._loop.known(machine_id)
        if machine is not None:
            return machine.beat_generation
        return await self._store.transact(lambda tx: tx.beat_generation(machine_id))

    async def revoke_beats(self, machine_id: MachineId, audit: AuditRecord) -> Machine:
        """From now on only a new beat token is taken for the machine. Raise Problem (404, 409)."""

        def work(tx: Tx) -> Machine:
            before = _at_rest(tx, machine_id)  # A replacement may have been given the token already.
            now = self._clock.now()
            machine = tx.revoke_beats(without_token(before, now))
            tx.audit(audit)
            tx.post(self._announcer.machine(machine, before, now))
            return machine

        machine = await self._store.transact(work)
        self._loop.follow(machine)
        log.info("beat_token_revoked", machine=machine_id, by=audit.asked_by)
        return machine

    async def remove(self, machine_id: MachineId, audit: AuditRecord | None = None) -> None:
        """Forget the machine; its instance is left running. It is audited as `put` is. Raise Problem (404, 409)."""
        await self._store.transact(lambda tx: self.take_away(tx, machine_id, audit))
        self._loop.forget(machine_id)

    def take_away(self, tx: Tx, machine_id: MachineId, audit: AuditRecord | None = None) -> None:
        """The same in the caller's transaction, after which the caller forgets the machine too."""
        machine, now = _at_rest(tx, machine_id), self._clock.now()
        if audit is not None:
            tx.audit(audit)
        left = with_wish(machine, None)
        drop_prepared(tx, machine, "its machine was removed", now)
        tx.remove_machine(machine_id)
        follow_budget(tx, machine, None, now)
        if machine.primary is not None:
            drop_stops(tx, machine.primary, now)
        tx.forget_copy(machine_id)
        tx.resolve_alert(copy_alert(machine_id), now)
        tx.add_debts(debts_of_change(left, machine, now))
        tx.follow_volume(machine_id, machine.volume, None)
        if machine.volume is not None and machine.volume.replica is not None:
            leave(tx, machine, machine.volume.replica.id, "its machine was removed")
        tx.resolve_alert(f"machine-{machine_id}", now)
        tx.resolve_alert(contract_alert(machine_id), now)
        resolve_alerts_of_others(tx, machine_id, None, now)
        tx.post((self._announcer.removed(machine),))


def _at_rest(tx: Tx, machine_id: MachineId) -> Machine:
    """Raise Problem (404, 409)."""
    machine = tx.machine(machine_id)
    if machine is None:
        raise unknown_machine(machine_id)
    if machine.failover is not None:
        raise Problem(
            409,
            "failover_in_progress",
            f"failover {machine.failover.id} of machine {machine_id} is running",
            "wait until it has ended, or cancel it",
            {"failover_id": machine.failover.id},
        )
    return machine


def _enum(kind: type[Setting] | type[Mode], value: str | None, name: str) -> Any:
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        raise invalid(name, value, "one of " + ", ".join(member.value for member in kind)) from None


def _refuse_taken(tx: Tx, machine: Machine, before: Machine | None) -> None:
    """What another machine has already: whoever failed one of two over would stop the other. Under the admission's lock.
    Raise Problem (409)."""
    named = {"gpu_instance_id": machine.primary, "standby_gpu_instance_id": _standby_of(machine)}
    had = {None, *((before.primary, _standby_of(before)) if before is not None else ())}
    for name, instance in named.items():
        holder = None if instance is None or instance in had else tx.another_with(instance, machine.id)
        if holder is not None:
            detail = f"{name}: instance {instance} is machine {holder}'s"
            remedy = f"name another instance, or take it from machine {holder} first"
            raise Problem(409, "instance_in_use", detail, remedy, {"field": name, "machine_id": holder})
    namesake = None if before is not None and before.name == machine.name else tx.namesake(machine.name, machine.id)
    if namesake is not None:
        detail = f"name: machine {namesake} is called {machine.name!r} already"
        raise Problem(409, "name_in_use", detail, "choose another name", {"field": "name", "machine_id": namesake})


def _standby_of(machine: Machine) -> InstanceId | None:
    return None if machine.standby is None else machine.standby.instance


def _on_present_volume(tx: Tx, machine: Machine, wanted: Registration) -> Registration:
    """A regional volume keeps its id for clients, whichever of the provider's volumes it lies on now. Raise Problem (409)."""
    if wanted.volume_id is None:
        return wanted
    named = VolumeId(wanted.volume_id)
    row = tx.regional_volume(named) or tx.row_of_volume(named)
    present = row.volume or named if row is not None else named
    if machine.volume is not None and machine.volume.id == present:
        return wanted.model_copy(update={"volume_id": int(present)})  # Nothing changes.
    if row is not None:
        _refuse_row(tx, row, machine.id)
    if is_owed_its_deletion(tx, present):
        detail = f"volume {present} is owed its deletion"
        raise Problem(409, "volume_not_available", detail, "name another volume", {"volume_id": wanted.volume_id})
    return wanted.model_copy(update={"volume_id": int(present)})


def _refuse_row(tx: Tx, row: RegionalVolume, machine: MachineId) -> None:
    """Raise Problem (409) where the machine cannot lie on this volume of the books."""
    what = f"regional volume {row.handle}" if row.handle is not None else f"volume {row.volume}"
    extra = {"volume_id": row.handle or row.volume}
    main = tx.volume_row(row.replica_of) if row.replica_of is not None else None
    if row.status is not VolumeStatus.AVAILABLE or row.volume is None:
        raise Problem(409, "volume_not_available", f"{what} is {row.status.value}", "name another volume", extra)
    if main is not None:
        remedy = f"name regional volume {main.handle}; a failover takes its copy where the volume is lost"
        raise Problem(409, "volume_not_available", f"{what} is a copy of volume {main.volume}", remedy, extra)
    if row.machine not in (None, machine):
        detail = f"{what} is that of machine {row.machine}"
        raise Problem(409, "volume_attached", detail, "name another volume", extra)


def _leave_copy(tx: Tx, before: Machine | None, machine: Machine) -> None:
    """The copy of a volume that the machine lies on no more is nobody's."""
    former = before.volume.replica if before is not None and before.volume is not None else None
    if former is not None and (machine.volume is None or machine.volume.replica != former):
        leave(tx, machine, former.id, "its machine lies on another volume now")
