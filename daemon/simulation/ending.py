"""What must be true once the weather is calm and everything has had its time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from daemon.simulation.books import DebtRow, MachineRow

if TYPE_CHECKING:
    from daemon.simulation.theatre import Person, Theatre

WARM = ("warm_pool", "both")


def what_is_left(theatre: Theatre) -> list[tuple[str, str]]:
    """(invariant, what is wrong), by the provider's truth; nothing where everything came to its end."""
    books = theatre.books
    machines, debts, alerts = {row.id: row for row in books.machines()}, books.debts(), books.alerts()
    wrong = [
        ("I6", f"failover {row.id} of machine {row.machine} runs") for row in books.failovers() if row.ended_at is None
    ]
    for person in theatre.people:
        machine = machines.get(int(person.id))
        if machine is None:
            wrong.append(("end", f"machine {person.id} is in no record"))
        else:
            wrong.extend(_of_machine(theatre, person, machine, debts, alerts))
    wrong.extend(
        ("end", f"debt {debt.id} ({debt.kind}) of machine {debt.machine} is open")
        for debt in debts
        if debt.kind != "rearm" and not _is_told(debt, alerts)
    )
    wrong.extend(_unclaimed(theatre, list(machines.values()), debts))
    return wrong


def _is_told(debt: DebtRow, alerts: dict[str, str]) -> bool:
    """The GPU of a primary that was fenced in vain was taken meanwhile: a person was told, and it is tried on and on."""
    return debt.kind == "start_instance" and f"debt-{debt.id}" in alerts


def _of_machine(
    theatre: Theatre, person: Person, machine: MachineRow, debts: list[DebtRow], alerts: dict[str, str]
) -> Iterator[tuple[str, str]]:
    name = f"machine {machine.id}"
    if machine.state == "failed":
        if f"machine-{machine.id}" not in alerts:
            yield "I6", f"{name} has failed and no alert says so: {machine.because}"
        return
    body = theatre.world.bodies.of.get(machine.primary or 0)
    if machine.state == "detecting" and body is not None and not body.gpu_works and f"machine-{machine.id}" in alerts:
        return  # It beats and answers, but its GPU is broken: a person was told, and decides.
    if machine.state not in ("healthy", "recovered"):
        yield "end", f"{name} is {machine.state}: {machine.because}"
        return
    if body is None or not body.serves:
        yield "end", f"{name} counts as {machine.state}, but its instance {machine.primary} does not serve"
        return
    if any(body.read(f"/workspace/{path}") != content for path, content in person.files):
        yield "end", f"{name} has lost its work"
    standby = theatre.world.world.instances.get(machine.standby or 0)
    if standby is not None and standby.intended == "running":
        yield "I3", f"{name} serves, and its standby {standby.id} runs beside it"
    wants_standby = machine.setting in WARM and machine.volume is not None and machine.standby is None
    is_owed = any(debt.kind == "rearm" and debt.machine == machine.id for debt in debts)
    if wants_standby and theatre.plan.sharing == "allowed" and not is_owed and f"machine-{machine.id}" not in alerts:
        yield "I10", f"{name} has a volume and no standby, and nothing owes it one"


def _unclaimed(theatre: Theatre, machines: list[MachineRow], debts: list[DebtRow]) -> Iterator[tuple[str, str]]:
    kept = {row.primary for row in machines} | {row.standby for row in machines}
    labels = {debt.label for debt in debts if debt.label is not None}
    volumes = {row.volume for row in machines}
    world = theatre.world.world
    for instance in world.instances.values():
        if instance.id not in kept and instance.label not in labels:
            yield "I3", f"instance {instance.id} ({instance.label}) is left over"
    for volume in world.volumes.volumes.values():
        if volume.id not in volumes:
            yield "I3", f"volume {volume.id} is left over"
