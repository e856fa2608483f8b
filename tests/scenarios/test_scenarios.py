"""Each scenario file is played and its transcript compared; `pytest tests/scenarios --rewrite` writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.scenarios.musts import broken
from tests.scenarios.script import BORDER, Script, Unreadable, numbers, read
from tests.scenarios.stage import play
from tests.scenarios.transcript import shown

HERE = Path(__file__).parent
FILES = sorted(HERE.glob("*.txt"))


@pytest.fixture(autouse=True)
def quiet(quiet_simulation: None) -> None: ...


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_scenario_goes_as_it_is_written(path: Path, request: pytest.FixtureRequest) -> None:
    """What is demanded holds in any case; what is told is compared, or written anew."""
    script, rewrites = read(path.read_text()), request.config.getoption("--rewrite")
    played = play(script)
    told = shown(played.lines, script.shows_all)
    if rewrites:
        path.write_text("\n".join((script.head, BORDER, *told)) + "\n")
    assert played.violations == (), told
    assert broken(script.musts, played.lines) == [], told
    assert told == script.expected or rewrites


def test_every_scenario_of_the_reference_is_written_down() -> None:
    numbers_of = {path.stem.split("-")[0].rstrip("abcdefgh") for path in FILES}
    assert {f"S{number:02d}" for number in range(1, 13)} <= numbers_of


def test_every_file_says_what_it_is_about_and_what_must_hold() -> None:
    for path in FILES:
        script = read(path.read_text())
        assert script.prose, path.name
        assert script.musts, path.name


def test_a_word_that_nobody_knows_is_named_with_its_line() -> None:
    with pytest.raises(Unreadable, match=r"line 2: 'colour: red'"):
        read("machines: 3\ncolour: red\n")
    with pytest.raises(Unreadable, match="nobody knows what it means that 'the moon falls'"):
        play(Script(words={"machines": "1"}, happenings=list(read("+1s the moon falls\n").happenings)))


def test_a_demand_is_checked_whatever_the_transcript_says() -> None:
    lines = [
        "00:10  * broker stops",
        "00:31  alert observer-blind: ...",
        "01:00  failover fo-1 of machine 3 begins (heartbeat_lost)",
    ]
    assert broken(["no failovers of machines 1-2", "1 failover of machine 3", "1 alert observer-blind"], lines) == []
    assert broken(["no failovers"], lines) == ["no failovers"]
    assert broken(["1 alert observer-blind within 15 s of broker stops"], lines) != []
    with pytest.raises(Unreadable):
        broken(["peace"], lines)


def test_machines_are_counted_as_people_write_them() -> None:
    assert numbers("1-3,7") == (1, 2, 3, 7)
