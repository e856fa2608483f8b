"""What belongs to the whole fleet in the store: outbox, commands, pause, alerts, the deployment's id."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import timedelta

import pytest

from adapters.sql import AlertRecord, CommandRow, SqlStore
from adapters.sql.engine import make_engine
from events.topics import Message
from machines.admission import Pause
from machines.model import FailoverId, MachineId
from tests.test_sql_urls import NOW, at

COMMAND = CommandRow(
    command_id="cmd-1",
    door="http",
    command="execute",
    machine_id=MachineId(1),
    fingerprint="ab12",
    body={"machine_id": 1, "force_strategy": None},
    received_at=NOW,
    expires_at=at(300),
)


@pytest.fixture
def store(database_url: str) -> Iterator[SqlStore]:
    with closing(SqlStore(database_url)) as store:
        yield store


def test_the_deployment_has_one_id_for_ever(store: SqlStore) -> None:
    assert store.transact(lambda tx: tx.deployment(lambda: "dep-a")) == "dep-a"
    assert store.transact(lambda tx: tx.deployment(lambda: "dep-b")) == "dep-a"


def test_messages_leave_the_outbox_in_the_order_of_posting(store: SqlStore) -> None:
    full = Message("events", b"\x00\xff", b"1", (("ce_id", b"\x00\xfe"), ("ce_type", b"x")), 3)
    tombstone = Message("machines", None, b"1")
    with store.transaction() as tx:
        tx.post((full, tombstone))
        tx.post(())
        tx.post((replace(full, key=None),))
    with store.transaction() as tx:
        unsent = tx.unsent(10)
        assert [message for _, message in unsent] == [full, tombstone, replace(full, key=None)]
        ids = [number for number, _ in unsent]
        assert ids == sorted(ids)
        assert [number for number, _ in tx.unsent(1)] == ids[:1]
        tx.mark_sent(ids[:2], at(1))
        tx.mark_sent((), at(1))
        assert [number for number, _ in tx.unsent(10)] == ids[2:]


def test_sent_messages_are_forgotten_and_their_ids_never_used_again(store: SqlStore) -> None:
    message = Message("events", b"x")
    with store.transaction() as tx:
        tx.post((message, message))
        ids = [number for number, _ in tx.unsent(10)]
        tx.mark_sent(ids, at(1))
        assert tx.forget_sent(at(1)) == 0
        assert tx.forget_sent(at(2)) == 2
        tx.post((message,))
        assert tx.unsent(10)[0][0] > ids[-1]


def test_the_first_row_of_a_command_id_stands(store: SqlStore) -> None:
    with store.transaction() as tx:
        assert tx.insert_command(COMMAND) == (COMMAND, True)
    with store.transaction() as tx:
        assert tx.insert_command(replace(COMMAND, door="kafka", fingerprint="other")) == (COMMAND, False)
        assert tx.command("cmd-1") == COMMAND
        assert tx.command("cmd-2") is None


def test_a_command_is_answered_once(store: SqlStore) -> None:
    bound = replace(COMMAND, failover_id=FailoverId("fo_1"))
    with store.transaction() as tx:
        tx.insert_command(bound)
        assert tx.commands_of(FailoverId("fo_1")) == [bound]
        assert tx.answer_command("cmd-1", "succeeded", {"success": True}, 200, at(60))
        assert not tx.answer_command("cmd-1", "failed", {"success": False}, 500, at(61))
        answered = replace(bound, status="succeeded", answer={"success": True}, http_status=200, answered_at=at(60))
        assert tx.command("cmd-1") == answered
        assert tx.commands_of(FailoverId("fo_1")) == []


def test_those_that_wait_for_a_failover_come_in_the_order_of_arrival(store: SqlStore) -> None:
    with store.transaction() as tx:
        for number in (3, 1, 2):
            tx.insert_command(
                replace(
                    COMMAND,
                    command_id=f"cmd-{number}",
                    received_at=at(number),
                    machine_id=None,
                    expires_at=None,
                    failover_id=FailoverId("fo_1"),
                )
            )
        assert [row.command_id for row in tx.commands_of(FailoverId("fo_1"))] == ["cmd-1", "cmd-2", "cmd-3"]


def test_a_pause_is_set_and_lifted(store: SqlStore) -> None:
    pause = Pause("maintenance", NOW + timedelta(hours=1), "ana")
    with store.transaction() as tx:
        assert tx.pause() is None
        tx.set_pause(pause)
    with store.transaction() as tx:
        assert tx.pause() == pause
        tx.lift_pause(NOW)
        assert tx.pause() is None


def test_an_alert_is_news_once_until_it_is_resolved(store: SqlStore) -> None:
    with store.transaction() as tx:
        assert tx.raise_alert("blind", "no ticks", at(0))
        assert not tx.raise_alert("blind", "no ticks for 9 s", at(9))
        assert tx.raise_alert("machine-1", "parked", at(10))
        assert tx.open_alerts() == [
            AlertRecord("blind", "no ticks for 9 s", at(0), at(9), 2),
            AlertRecord("machine-1", "parked", at(10), at(10), 1),
        ]
        assert tx.resolve_alert("blind", at(11))
        assert not tx.resolve_alert("blind", at(12))
        assert tx.raise_alert("blind", "again", at(13))
        assert [alert.count for alert in tx.open_alerts()] == [1, 1]


def test_a_pause_is_set_and_lifted_also_where_its_row_was_lost(store: SqlStore, database_url: str) -> None:
    engine, pause = make_engine(database_url), Pause("maintenance", NOW + timedelta(hours=1), "ana")
    for change in (lambda tx: tx.set_pause(pause), lambda tx: tx.lift_pause(NOW)):
        with engine.begin() as rows:
            rows.exec_driver_sql("DELETE FROM pauses")
        store.transact(change)
    engine.dispose()
    assert store.transact(lambda tx: tx.pause()) is None


@pytest.mark.parametrize(
    ("spoil", "what"),
    [("DELETE FROM pauses", LookupError), ("UPDATE pauses SET until = '{no_time}'", ValueError)],
    ids=["gone", "spoilt"],
)
def test_a_pause_that_cannot_be_read_is_no_pause_that_is_off(
    store: SqlStore, database_url: str, spoil: str, what: type[Exception]
) -> None:
    no_time = "infinity" if database_url.startswith("postgresql") else "spoilt"
    engine = make_engine(database_url)
    with engine.begin() as rows:
        rows.exec_driver_sql(spoil.format(no_time=no_time))
    engine.dispose()
    with store.transaction() as tx:
        tx.lock_admission()
        with pytest.raises(what):
            tx.pause()
        assert tx.count_running_automatic() == 0, "the transaction goes on"
