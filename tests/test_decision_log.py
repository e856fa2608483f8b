"""The log's line on a decision: once for each, with what the sources said."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import structlog

from daemon import decision_log
from machines.model import Evidence, InstanceId, Machine, MachineId, Source, Testimony, Word
from machines.states import State

NOW = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
SAID = Evidence(
    InstanceId(7007), (Testimony(Source.PROVIDER, Word.DEAD, "status offline, intended running", NOW),), NOW
)
SUSPECT = Machine(MachineId(7), "seven", state=State.DETECTING, because="silence outlasted the grace period")


def told(before: Machine, after: Machine) -> list[dict[str, object]]:
    with structlog.testing.capture_logs() as lines:
        decision_log.tell(before, after)
    return [dict(line) for line in lines]


def test_a_change_of_state_is_told_with_its_evidence() -> None:
    after = replace(SUSPECT, state=State.CPU_STANDBY_ATTEMPT, because="admitted", evidence=SAID, fence=1)
    [line] = told(SUSPECT, after)
    assert line["event"] == "machine_changed"
    assert (line["was"], line["state"], line["because"], line["fence"]) == (
        "detecting",
        "cpu_standby_attempt",
        "admitted",
        1,
    )
    assert line["evidence"] == [
        f"{Source.PROVIDER.value}: {Word.DEAD.value} (status offline, intended running) at 2026-11-28T12:00:00+00:00"
    ]


def test_a_machine_that_is_healthy_again_is_told_with_what_it_was_judged_by() -> None:
    before = replace(SUSPECT, evidence=SAID)
    [line] = told(before, replace(before, state=State.HEALTHY, because="the same instance spoke again", evidence=None))
    assert line["evidence"] != []


def test_a_failover_that_waits_is_told_once_for_each_reason() -> None:
    waits = replace(SUSPECT, because="the cap of the fleet is reached")
    assert [line["event"] for line in told(SUSPECT, waits)] == ["machine_judged"]
    assert told(waits, replace(waits, evidence=SAID)) == []
