"""The AsyncAPI 3.0 document of the event log, generated from the messages and topics that the daemon really uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from events import topics
from events.codec import TYPES
from events.schema import (
    Command,
    CommandResult,
    FailoverChanged,
    FailoverObserved,
    Heartbeat,
    MachineChanged,
    Notice,
    Tick,
)
from events.topics import TopicSpec

VERSION = "3.0.0"
BINDING = "0.5.0"
_SCHEMAS = "#/components/schemas/"
_MODELS = (Heartbeat, Notice, Tick, Command, CommandResult, MachineChanged, FailoverChanged, FailoverObserved)

COMMANDS: Mapping[str, str] = {
    "failover": "Move the machine to a new instance. `strategy` goes before the machine's own.",
    "drill": "A failover for practice, by the same rules.",
    "cancel": "Unwind the running failover; `arguments.failover_id` names the one that is meant.",
    "retry": "Once more, for a machine whose failover has failed; `arguments.failover_id` may name its last one.",
    "ack": "Somebody knows of the end of failover `arguments.failover_id`; `reason` is what they say of it.",
    "pause": "No automatic failover for `arguments.minutes`, for `reason`: of the fleet, or of the machine that is named.",
    "resume": "Automatic failover is on again: of the fleet, or of the machine that is named.",
    "register_machine": "Register the machine, or change it: `arguments` as in PUT /api/v1/machines/{id}.",
    "remove_machine": "Forget the machine; its instance is left running.",
    "set_policy": "Settings by name in `arguments`: of the machine that is named, else of the fleet; null takes one back.",
    "create_volume": "Make a regional volume: `arguments.region`, `arguments.size_gb`, `arguments.name`.",
}
"""Every command that the daemon carries out."""


@dataclass(frozen=True, slots=True)
class _Said:
    """A kind of message on a topic."""

    name: str
    model: type[msgspec.Struct] | None
    title: str
    headers: str | None = "CloudEventHeaders"


_ON: Mapping[str, tuple[_Said, ...]] = {
    topics.HEARTBEATS: (
        _Said("heartbeat", Heartbeat, "A machine is alive"),
        _Said("notice", Notice, "A machine announces an end"),
        _Said("tick", Tick, "The daemon's own record, which moves log time", "TickHeaders"),
    ),
    topics.COMMANDS: (_Said("command", Command, "What an operator or a program asks for"),),
    topics.COMMAND_RESULTS: (_Said("commandResult", CommandResult, "The one answer to a command"),),
    topics.EVENTS: (
        _Said("machineChanged", MachineChanged, "A machine has changed"),
        _Said("failoverChanged", FailoverChanged, "A failover began, went on, or ended"),
        _Said("failoverObserved", FailoverObserved, "A failover would have begun, of a machine that is only observed"),
    ),
    topics.MACHINES: (
        _Said("machineState", MachineChanged, "A machine's whole state"),
        _Said("machineRemoved", None, "A tombstone: the machine was removed", None),
    ),
    topics.DEAD_LETTERS: (_Said("deadLetter", None, "A record that could not be read", "DeadLetterHeaders"),),
}
_RECEIVED = (topics.HEARTBEATS, topics.COMMANDS)
"""The daemon reads these; all others it writes."""


def document(version: str, prefix: str = "", bootstrap: str = "127.0.0.1:9092") -> dict[str, Any]:
    """The whole document, as plain data. `bootstrap` is the broker's address where none is said."""
    specs = topics.specs(prefix)
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "failoverd",
            "version": version,
            "description": "The event log of failoverd: heartbeats and commands in, results and changes out. Events are "
            "CloudEvents 1.0 in binary mode; commands may also come in structured mode, or as bare JSON.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": "application/json",
        "servers": {
            "broker": {
                "host": "{bootstrap}",
                "protocol": "kafka",
                "variables": {"bootstrap": {"default": bootstrap, "description": "host:port of the broker"}},
            }
        },
        "channels": {_channel_name(spec, prefix): _channel(spec, prefix) for spec in specs},
        "operations": {name: body for spec in specs for name, body in _operation(spec, prefix)},
        "components": {"messages": _messages(), "schemas": schemas()},
    }


