"""What a channel is told of incidents: once, again where it gets worse, its end; many at once as a summary."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from machines.notifications import (
    Grouping,
    Incident,
    Level,
    Notification,
    Owed,
    channel_alert,
    plan,
    refused,
    told,
)

BEGIN = datetime(2026, 11, 28, 12, 0, tzinfo=UTC)
GROUPING = Grouping(3, timedelta(seconds=60))


def at(seconds: float) -> datetime:
    return BEGIN + timedelta(seconds=seconds)


def incident(key: str, level: Level = Level.WARNING, text: str = "") -> Incident:
    return Incident(key, level, text or f"{key} is ill", f"ref-{key}", BEGIN)


class Told:
    """The store and the channel of one story: whatever is owed is told at once."""

    def __init__(self, least: Level = Level.INFO, is_deaf: bool = False) -> None:
        self.least, self.is_deaf = least, is_deaf
        self.rows: dict[int, Notification] = {}
        self.heard: list[tuple[str, str, str]] = []

    def look(self, seconds: float, *standing: Incident, endings: dict[str, str] | None = None) -> Sequence[str]:
        """What is heard at this look, as texts."""
        now, before = at(seconds), len(self.heard)
        for one in plan("ops", self.least, standing, self.rows.values(), GROUPING, endings or {}, now):
            self._keep(one)
        for one in [*self.rows.values()]:
            if one.owed is None or one.ended_at is not None or (one.due_at is not None and one.due_at > now):
                continue
            if self.is_deaf:
                self._keep(refused(one, "no answer", now))
                continue
            self.heard.append((one.owed.value, one.ref, one.text))
            self._keep(told(one, now))
        return [f"{what} {text}" for what, _, text in self.heard[before:]]

    def _keep(self, one: Notification) -> None:
        number = one.id or len(self.rows) + 1
        self.rows[number] = replace(one, id=number)


def test_an_incident_is_told_once_and_its_end_once() -> None:
    ops = Told()
    assert ops.look(0, incident("machine-1")) == ["open machine-1 is ill"]
    assert ops.look(2, incident("machine-1", text="still ill")) == []
    assert ops.look(4, endings={"machine-1": "alpha serves again"}) == ["end alpha serves again"]
    assert ops.look(6) == []
    assert {ref for _, ref, _ in ops.heard} == {"ref-machine-1"}


def test_what_is_below_the_channels_level_is_not_told_until_it_is_worse() -> None:
    ops = Told(least=Level.CRITICAL)
    assert ops.look(0, incident("machine-1")) == []
    assert ops.look(2, incident("machine-1", Level.CRITICAL, "it has failed")) == ["open it has failed"]


def test_what_gets_worse_is_told_again_under_the_same_reference() -> None:
    ops = Told()
    ops.look(0, incident("machine-1"))
    assert ops.look(2, incident("machine-1", Level.CRITICAL, "it has failed")) == ["open it has failed"]
    assert ops.look(4, incident("machine-1", Level.WARNING)) == []
    assert len({ref for _, ref, _ in ops.heard}) == 1


def test_what_is_over_before_it_was_told_is_not_told() -> None:
    [one] = plan("ops", Level.INFO, [incident("machine-1")], [], GROUPING, {}, at(0))
    [gone] = plan("ops", Level.INFO, [], [replace(one, id=1)], GROUPING, {}, at(1))
    assert (gone.owed, gone.ended_at) == (None, at(1))


def test_a_channel_that_was_deaf_hears_of_what_is_over_meanwhile() -> None:
    ops = Told(is_deaf=True)
    ops.look(0, incident("machine-1"))
    ops.look(5)
    ops.is_deaf = False
    assert ops.look(60) == ["end over: machine-1 is ill"]


def test_a_channel_is_tried_again_ever_later_and_never_given_up_while_it_stands() -> None:
    [one] = plan("ops", Level.INFO, [incident("a")], [], GROUPING, {}, at(0))
    delays = []
    for _ in range(40):
        one = refused(one, "no answer", at(0))
        assert one.due_at is not None
        delays.append((one.due_at - at(0)).total_seconds())
    assert delays == sorted(delays)
    assert (delays[0], delays[-1]) == (10, 900)
    assert one.owed is Owed.OPEN
    assert one.ended_at is None


def test_many_at_once_are_one_summary_with_one_end() -> None:
    ops = Told()
    many = [incident(f"machine-{number}") for number in range(40)]
    [text] = ops.look(0, *many)
    assert text.startswith("open 40 incidents at once:\n- machine-0 is ill")
    assert text.endswith("- and 35 more: failoverd status")
    assert ops.look(30, *many[5:]) == []
    assert ops.look(90) == ["end over: 40 incidents"]


def test_whoever_was_in_a_summary_is_told_of_again_when_it_falls_ill_again_while_others_of_it_still_are() -> None:
    ops = Told()
    many = [incident(f"machine-{number}") for number in range(5)]
    ops.look(0, *many)
    assert ops.look(3600, many[4]) == []
    for day in (1, 2):
        assert ops.look(86400 * day, many[day], many[4]) == [f"open machine-{day} is ill"]
        assert ops.look(86400 * day + 60, many[4]) == [f"end over: machine-{day} is ill"]
    assert ops.look(86400 * 3) == ["end over: 5 incidents"]


def test_those_that_come_after_a_summary_join_it_and_are_told_when_its_window_ends() -> None:
    ops = Told()
    many = [incident(f"machine-{number}") for number in range(9)]
    ops.look(0, *many[:4])
    assert ops.look(10, *many[:6]) == []
    assert ops.look(20, *many) == []
    [text] = ops.look(61, *many)
    assert text.startswith("open 9 incidents at once:")
    assert len({ref for _, ref, _ in ops.heard}) == 1


def test_one_that_is_worse_than_the_whole_summary_is_told_at_once() -> None:
    ops = Told()
    many = [incident(f"machine-{number}") for number in range(5)]
    ops.look(0, *many)
    [text] = ops.look(2, *many, incident("account-credit", Level.CRITICAL))
    assert text.startswith("open 6 incidents at once:\n- account-credit is ill")


def test_a_trickle_beyond_the_count_is_grouped_too() -> None:
    ops = Told()
    many = [incident(f"machine-{number}") for number in range(8)]
    heard = [len(ops.look(2.0 * count, *many[:count])) for count in range(1, 9)]
    assert heard == [1, 1, 1, 1, 0, 0, 0, 0]
    assert ops.heard[3][2].startswith("1 incident at once:")
    [after] = ops.look(70, *many)
    assert after.startswith("open 5 incidents at once:")


def test_after_the_window_an_incident_is_told_by_itself_again() -> None:
    ops = Told()
    many = [incident(f"machine-{number}") for number in range(6)]
    ops.look(0, *many)
    assert ops.look(120, *many, incident("new")) == ["open new is ill"]


def test_what_stands_again_before_its_end_was_told_is_no_news() -> None:
    [one] = plan("ops", Level.INFO, [incident("a")], [], GROUPING, {}, at(0))
    one = told(replace(one, id=1), at(0))
    [ending] = plan("ops", Level.INFO, [], [one], GROUPING, {}, at(1))
    assert ending.owed is Owed.END
    [again] = plan("ops", Level.INFO, [incident("a")], [ending], GROUPING, {}, at(2))
    assert again.owed is None


def test_a_channel_is_not_told_of_its_own_deafness() -> None:
    assert Told().look(0, incident(channel_alert("ops"))) == []
    assert Told().look(0, incident(channel_alert("pager"))) == ["open channel-pager is ill"]
