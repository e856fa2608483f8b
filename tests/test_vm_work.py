"""The work of a CPU VM that serves is taken over or waited for, and never silently replaced by an older snapshot."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from machines.cpu_vm import CpuStandby, VmId, VmPlace, VmServing, WorkspaceCopy, Zone
from machines.errors import NotYet, Refused
from machines.journal import Entry, Mark, as_output
from machines.model import (
    FailoverId,
    InstanceId,
    Machine,
    MachineId,
    Reason,
    Rung,
    Running,
    Snapshot,
)
from machines.policy import Policy
from machines.saga import StepContext
from machines.strategies.cpu_vm_standby import (
    CARRY_OVER,
    CHOOSE_WORK,
    CarriedOver,
    ChosenWork,
    choose_work,
    data_age_s,
    end_service,
)
from tests.test_api_stage import BEGIN, StillClock

NUMBER = MachineId(7)
VM = VmPlace(Zone("europe-west1-b"), "vm-7", VmId(5))
COPY = WorkspaceCopy("pull-1", VmId(5), 7001, BEGIN - timedelta(hours=3), 5, 500, "ssh-ed25519 AAAA")
SERVING = VmServing("203.0.113.1", 22, "ssh-ed25519 AAAA", BEGIN - timedelta(hours=3))
UNUSED: Any = None


class OldSnapshots:
    """A store with one that is older than the VM's work."""

    async def newest(self, machine: MachineId, at: object = None) -> Snapshot:
        return Snapshot("snap-old", machine, BEGIN - timedelta(hours=20), 10)


class Vms:
    """What is known of copies; nothing else is asked of it here."""

    def __init__(self, copy: WorkspaceCopy | None) -> None:
        self._copy = copy

    async def newest(self, machine: Machine) -> WorkspaceCopy | None:
        return self._copy


def context(vms: Vms | None, serving: VmServing | None = SERVING, entries: tuple[Entry, ...] = ()) -> StepContext:
    running = Running(FailoverId("fo_1"), Reason.HTTP, (Rung.CPU_STANDBY,), 0, BEGIN, 1)
    machine = Machine(
        NUMBER, "seven", primary=InstanceId(7001), cpu_standby=CpuStandby(vm=VM, serving=serving), failover=running
    )
    snapshots: Any = OldSnapshots()
    asked: Any = vms
    return StepContext(
        machine,
        running,
        1,
        "fo-x",
        Policy(),
        entries,
        frozenset(),
        UNUSED,
        UNUSED,
        snapshots,
        UNUSED,
        UNUSED,
        UNUSED,
        StillClock(),
        vms=asked,
    )


async def chosen(vms: Vms) -> tuple[Entry, ...]:
    """The journal of an attempt that another daemon began, as it stands before the VM's work is carried over."""
    work = await choose_work(context(vms))
    return (Entry(CHOOSE_WORK.name, Mark.DONE, BEGIN, output=as_output(work)),)


async def test_a_daemon_without_a_provider_of_vms_refuses_to_replace_a_machine_whose_vm_serves() -> None:
    with pytest.raises(Refused, match="section gce") as refused:
        await choose_work(context(None))
    assert refused.value.code == "provider_unavailable"


async def test_a_vm_that_serves_and_has_no_known_copy_is_left_serving() -> None:
    with pytest.raises(Refused, match="give_up_work"):
        await choose_work(context(Vms(None)))


async def test_the_work_of_a_vm_that_serves_is_chosen_beside_the_snapshot() -> None:
    work = await choose_work(context(Vms(COPY)))
    assert (work.id, work.copy) == ("snap-old", COPY)


async def test_without_a_vm_that_serves_the_snapshot_is_enough() -> None:
    work = await choose_work(context(None, serving=None))
    assert (work.id, work.copy) == ("snap-old", None)


def ended(snapshot_at: datetime | None, copy_at: datetime | None, from_vm: bool) -> StepContext:
    """An attempt that has its data, as it stands before the hand-over."""
    at = copy_at or snapshot_at or BEGIN
    work = ChosenWork("snap" if snapshot_at else None, NUMBER, at, 10, 0.0, snapshot_at)
    carried = CarriedOver(1, 1, from_vm)
    steps = ((CHOOSE_WORK, work), (CARRY_OVER, carried))
    entries = tuple(Entry(step.name, Mark.DONE, BEGIN, output=as_output(output)) for step, output in steps)
    return context(None, entries=entries)


@pytest.mark.parametrize("minutes", [4, -6])
def test_a_snapshots_own_time_is_found_again_by_the_age_of_its_data(minutes: int) -> None:
    at = BEGIN - timedelta(minutes=minutes)
    assert BEGIN - timedelta(seconds=data_age_s(ended(at, None, False))) == at
    assert BEGIN - timedelta(seconds=data_age_s(ended(at, BEGIN, False))) == at


def test_a_copy_that_was_made_since_the_failover_began_lost_nothing() -> None:
    assert data_age_s(ended(None, BEGIN + timedelta(minutes=5), True)) == 0.0
    assert data_age_s(ended(BEGIN - timedelta(hours=1), BEGIN - timedelta(minutes=5), True)) == 300.0


async def test_an_attempt_that_goes_on_without_the_provider_waits_with_the_carrying_over_and_the_undo() -> None:
    entries = await chosen(Vms(COPY))
    with pytest.raises(NotYet, match="section gce"):
        await CARRY_OVER.run(context(None, entries=entries))
    with pytest.raises(NotYet, match="may serve"):
        await end_service(context(None, serving=None, entries=entries))
    await end_service(context(None, entries=entries))  # It is pointed at, and goes on serving.
