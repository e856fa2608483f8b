"""A sample of the crash matrix in weather, and with journals of the previous version; the whole of both is
`make crash-matrix MATRIX="--weather hard"` and `make crash-matrix MATRIX="--journal previous"`."""

from __future__ import annotations

import pytest

from tests.crash.virtual import DEATHS, POOLS, Harm, Piece, boundaries, crash_at, frozen, pools, run, stories
from tests.simulation.planted import PLANTED, planted

EVERY_IN_WEATHER, EVERY_OF_FROZEN, EVERY_OUTAGE, EVERY_OF_POOLS = 37, 61, 59, 13


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


def piece_named(name: str, is_hard: bool = False) -> Piece:
    return next(piece for piece in stories(is_hard, [1]) if piece.name == f"{name}/1")


def test_in_weather_a_crash_anywhere_leaves_nothing_behind() -> None:
    found = run(stories(is_hard=True, seeds=[1]), EVERY_IN_WEATHER, tells=False)
    assert len(found) >= 2 * len(DEATHS)
    assert [crash for crash in found if crash.fault is not None] == []


@pytest.mark.parametrize("is_hard", [False, True], ids=["calm", "hard"])
def test_a_warm_pool_is_rented_through_a_crash_anywhere(is_hard: bool) -> None:
    found = run(pools(is_hard, [1]), EVERY_OF_POOLS, first=5, tells=False)
    assert len(found) >= 2 * len(POOLS)
    assert [crash for crash in found if crash.fault is not None] == []


def test_what_an_older_version_began_is_finished_through_crashes_too() -> None:
    found = run(frozen(), EVERY_OF_FROZEN, first=7, tells=False)
    assert len({crash.piece for crash in found}) >= 12
    assert [crash for crash in found if crash.fault is not None] == []


def test_a_reboot_whose_answer_a_crash_lost_is_not_lost_with_it() -> None:
    """It was taken for a reboot in vain, and the machine was moved while it came up again."""
    found = run([piece_named("repair_primary")], 2, first=1, tells=False)
    assert len(found) >= 10
    assert [crash for crash in found if crash.fault is not None] == []


def test_a_claim_that_is_not_journaled_is_found_in_weather() -> None:
    """The check bites."""
    bug = next(bug for bug in PLANTED if bug.name == "claim not journaled")
    piece = piece_named("cpu_standby", is_hard=True)
    wanted, points = boundaries(piece)
    sent = next(point for point in points if point.startswith("after ") and "PUT /api/v0/asks" in point)
    assert crash_at(piece, sent, wanted).fault is None
    with planted(bug):
        assert crash_at(piece, sent, wanted).fault is not None


@pytest.mark.parametrize("harm", [harm for harm in Harm if harm is not Harm.CRASH], ids=lambda harm: harm.value)
def test_an_outage_of_the_store_at_any_boundary_changes_nothing_of_the_end(harm: Harm) -> None:
    """Nothing is rented without a journal, no step is used up, nothing happens twice: the oracle watches."""
    every = EVERY_OUTAGE // 2 if harm is Harm.LOST_REPLY else EVERY_OUTAGE  # Only commits have a reply to be lost.
    found = run(stories(is_hard=False, seeds=[1]), every, first=11, harm=harm, tells=False)
    assert len(found) >= 5
    assert [crash for crash in found if crash.fault is not None] == []


@pytest.mark.parametrize(
    ("story", "point"),
    [
        ("warm_pool", "before commit: the move after warm_pool.await_heartbeat done"),
        ("warm_pool_alone", "before warm_pool.verify_workspace: ssh"),
        ("both", "before commit: the first move of an attempt"),
    ],
)
def test_a_disk_on_which_only_little_finds_room_uses_up_no_tries(story: str, point: str) -> None:
    """Seen: a start still fitted into the file and its end did not, until the step had no tries left and the machine failed."""
    piece = piece_named(story)
    wanted, _ = boundaries(piece)
    assert crash_at(piece, point, wanted, Harm.FULL).fault is None
