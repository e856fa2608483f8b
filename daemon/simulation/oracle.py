"""Holds what happens against the invariants I1 to I10 of the safety reference, by the provider's truth.

What the daemon has written down counts only where an invariant is about its records: an intent before a call, a fence
on a write, an answer to a command.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx

from adapters.sim.vm_bodies import WRITTEN
from adapters.sim.world import World
from daemon.simulation.books import CommandRow, FailoverRow, JournalRow, MachineRow, stored
from daemon.simulation.intents import Intents, Mutation, mutation_of

if TYPE_CHECKING:
    from daemon.simulation.replica import Replica
    from daemon.simulation.theatre import Theatre

AUTOMATIC = frozenset({"heartbeat_lost", "notice", "fault"})
UNCLAIMED_S = 120.0
WELL_S = 60.0
"""A machine that has truly served for so long gives no reason for an automatic failover."""
BLIND_AFTER_S = 8.0
"""A replica has noticed by then that its own ticks do not come back."""
LATEST_BEAT_S = 150.0
"""The oldest beat that may pass for a sign of life: 90 s late, and as long as a stalled path takes to be noticed."""
_RESUMED = {("detecting", "healthy"), ("failed", "healthy")}
DEADLINE = timedelta(hours=2)
"""More than all tries and waits of a ladder's steps take together."""
_VM_CHANGES = ("insert", "start", "stop", "delete", "setLabels")
_RENEWALS = "Leases.tend."
"""Counts leases up; the oracle asks only who holds them."""
_QUIET_WORK = ("Leases.", "Publisher.", "Sweep.ring", "Sweep.resume", "Loop.load", "Loop.catch_up")


@dataclass(frozen=True, slots=True)
class Violation:
    at_s: float
    invariant: str
    text: str

    def __str__(self) -> str:
        minutes, seconds = divmod(self.at_s, 60)
        return f"{self.invariant} at {int(minutes):02d}:{seconds:04.1f}: {self.text}"


