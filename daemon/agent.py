"""The heartbeat agent that runs on a GPU machine: says every few seconds that this instance is alive.

It keeps nothing but a sequence number. A beat that cannot be sent is dropped, for an old one proves nothing; the
status file tells whoever can still log in (architecture, section 4.9). It imports no more than it needs: the machine's
memory belongs to the workload.
"""

from __future__ import annotations

import asyncio
import json
import logging
import zlib
from typing import TYPE_CHECKING, Protocol

from daemon.agent_settings import AgentSettings
from daemon.gpu_health import GpuProbe
from events.schema import FromMachine, Heartbeat, Notice
from machines.errors import FailoverdError

if TYPE_CHECKING:
    from machines.ports import Clock

FIRST_BEAT_WITHIN_S = 1.0
NOTICE_WITHIN_S = 1.5

log = logging.getLogger("failoverd.agent")


class NotSent(FailoverdError):
    """The event did not arrive, or nobody knows; the text names the remedy where there is one."""


class BeatSender(Protocol):
    """A way from this machine to the daemon."""

    async def send(self, event: FromMachine) -> None:
        """Arrived when it returns. Raise NotSent, or another FailoverdError; the event is forgotten then."""
        ...


class Agent:
    """Beats until it is stopped. Several may live in one process; each is one task and one timer."""

    def __init__(
        self, settings: AgentSettings, beat_sender: BeatSender, clock: Clock, boot_id: str, gpu_probe: GpuProbe
    ) -> None:
        """`boot_id` is random and new for each start: a restarted agent counts from one again and is no replay."""
        self.settings = settings
        self.boot_id = boot_id
        self.sequence = 0
        self._sender = beat_sender
        self._clock = clock
        self._gpu_probe = gpu_probe
        self._beating: asyncio.Task[None] | None = None
        self._is_over = False
        self._complaints: dict[str, str] = {}

    async def run(self) -> None:
        """Beat until `stop()`, then announce the shutdown. Cancelled, it falls silent at once, as a dead machine does."""
        if not self._is_over:
            await self._beat_until_stopped()
        await self._say_goodbye()

    def stop(self) -> None:
        """End `run` by itself; a beat under way is given up."""
        self._is_over = True
        if self._beating is not None:
            self._beating.cancel()

    async def _beat_until_stopped(self) -> None:
        self._beating = asyncio.create_task(self._beat_for_ever())
        try:
            await asyncio.wait({self._beating})
        except asyncio.CancelledError:
            self.stop()
            await asyncio.wait({self._beating})
            raise
        if not self._beating.cancelled():
            self._beating.result()

    async def _beat_for_ever(self) -> None:
        """The first beat comes soon, for a replacement is verified by it; the second takes a place of its own in the
        interval, lest a fleet that was started at once beats at once.

        The flag is asked too, because `asyncio.wait_for` swallows a cancellation that meets the end of its wait.
        """
        interval = self.settings.interval_s
        place = zlib.crc32(self.boot_id.encode()) / 2**32
        await self._clock.sleep(place * min(interval, FIRST_BEAT_WITHIN_S))
        due = self._clock.monotonic()
        await self._beat()
        due += place * interval
        while not self._is_over:
            await self._clock.sleep(due - self._clock.monotonic())
            began = self._clock.monotonic()
            await self._beat()
            due += interval
            if began >= due:
                due = began + interval  # what was slept through is not made up for

    async def _beat(self) -> None:
        gpu = await self._gpu_probe()
        self._complain("gpu", gpu if gpu not in (None, "ok") else None)
        self.sequence += 1
        settings = self.settings
        beat = Heartbeat(
            settings.machine_id, settings.instance_id, self.boot_id, self.sequence, settings.interval_s, gpu
        )
        failure = await self._try_to_send(beat, self._patience())
        self._complain("beats", failure)
        self._write_status(sent_ok=failure is None)

    def _patience(self) -> float:
        """One interval, but no network is held to less than a second or given more than ten."""
        return max(self._clock.real(1.0), min(self.settings.interval_s, self._clock.real(10.0)))

    async def _try_to_send(self, event: FromMachine, within_s: float) -> str | None:
        """What went wrong, or None."""
        try:
            await self._clock.wait_for(self._sender.send(event), within_s)
        except TimeoutError:
            return "no answer in time"
        except FailoverdError as error:
            return str(error)
        except Exception as error:  # a bug in a client library must not turn a living machine into a silent one
            return f"unexpected {error!r}"
        return None

    async def _say_goodbye(self) -> None:
        settings = self.settings
        notice = Notice(
            settings.machine_id, settings.instance_id, self.boot_id, "shutdown", "the agent was told to end"
        )
        failure = await self._try_to_send(notice, self._clock.real(NOTICE_WITHIN_S))
        log.info(
            line("agent_stopped", machine_id=settings.machine_id, sequence=self.sequence, notice=failure or "sent")
        )

    def _write_status(self, sent_ok: bool) -> None:
        """Readers see the old file or the new one, never half of one."""
        path = self.settings.status_file
        if path is None:
            return
        at = self._clock.now().isoformat()
        status = {"boot_id": self.boot_id, "sequence": self.sequence, "at": at, "sent_ok": sent_ok}
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh = path.with_name(path.name + ".new")
            fresh.write_text(json.dumps(status) + "\n", encoding="utf-8")
            fresh.replace(path)
        except OSError as error:
            self._complain("status_file", str(error))
        else:
            self._complain("status_file", None)

    def _complain(self, about: str, problem: str | None) -> None:
        """One line when something begins to fail, fails differently, or is well again; none for each beat."""
        before = self._complaints.get(about)
        if problem == before:
            return
        where = {"machine_id": self.settings.machine_id, "sequence": self.sequence}
        if problem is None:
            del self._complaints[about]
            log.warning(line(f"{about}_well_again", **where, was=before))
        else:
            self._complaints[about] = problem
            log.warning(line(f"{about}_failing", **where, problem=problem))


def line(event: str, **fields: object) -> str:
    return " ".join([event, *(f"{name}={json.dumps(value)}" for name, value in fields.items())])
