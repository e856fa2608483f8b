"""What must be true once the weather is calm and everything has had its time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from daemon.simulation.books import DebtRow, MachineRow

if TYPE_CHECKING:
    from daemon.simulation.theatre import Person, Theatre

KEPT = "keep_volume"
"""The debt that stands for days, by intention."""
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
        if debt.kind not in ("rearm", "clone_volume") and not _is_told(debt, alerts)
    )
    ended = {row.id for row in books.failovers() if row.ended_at is not None}
    wrong.extend(
        ("I9", f"command {row.id} ({row.kind}) was accepted and is not answered")
        for row in books.commands()
        if row.answer is None and (row.failover is None or row.failover in ended)
    )
    wrong.extend(_unclaimed(theatre, list(machines.values()), debts))
    wrong.extend(_of_vms(theatre))
    return wrong


def _is_told(debt: DebtRow, alerts: dict[str, str]) -> bool:
    """The GPU of a primary that was fenced in vain was taken meanwhile, or nowhere is room for a pool: a person was told, and it
    is tried on and on. Or what is newer than a copy is kept for a person."""
    if debt.kind == KEPT:
        return f"volume-{debt.volume}-kept" in alerts
    return debt.kind in ("start_instance", "provision_pool") and f"debt-{debt.id}" in alerts


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
    if machine.state != "healthy":
        yield "end", f"{name} is {machine.state}: {machine.because}"
        return
    if body is None or not body.serves:
        yield "end", f"{name} counts as {machine.state}, but its instance {machine.primary} does not serve"
        return
    if any(body.read(f"/workspace/{path}") != content for path, content in person.files):
        yield "end", f"{name} has lost its work"
    for number in (machine.standby, *machine.prepared):
        spare = theatre.world.world.instances.get(number or 0)
        if spare is not None and spare.intended == "running":
            yield "I3", f"{name} serves, and its spare {spare.id} runs beside it"
    if f"machine-{machine.id}" not in alerts and (lack := _lack(theatre, machine, debts)) is not None:
        yield "I10", f"{name} has {lack}, and nothing owes it one"


def _lack(theatre: Theatre, machine: MachineRow, debts: list[DebtRow]) -> str | None:
    """What it should have for the next time and is not even owed."""
    owed = {debt.kind for debt in debts if debt.machine == machine.id} & {"rearm", "provision_pool"}
    if owed or machine.setting not in WARM or machine.prepared:
        return None
    if machine.volume is not None:
        return "a volume and no standby" if machine.standby is None and theatre.plan.sharing == "allowed" else None
    return "asked for a warm pool, of which there is nothing" if machine.has_wish else None


def _of_vms(theatre: Theatre) -> Iterator[tuple[str, str]]:
    """Each machine that is to have a CPU VM has one that runs, and there is no other."""
    wanted, there = theatre.books.vms(), theatre.world.world.compute.vms.values()
    running = {vm.name for vm in there if vm.status == "RUNNING"}
    for machine, name in wanted.items():
        if name not in running:
            yield "end", f"machine {machine} has no CPU VM that runs ({name})"
    for vm in there:
        if vm.name not in wanted.values():
            yield "I3", f"VM {vm.name} is left over"


def _unclaimed(theatre: Theatre, machines: list[MachineRow], debts: list[DebtRow]) -> Iterator[tuple[str, str]]:
    kept = {one for row in machines for one in (row.primary, row.standby, *row.prepared)}
    labels = {debt.label for debt in debts if debt.label is not None}
    volumes = {row.volume for row in machines} | {row.replica for row in machines}
    volumes |= {row.prepared_volume for row in machines} | {row.volume for row in theatre.books.volumes()}
    volumes |= {debt.volume for debt in debts if debt.kind == KEPT}
    world = theatre.world.world
    for instance in world.instances.values():
        if instance.id not in kept and instance.label not in labels:
            yield "I3", f"instance {instance.id} ({instance.label}) is left over"
    for volume in world.volumes.volumes.values():
        if volume.id not in volumes:
            yield "I3", f"volume {volume.id} is left over"
