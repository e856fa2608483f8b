"""The command topic: whoever can be answered gets one answer, whatever else is wrong with what was sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from daemon.announce import Announcer
from daemon.command_door import CommandDoor
from events import topics
from events.topics import Message
from machines.errors import LogUnavailable
from machines.ports import Partition
from tests.test_api_stage import Stage, settle, stage


@asynccontextmanager
async def listening() -> AsyncIterator[Stage]:
    async with stage() as s:
        await s.machine(8)
        door = CommandDoor(
            topics.COMMANDS, "g", s.log, s.services.commands, s.store, Announcer("test"), s.clock, lambda time: time
        )
        task = asyncio.create_task(door.run())
        try:
            yield s
            assert not task.done(), "the door fell"
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def send(s: Stage, value: bytes | str, key: bytes | None = b"8", **headers: str) -> None:
    text = value.encode() if isinstance(value, str) else value
    found = tuple((name, content.encode()) for name, content in headers.items())
    await s.log.append(Message(topics.COMMANDS, text, key, found))
    for _ in range(3):
        await settle()
        await s.clock.advance(0.5)


async def told(s: Stage, topic: str = topics.COMMAND_RESULTS) -> list[Any]:
    rows = await s.store.transact(lambda tx: tx.unsent(1000))
    return [message for _, message in rows if message.topic == topic]


async def results(s: Stage) -> list[dict[str, Any]]:
    return [json.loads(message.value) for message in await told(s)]


BAD = [
    ('{"command":"failover","machine_id":"8","command_id":"bad"}', "machine_id"),
    ('{"command":"failover","machine_id":8,"command_id":"bad","foo":1}', "foo"),
    ('{"command":"failover","machine_id":1e400,"command_id":"bad"}', None),
    ('{"command":"failover","machine_id":8.5,"command_id":"bad"}', "machine_id"),
    ('{"command":"failover","machine_id":-1,"command_id":"bad"}', "machine_id"),
    ('{"command":"failover","machine_id":99999999999999999999,"command_id":"bad"}', "machine_id"),
    ('{"command":"failover","gpu_instance_id":9999999999999999999,"command_id":"bad"}', "gpu_instance_id"),
    ('{"command":7,"machine_id":8,"command_id":"bad"}', "command"),
    ('{"machine_id":8,"command_id":"bad"}', None),
    ('{"command":"failover","machine_id":8,"command_id":"bad","arguments":[]}', "arguments"),
    (r'{"command":"failover","machine_id":8,"command_id":"bad","reason":"a\u0000b"}', None),
    (r'{"command":"failover","machine_id":8,"command_id":"bad","reason":"a\ud800b"}', None),
]


@pytest.mark.parametrize(("value", "field"), BAD)
async def test_a_bad_field_is_a_dead_letter_and_one_refusal(value: str, field: str | None) -> None:
    async with listening() as s:
        for _ in range(2):
            await send(s, value)
        (result,) = await results(s)
        assert (result["command_id"], result["status"], result["code"]) == ("bad", "refused", "invalid_parameter")
        assert result["detail"]
        assert "new id" in result["remedy"]
        if field is not None:
            assert field in result["remedy"]
        assert len(await told(s, topics.DEAD_LETTERS)) == 2, "one for each record"
        assert (await s.stored(8)).failover is None


@pytest.mark.parametrize("value", [b"{", b"[]", b"7", b"\xff", b"", b"x" * 70_000, b"[" * 60_000])
async def test_what_is_no_object_is_answered_under_the_id_of_its_header(value: bytes) -> None:
    async with listening() as s:
        await send(s, value, ce_id="bad")
        (result,) = await results(s)
        assert (result["command_id"], result["machine_id"], result["code"]) == ("bad", 8, "invalid_parameter")


@pytest.mark.parametrize(
    "value",
    [
        b"{",
        b'{"command":"failover","foo":1}',
        b'{"command":"failover","command_id":7}',
        b'{"command":"failover","command_id":""}',
        b'{"command":"failover","command_id":"a\\u0000b"}',
        b'{"command":"failover","command_id":"\\ud800"}',
        b'{"command":"failover","command_id":"' + b"x" * 300 + b'"}',
    ],
)
async def test_without_an_id_that_can_be_kept_nobody_can_be_answered(value: bytes) -> None:
    async with listening() as s:
        await send(s, value)
        assert await results(s) == []
        assert len(await told(s, topics.DEAD_LETTERS)) == 1


async def test_the_refusal_of_a_bad_repetition_changes_no_earlier_answer() -> None:
    async with listening() as s:
        await send(s, '{"command":"pause","command_id":"p","reason":"x","arguments":{"minutes":5}}', None)
        await send(s, '{"command":"pause","command_id":"p","foo":1}', None)
        (result,) = await results(s)
        assert result["status"] == "succeeded"
        row = await s.store.transact(lambda tx: tx.command("p"))
        assert row is not None
        assert row.status == "succeeded"


async def test_a_key_that_is_no_machine_number_brings_nobody_down() -> None:
    async with listening() as s:
        await send(s, '{"command":"failover","command_id":"k"}', b"9" * 5000)
        (result,) = await results(s)
        assert (result["code"], result["status"]) == ("invalid_parameter", "refused")


async def test_a_good_command_after_a_bad_one_is_carried_out() -> None:
    async with listening() as s:
        await send(s, BAD[0][0])
        await send(s, '{"command":"failover","machine_id":8,"command_id":"good"}')
        assert (await s.stored(8)).failover is not None


async def test_every_command_of_the_contract_has_one_result_however_often_it_comes() -> None:
    commands: list[dict[str, Any]] = [
        {"command": "set_policy", "machine_id": 8, "arguments": {"priority": 7}},
        {"command": "pause", "reason": "so", "arguments": {"minutes": 5}},
        {"command": "resume"},
        {"command": "register_machine", "machine_id": 9, "arguments": {"name": "nine"}},
        {"command": "failover", "machine_id": 8},
        {"command": "cancel", "machine_id": 8},
        {"command": "drill", "machine_id": 8},
        {"command": "retry", "machine_id": 8},
        {"command": "remove_machine", "machine_id": 9},
    ]
    async with listening() as s:
        for number, command in enumerate(commands):
            value = json.dumps({**command, "command_id": f"c{number}"})
            for _ in range(2):
                await send(s, value, None)
        await s.win(8)
        await settle()
        found = {result["command_id"]: result for result in await results(s)}
        assert len(found) == len(await results(s)) == len(commands)
        assert (await s.stored(8)).priority == 7
        statuses = [found[f"c{number}"]["status"] for number in range(len(commands))]
        assert statuses[:5] == ["succeeded"] * 5
        assert statuses[8] == "succeeded"
        # A drill and a retry beside a running failover are refused, or answered by it where it began after them.
        assert {found[name].get("code") for name in ("c6", "c7")} <= {"failover_in_progress", None}
        assert all(result["remedy"] for result in found.values() if result["status"] == "refused")


async def test_a_command_in_structured_mode_is_the_same_command() -> None:
    data = {"command": "failover", "machine_id": 8}
    event = {"specversion": "1.0", "id": "c1", "source": "ana", "type": "io.failoverd.command.v1", "data": data}
    async with listening() as s:
        await send(s, json.dumps(event))
        await send(s, json.dumps(data), ce_id="c1", ce_source="ana")
        failover = (await s.stored(8)).failover
        assert failover is not None
        record = await s.store.transact(lambda tx: tx.failover(failover.id))
        assert record is not None
        assert (record.command_id, record.asked_by) == ("c1", "ana")
        assert await told(s, topics.DEAD_LETTERS) == []


async def test_what_is_wrong_in_structured_mode_is_answered_under_the_events_id() -> None:
    event = {"specversion": "1.0", "id": "bad", "source": "ana", "type": "t", "data": {"command": "failover", "foo": 1}}
    async with listening() as s:
        await send(s, json.dumps(event))
        (result,) = await results(s)
        assert (result["command_id"], result["status"], result["machine_id"]) == ("bad", "refused", 8)
        (letter,) = await told(s, topics.DEAD_LETTERS)
        assert json.loads(letter.value) == event, "kept as it was sent"


async def test_a_commit_that_fails_leaves_out_nothing_that_was_fetched() -> None:
    async with stage() as s:
        taken: list[str] = []
        commits: list[dict[Partition, int]] = []

        class Twice:
            """Records of two partitions, and a broker that is away when the first commit comes."""

            async def poll(self, limit: int, timeout_s: float) -> dict[Partition, list[Any]]:
                return {Partition("t", number): [SimpleNamespace(offset=4, name=f"c{number}")] for number in (0, 1)}

            async def commit(self, offsets: dict[Partition, int]) -> None:
                commits.append(dict(offsets))
                raise LogUnavailable("the broker is away")

        door = CommandDoor(
            topics.COMMANDS, "g", s.log, s.services.commands, s.store, Announcer("test"), s.clock, lambda time: time
        )

        async def take(record: Any) -> None:
            taken.append(record.name)

        door._consumer, door._take = Twice(), take  # type: ignore[assignment, method-assign]
        with pytest.raises(LogUnavailable):
            await door._round()
        assert taken == ["c0", "c1"]
        assert commits == [{Partition("t", 0): 5, Partition("t", 1): 5}]
