"""The topics of the event log: names, settings, keys, and the message that is appended to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

HEARTBEATS = "failover.heartbeats.v1"
COMMANDS = "failover.commands.v1"
COMMAND_RESULTS = "failover.command-results.v1"
EVENTS = "failover.events.v1"
MACHINES = "failover.machines.v1"
DEAD_LETTERS = "failover.dead-letters.v1"


@dataclass(frozen=True, slots=True)
class Message:
    """A record to be appended; `partition` only where the writer must choose it (ticks)."""

    topic: str
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes], ...] = ()
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class TopicSpec:
    """A topic as the daemon needs it; `settings` are checked at start, not only set at creation."""

    name: str
    partitions: int
    settings: Mapping[str, str] = field(default_factory=dict)
    key: str = "machine id"
    about: str = ""


@dataclass(frozen=True, slots=True)
class TopicProblem:
    """A topic that is missing or set wrongly, and the command that mends it."""

    topic: str
    setting: str
    found: str
    wanted: str
    remedy: str

    def __str__(self) -> str:
        return f"topic {self.topic}: {self.setting} is {self.found}, needed is {self.wanted}; remedy: {self.remedy}"


def specs(prefix: str = "", partitions: int = 8) -> tuple[TopicSpec, ...]:
    """Every topic of one deployment.

    Heartbeats carry the broker's append time, because a producer's timestamp is not a clock.
    """
    return (
        TopicSpec(
            prefix + HEARTBEATS,
            partitions,
            {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "86400000"},
            about="heartbeats and notices of machines; ticks of the daemon (null key)",
        ),
        TopicSpec(prefix + COMMANDS, 1, {"cleanup.policy": "delete"}, about="commands from operators and programs"),
        TopicSpec(prefix + COMMAND_RESULTS, 1, {"cleanup.policy": "delete"}, about="one result for each command"),
        TopicSpec(
            prefix + EVENTS, partitions, {"cleanup.policy": "delete"}, about="every change, in order per machine"
        ),
        TopicSpec(prefix + MACHINES, partitions, {"cleanup.policy": "compact"}, about="each machine's whole state"),
        TopicSpec(prefix + DEAD_LETTERS, 1, {"cleanup.policy": "delete"}, about="records that could not be decoded"),
    )
