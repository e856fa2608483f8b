"""What crosses the wire: heartbeats, ticks, notices, commands, results, changes. Frozen, versioned by topic name.

Times are ISO 8601 in UTC. Durations are seconds. Decoded with msgspec; `gc=False` because a heartbeat is kept nowhere.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Heartbeat(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="heartbeat"):
    """'Instance i of machine m was alive at sequence n.' Order is (instance, boot id, sequence)."""

    machine_id: int
    instance_id: int
    boot_id: str
    sequence: int
    interval_s: float = 10.0
    """How often this agent beats: the grace period follows it."""
    gpu: str | None = None
    """None where nothing can be said, "ok", or what is broken."""


class Notice(msgspec.Struct, frozen=True, gc=False, tag_field="kind", tag="notice"):
    """The machine announces an end."""

    machine_id: int
    instance_id: int
    boot_id: str
    what: str
    """"shutdown", "preemption", "maintenance" or "contract_end"."""
    detail: str = ""


FromMachine = Heartbeat | Notice


class Tick(msgspec.Struct, frozen=True, gc=False):
    """The daemon's own record in each partition that it owns: proves the path, moves log time."""

    daemon: str
    generation: int
    sent: float
    """Monotonic seconds of the sending daemon; means nothing to another."""


class Command(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What an operator or a program asks for; the same for HTTP and Kafka."""

    command: str
    machine_id: int | None = None
    command_id: str | None = None
    gpu_instance_id: int | None = None
    strategy: str | None = None
    reason: str | None = None
    expires_at: str | None = None
    issued_by: str | None = None
    arguments: dict[str, Any] = {}


class CommandResult(msgspec.Struct, frozen=True, omit_defaults=True):
    """The one answer to a command: accepted and ended, or refused with the problem's code."""

    command_id: str
    command: str
    machine_id: int | None
    status: str
    """"succeeded", "failed" or "refused"."""
    code: str | None = None
    detail: str | None = None
    remedy: str | None = None
    failover_id: str | None = None
    result: dict[str, Any] | None = None


class MachineChanged(msgspec.Struct, frozen=True):
    """A machine's whole state; consumers ignore versions older than the one they have."""

    machine_id: int
    version: int
    name: str
    state: str
    because: str
    since: str | None
    previous_state: str | None
    fence: int
    strategy: str
    auto_failover: str
    gpu_instance_id: int | None
    ssh_host: str | None
    ssh_port: int | None
    failover_id: str | None
    evidence: list[dict[str, Any]]
    cpu_vm_host: str | None = None
    """Where its CPU VM serves in its place, until a GPU takes over."""
    cpu_vm_port: int | None = None


class FailoverChanged(msgspec.Struct, frozen=True):
    """A failover began, went on to its next attempt, or ended."""

    failover_id: str
    machine_id: int
    what: str
    """"began", "attempt_began", "fenced", "attempt_ended" or "ended"."""
    trigger: str
    fence: int
    strategy: str | None
    success: bool | None = None
    error: str | None = None
    new_gpu_instance_id: int | None = None
    detail: dict[str, Any] = {}


class FailoverObserved(msgspec.Struct, frozen=True):
    """A failover would have begun now, but the machine is only observed: nothing was done."""

    machine_id: int
    version: int
    """Of the machine: its change of this version bears the same words."""
    trigger: str
    strategy: str
    because: str
    evidence: list[dict[str, Any]]
