"""A sample of the crash matrix in every run; the whole of it is `make crash-matrix`."""

from __future__ import annotations

import pytest

from tests.crash.matrix import NOT_REACHED, STORIES, run_story


@pytest.mark.parametrize("story", STORIES)
async def test_a_crash_at_a_boundary_comes_to_the_same_end(story: str) -> None:
    found = await run_story(story, every=12, at_once=3)
    assert len(found) >= 5
    assert {point: result for point, result in found.items() if result not in ("same", NOT_REACHED)} == {}
    assert list(found.values()).count("same") >= len(found) / 2
