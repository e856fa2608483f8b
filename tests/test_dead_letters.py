"""Dead letters: what could not be read is kept whole, listed with its cause, and replayed with one effect."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from adapters.embedded_log import EmbeddedRecord
from events import dead_letters, topics
from events.codec import MAX_RECORD_BYTES, Undecodable
from machines.model import MachineId
from machines.ports import Partition
from tests.test_api_stage import Stage, settle, stage
from tests.test_command_door import listening, results

PATH = "/api/v1/dead-letters"
GOOD = b'{"command":"failover","machine_id":8,"command_id":"again"}'
"""What a newer version reads, although an older one buried it."""
BEAT = b'{"machine_id":8,"instance_id":1008,"boot_id":"an-old-life","sequence":1}'


def now_ms(s: Stage) -> int:
    return round(s.clock.now().timestamp() * 1000)


async def bury(s: Stage, value: bytes | None, topic: str = topics.COMMANDS, **headers: str) -> None:
    """As the daemon does with a record of that topic."""
    found = tuple((name, text.encode()) for name, text in headers.items())
    record = EmbeddedRecord(topic, 0, 7, now_ms(s), 0, b"8", value, found)
    cause = Undecodable("malformed", "no JSON")
    await s.log.append(dead_letters.bury(topics.DEAD_LETTERS, record, cause, s.clock.now().isoformat()))


async def letters(s: Stage) -> list[dict[str, Any]]:
    answer = (await s.http.get(PATH)).json()
    assert answer["count"] == len(answer["dead_letters"])
    return list(answer["dead_letters"])


async def replay(s: Stage, letter: str) -> tuple[int, dict[str, Any]]:
    answer = await s.http.post(f"{PATH}/{letter}/replay", json={"reason": "the decoder was mended"})
    for _ in range(3):
        await settle()
        await s.clock.advance(0.5)
    return answer.status_code, answer.json()


async def test_a_letter_is_listed_with_its_cause_and_where_it_came_from() -> None:
    async with stage() as s:
        await bury(s, b'{"command":7}', ce_id="c1", ce_source="ana")
        await s.clock.advance(60)
        (row,) = await letters(s)
    assert row["value"] == '{"command":7}'
    assert (row["topic"], row["partition"], row["offset"]) == (topics.COMMANDS, 0, 7)
    assert (row["key"], row["command_id"]) == ("8", "c1")
    assert (row["code"], row["error"], row["age_seconds"]) == ("malformed", "no JSON", 60.0)
    assert row["headers"] == {"ce_id": "c1", "ce_source": "ana"}
    assert row["can_replay"] is False
    assert "still cannot be read" in row["why_not"]


async def test_the_newest_comes_first_and_the_limit_is_kept() -> None:
    async with stage() as s:
        for number in range(5):
            await bury(s, b"%d" % number)
            await s.clock.advance(1)
        answer = (await s.http.get(PATH, params={"limit": 3})).json()
    assert [row["value"] for row in answer["dead_letters"]] == ["4", "3", "2"]


async def test_a_page_goes_on_where_the_one_before_ended() -> None:
    async with stage() as s:
        for number in range(5):
            await bury(s, b"%d" % number)
            await s.clock.advance(1)
        seen, path = [], f"{PATH}?limit=2"
        while path:
            answer = await s.http.get(path)
            seen.append([row["value"] for row in answer.json()["dead_letters"]])
            path = answer.links.get("next", {}).get("url", "")
            assert bool(path) == (answer.json()["next_cursor"] is not None)
            await bury(s, b"later")
        wrong = await s.http.get(PATH, params={"cursor": "7"})
    assert seen == [["4", "3"], ["2", "1"], ["0"]]
    assert (wrong.status_code, wrong.json()["field"]) == (400, "cursor")


async def test_bytes_that_are_no_text_are_shown_in_base64() -> None:
    async with stage() as s:
        await bury(s, b"\xff\x00")
        (row,) = await letters(s)
    assert (row["value"], row["value_base64"]) == (None, "/wA=")


async def test_the_secrets_of_a_buried_registration_are_not_shown() -> None:
    body = {"command": "register_machine", "machine_id": 8, "arguments": {"env": {"KEY": "hunter2"}}, "foo": 1}
    async with stage() as s:
        await bury(s, json.dumps(body).encode())
        await bury(s, b'{"env":"hunter2"')
        shown = await letters(s)
    assert "hunter2" not in json.dumps(shown)


async def test_a_replayed_command_has_one_effect_however_often_it_is_replayed() -> None:
    async with listening() as s:
        await bury(s, GOOD)
        (row,) = await letters(s)
        assert row["can_replay"] is True
        status, answer = await replay(s, row["id"])
        assert (status, answer) == (200, {"id": row["id"], "topic": topics.COMMANDS, "command_id": "again"})
        told = (await s.http.get("/api/v1/audit")).json()["audit"]
        (change,) = [change for change in told if change["what"] == "replay_dead_letter"]
        assert (change["subject"], change["reason"]) == (row["id"], "the decoder was mended")
        assert (await s.stored(8)).failover is not None
        await replay(s, row["id"])
        assert len(await s.store.transact(lambda tx: tx.failovers(machine=MachineId(8)))) == 1
        await s.win(8)
        (result,) = await results(s)
        assert (result["command_id"], result["status"]) == ("again", "succeeded")


async def test_a_command_without_an_id_is_replayed_under_its_old_place_in_the_log() -> None:
    async with listening() as s:
        written = now_ms(s)
        await bury(s, b'{"command":"pause","reason":"so","arguments":{"minutes":5}}')
        (row,) = await letters(s)
        for _ in range(2):
            await replay(s, row["id"])
        assert row["command_id"] == f"{topics.COMMANDS}-0-7-{written}"
        (result,) = await results(s)
        assert (result["command_id"], result["status"]) == (row["command_id"], "succeeded")


async def test_a_command_that_was_answered_is_not_replayed() -> None:
    async with listening() as s:
        await bury(s, GOOD)
        (row,) = await letters(s)
        await replay(s, row["id"])
        await s.win(8)
        status, answer = await replay(s, row["id"])
        assert (status, answer["code"]) == (409, "already_answered")
        assert "new id" in answer["remedy"]


@pytest.mark.parametrize(
    ("value", "topic", "code"),
    [
        (b"{", topics.COMMANDS, "still_undecodable"),
        (b"{", topics.HEARTBEATS, "of_its_moment"),
        (BEAT, topics.HEARTBEATS, "of_its_moment"),
        (GOOD, "somebody.elses.v1", "foreign_letter"),
        (b"x" * (MAX_RECORD_BYTES + 1), topics.COMMANDS, "not_whole"),
    ],
)
async def test_what_would_only_be_buried_again_is_refused_with_the_reason(value: bytes, topic: str, code: str) -> None:
    async with stage() as s:
        await bury(s, value, topic)
        (row,) = await letters(s)
        status, answer = await replay(s, row["id"])
    assert (status, answer["code"]) == (409, code)
    assert answer["remedy"]
    assert row["can_replay"] is False


async def test_a_replay_makes_no_command_younger() -> None:
    """Its life is counted from when it was first written, by who judges the letter and by who takes the command."""
    async with listening() as s:
        await bury(s, GOOD)
        await s.clock.advance(299)
        (row,) = await letters(s)
        assert row["can_replay"] is True
        await s.clock.advance(2)
        (row,) = await letters(s)
        assert (row["can_replay"], "expired" in row["why_not"]) == (False, True)
        status, answer = await replay(s, row["id"])
        assert (status, answer["code"]) == (409, "expired")
        assert (await s.stored(8)).failover is None


async def test_a_replayed_command_that_waited_in_the_log_is_as_old_as_its_original() -> None:
    async with listening() as s:
        await bury(s, GOOD)
        letter = dead_letters.read(await s.log.record(Partition(topics.DEAD_LETTERS, 0), 0))  # type: ignore[arg-type]
        await s.clock.advance(301)
        await s.log.append(dead_letters.once_more(letter))
        for _ in range(3):
            await settle()
            await s.clock.advance(0.5)
        (result,) = await results(s)
        assert (result["status"], result["code"]) == ("refused", "expired")
        assert (await s.stored(8)).failover is None


async def test_a_command_that_says_how_long_it_lives_is_replayed_within_that() -> None:
    async with listening() as s:
        until = (s.clock.now() + timedelta(hours=1)).isoformat()
        body = {"command": "failover", "machine_id": 8, "command_id": "again", "expires_at": until}
        await bury(s, json.dumps(body).encode())
        await s.clock.advance(3000)
        (row,) = await letters(s)
        assert row["can_replay"] is True
        await s.clock.advance(1000)
        status, answer = await replay(s, row["id"])
        assert (status, answer["code"]) == (409, "expired")


@pytest.mark.parametrize("letter", ["0-99", "9-0", "x", "0", "-1-0", "0-" + "9" * 40])
async def test_an_unknown_letter_is_404(letter: str) -> None:
    async with stage() as s:
        status, answer = await replay(s, letter)
    assert (status, answer["code"]) == (404, "unknown_dead_letter")


async def test_a_log_that_is_away_is_503_and_no_empty_list() -> None:
    async with stage() as s:
        await s.log.stop()
        answer = await s.http.get(PATH)
    assert answer.status_code == 503
