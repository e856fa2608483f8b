"""The agent as a process of its own: `failoverd agent`."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from daemon.agent import Agent, line
from daemon.agent_settings import AgentSettings, parse
from daemon.beat_senders import sender_of
from daemon.gpu_health import NvmlProbe

if TYPE_CHECKING:
    from adapters.system_clock import SystemClock

CLOSE_WITHIN_S = 0.5
END_WITHIN_S = 3

log = logging.getLogger("failoverd.agent")


def main(argv: Sequence[str]) -> int:
    """The process: until SIGTERM or SIGINT, then gone within three seconds."""
    settings = parse(argv, os.environ)
    if settings.is_detached and not _detach(settings.status_file):
        return 0
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    for chatty in ("httpx", "httpcore", "aiokafka"):  # their line for each beat or retry; ours says it once
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    asyncio.run(_serve(settings))
    return 0


def _detach(status_file: Path | None) -> bool:
    """Fork; True in the child, which leads a session of its own. One agent per machine: the one before is ended."""
    if os.fork() > 0:
        return False
    os.setsid()
    folder = status_file.parent if status_file is not None else Path.home()
    folder.mkdir(parents=True, exist_ok=True)
    pid_file = folder / "agent.pid"
    _end_previous(pid_file)
    pid_file.write_text(str(os.getpid()))
    with open(os.devnull, "rb") as nothing, open(folder / "agent.log", "ab") as output:
        os.dup2(nothing.fileno(), 0)
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    return True


def _end_previous(pid_file: Path) -> None:
    """End the agent named in the file, if that process still is one: numbers are used again."""
    try:
        pid = int(pid_file.read_text())
        if b"failoverd" in Path(f"/proc/{pid}/cmdline").read_bytes():
            os.kill(pid, signal.SIGTERM)
    except (OSError, ValueError):
        return  # None ran before.


async def _serve(settings: AgentSettings) -> None:
    from adapters.system_clock import SystemClock, SystemRandom

    clock = SystemClock(settings.speed)
    sender = sender_of(settings)
    agent = Agent(settings, sender, clock, SystemRandom().token(), NvmlProbe(clock, gpus=settings.gpus))

    def end() -> None:
        signal.alarm(END_WITHIN_S)  # whatever hangs then (a resolver's thread, say), the process ends
        agent.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, end)
    log.info(
        line("agent_started", machine_id=settings.machine_id, instance_id=settings.instance_id, boot_id=agent.boot_id)
    )
    snapshots = _snapshots(settings, clock)
    await agent.run()
    if snapshots is not None:
        snapshots.cancel()
        await asyncio.wait({snapshots}, timeout=CLOSE_WITHIN_S)
    try:
        await clock.wait_for(sender.close(), CLOSE_WITHIN_S)
    except TimeoutError:
        pass  # the rest is flushed to nobody


def _snapshots(settings: AgentSettings, clock: SystemClock) -> asyncio.Task[None] | None:
    """Beside the beats, in the folder where the daemon lays its order down; None where there is no such folder."""
    if settings.status_file is None:
        return None
    from daemon.agent_snapshots import SnapshotSchedule

    schedule = SnapshotSchedule(settings.status_file.parent, clock, settings.instance_id)
    task = asyncio.create_task(schedule.run(), name="snapshots")
    task.add_done_callback(_tell_of_the_end)
    return task


def _tell_of_the_end(task: asyncio.Task[None]) -> None:
    """A fault of the snapshots must not silence a living machine."""
    if not task.cancelled() and task.exception() is not None:
        log.error(line("snapshots_ended", problem=repr(task.exception())))
