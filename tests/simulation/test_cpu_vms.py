"""CPU VMs in the whole daemon on virtual time, in weather that was written by hand."""

from __future__ import annotations

from dataclasses import replace

from daemon.simulation.run import Outcome, simulate
from daemon.simulation.scenarios import BESIDE
from daemon.simulation.weather import Event


def play(*events: Event, minutes: int = 12, replicas: int = 1) -> Outcome:
    scenario = replace(BESIDE["V1"], fixed=events, minutes=minutes, replicas=(replicas,))
    outcome = simulate(1, scenario, "cpu_standby")
    assert outcome.violations == ()
    assert outcome.seen["changing calls"] > 0
    return outcome


def changes(outcome: Outcome, what: str) -> int:
    return sum(f" {what} VM fo-" in line for line in outcome.story)


def test_vms_that_are_reclaimed_or_deleted_come_back_also_under_another_replica() -> None:
    outcome = play(
        Event(5, "vm_is_reclaimed", 0),
        Event(10, "vm_is_deleted", 1),
        Event(12, "replica_is_killed", 0, 120),
        Event(300, "vm_is_deleted", 2),
        Event(330, "replica_is_killed", 1, 30),
        replicas=2,
    )
    assert changes(outcome, "start") == 1
    assert changes(outcome, "insert") == outcome.plan.machines + 2


def test_a_creation_whose_answers_are_lost_is_made_in_another_zone_where_the_first_is_full() -> None:
    outcome = play(
        Event(5, "zone_is_exhausted", 0, 500),
        Event(6, "vm_is_deleted", 0),
        Event(7, "vm_provider_fails", 0, 200, "timeout_after compute.insert 0", 0.6),
        Event(60, "replica_is_killed", 0, 5),
    )
    assert changes(outcome, "insert") > outcome.plan.machines


def test_a_machine_that_fails_over_keeps_its_vm() -> None:
    outcome = play(Event(20, "host_dies", 0))
    assert outcome.seen["failover succeeded by cpu_standby"] == 1
    assert changes(outcome, "insert") == outcome.plan.machines
    assert changes(outcome, "delete") == 0


def test_a_vm_serves_while_a_gpu_is_found_and_what_it_wrote_is_carried_over() -> None:
    outcome = play(Event(260, "host_dies", 0))
    assert outcome.seen["step serve_meanwhile done"] == 1
    assert outcome.seen["work of a VM carried over"] == 1
    assert changes(outcome, "start") == 0


def test_a_vm_that_is_reclaimed_while_it_serves_is_started_for_its_work() -> None:
    outcome = play(Event(260, "host_dies", 0), *(Event(340, "vm_is_reclaimed", number) for number in range(8)))
    assert outcome.seen["work of a VM carried over"] == 1
    assert outcome.seen["failover succeeded by cpu_standby"] == 1


def test_a_vm_that_is_deleted_while_it_serves_leaves_the_snapshot() -> None:
    outcome = play(Event(260, "host_dies", 0), Event(340, "vm_is_deleted", 1))
    assert outcome.seen["work of a VM carried over"] == 0
    assert outcome.seen["failover succeeded by cpu_standby"] == 1


def test_where_no_gpu_is_found_the_vm_serves_on_until_an_operator_asks_again() -> None:
    outcome = play(
        Event(260, "host_dies", 0),
        Event(280, "provider_fails", 0, 700, "empty_list search_offers 0", 1.0),
        Event(1000, "operator", 0, 0, "failover", 1.0),
        minutes=20,
    )
    assert outcome.seen["failover ended with no_offer_matches"] == 1
    assert outcome.seen["work of a VM carried over"] == 1
