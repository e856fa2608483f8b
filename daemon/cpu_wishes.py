"""What an operator says of a machine's CPU VM, and what is owed where that changes."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from pydantic import BaseModel, ConfigDict, Field

from daemon.cpu_standbys import create_debt, delete_debt
from machines.cpu_vm import CpuStandby, Zone
from machines.model import Debt, DebtKind, Machine, is_served_by_vm
from machines.problems import Problem, invalid


class CpuStandbyWish(BaseModel):
    """The CPU VM that a machine is to have. A field that is not named keeps its value."""

    model_config = ConfigDict(strict=True, extra="forbid")

    zone: str | None = Field(None, pattern=r"^[a-z]+(-[a-z0-9]+)+$", max_length=63)
    """Tried first; None is the first of the configured zones."""
    machine_type: str | None = Field(None, pattern=r"^[a-z][a-z0-9-]{1,62}$")
    keep_running: bool | None = None
    """false: stopped until it is needed, which costs only its disk, but capacity may be missing then, and it has no copy of
    the workspace."""
    command: str | None = Field(None, min_length=1, max_length=4096)
    """Run by a shell in the workspace while the VM serves in the machine's place; without it the files alone are offered."""
    accept_smaller_copy: bool | None = None
    """true: the workspace was meant to shrink, and the next copy of it may be much smaller than the last."""
    give_up_work: bool = False
    """true: a VM that serves in the machine's place is demoted, and what was written on it is not carried over any more."""


def refuse_wish(wish: CpuStandbyWish | None) -> None:
    """Raise Problem for a VM that nobody could make."""
    if wish is not None:
        raise invalid("cpu_standby", None, "nothing, because no provider of CPU VMs is configured (section gce)")


def with_wish(machine: Machine, wish: CpuStandbyWish | None) -> Machine:
    """None: it is to have no VM any more. Raise Problem (409) where that would give up what the VM serves."""
    former = machine.cpu_standby
    changed = None if wish is None else _changed(former, wish)
    if changed is not None and wish is not None and wish.give_up_work:
        given_up = replace(machine, cpu_standby=replace(changed, serving=None))
        if not is_served_by_vm(machine):
            return given_up
        return replace(given_up, because=f"the work on its CPU VM was given up; {may_stand_still(machine)}")
    if is_served_by_vm(machine) and (changed is None or former is None or changed.vm != former.vm):
        raise vm_serves(machine)
    return replace(machine, cpu_standby=changed)


def vm_serves(machine: Machine) -> Problem:
    return Problem(
        409,
        "cpu_vm_serves",
        f"the CPU VM of machine {machine.id} serves in its place and has the newest work",
        f"recover the machine (POST /api/v1/failover/execute), or give that work up: PUT /api/v1/machines/{machine.id} "
        'with {"cpu_standby": {"give_up_work": true}}',
    )


def may_stand_still(machine: Machine) -> str:
    """A sentence for the operator: of a machine that nothing serves any more, whose fence is not lifted by itself."""
    return f"instance {machine.primary} may stand still by our fence: start it at the provider, or ask for a failover"


def _changed(former: CpuStandby | None, wish: CpuStandbyWish) -> CpuStandby:
    known = former or CpuStandby()
    changed = replace(
        known,
        zone=Zone(wish.zone) if wish.zone is not None else known.zone,
        machine_type=wish.machine_type or known.machine_type,
        keep_running=known.keep_running if wish.keep_running is None else wish.keep_running,
        command=wish.command or known.command,
        accepts_smaller=known.accepts_smaller if wish.accept_smaller_copy is None else wish.accept_smaller_copy,
    )
    return changed.with_vm(None if changed.wants_another(former) else known.vm)


def debts_of_change(machine: Machine, before: Machine | None, now: datetime) -> tuple[Debt, ...]:
    """The VM that the machine has no more is deleted, and the one that it is to have is made."""
    wanted, former = machine.cpu_standby, before.cpu_standby if before is not None else None
    debts: list[Debt] = []
    if former is not None and former.vm is not None and (wanted is None or wanted.vm != former.vm):
        debts.append(delete_debt(machine.id, former.vm, "its machine has no use for it any more", now))
    if before is not None and is_served_by_vm(before) and wanted is not None and wanted.serving is None:
        given_up = Debt(
            DebtKind.DEMOTE_VM, machine.id, None, None, None, None, "what it serves was given up", due_at=now
        )
        debts.append(replace(given_up, vm=before.cpu_standby.vm if before.cpu_standby is not None else None))
    if wanted is not None and wanted.vm is None and (former is None or former.vm is not None):
        debts.append(create_debt(machine.id, "it is to have a CPU VM", now))
    return tuple(debts)
