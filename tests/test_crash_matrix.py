"""A sample of the crash matrix in every run, on both stores; the whole of it is `make crash-matrix`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.crash.matrix import NOT_REACHED, SAME, run_story
from tests.crash.theatre import STORIES, play
from tests.crash.tripwire import Tripwire
from tests.servers import databases

EVERY = 20


@pytest.mark.parametrize("story", STORIES)
async def test_a_crash_at_a_boundary_comes_to_the_same_end(story: str, postgres_server: str) -> None:
    """Each store takes other boundaries, side by side."""
    samples = (
        run_story(story, store, postgres_server, EVERY, at_once=5, first=place * EVERY // len(databases.KINDS), looks=1)
        for place, store in enumerate(databases.KINDS)
    )
    for found in await asyncio.gather(*samples):
        assert len(found) >= 3
        assert [crash for crash in found if crash.result not in (SAME, NOT_REACHED)] == []
        assert sum(crash.result == SAME for crash in found) >= len(found) - 1


async def test_a_standby_that_was_armed_in_the_last_commit_before_a_crash_is_kept(database_url: str) -> None:
    """The debt under whose label it was rented once destroyed it after the restart, as a rental too many."""
    wire = Tripwire("after commit: debt rearm: Rearm._arm")
    ending = await play("warm_pool", (wire, Tripwire()), database_url)
    assert wire.is_dead
    assert (ending.has_standby, ending.instances, ending.faults) == (True, 2, ())


@pytest.mark.parametrize(
    ("story", "point"),
    [
        ("warm_pool", "before commit: warm_pool.await_running done"),
        ("cpu_standby", "after commit: cpu_standby.rent_candidate waiting"),
    ],
)
async def test_what_came_up_while_no_daemon_ran_is_not_too_late(story: str, point: str, tmp_path: Path) -> None:
    """It was given up unseen, once nobody had looked for longer than a boot may take."""
    wire, after = Tripwire(point), Tripwire(is_armed=True)
    ending = await play(story, (wire, after), databases.new_file(tmp_path), pause_s=600.0)
    assert wire.is_dead
    assert (ending.strategy, ending.faults) == (story, ())
    assert not [point for point in after.points if "rent_candidate" in point and "PUT /api/v0/asks" in point]
