"""Looks at the daemon's own rows again and again, and says in short sentences what has changed between two looks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from adapters.sql.executor import Store
from adapters.sql.tx import Tx
from daemon.step_words import told
from daemon.timeline import timeline
from machines.model import Debt, DebtKind, InstanceId, Label, Machine, MachineId, Source
from machines.ports import Clock
from machines.states import State

_SERVING = (State.HEALTHY, State.RECOVERED)


@dataclass(frozen=True, slots=True)
class Look:
    """All that the daemon has written down, at one time."""

    at: datetime
    machines: Mapping[MachineId, Machine] = field(default_factory=dict)
    failovers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Timelines by id, the oldest first."""
    debts: Sequence[Debt] = ()
    alerts: Mapping[str, str] = field(default_factory=dict)

    def owed(self) -> list[Debt]:
        """What is to be done now; a volume that is kept for a person stands for days."""
        return [debt for debt in self.debts if debt.kind is not DebtKind.KEEP_VOLUME]

    def failovers_of(self, machine: MachineId) -> list[Mapping[str, Any]]:
        return [shown for shown in self.failovers.values() if shown["machine_id"] == machine]

    def running(self) -> list[Mapping[str, Any]]:
        return [shown for shown in self.failovers.values() if shown["state"] == "running"]

    def explained(self) -> tuple[frozenset[InstanceId], frozenset[Label]]:
        """(instances, labels) that a primary, a standby, an open debt or a running failover's claims account for."""
        instances = {machine.primary for machine in self.machines.values()} | {debt.instance for debt in self.debts}
        instances |= {machine.standby.instance for machine in self.machines.values() if machine.standby is not None}
        labels = {debt.label for debt in self.debts}
        for shown in self.running():
            instances.add(shown["old_gpu_instance_id"])
            for attempt in shown["attempts"]:
                labels |= {candidate["label"] for candidate in attempt["candidates"]}
        return frozenset(one for one in instances if one), frozenset(one for one in labels if one)


async def look(store: Store, clock: Clock) -> Look:
    """In one transaction, so that nothing is seen half done."""

    def read(tx: Tx) -> Look:
        records = reversed(tx.failovers(limit=1000))
        return Look(
            clock.now(),
            {machine.id: machine for machine in tx.machines()},
            {str(record.id): timeline(record, tx.timeline(record.id)) for record in records},
            tuple(tx.open_debts()),
            {alert.key: alert.text for alert in tx.open_alerts()},
        )

    return await store.transact(read)


def narrate(before: Look, after: Look) -> list[str]:
    """What a person who watches should hear of what happened between two looks, in its order."""
    said: list[str] = []
    for machine in after.machines.values():
        was = before.machines.get(machine.id)
        if was is not None:
            said += _of_detection(was, machine)
    for number, shown in after.failovers.items():
        name = after.machines[shown["machine_id"]].name
        said += _of_failover(name, before.failovers.get(number), shown)
    for machine in after.machines.values():
        was = before.machines.get(machine.id)
        if was is not None:
            said += _of_outcome(was, machine)
    said += [f"attention: {text}" for key, text in after.alerts.items() if key not in before.alerts]
    said += [f"over: {text}" for key, text in before.alerts.items() if key not in after.alerts]
    return said + list(_of_debts(before, after))


def _of_detection(was: Machine, machine: Machine) -> Iterator[str]:
    if was.state in _SERVING and machine.primary == was.primary and machine.state not in _SERVING:
        yield f"{machine.name} is silent; asking the provider and its SSH port."
    if was.state is State.DETECTING and machine.state is State.HEALTHY:
        yield f"{machine.name} spoke again: nothing is done."
    if machine.state not in _SERVING and _words(machine) and _words(machine) != _words(was):
        yield f"{machine.name}: {_words(machine)}."


def _words(machine: Machine) -> str:
    """What each source said, without the times."""
    testimonies = machine.evidence.testimonies if machine.evidence is not None else ()
    return ", ".join(f"{_WHO.get(said.source, said.source.value)} says {said.word.value}" for said in testimonies)


_WHO = {Source.PROVIDER: "the provider", Source.SSH: "its SSH port"}


def _of_failover(name: str, was: Mapping[str, Any] | None, shown: Mapping[str, Any]) -> Iterator[str]:
    if was is None:
        yield f"{name} is dead: {shown['because']}."
        yield f"{name}: failover {shown['failover_id']} begins ({shown['strategy_attempted']})."
    known = {attempt["number"]: attempt for attempt in was["attempts"]} if was is not None else {}
    for attempt in shown["attempts"]:
        yield from _of_attempt(name, known.get(attempt["number"]), attempt)


def _of_attempt(name: str, was: Mapping[str, Any] | None, attempt: Mapping[str, Any]) -> Iterator[str]:
    candidates = {one["number"]: one["status"] for one in was["candidates"]} if was is not None else {}
    for one in attempt["candidates"]:
        if one["number"] not in candidates:
            yield f"{name}: renting a {one['gpu_name']} on host {one['host']} for {one['price_per_hour']:.2f} $/h."
        if one["status"] == "dropped" and candidates.get(one["number"]) != "dropped":
            yield f"{name}: the rental on host {one['host']} is out: {one['why']}."
    steps = {step["name"]: step["status"] for step in was["steps"]} if was is not None else {}
    for step in attempt["steps"]:
        if step["status"] != steps.get(step["name"]):
            sentence = _of_step(name, step)
            if sentence:
                yield sentence
    if attempt["code"] and (was is None or not was["code"]):
        yield f"{name}: {attempt['strategy']} failed and was undone: {attempt['code']}: {attempt['why']}."


def _of_step(name: str, step: Mapping[str, Any]) -> str | None:
    if step["status"] == "failed":
        return f"{name}: {step['name']} failed: {step['error']}."
    if step["status"] != "done":
        return None
    return told(name, step["name"], step["output"] or {})


def _of_outcome(was: Machine, machine: Machine) -> Iterator[str]:
    """States that came and went between two looks leave their mark: another primary, another state."""
    if was.primary is not None and machine.primary != was.primary:
        yield f"{machine.name} lives on instance {machine.primary}; the old one, {was.primary}, will be destroyed."
    if machine.state is State.HEALTHY and was.state not in (State.HEALTHY, State.DETECTING):
        yield f"{machine.name} is healthy."
    if machine.state is State.FAILED and was.state is not State.FAILED:
        yield f"{machine.name} has failed: {machine.because}."


def _of_debts(before: Look, after: Look) -> Iterator[str]:
    """A debt is told when it is paid: that something was owed is the rule. A stop that ended with its instance is not."""
    still = {debt.id for debt in after.debts}
    closed = [debt for debt in before.debts if debt.id not in still]
    destroyed = {debt.instance for debt in closed if debt.kind in (DebtKind.DESTROY_INSTANCE, DebtKind.DESTROY_CLAIM)}
    for debt in closed:
        machine = after.machines.get(debt.machine)
        is_moot = debt.kind is DebtKind.STOP_INSTANCE and debt.instance in destroyed
        if machine is not None and not is_moot:
            yield f"{machine.name}: {debt.kind.value.replace('_', ' ')}{_object_of(debt)}: done."


def _object_of(debt: Debt) -> str:
    if debt.instance is not None:
        return f" {debt.instance}"
    if debt.volume is not None:
        return f" {debt.volume}"
    return f" {debt.label}" if debt.label is not None else ""
