"""The event log's contract: valid by the specification, and true of the messages that really cross the wire."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import jsonschema
import msgspec
import pytest

from adapters.embedded_log import EmbeddedRecord
from daemon.announce import Announcer
from daemon.commands import KINDS
from events import asyncapi, codec, dead_letters, topics
from events.schema import Command, CommandResult, Heartbeat, Notice, Tick
from tests.test_api_stage import BEGIN, stage

# Of @asyncapi/specs 6.11.1 (Apache-2.0), unchanged: schemas/3.0.0-without-$id.json.
SPECIFICATION = Path(__file__).parent / "data" / "asyncapi-3.0.0.schema.json.gz"
DOCUMENT = asyncapi.document("1.2.3", "eu.")


def faults(value: object, schema: dict[str, Any]) -> list[str]:
    whole = {**schema, "components": {"schemas": asyncapi.schemas()}}
    return [error.message for error in jsonschema.Draft202012Validator(whole).iter_errors(value)]


def model(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def test_the_document_is_valid_by_the_schema_of_the_specification() -> None:
    schema = json.loads(gzip.decompress(SPECIFICATION.read_bytes()))
    validator = jsonschema.Draft7Validator(schema)
    assert [f"{list(error.path)}: {error.message}" for error in validator.iter_errors(DOCUMENT)] == []
    broken = {**DOCUMENT, "channels": {"commands": {"address": 7}}}
    assert not validator.is_valid(broken), "the schema would notice"


def test_every_reference_leads_somewhere() -> None:
    def references(value: Any) -> list[str]:
        if isinstance(value, dict):
            own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
            return own + [found for inner in value.values() for found in references(inner)]
        return [found for inner in value for found in references(inner)] if isinstance(value, list) else []

    for reference in references(DOCUMENT):
        place: Any = DOCUMENT
        for part in reference.removeprefix("#/").split("/"):
            place = place[part]


def test_it_has_every_topic_with_its_settings_and_every_command() -> None:
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    assert addresses == {spec.name for spec in topics.specs("eu.")}
    assert tuple(asyncapi.COMMANDS) == KINDS
    assert DOCUMENT["components"]["schemas"]["Command"]["properties"]["command"]["enum"] == list(KINDS)


@pytest.mark.parametrize(
    "event",
    [
        Heartbeat(1, 7, "boot", 3, 10.0),
        Heartbeat(1, 7, "boot", 3, gpu="fell off the bus"),
        Notice(1, 7, "boot", "preemption"),
        Tick("one", 1, 12.5),
        Command("failover", machine_id=1, strategy="both", arguments={"workspace_path": "/w"}),
        Command("pause", reason="so", arguments={"minutes": 5}),
        CommandResult("c1", "failover", 1, "refused", code="unknown_machine", detail="there is none", remedy="look"),
    ],
)
def test_an_event_on_the_wire_is_what_its_schema_says(event: msgspec.Struct) -> None:
    assert faults(json.loads(codec.encode(event)), model(type(event).__name__)) == []


@pytest.mark.parametrize(
    ("value", "name"),
    [
        ({"command": "explode"}, "Command"),
        ({"command": "failover", "machine_id": "8"}, "Command"),
        ({"machine_id": 8}, "Command"),
        ({"machine_id": 8, "boot_id": "b"}, "Heartbeat"),
    ],
)
def test_what_the_daemon_refuses_its_schema_refuses_too(value: dict[str, Any], name: str) -> None:
    assert faults(value, model(name)) != []


async def test_what_the_daemon_announces_is_what_the_schema_says() -> None:
    async with stage() as s:
        await s.machine()
        asking = await s.begin({"Idempotency-Key": "k1"})
        await s.win()
        await asking
        told = [message for _, message in await s.store.transact(lambda tx: tx.unsent(1000))]
    names = {topics.EVENTS: ("MachineChanged", "FailoverChanged"), topics.MACHINES: ("MachineChanged",)}
    names[topics.COMMAND_RESULTS] = ("CommandResult",)
    assert {message.topic for message in told} == set(names)
    for message in told:
        assert message.value is not None
        fits = [not faults(json.loads(message.value), model(name)) for name in names[message.topic]]
        assert any(fits), message
        heads = {name: text.decode() for name, text in message.headers}
        assert faults(heads, model("CloudEventHeaders")) == []


def test_a_dead_letter_has_the_headers_that_are_said_of_it() -> None:
    said = asyncapi.schemas()["DeadLetterHeaders"]["properties"]
    record = Announcer("test").result(CommandResult("c", "pause", None, "succeeded"), BEGIN)

    original = EmbeddedRecord(topics.COMMANDS, 1, 2, 3, 0, record.key, b"{", record.headers)
    letter = dead_letters.bury(topics.DEAD_LETTERS, original, codec.Undecodable("malformed", "no JSON"), "now")
    heads = {name: text.decode() for name, text in letter.headers}
    assert faults(heads, model("DeadLetterHeaders")) == []
    assert {name for name in heads if name.startswith("x-dlq-")} == set(said)


async def test_the_route_needs_no_token_and_says_the_deployments_own_topics() -> None:
    async with stage() as s:
        answer = await s.http.get("/asyncapi.json", headers={"Authorization": ""})
    assert answer.status_code == 200
    assert answer.json() == json.loads(json.dumps(asyncapi.document("0.1.0")))
