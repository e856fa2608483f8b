"""The shell line that starts a machine's heartbeat agent on a replacement, now and at every start of its container."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from daemon.api.auth import beat_token
from machines.model import InstanceId, Machine
from machines.shell_lines import KeepAgent


@dataclass(frozen=True, slots=True)
class AgentLine:
    """Where agents report to, as seen from a rented machine. Exactly one of `kafka` and `url` is used."""

    secret: str
    kafka: str | None
    url: str | None
    topic_prefix: str
    install: str
    speed: float = 1.0

    def __call__(self, machine: Machine, instance: InstanceId) -> str:
        """The line of a KeepAgent."""
        arguments = [
            "failoverd",
            "agent",
            "--machine-id",
            str(machine.id),
            "--instance-id",
            str(instance),
            "--interval",
            f"{machine.interval_s:g}",
            *self._destination(),
            *([] if self.speed == 1.0 else ["--speed", f"{self.speed:g}"]),
        ]
        script = " ".join(shlex.quote(word) for word in arguments) + ' --token-file "$HOME/.failoverd/token" --detach'
        return KeepAgent(beat_token(self.secret, int(machine.id), machine.beat_generation), script, self.install).line()

    def _destination(self) -> list[str]:
        prefix = ["--topic-prefix", self.topic_prefix] if self.topic_prefix else []
        return [*prefix, *(["--kafka", self.kafka] if self.kafka else ["--url", self.url or "http://127.0.0.1:8787"])]