class Oracle:
    """Looks at every commit, every call to the provider, every change of a body, and once a second."""

    def __init__(self, theatre: Theatre) -> None:
        self._theatre, self._books = theatre, theatre.books
        self._caps = theatre.settings.policy
        self.violations: list[Violation] = []
        self.seen: Counter[str] = Counter()
        """How often each kind of thing happened, for the report."""
        self.intents = Intents(theatre.books)
        self._changes = -1
        self._machines: dict[int, MachineRow] = {}
        self._rows: list[MachineRow] = []
        """As they were read last: unchanged rows are the same list."""
        self._failovers: dict[str, FailoverRow] = {}
        self._journal: dict[str, int] = {}
        self._told: dict[str, str] = {}
        """The step that each failover's story spoke of last."""
        self._fences: dict[int, int] = {}
        self._answers: dict[str, str | None] = {}
        self._commands: list[CommandRow] = []
        self._ill_at: dict[int, float] = {}
        self._closed_at: dict[str, float] = {}
        self._stood: tuple[object, ...] = ()
        self._lost: list[tuple[str, int]] = []
        self._unclaimed: dict[tuple[str, int], float] = {}
        self._labels: dict[str, int] = {}

    # -- what it is told

    def remember(self) -> None:
        """What stands in the books now was not done under its eyes: it is history, and is not judged."""
        self._machines = {row.id: row for row in self._books.machines()}
        self._fences = {row.id: row.fence for row in self._machines.values()}
        self._failovers = {row.id: row for row in self._books.failovers()}
        self._journal = {number: len(self._books.journal(number)) for number in self._failovers}
        self._answers = {row.id: row.answer for row in self._books.commands() if row.answer is not None}

    def on_commit(self, replica: Replica, work: str) -> None:
        """After every transaction of any replica."""
        if work.startswith(_RENEWALS):
            if self._books.overlook():
                self._theatre.history.note(replica.name, f"commit {work}")
            return
        changes = self._books.changes
        if changes == self._changes:
            return
        self._changes = changes
        self._theatre.history.note(replica.name, f"commit {work}")
        if not work.startswith(_QUIET_WORK):
            self._read_books(replica)

    def on_call(self, replica: Replica, request: httpx.Request) -> None:
        """Before a call reaches the provider."""
        self.seen["provider calls"] += 1
        self._theatre.history.note(replica.name, f"{request.method} {request.url.raw_path.decode()}")
        mutation = mutation_of(request)
        if mutation is None:
            return
        self.seen["changing calls"] += 1
        if mutation.instance is not None and mutation.instance not in self._theatre.world.world.instances:
            return  # There is nothing left that the call could change.
        label = self._label_of(mutation.instance) if mutation.instance else mutation.label
        why = self.intents.why_not(mutation, label)
        if why is not None:
            self._violate("I2", f"{replica.name} sent {mutation} without a durable intent: {why}")
        self._check_lease(replica, mutation, label)

    def on_answer(self, replica: Replica, request: httpx.Request, response: httpx.Response | None) -> None:
        """When the provider is done with a call, also where nobody waits any more."""
        said = "no answer" if response is None else str(response.status_code)
        self._theatre.history.note("provider", f"{said} to {request.method} {request.url.path}")
        mutation = mutation_of(request)
        if mutation is not None:
            self._theatre.history.tell(replica.name, f"{mutation}: {said}")
        self._check_labels()

    def on_vm_call(self, replica: Replica, what: str, path: Mapping[str, str], body: Any) -> None:
        """Before a call reaches the provider of CPU VMs."""
        self.seen["provider calls"] += 1
        vm = self._theatre.world.world.compute.find(path.get("zone", ""), path.get("instance", ""))
        name = body["name"] if what == "insert" else vm.name if vm is not None else None
        self._theatre.history.note(replica.name, f"compute {what} {name or ''}")
        if what not in _VM_CHANGES or name is None:
            return
        self.seen["changing calls"] += 1
        self._theatre.history.tell(replica.name, f"{what} VM {name}")
        if not self._explains_vm(name) or (what == "insert" and name in self._books.vms().values()):
            self._violate("I2", f"{replica.name} sent {what} for VM {name} without a durable intent")
        if replica.name not in self._holders_of_vm(what, name):
            self._violate("I7", f"{replica.name} sent {what} for VM {name} without a lease for it")

    def _holders_of_vm(self, what: str, name: str) -> set[str | None]:
        """The fleet's jobs look after VMs; a failover may start the one of its machine."""
        holders = {self._books.lease_holder("fleet")}
        if what == "start":
            machines = {machine for machine, vm in self._books.vms().items() if vm == name}
            running = [row.id for row in self._books.failovers(()) if row.machine in machines]
            holders |= {self._books.lease_holder(number) for number in running}
        return holders

    def _explains_vm(self, name: str) -> bool:
        return name in self._books.vms().values() or name in self.intents.explained()[1]

    def on_world(self) -> None:
        """After every change of a body."""
        self._check_serving()

    def on_second(self) -> None:
        now = self._theatre.clock.monotonic()
        self._check_serving()
        self._watch_planes(now)
        for replica in self._theatre.replicas:
            self._theatre.history.note(replica.name, f"{replica.process.turns if replica.process else 0} turns")
        for person in self._theatre.people:
            machine = self._machines.get(int(person.id))
            if machine is not None and not self._is_well(machine.primary):
                self._ill_at[machine.id] = now
        self._check_unclaimed()
        self._check_crashes()
        for failover in self._failovers.values():
            if failover.ended_at is None and failover.started_at < stored(self._theatre.clock.now()):
                self._check_deadline(failover)

    def _check_lease(self, replica: Replica, mutation: Mutation, label: str | None) -> None:
        """Whoever acts holds the lease, as it stands in the store: a replica that was overtaken acts no more."""
        leases = self.intents.leases_of(mutation, label)
        holders = {lease: self._books.lease_holder(lease) for lease in sorted(leases)}
        if leases and replica.name not in holders.values():
            self._violate("I7", f"{replica.name} sent {mutation}, whose leases are held by {holders}")

    # -- I1, I2: the provider's truth

    def _check_serving(self) -> None:
        serving: dict[str, list[int]] = {}
        for number, body in self._theatre.world.bodies.of.items():
            if body.serves:
                serving.setdefault(body.instance.env.get("FAILOVERD_MACHINE_ID", ""), []).append(number)
        for vm in self._theatre.world.vm_bodies.of.values():
            if vm.is_at_work:
                serving.setdefault(str(vm.machine), []).append(vm.vm.id)
            for lost in vm.given_up:
                self._violate("I1", f"VM {vm.vm.name} gave up what it had written: {lost}")
        for machine, instances in serving.items():
            if len(instances) > 1:
                self._violate("I1", f"machine {machine} is served by {sorted(instances)} at once")

    def _check_carried(self, row: MachineRow) -> None:
        """What a CPU VM's workload wrote in the machine's place is on the instance that became the machine."""
        body = self._theatre.world.bodies.of.get(row.primary or 0)
        for vm in self._theatre.world.vm_bodies.of.values():
            is_there = (vm.vm.zone, vm.vm.name) in self._theatre.world.world.compute.vms
            if not is_there or vm.machine != row.id or vm.written is None:
                continue
            if body is None or body.read(f"/workspace/{WRITTEN}") != vm.written:
                self._violate(
                    "I1", f"machine {row.id} lives on {row.primary} without what VM {vm.vm.name} wrote for it"
                )
            vm.written = None
            self.seen["work of a VM carried over"] += 1

    def _check_labels(self) -> None:
        """One rental for each label that a daemon mints: a second one is a call that was repeated blindly."""
        for instance in self._theatre.world.world.instances.values():
            label = instance.label or ""
            if label.startswith("fo-") and self._labels.setdefault(label, instance.id) != instance.id:
                self._violate("I2", f"instances {self._labels[label]} and {instance.id} bear one label, {label}")

    def _label_of(self, instance: int) -> str | None:
        found = self._theatre.world.world.instances.get(instance)
        return found.label if found is not None else None

    # -- I3

    def _check_unclaimed(self) -> None:
        """Seconds in which a daemon was there that could have seen and done something about it."""
        world = self._theatre.world.world
        stands = (self._books.changes, *world.instances, *world.volumes.volumes, *world.compute.vms)
        if stands != self._stood:
            self._stood, self._lost = stands, self._find_lost(world)
        able = any(replica.is_able for replica in self._theatre.replicas) and not world.faults.faults
        before, self._unclaimed = self._unclaimed, {}
        for thing in self._lost:
            self._unclaimed[thing] = before.get(thing, 0.0) + (1.0 if able else 0.0)
            if self._unclaimed[thing] > UNCLAIMED_S:
                self._violate("I3", f"{thing[0]} {thing[1]} has been claimed by nothing for {UNCLAIMED_S:.0f} s")

    def _find_lost(self, world: World) -> list[tuple[str, int]]:
        """What is rented and explained by no record; both stay what they are until a row or a rental changes."""
        instances, labels, volumes = self.intents.explained()
        being_made = {row.host for row in self._books.volumes() if row.status == "creating"}
        return [
            *(
                ("instance", one.id)
                for one in world.instances.values()
                if not self._is_explained(one.id, instances, labels)
            ),
            *(
                ("volume", one.id)
                for one in world.volumes.volumes.values()
                if one.id not in volumes and one.label not in labels and one.host.machine_id not in being_made
            ),
            *(("VM", one.id) for one in world.compute.vms.values() if not self._explains_vm(one.name)),
        ]

    def _is_explained(self, instance: int, instances: set[int], labels: set[str]) -> bool:
        return instance in instances or self._label_of(instance) in labels

    # -- I4 to I9: the records

    def _read_books(self, replica: Replica) -> None:
        if (rows := self._books.machines()) is not self._rows:
            self._rows, self._machines = rows, {row.id: row for row in self._follow_machines(replica, rows)}
        running = {row.id for row in self._failovers.values() if row.ended_at is None}
        for row in self._books.failovers(running):
            before = self._failovers.get(row.id)
            self._failovers[row.id] = row
            if before is None:
                self._on_begun(replica, row)
            if row.ended_at is not None and (before is None or before.ended_at is None):
                self._on_ended(replica, row)
            if before is None or before.ended_at is None:
                self._read_journal(replica, row)
        automatic = [row for row in self._failovers.values() if row.ended_at is None and row.reason in AUTOMATIC]
        if len(automatic) > self._caps.max_concurrent:
            self._violate("I4", f"{len(automatic)} automatic failovers run, the cap is {self._caps.max_concurrent}")
        self._check_commands()

    def _follow_machines(self, replica: Replica, rows: Iterable[MachineRow]) -> Iterable[MachineRow]:
        for row in rows:
            before = self._machines.get(row.id)
            if row.fence < self._fences.get(row.id, 0):
                self._violate("I7", f"the fence of machine {row.id} fell from {self._fences[row.id]} to {row.fence}")
            self._fences[row.id] = row.fence
            if before is not None and before.state != row.state:
                self.seen[f"edge {before.state} -> {row.state}"] += 1
                self._check_resumed(before, row)
                self._theatre.history.tell(
                    replica.name,
                    f"machine {row.id}: {before.state} -> {row.state}, fence {row.fence}: {row.because[:110]}",
                )
            if before is not None and before.primary != row.primary:
                self._theatre.history.tell(replica.name, f"machine {row.id} lives on instance {row.primary}")
                self._ill_at[row.id] = self._theatre.clock.monotonic() - WELL_S
                self._check_carried(row)
            yield row

    def _check_resumed(self, before: MachineRow, row: MachineRow) -> None:
        """A machine is well again only where its own instance has really spoken lately; a late beat may be old."""
        spoke_at = self._theatre.air.spoke_at.get(row.primary or 0, 0.0)
        silent_s = self._theatre.clock.monotonic() - spoke_at
        if (before.state, row.state) in _RESUMED and row.primary == before.primary and silent_s > LATEST_BEAT_S:
            self._violate(
                "I1", f"machine {row.id} became healthy, its instance {row.primary} is silent for {silent_s:.0f} s"
            )

    def _on_begun(self, replica: Replica, row: FailoverRow) -> None:
        self.seen["failovers"] += 1
        self._theatre.history.tell(replica.name, f"failover {row.id} of machine {row.machine} begins ({row.reason})")
        if row.command is not None and sum(one.command == row.command for one in self._failovers.values()) > 1:
            self._violate("I9", f"command {row.command} began more than one failover")
        if not self._books.is_audited(row.id):
            self._violate("I8", f"no audit row says who began failover {row.id}")
        if row.reason not in AUTOMATIC:
            return
        self.seen["automatic failovers"] += 1
        self._check_brake(row)
        self._check_pause(row)
        self._check_evidence(row)
        self._check_plane(replica, row)
        now = self._theatre.clock.monotonic()
        if self._is_well(row.old_instance) and now - self._ill_at.get(row.machine, 0.0) > WELL_S:
            self._violate(
                "I5", f"failover {row.id} of machine {row.machine}, whose instance {row.old_instance} serves well"
            )

    def _check_brake(self, row: FailoverRow) -> None:
        """It did not begin beside too many others, nor before a more important one that asked just now and could."""
        mine = self._machines[row.machine]
        busy = [one for one in self._machines.values() if one.failover is not None and one.id != mine.id]
        on_host = sum(1 for one in busy if one.host == mine.host)
        if on_host >= self._caps.max_per_host:
            self._violate("I4", f"failover {row.id} began beside {on_host} others of host {mine.host}")
        renting = sum(1 for one in busy if one.state != "warm_pool_attempt")
        rents = mine.setting == "cpu_standby"
        if rents and renting >= self._caps.max_per_provider:
            self._violate("I4", f"failover {row.id} began beside {renting} others that rent")
        recent = stored(self._theatre.clock.now() - timedelta(seconds=self._caps.retry_admission_s))
        skewed = any(replica.clock.skew for replica in self._theatre.replicas)
        waiting = [
            one
            for one in self._machines.values()
            if one.failover is None and one.priority > mine.priority and one.asked_at is not None
            if one.asked_at >= recent
        ]
        in_line = sum(1 for one in waiting if one.waits_for in ("place", "rental"))
        if rents and in_line and renting + in_line >= self._caps.max_per_provider and not skewed:
            names = sorted(one.id for one in waiting)
            self._violate("I4", f"failover {row.id} of machine {mine.id} passed machines {names}, which waited")

    def _check_pause(self, row: FailoverRow) -> None:
        until = self._books.paused_until()
        skewed = any(replica.clock.skew for replica in self._theatre.replicas)
        if until is not None and until > stored(self._theatre.clock.now()) and not skewed:
            self._violate("I5", f"failover {row.id} began automatically while automatic action was paused")

    def _check_evidence(self, row: FailoverRow) -> None:
        words = {said["source"]: said["word"] for said in (row.evidence or {}).get("testimonies", ())}
        by_provider = words.get("provider") in ("dead", "gone", "crashed")
        if not by_provider and words.get("ssh") != "dead":
            self._violate("I8", f"failover {row.id} rests on no second source: {words or 'no evidence at all'}")

    def _check_plane(self, replica: Replica, row: FailoverRow) -> None:
        """Silence means nothing to a replica whose own way to the heartbeats is closed; the provider's word does."""
        words = {said["source"]: said["word"] for said in (row.evidence or {}).get("testimonies", ())}
        closed_s = self._theatre.clock.monotonic() - self._closed_at.get(replica.name, self._theatre.clock.monotonic())
        if words.get("provider") not in ("dead", "gone", "crashed") and closed_s > BLIND_AFTER_S:
            self._violate("I5", f"failover {row.id} began on {replica.name}, which heard nothing for {closed_s:.0f} s")

    def _watch_planes(self, now: float) -> None:
        for replica in self._theatre.replicas:
            if replica.hears:
                self._closed_at.pop(replica.name, None)
            else:
                self._closed_at.setdefault(replica.name, now)

    def _on_ended(self, replica: Replica, row: FailoverRow) -> None:
        outcome = f"succeeded by {row.strategy or 'repair_primary'}" if row.success else f"ended with {row.code}"
        self.seen[f"failover {outcome}"] += 1
        self._theatre.history.tell(replica.name, f"failover {row.id} of machine {row.machine} {outcome}")
        cancels = [one for one in self._books.commands() if one.kind == "cancel" and one.failover == row.id]
        if any(one.status != "refused" for one in cancels):
            self.seen["failovers that were cancelled"] += 1
            if row.success:
                self._violate("I9", f"failover {row.id} of machine {row.machine} was cancelled, and went on to its end")

    def _read_journal(self, replica: Replica, row: FailoverRow) -> None:
        known = self._journal.get(row.id, 0)
        fresh = self._books.journal(row.id, known)
        self._journal[row.id] = known + len(fresh)
        for entry in fresh:
            self._check_entry(replica, row, entry)

    def _check_entry(self, replica: Replica, row: FailoverRow, entry: JournalRow) -> None:
        self.seen[f"step {entry.step} {entry.mark}"] += 1
        what = f"machine {row.machine}: {entry.step} {entry.mark}"
        is_again = entry.mark == "started" and self._told.get(row.id) == entry.step
        self._told[row.id] = entry.step
        if entry.mark == "waiting" or is_again:
            self._theatre.history.note(replica.name, what)
        else:
            self._theatre.history.tell(replica.name, what)
        fence = self._fences.get(row.machine, entry.fence)
        if entry.fence != fence:
            self._violate("I7", f"{what} was written under fence {entry.fence}, the machine's is {fence}")
        holder = self._books.lease_holder(row.id)
        if holder not in (None, replica.name):
            self._violate("I7", f"{what} was written by {replica.name}, the lease is held by {holder}")

    def _check_deadline(self, row: FailoverRow) -> None:
        began = row.started_at
        limit = stored(self._theatre.clock.now() - DEADLINE)
        if began < limit:
            self._violate("I6", f"failover {row.id} of machine {row.machine} has been running since {began}")

    def _check_commands(self) -> None:
        if (commands := self._books.commands()) is self._commands:
            return
        self._commands = commands
        for row in commands:
            before = self._answers.get(row.id)
            if before is not None and before != row.answer:
                self._violate("I9", f"the answer to command {row.id} was changed ({row.status})")
            if row.answer is not None:
                self._answers[row.id] = row.answer

    # -- the daemon itself

    def _check_crashes(self) -> None:
        for replica in self._theatre.replicas:
            for crash in replica.crashes:
                self._violate("crash", f"{replica.name}: {crash}")

    def _is_well(self, instance: int | None) -> bool:
        """Does it truly serve, and could anybody see that it does?"""
        body = self._theatre.world.bodies.of.get(instance or 0)
        if body is None or not body.serves or not body.gpu_works or not body.instance.ssh_open:
            return False
        return body.instance.intended == "running"

    def _violate(self, invariant: str, text: str) -> None:
        violation = Violation(self._theatre.clock.monotonic(), invariant, text)
        if all(one.text != text for one in self.violations):
            self.violations.append(violation)
            self._theatre.history.tell("ORACLE", f"{invariant}: {text}")
