"""The demo's agents: the real agent, as tasks of this process, beating straight into the daemon's own log."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from adapters.sim.agents import AgentHandle
from adapters.system_clock import SystemRandom
from daemon.agent import Agent, NotSent
from daemon.agent_settings import AgentSettings, parse
from daemon.gpu_health import no_gpu
from events import codec
from events.schema import FromMachine
from events.topics import Message
from machines.ports import Clock, EventLog

log = structlog.get_logger(__name__)


class LogSender:
    """What a broker's client would do, without the network between: append under the machine's key."""

    def __init__(self, starter: InProcessStarter) -> None:
        self._starter = starter
        self.thawed = asyncio.Event()
        self.thawed.set()

    async def send(self, event: FromMachine) -> None:
        """A frozen machine's beat does not leave it: the agent gives it up, and knows no more than that."""
        await self.thawed.wait()
        if self._starter.event_log is None:
            raise NotSent("the daemon's log is not there yet")
        key = str(event.machine_id).encode()
        await self._starter.event_log.append(Message(self._starter.topic, codec.encode(event), key))
        self._starter.beats[event.instance_id] += 1


class TaskAgent:
    """One agent as a task. What a process does on a signal, it does on the same call."""

    def __init__(self, agent: Agent, sender: LogSender) -> None:
        self._agent, self._sender = agent, sender
        self._task = asyncio.create_task(agent.run(), name=f"agent of instance {agent.settings.instance_id}")
        self._task.add_done_callback(_report)

    @property
    def is_running(self) -> bool:
        return not self._task.done()

    def terminate(self) -> None:
        self._agent.stop()

    def kill(self) -> None:
        self._task.cancel()

    def pause(self) -> None:
        self._sender.thawed.clear()

    def resume(self) -> None:
        self._sender.thawed.set()


class NoAgent:
    """What becomes of a command line that the agent refuses: a process that ended at once."""

    is_running = False

    def terminate(self) -> None: ...
    def kill(self) -> None: ...
    def pause(self) -> None: ...
    def resume(self) -> None: ...


class InProcessStarter:
    """Starts what `failoverd agent ...` on a simulated instance asked for. The log is handed in once it exists."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._random = SystemRandom()
        self.event_log: EventLog | None = None
        self.topic = ""
        self.beats: Counter[int] = Counter()
        """How many beats of each instance are in the log; the daemon itself remembers only what changed."""

    def connect(self, event_log: EventLog, topic: str) -> None:
        self.event_log, self.topic = event_log, topic

    def start(self, instance_id: int, argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> AgentHandle:
        settings = _settings(argv, env, cwd)
        if settings is None:
            log.warning("agent_refused", instance=instance_id, arguments=list(argv))
            return NoAgent()
        sender = LogSender(self)
        return TaskAgent(Agent(settings, sender, self._clock, self._random.token(), no_gpu), sender)


def _settings(argv: Sequence[str], env: Mapping[str, str], cwd: Path) -> AgentSettings | None:
    """As the agent's own program reads them; its files stay in the instance's folder."""
    try:
        settings = parse(argv, env)
    except SystemExit:  # argparse's way of refusing; the reason is on stderr
        return None
    home = Path(env.get("HOME", str(cwd)))
    return replace(settings, status_file=home / ".failoverd" / "agent.json", is_detached=False)


def _report(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and task.exception() is not None:
        log.error("agent_crashed", agent=task.get_name(), exc_info=task.exception())
