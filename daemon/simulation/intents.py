"""Which calls change something at the provider, and which records of the daemon explain them and what exists."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import httpx

from daemon.simulation.books import Books, FailoverRow, MachineRow

_INSTANCE = re.compile(r"/api/v0/instances/(?:reboot/)?(\d+)/?")
_ASK = re.compile(r"/api/v0/asks/(\d+)/?")


@dataclass(frozen=True, slots=True)
class Mutation:
    """A call that changes something: what, and on which thing."""

    what: str
    instance: int | None = None
    label: str | None = None
    volume: int | None = None

    def __str__(self) -> str:
        return f"{self.what} {self.label or self.instance or self.volume}"


def mutation_of(request: httpx.Request) -> Mutation | None:
    """None for a call that only reads, and for the account's own SSH key."""
    path, method = request.url.path, request.method
    body = _body(request)
    if method == "PUT" and _ASK.fullmatch(path):
        return Mutation("create", label=str(body.get("label")))
    if method == "PUT" and path.startswith("/api/v0/volumes"):
        return Mutation("create volume", label=str(body.get("name")))
    if method == "POST" and path.startswith("/api/v0/volumes/copy"):
        return Mutation("clone volume", volume=int(str(body.get("src_id"))))
    if method == "DELETE" and path.startswith("/api/v0/volumes"):
        return Mutation("delete volume", volume=int(str(body.get("id") or request.url.params.get("id", 0))))
    found = _INSTANCE.fullmatch(path)
    if found is None or method == "GET":
        return None
    instance = int(found[1])
    if method == "DELETE":
        return Mutation("destroy", instance)
    if "/reboot/" in path:
        return Mutation("reboot", instance)
    return Mutation({"running": "start", "stopped": "stop"}.get(str(body.get("state")), "label"), instance)


def _body(request: httpx.Request) -> dict[str, object]:
    content = request.content if request.method != "GET" else b""
    found = json.loads(content) if content else {}
    return found if isinstance(found, dict) else {}


class Intents:
    """Reads the intents as they stand in the database at the moment of a call."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._explained_at = -1
        self._claims: dict[str, tuple[int, set[str | None]]] = {}
        self._explained: tuple[set[int], set[str], set[int]] = set(), set(), set()

    def why_not(self, mutation: Mutation, label: str | None) -> str | None:
        """Why no durable intent covers the call; None where one does."""
        if mutation.volume is not None:
            kind = mutation.what.replace(" ", "_")
            owed = any((debt.volume, debt.kind) == (mutation.volume, kind) for debt in self._books.debts())
            return None if owed else f"no debt to {mutation.what} names it"
        if mutation.what in ("create", "create volume"):
            return None if label in self._labels() else "no claim and no debt bears the label"
        if self._is_owed(mutation, label) or (label is not None and label in self._labels()):
            return None
        return self._why_no_step(mutation)

    def leases_of(self, mutation: Mutation, label: str | None) -> set[str]:
        """The leases under which the call may be made: its failover's, and that of the fleet's jobs where a debt owes it."""
        found = {"fleet"} if self._is_owed(mutation, label) else set[str]()
        machines = {row.id: row for row in self._books.machines()}
        for row in self._running():
            machine = machines.get(row.machine)
            rentals = (*_rentals(machine), row.old_instance) if machine is not None else ()
            labels = self._claimed(row.id)
            if (mutation.instance is not None and mutation.instance in rentals) or (
                label is not None and label in labels
            ):
                found.add(row.id)
        return found

    def _is_owed(self, mutation: Mutation, label: str | None) -> bool:
        return any(
            (debt.instance is not None and debt.instance == mutation.instance)
            or (debt.volume is not None and debt.volume == mutation.volume)
            or (debt.label is not None and debt.label == label)
            for debt in self._books.debts()
        )

    def explained(self) -> tuple[set[int], set[str], set[int]]:
        """(instances, labels, volumes) that the records account for."""
        if self._explained_at != self._books.changes:
            self._explained_at, self._explained = self._books.changes, self._read_explained()
        return self._explained

    def _read_explained(self) -> tuple[set[int], set[str], set[int]]:
        machines, debts, running = self._books.machines(), self._books.debts(), self._running()
        instances = {one for row in machines for one in _rentals(row)}
        instances |= {debt.instance for debt in debts} | {row.old_instance for row in running}
        volumes = {row.volume for row in machines} | {row.replica for row in machines}
        volumes |= {row.prepared_volume for row in machines}
        volumes |= {debt.volume for debt in debts} | {row.volume for row in self._books.volumes()}
        labels = {debt.label for debt in debts}
        for row in running:
            labels |= self._claimed(row.id)
        return {one for one in instances if one}, {one for one in labels if one}, {one for one in volumes if one}

    def _claimed(self, failover: str) -> set[str | None]:
        """The labels of its claims; a journal only grows, so what was read of it is kept."""
        count, labels = self._claims.get(failover, (0, set[str | None]()))
        fresh = self._books.journal(failover, count)
        labels |= {entry.output.get("label") for entry in fresh if entry.mark == "claimed"}
        self._claims[failover] = (count + len(fresh), labels)
        return labels

    def _labels(self) -> set[str]:
        return self.explained()[1]

    def _running(self) -> list[FailoverRow]:
        return self._books.failovers(())

    def _why_no_step(self, mutation: Mutation) -> str | None:
        """A step that has begun, of a failover that runs, on the machine's own rentals."""
        wanted = _STEPS[mutation.what]
        machines = {row.id: row for row in self._books.machines()}
        for row in self._running():
            machine = machines.get(row.machine)
            if machine is None or mutation.instance not in (*_rentals(machine), row.old_instance):
                continue
            begun = {entry.step for entry in self._books.journal(row.id) if entry.mark in ("started", "undo_started")}
            if begun & wanted:
                return None
            return f"failover {row.id} has begun only {sorted(begun)}"
        return "no running failover and no debt is about the instance"


def _rentals(machine: MachineRow) -> tuple[int | None, ...]:
    return (machine.primary, machine.standby, *machine.prepared)


_STEPS = {
    "stop": {"fence_primary", "start_standby"},
    "start": {"start_standby"},
    "destroy": {"fence_primary"},
    "reboot": {"reboot"},
    "label": set[str](),
}
