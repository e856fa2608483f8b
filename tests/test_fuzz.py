"""A short fuzzing in every run; the long one is `make fuzz`."""

from __future__ import annotations

from tests.fuzz import fuzz


async def test_a_short_fuzzing_finds_nothing() -> None:
    outcome = await fuzz(examples=2, seed=1, phases="fuzzing,stateful")
    assert outcome.is_clean, outcome.text
    assert outcome.cases >= 60
