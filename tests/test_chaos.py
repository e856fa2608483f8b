"""A sample of `make chaos-matrix`."""

from __future__ import annotations

import pytest

from tests.chaos.matrix import FAULTS, Cell, cells, run

EVERY = 17


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def test_no_call_that_goes_wrong_makes_a_second_rental_a_leak_or_a_false_verdict() -> None:
    sample = list(cells(["cpu_standby"]))[::EVERY]
    found = list(run(sample))
    assert len(found) >= 8
    assert len({result.cell.fault for result in found}) >= 6
    assert [result for result in found if result.wrongs] == []


@pytest.mark.parametrize(
    ("operation", "fault"),
    [
        ("change_instance", "already so"),
        ("create_instance", "wrong id"),
        ("create_instance", "timeout after effect"),
        ("destroy_instance", "done later"),
    ],
)
def test_a_fault_that_looks_like_another_answer_costs_nothing_but_time(operation: str, fault: str) -> None:
    assert fault in FAULTS
    (result,) = run([Cell("cpu_standby", operation, fault)])
    assert (result.outcome, result.wrongs, result.met > 0) == ("ok", (), True)
