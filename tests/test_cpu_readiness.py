"""When a CPU standby counts as ready, where its VMs have a provider and where not."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from machines.cpu_vm import CpuStandby, CpuVm, VmId, VmPlace, VmStatus, WorkspaceCopy, Zone
from machines.model import InstanceId, Machine, MachineId, Setting, Snapshot
from machines.policy import Policy
from machines.readiness import Findings, Readiness, judge_readiness

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
ZONE = Zone("europe-west4-a")
PLACE = VmPlace(ZONE, "fo-x-m1-cpu-1-0", VmId(7))
VM = CpuVm(VmId(7), ZONE, PLACE.name, VmStatus.RUNNING, "RUNNING")
SNAPSHOT = Snapshot("s1", MachineId(1), NOW - timedelta(minutes=5), 1000)
FOUND = Findings(NOW, SNAPSHOT, True, True, None, None, needs_vm=True, vm=VM)
MACHINE = Machine(
    MachineId(1), "one", setting=Setting.CPU_STANDBY, primary=InstanceId(7001), cpu_standby=CpuStandby(vm=PLACE)
)


def judged(machine: Machine = MACHINE, found: Findings = FOUND) -> Readiness:
    return judge_readiness(machine, found, Policy(), NOW)


def test_a_running_vm_a_fresh_snapshot_and_a_store_that_answers_are_ready() -> None:
    ready = judged()
    assert (ready.cpu_standby_ready, ready.has_association, ready.cpu_vm_running) == (True, True, True)
    assert (ready.gcp_zone, ready.recommended_action) == (ZONE, None)


def test_a_young_copy_on_the_vm_is_enough_without_a_snapshot_and_an_old_one_is_not() -> None:
    copy = WorkspaceCopy("pull-1", VmId(7), 7001, NOW - timedelta(minutes=4), 9, 900, "ssh-ed25519 AAAA")
    ready = judged(found=replace(FOUND, snapshot=None, copy=copy))
    assert (ready.cpu_standby_ready, ready.snapshot_age_s, ready.copy_age_s) == (True, None, 240.0)
    old = judged(found=replace(FOUND, snapshot=None, copy=replace(copy, taken_at=NOW - timedelta(days=30))))
    assert (old.cpu_standby_ready, old.cpu_standby_why) == (False, "there is no verified snapshot")


@pytest.mark.parametrize("status", [VmStatus.STARTING, VmStatus.STOPPING, VmStatus.STOPPED])
def test_a_vm_that_can_be_started_is_enough(status: VmStatus) -> None:
    ready = judged(found=replace(FOUND, vm=replace(VM, status=status)))
    assert (ready.cpu_standby_ready, ready.cpu_vm_running) == (True, False)


def test_a_machine_without_a_vm_is_not_ready_and_is_told_how_to_get_one() -> None:
    lacking = judged(replace(MACHINE, cpu_standby=None), replace(FOUND, vm=None))
    assert (lacking.cpu_standby_ready, lacking.has_association, lacking.gcp_zone) == (False, False, None)
    assert lacking.cpu_standby_why == "it has no CPU VM"
    assert 'PUT /api/v1/machines/1 {"cpu_standby": {}}' in (lacking.recommended_action or "")


def test_a_vm_that_is_being_made_has_the_zone_that_was_wished_for() -> None:
    coming = judged(replace(MACHINE, cpu_standby=CpuStandby(zone=ZONE)), replace(FOUND, vm=None))
    assert (coming.cpu_standby_why, coming.gcp_zone) == ("its CPU VM is being made", ZONE)


@pytest.mark.parametrize(
    ("found", "why"),
    [
        (replace(FOUND, vm=None), "does not exist any more"),
        (replace(FOUND, vm=None, vm_problem="HTTP 503"), "the provider of CPU VMs did not answer: HTTP 503"),
        (replace(FOUND, vm=replace(VM, status=VmStatus.OTHER, word="REPAIRING")), "reads REPAIRING"),
        (replace(FOUND, snapshot=None), "there is no verified snapshot"),
        (replace(FOUND, store_answers=False, problem="no route"), "the snapshot store did not answer: no route"),
    ],
)
def test_what_is_missing_is_named(found: Findings, why: str) -> None:
    lacking = judged(found=found)
    assert not lacking.cpu_standby_ready
    assert why in (lacking.cpu_standby_why or "")
    assert lacking.recommended_action


def test_without_a_provider_of_vms_the_snapshot_alone_counts() -> None:
    alone = judged(replace(MACHINE, cpu_standby=None), replace(FOUND, needs_vm=False, vm=None))
    assert (alone.cpu_standby_ready, alone.has_association, alone.cpu_vm_running) == (True, True, False)
