"""Periodic jobs on the virtual clock: the second implementation of the daemon's timetable, without APScheduler."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable

import structlog

from adapters.sql.errors import StoreUnavailable
from daemon.surroundings import Job
from machines.errors import FailoverdError
from machines.ports import Clock

log = structlog.get_logger(__name__)


class VirtualTimetable:
    """As daemon/schedule.py: a run that is late is made once, a run that is slow is not doubled. One task wakes for all
    jobs, for most of them find nothing to do."""

    def __init__(self, clock: Clock, has_work: Callable[[str], bool], on_crash: Callable[[str], object]) -> None:
        """`has_work`: would this job find anything now? One that would not is not run: time jumps to the next deadline.
        `on_crash` hears of jobs that raised what no job may raise: bugs of the daemon."""
        self._clock, self._has_work, self._on_crash = clock, has_work, on_crash
        self._jobs: list[tuple[float, str, Job]] = []
        self._conductor: asyncio.Task[None] | None = None
        self._running: dict[str, asyncio.Task[None]] = {}

    def every(self, seconds: float, name: str, job: Job) -> None:
        self._jobs.append((seconds, name, job))

    def start(self) -> None:
        self._conductor = asyncio.create_task(self._conduct(), name="timetable")

    def stop(self) -> None:
        if self._conductor is not None:
            self._conductor.cancel()
        for task in self._running.values():
            task.cancel()

    async def _conduct(self) -> None:
        now = self._clock.monotonic()
        agenda = [(now + seconds, place) for place, (seconds, _, _) in enumerate(self._jobs)]
        heapq.heapify(agenda)
        while agenda:
            due, place = agenda[0]
            now = self._clock.monotonic()
            if due > now:
                await self._clock.sleep(due - now)
                now = self._clock.monotonic()
            seconds, name, job = self._jobs[place]
            heapq.heapreplace(agenda, (max(due + seconds, now), place))
            if name not in self._running and self._has_work(name):
                self._running[name] = asyncio.create_task(self._run(name, job), name=f"job {name}")

    async def _run(self, name: str, job: Job) -> None:
        try:
            await job()
        except (FailoverdError, StoreUnavailable) as error:
            log.debug("job_postponed", job=name, because=str(error))
        except Exception as bug:
            log.exception("job_crashed", job=name)
            self._on_crash(f"{name}: {bug!r}")
        finally:
            del self._running[name]
