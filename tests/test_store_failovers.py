"""Failovers in the store: one running per machine, a journal that only the fence's holder writes, debts that stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.sql import AttemptRecord, SqlStore, Tx
from adapters.sql.records import SnapshotGrant
from machines import model
from machines.cpu_vm import VmId, VmPlace, Zone
from machines.errors import Fenced, Stale
from machines.journal import Entry, Mark
from machines.model import (
    Debt,
    DebtKind,
    Endpoint,
    Evidence,
    FailoverId,
    FenceGrade,
    FenceProof,
    HostId,
    InstanceId,
    Label,
    LandlordId,
    Machine,
    MachineId,
    Reason,
    Registered,
    Replacement,
    Rung,
    Running,
    Setting,
    Source,
    Word,
)
from tests.test_sql_urls import NOW, a_machine, a_running, at

NEW = Replacement(
    InstanceId(77),
    Label("fo-1-a"),
    HostId(1),
    LandlordId(2),
    Endpoint("new", 2222),
    "ssh-ed25519 AAAA",
    "RTX_4090",
    0.42,
    "boot",
    61.5,
    detail={"files": 3},
)


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def begin(tx: Tx, number: int = 1, running: Running | None = None) -> Machine:
    running = running or a_running(f"fo_{number}")
    machine = tx.machine(MachineId(number)) or tx.insert_machine(a_machine(number))
    tx.begin_failover(machine, running, Setting.BOTH, "silent", "failoverd", None, None)
    return tx.save_machine(replace(machine, failover=running, fence=running.fence))


def entry(step: str, mark: Mark = Mark.DONE, seconds: float = 0) -> Entry:
    return Entry(step, mark, at(seconds), output={"n": 1, "deep": {"list": [1, None, "x"]}}, until=at(seconds + 1))


def debt(kind: DebtKind = DebtKind.DESTROY_INSTANCE, **changes: object) -> Debt:
    owed = Debt(kind, MachineId(1), FailoverId("fo_1"), InstanceId(1001), Label("l"), NOW, "replaced", due_at=at(10))
    return replace(owed, **changes)  # type: ignore[arg-type]


def test_a_machine_has_one_running_failover(store: SqlStore) -> None:
    with store.transaction() as tx:
        machine = begin(tx)
    with pytest.raises(Stale), store.transaction() as tx:
        tx.begin_failover(machine, a_running("fo_2"), Setting.BOTH, "again", "ana", None, None)
    with store.transaction() as tx:
        assert tx.failover(FailoverId("fo_2")) is None
        assert tx.end_failover(FailoverId("fo_1"), False, None, "no_offer_matches", "none", None, at(9))
        tx.begin_failover(machine, a_running("fo_2"), Setting.BOTH, "again", "ana", None, None)


def test_a_machine_that_is_registered_anew_begins_above_every_fence_of_its_id(store: SqlStore) -> None:
    with store.transaction() as tx:
        first = tx.register_machine(a_machine(2, fence=0), NOW)
        assert (first.fence, first.registered) == (0, Registered(NOW, 0))
        machine = begin(tx, running=a_running("fo_1", fence=5))
        tx.end_failover(FailoverId("fo_1"), False, None, "no_offer_matches", "none", None, at(9))
        tx.save_machine(replace(machine, failover=None))
        tx.remove_machine(MachineId(1))
    with store.transaction() as tx:
        anew = tx.register_machine(a_machine(1, fence=0), at(20))
        assert (anew.fence, anew.registered) == (6, Registered(at(20), 6))
        assert tx.machine(MachineId(1)) == anew
        tx.save_snapshot_grant(SnapshotGrant(MachineId(1), InstanceId(1001), 8, "", NOW))
        tx.remove_machine(MachineId(1))
        assert tx.register_machine(a_machine(1, fence=0), at(30)).fence == 9


def test_a_failover_tells_everything_about_itself(store: SqlStore) -> None:
    evidence = Evidence(InstanceId(1001), (model.Testimony(Source.PROVIDER, Word.GONE, "exited", NOW),), NOW, NOW, 2)
    proof = FenceProof(FenceGrade.STOPPED, "exited, intended stopped", at(3))
    running = a_running("fo_1", Reason.HTTP)
    with store.transaction() as tx:
        machine = tx.insert_machine(a_machine(1))
        tx.begin_failover(machine, running, Setting.BOTH, "asked", "ana", "cmd-1", evidence)
        proved = replace(running, proof=proof)
        machine = tx.save_machine(replace(machine, failover=proved))
        assert tx.begin_attempt(running.id, 1, Rung.WARM_POOL, at(1))
        assert not tx.begin_attempt(running.id, 1, Rung.WARM_POOL, at(2))
        assert tx.end_attempt(running.id, 1, at(4), "gpu_gone", "the GPU was let to somebody else")
        assert not tx.end_attempt(running.id, 1, at(5))
        assert tx.begin_attempt(running.id, 2, Rung.CPU_STANDBY, at(4))
        assert tx.end_attempt(running.id, 2, at(30))
        tx.save_machine(replace(machine, failover=None, primary=NEW.instance))
        assert tx.end_failover(running.id, True, Rung.CPU_STANDBY, None, "verified", NEW, at(30))
        assert not tx.end_failover(running.id, False, None, "late", None, None, at(31))
    record = store.transact(lambda tx: tx.failover(running.id))
    assert record is not None
    assert not record.is_running
    assert (record.machine, record.reason, record.setting) == (1, Reason.HTTP, Setting.BOTH)
    assert (record.because, record.asked_by, record.command_id) == ("asked", "ana", "cmd-1")
    assert (record.evidence, record.old_instance, record.running) == (evidence, 1001, proved)
    assert (record.started_at, record.ended_at, record.success) == (NOW, at(30), True)
    assert (record.strategy_succeeded, record.code, record.why) == (Rung.CPU_STANDBY, None, "verified")
    assert (record.new, record.proof, record.data_age_s, record.price_per_hour) == (NEW, proof, 61.5, 0.42)
    assert record.attempts == (
        AttemptRecord(1, Rung.WARM_POOL, at(1), at(4), "gpu_gone", "the GPU was let to somebody else"),
        AttemptRecord(2, Rung.CPU_STANDBY, at(4), at(30), None, None),
    )


def test_the_newest_failovers_come_first_page_by_page(store: SqlStore) -> None:
    with store.transaction() as tx:
        for number in range(1, 6):
            # Three of them began in the same instant.
            started_at = NOW + timedelta(seconds=max(0, number - 3))
            begin(tx, number, replace(a_running(f"fo_{number}"), started_at=started_at))
        tx.begin_attempt(FailoverId("fo_5"), 1, Rung.WARM_POOL, NOW)
        tx.end_failover(FailoverId("fo_4"), True, None, None, None, None, at(9))
        first = tx.failovers(limit=3)
        assert [record.id for record in first] == ["fo_5", "fo_4", "fo_3"]
        assert [len(record.attempts) for record in first] == [1, 0, 0]
        assert [record.id for record in tx.failovers(before=FailoverId("fo_3"), limit=3)] == ["fo_2", "fo_1"]
        assert tx.failovers(before=FailoverId("fo_unknown")) == []
        assert [record.id for record in tx.failovers(machine=MachineId(2))] == ["fo_2"]
        assert tx.running_failovers() == [("fo_1", 1), ("fo_2", 2), ("fo_3", 3), ("fo_5", 5)]


def test_only_running_failovers_of_our_own_making_count_for_the_cap(store: SqlStore) -> None:
    reasons = (Reason.HEARTBEAT_LOST, Reason.NOTICE, Reason.FAULT, Reason.HTTP, Reason.COMMAND, Reason.DRILL)
    with store.transaction() as tx:
        tx.lock_admission()
        for number, reason in enumerate(reasons, start=1):
            begin(tx, number, a_running(f"fo_{number}", reason))
        assert tx.count_running_automatic() == 3
        tx.end_failover(FailoverId("fo_1"), True, None, None, None, None, at(9))
        assert tx.count_running_automatic() == 2


def test_the_journal_keeps_the_order_of_writing(store: SqlStore) -> None:
    # Times say nothing about order: the clock may have been stepped back.
    first, second, third = entry("a", Mark.STARTED, 5), entry("a", Mark.DONE, 4), entry("b", Mark.STARTED, 1)
    with store.transaction() as tx:
        begin(tx)
        for attempt, fact in ((1, first), (1, second), (2, third)):
            tx.append_entry(MachineId(1), FailoverId("fo_1"), attempt, 1, fact)
    with store.transaction() as tx:
        assert tx.entries(FailoverId("fo_1")) == (first, second, third)
        assert tx.entries(FailoverId("fo_1"), 1) == (first, second)
        assert tx.entries(FailoverId("fo_1"), 3) == ()
        assert tx.timeline(FailoverId("fo_1")) == [(1, first), (1, second), (2, third)]


@pytest.mark.parametrize(
    ("machine", "failover", "fence"),
    [(1, "fo_1", 0), (1, "fo_1", 2), (1, "fo_2", 1), (2, "fo_1", 1), (3, "fo_1", 1)],
    ids=["older fence", "newer fence", "another failover", "another machine", "no machine"],
)
def test_nobody_but_the_holder_of_the_fence_writes_the_journal(
    store: SqlStore, machine: int, failover: str, fence: int
) -> None:
    with store.transaction() as tx:
        begin(tx, 1)
        begin(tx, 2)
    with pytest.raises(Fenced), store.transaction() as tx:
        tx.append_entry(MachineId(machine), FailoverId(failover), 1, fence, entry("a"), (debt(),))
    with store.transaction() as tx:
        assert tx.timeline(FailoverId("fo_1")) == []
        assert tx.open_debts() == []


def test_an_ended_failover_takes_no_entries(store: SqlStore) -> None:
    with store.transaction() as tx:
        machine = begin(tx)
        tx.end_failover(FailoverId("fo_1"), True, None, None, None, None, at(9))
        tx.save_machine(replace(machine, failover=None))
    with pytest.raises(Fenced), store.transaction() as tx:
        tx.append_entry(MachineId(1), FailoverId("fo_1"), 1, 1, entry("a"))


def test_debts_are_written_with_their_entry_and_stay_until_they_are_paid(store: SqlStore) -> None:
    at_once = debt(due_at=None, because="at once")
    with store.transaction() as tx:
        begin(tx)
        tx.append_entry(MachineId(1), FailoverId("fo_1"), 1, 1, entry("a"), (debt(), at_once))
        tx.add_debts(())
    with store.transaction() as tx:
        first, second = tx.open_debts(MachineId(1))
        assert (replace(first, id=0), replace(second, id=0)) == (debt(), at_once)
        assert tx.begin_debt(second, at(50), "begun")
        assert not tx.begin_debt(second, at(60), "begun by another")
        assert tx.open_debts()[1] == replace(second, tries=1, due_at=at(50), last_error="begun")
        assert tx.postpone_debt(second.id, at(100), "429")
        assert tx.pay_debt(first.id, at(11))
        assert not tx.pay_debt(first.id, at(12))
        assert not tx.postpone_debt(first.id, at(12), "late")
        assert not tx.begin_debt(first, at(12), "late")
        assert tx.open_debts() == [replace(second, tries=1, due_at=at(100), last_error="429")]
        assert tx.open_debts(MachineId(2)) == []


def test_a_debt_is_bound_to_a_label_only_by_whoever_saw_its_last_one(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.add_debts((debt(DebtKind.REARM, label=None, claimed_at=None),))
        (seen,) = tx.open_debts()
        assert tx.bind_debt(seen, Label("fo-x-1"), at(1))
        assert not tx.bind_debt(seen, Label("fo-x-2"), at(2))
        (bound,) = tx.open_debts()
        assert (bound.label, bound.claimed_at) == ("fo-x-1", at(1))
        assert tx.bind_debt(bound, None, None)
        assert not tx.bind_debt(bound, None, None)


def test_a_debt_is_bound_to_a_vm_only_by_whoever_saw_its_last_one(store: SqlStore) -> None:
    first = VmPlace(Zone("europe-west4-a"), "fo-x-m1-cpu-1-0", VmId(4_000_000_000_000_000_001), "r1")
    other = replace(first, name="fo-x-m1-cpu-1-1", id=None, request_id=None)
    with store.transaction() as tx:
        tx.add_debts((debt(DebtKind.CREATE_VM, label=None, claimed_at=None),))
        (seen,) = tx.open_debts()
        assert tx.bind_vm(seen, first, at(1))
        assert not tx.bind_vm(seen, other, at(2))
        (bound,) = tx.open_debts()
        assert (bound.label, bound.claimed_at, bound.vm) == (first.name, at(1), first)
        assert tx.bind_vm(bound, None, None)
        assert not tx.bind_vm(bound, None, None)
        (free,) = tx.open_debts()
        assert (free.label, free.claimed_at, free.vm) == (None, None, None)


def test_a_failover_drops_debts_of_the_named_kinds_only(store: SqlStore) -> None:
    with store.transaction() as tx:
        tx.add_debts(
            (
                debt(DebtKind.STOP_INSTANCE),
                debt(DebtKind.DESTROY_CLAIM, instance=None),
                debt(DebtKind.STOP_INSTANCE, failover=FailoverId("fo_9")),
                debt(DebtKind.START_INSTANCE, failover=None, label=None, claimed_at=None),
            )
        )
        first = tx.open_debts()[0].id
        assert tx.drop_debts(FailoverId("fo_1"), {DebtKind.STOP_INSTANCE, DebtKind.START_INSTANCE}, at(1)) == [first]
        assert tx.drop_debts(FailoverId("fo_1"), (), at(1)) == []
        kinds = [owed.kind for owed in tx.open_debts()]
    assert kinds == [DebtKind.DESTROY_CLAIM, DebtKind.STOP_INSTANCE, DebtKind.START_INSTANCE]