def schemas() -> dict[str, Any]:
    """JSON Schemas of every message's value and headers."""
    _, found = msgspec.json.schema_components(_MODELS, ref_template=_SCHEMAS + "{name}")
    # A value without `kind` is a heartbeat: a hand-typed one needs none.
    found["Heartbeat"]["required"] = [name for name in found["Heartbeat"]["required"] if name != "kind"]
    command = found["Command"]
    command["properties"]["command"]["enum"] = list(COMMANDS)
    command["description"] += "\n\n" + "\n".join(f"- `{name}`: {about}" for name, about in COMMANDS.items())
    return {**found, **_HEADERS, "Tombstone": {"type": "null"}, "AnyBytes": {"description": "the original's bytes"}}


def _texts(**about: str) -> dict[str, Any]:
    return {name: {"type": "string", "description": text} for name, text in about.items()}


_HEADERS: dict[str, Any] = {
    "CloudEventHeaders": {
        "type": "object",
        "description": "CloudEvents 1.0 in binary mode; none is needed of a command or a heartbeat.",
        "properties": {
            "content-type": {"type": "string", "const": "application/json"},
            "ce_specversion": {"type": "string", "const": "1.0"},
            **_texts(
                ce_id="unique within the source; of a command the id that makes it idempotent",
                ce_source="who says so",
                ce_type="what it is",
                ce_time="when, ISO 8601",
                ce_subject="the machine's id",
            ),
        },
    },
    "TickHeaders": {"type": "object", "properties": {"failoverd-tick": {"type": "string", "const": "1"}}},
    "DeadLetterHeaders": {
        "type": "object",
        "description": "The original's headers, and these.",
        "required": ["x-dlq-topic", "x-dlq-error-code"],
        "properties": {
            f"x-dlq-{name}": {"type": "string", "description": about}
            for name, about in {
                "topic": "where it came from",
                "partition": "its partition there",
                "offset": "its offset there",
                "timestamp": "its time there, in milliseconds",
                "error-code": "why, as a stable word",
                "error": "why, in words",
                "attempts": "how often it was tried",
                "at": "when it was buried, ISO 8601",
                "whole": "false where it was too large to be kept whole",
            }.items()
        },
    },
}


def _channel_name(spec: TopicSpec, prefix: str) -> str:
    words = spec.name.removeprefix(prefix).split(".")[1].split("-")
    return words[0] + "".join(word.capitalize() for word in words[1:])


def _channel(spec: TopicSpec, prefix: str) -> dict[str, Any]:
    said = _ON[spec.name.removeprefix(prefix)]
    return {
        "address": spec.name,
        "description": f"{spec.about}. The key is the {spec.key}.",
        "messages": {one.name: {"$ref": f"#/components/messages/{one.name}"} for one in said},
        "bindings": {"kafka": {"topicConfiguration": _configuration(spec), "bindingVersion": BINDING}},
    }


def _configuration(spec: TopicSpec) -> dict[str, Any]:
    found: dict[str, Any] = dict(spec.settings)
    found["cleanup.policy"] = found["cleanup.policy"].split(",")
    if "retention.ms" in found:
        found["retention.ms"] = int(found["retention.ms"])
    return found


def _operation(spec: TopicSpec, prefix: str) -> list[tuple[str, dict[str, Any]]]:
    channel, action = _channel_name(spec, prefix), "receive" if spec.name.removeprefix(prefix) in _RECEIVED else "send"
    body = {"action": action, "channel": {"$ref": f"#/channels/{channel}"}, "summary": spec.about}
    if spec.name.removeprefix(prefix) == topics.COMMANDS:
        body["reply"] = {"channel": {"$ref": "#/channels/commandResults"}}
    return [(f"{action}{channel[0].upper()}{channel[1:]}", body)]


def _messages() -> dict[str, Any]:
    return {one.name: _message(one) for said in _ON.values() for one in said}


def _message(said: _Said) -> dict[str, Any]:
    is_letter = said.name == "deadLetter"
    payload = said.model.__name__ if said.model is not None else "AnyBytes" if is_letter else "Tombstone"
    found: dict[str, Any] = {
        "name": TYPES.get(said.model, said.name) if said.model is not None else said.name,
        "title": said.title,
        "payload": {"$ref": _SCHEMAS + payload},
        "contentType": "application/octet-stream" if is_letter else "application/json",
        "bindings": {"kafka": {"key": {"type": "string", "description": _KEYS[is_letter]}, "bindingVersion": BINDING}},
    }
    if said.headers is not None:
        found["headers"] = {"$ref": _SCHEMAS + said.headers}
    if said.model is Tick:
        del found["bindings"]
    return found


_KEYS = {False: "the machine's id, in digits", True: "the original's"}
