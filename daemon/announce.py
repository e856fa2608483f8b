"""What the daemon tells the world, as records for the outbox: written with the change, published after it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import msgspec

from events import codec, topics
from events.schema import CommandResult, FailoverChanged, FailoverObserved, MachineChanged
from events.topics import Message
from machines.cpu_vm import VmServing
from machines.model import Evidence, Machine, Reason, Running, Setting


@dataclass(frozen=True, slots=True)
class Announcer:
    """Builds CloudEvents; ids are unique within the source, this deployment."""

    deployment: str
    prefix: str = ""

    @property
    def source(self) -> str:
        return f"/failoverd/{self.deployment}"

    def machine(self, machine: Machine, before: Machine | None, now: datetime) -> tuple[Message, ...]:
        """The change itself, and the whole state for the compacted topic."""
        event = machine_changed(machine, before)
        event_id = f"m{machine.id}-v{machine.version}"
        whole = self._message(topics.MACHINES, event, machine.id, f"{event_id}-state", now)
        if before is not None and not _is_worth_telling(before, machine):
            return (whole,)
        return (self._message(topics.EVENTS, event, machine.id, event_id, now), whole)

    def removed(self, machine: Machine) -> Message:
        """The tombstone that compaction understands."""
        return Message(self.prefix + topics.MACHINES, None, str(machine.id).encode())

    def failover(self, event: FailoverChanged, nonce: str, now: datetime) -> Message:
        event_id = f"{event.failover_id}-{event.what}-{nonce}"
        return self._message(topics.EVENTS, event, event.machine_id, event_id, now)

    def observed(self, machine: Machine, because: str, now: datetime) -> Message:
        """Of a machine that was just saved."""
        event = FailoverObserved(
            machine_id=machine.id,
            version=machine.version,
            trigger=Reason.HEARTBEAT_LOST.value,
            strategy=machine.setting.value,
            because=because,
            evidence=evidence_rows(machine.evidence),
        )
        return self._message(topics.EVENTS, event, machine.id, f"m{machine.id}-v{machine.version}-observed", now)

    def result(self, result: CommandResult, now: datetime) -> Message:
        """One id for one command: redelivery is possible, a second answer is not."""
        return self._message(topics.COMMAND_RESULTS, result, result.machine_id, f"result-{result.command_id}", now)

    def _message(self, topic: str, event: msgspec.Struct, key: int | None, event_id: str, now: datetime) -> Message:
        name = self.prefix + topic
        return codec.message(name, event, key=key, event_id=event_id, source=self.source, time=now.isoformat())


def _is_worth_telling(before: Machine, after: Machine) -> bool:
    """Every change is in the compacted topic; the events topic gets those that a person would call one."""
    return (before.state, before.primary, before.because, before.mode, before.setting, _serving(before)) != (
        after.state,
        after.primary,
        after.because,
        after.mode,
        after.setting,
        _serving(after),
    )


def _serving(machine: Machine) -> VmServing | None:
    return machine.cpu_standby.serving if machine.cpu_standby is not None else None


def machine_changed(machine: Machine, before: Machine | None) -> MachineChanged:
    vm = _serving(machine)
    return MachineChanged(
        machine_id=machine.id,
        version=machine.version,
        name=machine.name,
        state=machine.state.value,
        because=machine.because,
        since=machine.since.isoformat() if machine.since else None,
        previous_state=before.state.value if before is not None and before.state is not machine.state else None,
        fence=machine.fence,
        strategy=machine.setting.value,
        auto_failover=machine.mode.value,
        gpu_instance_id=machine.primary,
        ssh_host=machine.ssh.host if machine.ssh else None,
        ssh_port=machine.ssh.port if machine.ssh else None,
        failover_id=machine.failover.id if machine.failover else None,
        evidence=evidence_rows(machine.evidence),
        cpu_vm_host=vm.host if vm else None,
        cpu_vm_port=vm.port if vm else None,
    )


def evidence_rows(evidence: Evidence | None) -> list[dict[str, Any]]:
    """What each source said, when."""
    rows: Sequence[Any] = msgspec.to_builtins(evidence.testimonies) if evidence is not None else ()
    return list(rows)


def failover_changed(machine: Machine, running: Running, what: str, **more: Any) -> FailoverChanged:
    return FailoverChanged(
        failover_id=running.id,
        machine_id=machine.id,
        what=what,
        trigger=running.reason.value,
        fence=running.fence,
        strategy=running.rung.value,
        **more,
    )


def setting_of(running: Running, machine: Machine) -> Setting:
    """The setting that a running failover's ladder came from."""
    values = {rung.value for rung in running.ladder}
    if {"warm_pool", "cpu_standby"} <= values:
        return Setting.BOTH
    for setting in (Setting.WARM_POOL, Setting.CPU_STANDBY, Setting.REGIONAL_VOLUME):
        if setting.value in values:
            return setting
    return machine.setting
