"""The shell line that starts a machine's heartbeat agent on a replacement, now and at every start of its container."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from daemon.api.auth import beat_token
from machines.model import InstanceId, Machine


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
        """Idempotent: a second run replaces the agent. The customer's own onstart.sh is added to, not rewritten."""
        home = '"$HOME/.failoverd"'
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
        return " && ".join(
            (
                f"mkdir -p {home} && umask 077",
                f"printf %s {shlex.quote(beat_token(self.secret, int(machine.id)))} > {home}/token",
                f"printf '%s\\n' {shlex.quote(script)} > {home}/agent.sh",
                f"{{ command -v failoverd >/dev/null 2>&1 || {self.install}; }}",
                '{ grep -qs failoverd/agent.sh "$HOME/onstart.sh" '
                '|| echo \'sh "$HOME/.failoverd/agent.sh"\' >> "$HOME/onstart.sh"; }',
                f"sh {home}/agent.sh",
            )
        )

    def _destination(self) -> list[str]:
        prefix = ["--topic-prefix", self.topic_prefix] if self.topic_prefix else []
        return [*prefix, *(["--kafka", self.kafka] if self.kafka else ["--url", self.url or "http://127.0.0.1:8787"])]
