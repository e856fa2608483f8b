"""What people see: every step of every strategy, on a wide terminal and on one of 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.sql.records import AttemptRecord, FailoverRecord
from daemon import demo_view, screens
from daemon.demo_watch import Look, narrate
from daemon.timeline import timeline
from machines.journal import Entry, Mark, as_output
from machines.model import FailoverId, InstanceId, Machine, MachineId, Reason, Running, Setting
from machines.saga import Strategy
from machines.strategies.cpu_standby import CPU_STANDBY
from machines.strategies.ladder import STRATEGIES
from machines.strategies.repair_primary import REPAIR_PRIMARY

BEGIN = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
names = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: "-".join(s.name for s in strategy.steps))


def shown_of(strategy: Strategy, outputs: list[Any]) -> dict[str, Any]:
    """The failover as the API tells it, after these outputs of its first steps."""
    entries = []
    for place, (step, output) in enumerate(zip(strategy.steps, outputs, strict=False)):
        at = BEGIN + timedelta(seconds=10 * place)
        entries.append((1, Entry(step.name, Mark.STARTED, at)))
        entries.append((1, Entry(step.name, Mark.DONE, at + timedelta(seconds=9), output=as_output(output))))
    ended = BEGIN + timedelta(seconds=100) if len(outputs) == len(strategy.steps) else None
    running = Running(FailoverId("fo_1"), Reason.HEARTBEAT_LOST, (strategy.rung,), 0, BEGIN, 1)
    record = FailoverRecord(
        id=FailoverId("fo_1"),
        machine=MachineId(1),
        reason=Reason.HEARTBEAT_LOST,
        setting=Setting.BOTH,
        because="silence, and the provider says that its host is offline",
        asked_by="the detector",
        command_id=None,
        evidence=None,
        old_instance=InstanceId(7001),
        running=running,
        started_at=BEGIN,
        ended_at=ended,
        success=None if ended is None else True,
        strategy_succeeded=None if ended is None else strategy.rung,
        code=None,
        why=None,
        new=None,
        attempts=(AttemptRecord(1, strategy.rung, BEGIN, ended, None, None),),
    )
    return timeline(record, entries)


def drawn(what: Any, width: int, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    paper = io.StringIO()
    screens.console(paper).print(what)
    return paper.getvalue().splitlines()


@names
@given(given_outputs=st.data())
@settings(max_examples=25, deadline=None, derandomize=True)
def test_every_step_of_every_strategy_can_be_shown_and_told(strategy: Strategy, given_outputs: st.DataObject) -> None:
    outputs = [given_outputs.draw(st.from_type(step.output), label=step.name) for step in strategy.steps]
    machine = Machine(MachineId(1), "alpha", primary=InstanceId(7001), since=BEGIN)
    before = Look(BEGIN, {machine.id: machine}, {"fo_1": shown_of(strategy, [])})
    for done in range(1, len(outputs) + 1):
        shown = shown_of(strategy, outputs[:done])
        after = replace(before, at=BEGIN + timedelta(seconds=10 * done), failovers={"fo_1": shown})
        told = narrate(before, after)
        assert not any("None" in sentence for sentence in told if "standby, instance None" not in sentence)
        for width in (80, 120, 160):
            paper = io.StringIO()
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("COLUMNS", str(width))
                console = screens.console(paper)
                console.print(screens.timeline_screen(shown))
                console.print(demo_view.screen("demo", after, demo_view.Pulse(10.0), (), 40))
            for step in strategy.steps[:done]:
                assert step.name in paper.getvalue()
        before = after


def test_a_machine_that_was_repaired_by_a_reboot_has_a_timeline(monkeypatch: pytest.MonkeyPatch) -> None:
    outputs = [step.output for step in REPAIR_PRIMARY.steps]
    shown = shown_of(REPAIR_PRIMARY, [outputs[0]("b1"), outputs[1](7001, "b1"), outputs[2]("b2")])
    lines = drawn(screens.timeline_screen(shown), 120, monkeypatch)
    assert any("await_heartbeat" in line and "it speaks again" in line for line in lines)


def test_a_verified_snapshot_without_files_is_called_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    names_of = [step.name for step in CPU_STANDBY.steps]
    shown = shown_of(CPU_STANDBY, [])
    step = {
        **shown["attempts"][0]["steps"][names_of.index("verify")],
        "status": "done",
        "started_at": BEGIN.isoformat(),
        "ended_at": BEGIN.isoformat(),
        "output": {"files": 0},
    }
    shown["attempts"][0]["steps"] = [step]
    text = "\n".join(drawn(screens.timeline_screen(shown), 120, monkeypatch))
    assert "the snapshot has no files" in text
    assert "equal the manifest" not in text


# -- widths


def row(number: int, **more: Any) -> dict[str, Any]:
    return {
        "id": number,
        "name": f"machine-{number}",
        "state": "healthy",
        "because": "",
        "since_seconds": 71.5,
        "boot_id": "b1",
        "heartbeat_age_seconds": 3.2,
        "gpu_instance_id": 33175398,
        "gpu_name": "RTX PRO 6000 WS",
        "num_gpus": 1,
        "price_per_hour": 0.41,
        "fence": 1,
        "snapshot_age_seconds": 3720.0,
        "failover_id": None,
        "last_failover_id": "fo_6kb2h7r9xq",
        **more,
    }


LAST = {
    "fo_6kb2h7r9xq": {
        "state": "succeeded",
        "started_at": "2026-11-23T12:00:00+00:00",
        "ended_at": "2026-11-23T12:02:00+00:00",
    }
}


def test_at_eighty_columns_names_states_and_instances_stay_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [row(1), row(2, state="regional_volume_attempt", because="a " * 60), row(3, name="a-name-" * 9)]
    lines = drawn(screens.status_screen(rows, LAST), 80, monkeypatch)
    assert max(map(len, lines)) <= 80
    assert "machine-1" in lines[1]
    assert "33175398" in lines[1]
    assert "succeeded 2m00s" in lines[1]
    assert "regional_volume_attempt" in lines[2]
    assert "a-name" in lines[3]
    assert "…" in lines[3], "only a name that is too long is cut"
    assert "healthy" in lines[3]


def test_where_there_is_room_no_column_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = drawn(screens.status_screen([row(1)], LAST), 130, monkeypatch)
    assert lines[0].split() == [
        "MACHINE",
        "NAME",
        "STATE",
        "SINCE",
        "BEAT",
        "INSTANCE",
        "GPU",
        "$/H",
        "FENCE",
        "DATA",
        "LAST",
        "FAILOVER",
    ]
    assert "fo_6kb2h7r9xq succeeded 2m00s" in lines[1]


def test_the_age_of_the_last_heartbeat_or_that_there_was_none() -> None:
    assert screens.beat(row(1)) == "3s"
    assert screens.beat(row(1, boot_id=None, heartbeat_age_seconds=None)) == "never"
    assert screens.beat(row(1, heartbeat_age_seconds=None)) == "-", "another replica judges it"
    assert screens.beat(row(1, boot_id=None, heartbeat_age_seconds=None, gpu_instance_id=None)) == "-"


def test_a_remark_that_is_too_long_goes_below_its_step_and_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    shown = shown_of(CPU_STANDBY, [])
    proof = "our stop was accepted; the provider says that host 52110 is offline, and its SSH port says nothing"
    step = {
        **shown["attempts"][0]["steps"][1],
        "status": "done",
        "started_at": BEGIN.isoformat(),
        "ended_at": (BEGIN + timedelta(seconds=3)).isoformat(),
        "output": {"grade": "severed", "proof": proof},
    }
    shown["attempts"][0]["steps"] = [step]
    lines = drawn(screens.timeline_screen(shown), 80, monkeypatch)
    assert max(map(len, lines)) <= 80
    below = " ".join(line.strip() for line in lines)
    assert f"severed: {proof}" in below
    [beside] = [line for line in drawn(screens.timeline_screen(shown), 200, monkeypatch) if "fence_primary" in line]
    assert proof in beside


# -- what is wrong with the daemon itself


def test_alerts_and_failing_checks_stand_above_the_table_with_their_age(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = [{"key": "observer-blind", "text": "the observer is blind", "age_seconds": 250.0}]
    not_ready = {"log": {"ok": False, "detail": "kafka: no broker answers", "for_seconds": 12.0}}
    lines = drawn(screens.status_screen([row(1)], LAST, alerts, not_ready), 80, monkeypatch)
    assert lines[0] == "ATTENTION  log: kafka: no broker answers  (for 12s)"
    assert lines[1] == "ATTENTION  the observer is blind  (for 4m10s)"
    assert lines[2].startswith("MACHINE")


def test_many_alerts_do_not_push_the_table_off_the_screen(monkeypatch: pytest.MonkeyPatch) -> None:
    alerts = [{"key": str(n), "text": f"alert {n}", "age_seconds": 1.0} for n in range(50)]
    lines = drawn(screens.status_screen([row(1)], LAST, alerts, {}), 80, monkeypatch)
    assert len(lines) < 12
    assert any("44 more alerts" in line for line in lines)
